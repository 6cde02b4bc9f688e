//! Which messages of a Maildir are recorded already, so that each becomes one event however often its folder is read.
//!
//! Known is what the journal holds and what a compact file per user holds, `STATE/seen/USER`, for what the journal has
//! dropped. A message is kept as 64 bits of a digest of its id. The file is a cache with a promise: it says up to which
//! `seq` the journal is in it, and what comes after is read from the journal.

use super::Journal;
use super::follow::{Follower, Item};
use md5::{Digest, Md5};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a seen file begins; the `seq` follows, then the digests, all little-endian 64 bits.
const MAGIC: &[u8; 8] = b"mbseen1\n";

/// The known messages of every user.
#[derive(Debug)]
pub struct KnownIds {
    dir: PathBuf,
    users: Mutex<HashMap<String, HashSet<u64>>>,
}

impl KnownIds {
    /// Reads the files and what the journal has beyond them.
    ///
    /// # Errors
    ///
    /// When the state folder or the journal cannot be read.
    pub fn load(state: &Path, journal: &Journal) -> io::Result<KnownIds> {
        let dir = state.join("seen");
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&dir)?;
        let mut users = HashMap::new();
        let mut covered = HashMap::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match parse(&fs::read(entry.path())?) {
                Some((seq, digests)) => {
                    // A power cut can have taken the journal's end away and left this file.
                    covered.insert(name.clone(), seq.min(journal.last_seq()));
                    users.insert(name, digests);
                }
                None if name.ends_with(".tmp") => fs::remove_file(entry.path())?,
                None => log::warn!("{}: damaged, passed over", entry.path().display()),
            }
        }
        // A user without a file has nothing but the journal, from its beginning; there may be such a user.
        let mut follower = Follower::open(journal.dir(), 0)?;
        while let Some(item) = follower.next_item()? {
            if let Item::Record(record) = item
                && covered.get(&record.user).is_none_or(|seq| record.seq > *seq)
            {
                users.entry(record.user).or_default().insert(digest(record.id.as_bytes()));
            }
        }
        Ok(KnownIds { dir, users: Mutex::new(users) })
    }

    /// Makes an id known; true when it was not.
    pub fn insert(&self, user: &str, id: &[u8]) -> bool {
        let mut users = self.lock();
        match users.get_mut(user) {
            Some(known) => known.insert(digest(id)),
            None => users.entry(user.to_owned()).or_default().insert(digest(id)),
        }
    }

    /// Makes an id unknown again: its record could not be written.
    pub fn remove(&self, user: &str, id: &[u8]) {
        if let Some(known) = self.lock().get_mut(user) {
            known.remove(&digest(id));
        }
    }

    /// Writes a user's file: the ids of `present` that are known, as of the journal's `seq`. All others are forgotten.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; the old file stays then.
    pub fn save<'a>(&self, user: &str, seq: u64, present: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut kept: Vec<u64> = Vec::new();
        {
            let mut users = self.lock();
            let Some(known) = users.get_mut(user) else { return Ok(()) };
            let present: HashSet<u64> = present.map(digest).collect();
            known.retain(|digest| present.contains(digest));
            known.shrink_to_fit();
            kept.extend(known.iter());
        }
        kept.sort_unstable();
        let mut octets = Vec::with_capacity(16 + kept.len() * 8);
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&seq.to_le_bytes());
        kept.iter().for_each(|digest| octets.extend_from_slice(&digest.to_le_bytes()));
        let tmp = self.dir.join(format!("{user}.tmp"));
        let mut file = File::create(&tmp)?;
        file.write_all(&octets)?;
        file.sync_data()?;
        fs::rename(tmp, self.dir.join(user))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashSet<u64>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(octets: &[u8]) -> Option<(u64, HashSet<u64>)> {
    let (numbers, []) = octets.strip_prefix(MAGIC)?.as_chunks::<8>() else { return None };
    let (seq, digests) = numbers.split_first()?;
    Some((u64::from_le_bytes(*seq), digests.iter().map(|digest| u64::from_le_bytes(*digest)).collect()))
}

fn digest(id: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&Md5::digest(id)[..8]);
    u64::from_le_bytes(number)
}
