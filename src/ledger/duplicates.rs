//! The latest record of each user and key: the answer to `duplicate_of`, as long as the journal has it.
//!
//! In memory it is 64 bits of a digest to a `seq`: 16 octets and the table's slack a record. A sealed segment's part
//! lies beside it in `N.keys`, so that a start reads no compressed segment. That file is written without fsync(2): the
//! MD5 of its entries at its end shows what a power cut made of it, and the segment is there to make it again. That two
//! keys share 64 bits of MD5 by accident happens once in four billion pairs of a billion.

use crate::journal::segment::{self, Segment};
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Octets of one entry in a `.keys` file: digest and `seq`, both little-endian.
const ENTRY: usize = 16;

#[derive(Debug, Default)]
pub struct Duplicates(HashMap<u64, u64>);

/// Undoes an `insert`.
#[derive(Clone, Copy, Debug)]
pub struct Undo {
    digest: u64,
    before: Option<u64>,
}

impl Duplicates {
    /// Collects what every segment holds, as far as it can be read.
    pub fn load(dir: &Path, segments: &[Segment]) -> Duplicates {
        let mut all = Duplicates::default();
        for segment in segments {
            let entries = if segment.compressed { indexed(dir, segment) } else { scan(segment) };
            match entries {
                Ok(entries) => all.extend(entries),
                Err(error) => {
                    log::error!("{}: {error}; its records are not found as duplicates", segment.path.display())
                }
            }
        }
        all
    }

    /// The latest `seq` of all.
    pub fn last(&self) -> u64 {
        self.0.values().copied().max().unwrap_or(0)
    }

    /// Whether there is a record with this user and key.
    pub fn has(&self, user: &str, key: &str) -> bool {
        self.0.contains_key(&digest(user, key))
    }

    /// Makes `seq` the latest, and says which was before, and what undoes this.
    pub fn insert(&mut self, user: &str, key: &str, seq: u64) -> (Option<u64>, Undo) {
        let digest = digest(user, key);
        let before = self.0.insert(digest, seq);
        (before, Undo { digest, before })
    }

    /// Makes it as it was before. What was inserted last is undone first.
    pub fn undo(&mut self, Undo { digest, before }: Undo) {
        match before {
            Some(before) => self.0.insert(digest, before),
            None => self.0.remove(&digest),
        };
    }

    fn extend(&mut self, entries: impl IntoIterator<Item = (u64, u64)>) {
        for (digest, seq) in entries {
            let latest = self.0.entry(digest).or_default();
            *latest = seq.max(*latest);
        }
    }

    /// Forgets records before `oldest`: the journal has dropped them.
    pub fn forget_before(&mut self, oldest: u64) {
        self.0.retain(|_, seq| *seq >= oldest);
    }
}

/// The index file of the segment that begins with `first`.
pub fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.keys"))
}

/// Writes the index file of a sealed segment.
pub fn seal(dir: &Path, segment: &Segment) -> io::Result<()> {
    write(&path(dir, segment.first), &scan(segment)?)
}

/// What a compressed segment's index file says, which is made again when it is missing or damaged.
fn indexed(dir: &Path, segment: &Segment) -> io::Result<Vec<(u64, u64)>> {
    let path = path(dir, segment.first);
    if let Some(entries) = read(&path) {
        return Ok(entries);
    }
    let entries = scan(segment)?;
    // Without it only the next start takes longer.
    if let Err(error) = write(&path, &entries) {
        log::warn!("{}: {error}", path.display());
    }
    Ok(entries)
}

fn write(path: &Path, entries: &[(u64, u64)]) -> io::Result<()> {
    let mut octets = Vec::with_capacity((entries.len() + 1) * ENTRY);
    for (digest, seq) in entries {
        octets.extend_from_slice(&digest.to_le_bytes());
        octets.extend_from_slice(&seq.to_le_bytes());
    }
    octets.extend_from_slice(&Md5::digest(&octets));
    fs::write(path, octets)
}

/// `None` for a file that is not there or not whole. Early versions wrote no MD5, so theirs are made again too.
fn read(path: &Path) -> Option<Vec<(u64, u64)>> {
    let mut octets = Vec::new();
    segment::open(path).ok()?.read_to_end(&mut octets).ok()?;
    let (octets, md5) = octets.split_last_chunk::<16>()?;
    let (entries, []) = octets.as_chunks::<ENTRY>() else { return None };
    if Md5::digest(octets)[..] != md5[..] {
        return None;
    }
    let half = |entry: &[u8; ENTRY], from: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&entry[from..from + 8]);
        u64::from_le_bytes(number)
    };
    Some(entries.iter().map(|entry| (half(entry, 0), half(entry, 8))).collect())
}

fn scan(segment: &Segment) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    segment.records(|record, _, _| found.push((digest(&record.user, &record.summary.key), record.seq)))?;
    Ok(found)
}

fn digest(user: &str, key: &str) -> u64 {
    let mut md5 = Md5::new();
    md5.update(user);
    md5.update([0]);
    md5.update(key);
    let mut number = [0; 8];
    number.copy_from_slice(&md5.finalize()[..8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;

    #[test]
    fn an_index_that_a_power_cut_left_is_made_again() {
        let dir = std::env::temp_dir().join(format!("mailbell-duplicates-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let segment = Segment::plain(&dir, 1);
        let mut octets = Vec::new();
        for seq in 1..=4 {
            sample(seq, "alice", &seq.to_string()).write_json(&mut octets);
            octets.push(b'\n');
        }
        fs::write(&segment.path, octets).unwrap();
        seal(&dir, &segment).unwrap();
        super::super::upkeep::compress(&segment, &dir).unwrap();
        let segments = crate::journal::segment::list(&dir).unwrap();
        let whole = fs::read(path(&dir, 1)).unwrap();
        let shortened = (0..whole.len()).map(|length| whole[..length].to_vec());
        let zeroed = (0..whole.len()).map(|from| [&whole[..from], &vec![0; whole.len() - from]].concat());
        for damaged in shortened.chain(zeroed) {
            fs::write(path(&dir, 1), damaged).unwrap();
            let duplicates = Duplicates::load(&dir, &segments);
            for seq in 1..=4 {
                assert_eq!(duplicates.0.get(&digest("alice", &format!("mid:<{seq}>"))), Some(&seq));
            }
            assert_eq!(fs::read(path(&dir, 1)).unwrap(), whole);
        }
        // The file only saves time.
        fs::remove_file(path(&dir, 1)).unwrap();
        fs::create_dir(path(&dir, 1)).unwrap();
        assert!(Duplicates::load(&dir, &segments).has("alice", "mid:<4>"));
        fs::remove_dir_all(dir).unwrap();
    }
}
