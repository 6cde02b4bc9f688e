//! Which record was the latest with this user and key: the answer to `duplicate_of`, as long as the journal has it.
//!
//! In memory it is 64 bits of a digest to a `seq`: 16 octets and the table's slack a record. A sealed segment's part
//! lies beside it in `N.keys`, so that a start reads no compressed segment. That two keys share 64 bits of MD5 by
//! accident happens once in four billion pairs of a billion; who wants it to happen only fools his own inbox.

use super::record::Record;
use super::segment::Segment;
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Octets of one entry in a `.keys` file: digest and `seq`, both little-endian.
const ENTRY: usize = 16;

#[derive(Debug, Default)]
pub struct Duplicates(HashMap<u64, u64>);

impl Duplicates {
    /// Collects what every segment holds.
    pub fn load(dir: &Path, segments: &[Segment]) -> io::Result<Duplicates> {
        let mut all = Duplicates::default();
        for segment in segments {
            let stored = if segment.compressed { read(&path(dir, segment.first)) } else { None };
            let entries = match stored {
                Some(entries) => entries,
                None => scan(segment)?,
            };
            all.0.extend(entries);
        }
        Ok(all)
    }

    pub fn latest(&self, user: &str, key: &str) -> Option<u64> {
        self.0.get(&digest(user, key)).copied()
    }

    /// Makes `seq` the latest, and says which was before.
    pub fn insert(&mut self, user: &str, key: &str, seq: u64) -> Option<u64> {
        self.0.insert(digest(user, key), seq)
    }

    /// Takes in later ones.
    pub fn extend(&mut self, later: Duplicates) {
        self.0.extend(later.0);
    }

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
    let octets: Vec<u8> = scan(segment)?
        .into_iter()
        .flat_map(|(digest, seq)| digest.to_le_bytes().into_iter().chain(seq.to_le_bytes()))
        .collect();
    fs::write(path(dir, segment.first), octets)
}

/// `None` for a file that is not there or not whole.
fn read(path: &Path) -> Option<Vec<(u64, u64)>> {
    let octets = fs::read(path).ok()?;
    let (entries, []) = octets.as_chunks::<ENTRY>() else { return None };
    let half = |entry: &[u8; ENTRY], from: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&entry[from..from + 8]);
        u64::from_le_bytes(number)
    };
    Some(entries.iter().map(|entry| (half(entry, 0), half(entry, 8))).collect())
}

fn scan(segment: &Segment) -> io::Result<Vec<(u64, u64)>> {
    let (mut lines, mut line) = (segment.lines()?, Vec::new());
    let mut found = Vec::new();
    while lines.next(&mut line)? {
        if let Ok(record) = Record::parse(&line) {
            found.push((digest(&record.user, &record.summary.key), record.seq));
        }
    }
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
