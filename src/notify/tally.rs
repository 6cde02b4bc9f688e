//! What a subscriber has to remember besides its cursor: how often things went wrong, and which records it began and has
//! not done yet. One small file in `STATE/tallies/`, written in place with one pwrite(2) of fixed width, as a cursor is.

use crate::journal::encode;
use crate::sys::folder::{make_folder, open_file};
use rustix::fs::OFlags;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Octets of the file: one page, so that a write is seen whole or not at all after `kill -9`.
const WIDTH: usize = 4_096;

/// Records that may be begun and not done. Each takes at most 59 octets here.
pub(super) const OPEN: usize = 64;

/// A record that was begun and is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Begun {
    /// Which.
    pub(super) seq: u64,
    /// Tries that failed.
    pub(super) tries: u32,
    /// Seconds since its first try, while a server ran.
    pub(super) failing: u64,
}

/// The numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Tries that failed.
    pub(super) retries: u64,
    /// Records that were given up.
    pub(super) given_up: u64,
    /// Records that the journal dropped before they were handed over.
    pub(super) lost: u64,
    /// The last of them: a cursor may come to them again.
    pub(super) lost_to: u64,
    /// At most [`OPEN`].
    pub(super) begun: Vec<Begun>,
    /// Of which records `begun` tells: those up to this one. A power cut may leave a cursor that is further.
    pub(super) offered: u64,
}

impl Tally {
    /// Counts these records as lost, and says so.
    pub(super) fn lose(&mut self, name: &str, from: u64, to: u64) {
        let count = self.count_lost(from, to);
        if count > 0 {
            log::error!("{name}: {count} records up to {to} are gone from the journal");
        }
    }

    /// Counts these records as lost, those that were counted before only once. Gives how many are new.
    fn count_lost(&mut self, from: u64, to: u64) -> u64 {
        let count = to.saturating_sub(self.lost_to.max(from.saturating_sub(1)));
        self.lost += count;
        self.lost_to = self.lost_to.max(to);
        count
    }

    /// What the file says; `None` where there is none, or a damaged one.
    pub(super) fn read(state: &Path, name: &str) -> Option<Tally> {
        let value: Value = serde_json::from_slice(&fs::read(path(state, name)).ok()?).ok()?;
        let number = |name| value.get(name).and_then(Value::as_u64);
        let begun = value.get("begun")?.as_array()?.iter().map(|entry| {
            let number = |index| entry.get(index).and_then(Value::as_u64);
            Some(Begun { seq: number(0)?, tries: number(1)? as u32, failing: number(2)? })
        });
        Some(Tally {
            retries: number("retries")?,
            given_up: number("given_up")?,
            lost: number("lost")?,
            lost_to: number("lost_to").unwrap_or(0),
            // Early versions did not say.
            offered: number("offered").unwrap_or(u64::MAX),
            begun: begun.collect::<Option<_>>()?,
        })
    }

    fn text(&self) -> Vec<u8> {
        let begun: Vec<_> = self.begun.iter().map(|begun| json!([begun.seq, begun.tries, begun.failing])).collect();
        let value = json!({
            "retries": self.retries, "given_up": self.given_up, "lost": self.lost, "lost_to": self.lost_to,
            "offered": self.offered, "begun": begun
        });
        let mut text = value.to_string().into_bytes();
        debug_assert!(text.len() < WIDTH);
        text.resize(WIDTH - 1, b' ');
        text.push(b'\n');
        text
    }
}

/// A tally that is kept.
#[derive(Debug)]
pub(super) struct TallyFile {
    file: File,
    /// `None` when the file says nothing.
    kept: Option<Tally>,
}

impl TallyFile {
    /// Opens the file of a subscriber, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be made or opened.
    pub(super) fn open(state: &Path, name: &str) -> io::Result<TallyFile> {
        let path = path(state, name);
        if let Some(folder) = path.parent() {
            make_folder(folder, 0o750, None)?;
        }
        let file = open_file(&path, OFlags::WRONLY | OFlags::CREATE, 0o640)?;
        Ok(TallyFile { file, kept: Tally::read(state, name) })
    }

    /// What the file says.
    pub(super) fn kept(&self) -> Option<&Tally> {
        self.kept.as_ref()
    }

    /// Keeps it. Keeping what is kept costs nothing.
    pub(super) fn keep(&mut self, tally: &Tally) {
        if self.kept.as_ref() == Some(tally) {
            return;
        }
        match self.file.write_all_at(&tally.text(), 0) {
            Ok(()) => self.kept = Some(tally.clone()),
            Err(error) => log::error!("a tally cannot be written: {error}"),
        }
    }
}

/// Makes every cursor and tally in `state` safe against a power cut, as they are now: what a subscriber is done with is
/// not handed over again then. What did not change costs nothing.
///
/// # Errors
///
/// Of the first that cannot be made safe; the others are.
pub fn sync_places(state: &Path) -> io::Result<()> {
    let mut outcome = Ok(());
    for folder in ["cursors", "tallies"] {
        let entries = match fs::read_dir(state.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let synced = entry.and_then(|entry| File::open(entry.path())?.sync_data());
            outcome = outcome.and(synced);
        }
    }
    outcome
}

/// Counts records that the journal dropped before a cursor of `watch` came to them.
pub fn count_lost(state: &Path, name: &str, from: u64, to: u64) {
    count(state, name, |tally| _ = tally.count_lost(from, to));
}

/// Counts a failed try of the COMMAND of a `watch` with a cursor.
pub fn count_retry(state: &Path, name: &str) {
    count(state, name, |tally| tally.retries += 1);
}

fn count(state: &Path, name: &str, change: impl FnOnce(&mut Tally)) {
    match TallyFile::open(state, name) {
        Ok(mut file) => {
            let mut tally = file.kept().cloned().unwrap_or_default();
            change(&mut tally);
            file.keep(&tally);
        }
        Err(error) => log::warn!("{name}: what went wrong cannot be counted: {error}"),
    }
}

fn path(state: &Path, name: &str) -> PathBuf {
    state.join("tallies").join(encode(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::Scratch;

    #[test]
    fn places_are_made_safe_as_far_as_there_are_any() {
        let scratch = Scratch::new("safe");
        sync_places(&scratch.0).unwrap();
        TallyFile::open(&scratch.0, "hook:a").unwrap().keep(&Tally::default());
        sync_places(&scratch.0).unwrap();
        std::os::unix::fs::symlink("nowhere", scratch.path("tallies/dangling")).unwrap();
        assert_eq!(sync_places(&scratch.0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_lost_is_counted_once() {
        let mut tally = Tally::default();
        let counts = [(1, 3), (1, 3), (2, 5), (9, 9), (6, 8)].map(|(from, to)| tally.count_lost(from, to));
        assert_eq!((counts, tally.lost), ([3, 0, 2, 1, 0], 6));
    }

    #[test]
    fn the_longest_fits_and_is_read_back() {
        let scratch = Scratch::new("tally");
        let begun = vec![Begun { seq: u64::MAX, tries: u32::MAX, failing: u64::MAX }; OPEN];
        let tally = Tally {
            retries: u64::MAX,
            given_up: u64::MAX,
            lost: u64::MAX,
            lost_to: u64::MAX,
            begun,
            offered: u64::MAX,
        };
        let mut file = TallyFile::open(&scratch.0, "hook:a/b").unwrap();
        assert_eq!(file.kept(), None);
        for tally in [tally, Tally::default(), Tally { lost: 7, ..Tally::default() }] {
            file.keep(&tally);
            assert_eq!(Tally::read(&scratch.0, "hook:a/b").as_ref(), Some(&tally));
            assert_eq!(TallyFile::open(&scratch.0, "hook:a/b").unwrap().kept(), Some(&tally));
        }
        fs::write(path(&scratch.0, "hook:a/b"), "{\"retries\":1").unwrap();
        assert_eq!(Tally::read(&scratch.0, "hook:a/b"), None);
    }
}
