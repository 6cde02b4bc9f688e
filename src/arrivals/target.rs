//! One Maildir that is watched: its folders, and the files in `new/` of which it is not known yet what they are.

use super::Watched;
use super::look::QUIET;
use super::watches::Wd;
use crate::maildir::folder::{Folder, Refused};
use crate::maildir::listing::Place;
use crate::maildir::name;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Longest time between two looks at a file that is never finished, and at a file of another user.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// File names of refused files that are remembered for a Maildir, so that each is logged once.
const REFUSED: usize = 50;

/// How a Maildir is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// Its `new/` is not there, or cannot be opened.
    Missing,
    /// inotify does not watch it.
    Polled,
    /// inotify watches it.
    Watched(Wd),
}

/// A Maildir and its files that are not decided yet.
pub struct Target {
    pub watched: Watched,
    /// Below `mail.root`: our own trace fields are believed, and links above the Maildir are the administrator's.
    pub is_own: bool,
    pub watching: Watching,
    /// Device and inode of the `new/` that is watched.
    identity: Option<(u64, u64)>,
    /// An error was logged. No other one is until the Maildir is watched again.
    has_complained: bool,
    /// Files of other users whose names were logged.
    refused: BTreeSet<OsString>,
    /// Files that may still be written, or cannot be read yet. They are known, so that a scan does not look at them.
    unsure: BTreeMap<OsString, Unsure>,
}

/// When a file is looked at again, and how much later if it is still unsure.
#[derive(Clone, Copy)]
pub struct Unsure {
    due: Instant,
    wait: Duration,
}

impl Unsure {
    /// A file that came just now.
    pub fn now() -> Unsure {
        Unsure { due: Instant::now() + QUIET, wait: QUIET }
    }

    /// A file that is to be looked at after the longest wait, or when its attributes change.
    pub fn for_long() -> Unsure {
        Unsure { due: Instant::now() + LONGEST_WAIT, wait: LONGEST_WAIT }
    }

    fn again(self, now: Instant) -> Unsure {
        Unsure { due: now + self.wait, wait: (self.wait * 2).min(LONGEST_WAIT) }
    }
}

impl Target {
    pub fn new(watched: Watched, is_own: bool) -> Target {
        Target {
            watched,
            is_own,
            watching: Watching::Missing,
            identity: None,
            has_complained: false,
            refused: BTreeSet::new(),
            unsure: BTreeMap::new(),
        }
    }

    /// Opens a folder of the Maildir.
    pub fn open(&self, place: Place) -> io::Result<Folder> {
        let open = if self.is_own { Folder::of_ours } else { Folder::of_others };
        open(&self.watched.maildir, place)
    }

    /// Opens `new/` and remembers which folder it is. `None`: it is missing, or cannot be read, which is logged.
    pub fn open_new(&mut self) -> Option<Folder> {
        match self.open(Place::New) {
            Ok(folder) => {
                self.identity = Some(folder.identity());
                return Some(folder);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.complain("new/", &error),
        }
        self.identity = None;
        None
    }

    /// Whether `new/` is another folder than the one that is watched.
    pub fn is_replaced(&self) -> bool {
        self.open(Place::New).ok().map(|folder| folder.identity()) != self.identity
    }

    /// Logs an error, once until the Maildir could be opened again.
    pub fn complain(&mut self, what: &str, error: &io::Error) {
        let maildir = self.watched.maildir.display();
        if std::mem::replace(&mut self.has_complained, true) {
            log::debug!("{maildir}: {what}: {error}");
        } else {
            log::error!("{maildir}: {what}: {error}; no events until this can be read (logged once for this Maildir)");
        }
    }

    /// The Maildir can be watched again: the next error is logged.
    pub fn forget_complaint(&mut self) {
        self.has_complained = false;
    }

    /// Logs that a file makes no event, once for each name.
    pub fn refuse(&mut self, file_name: &OsStr, why: &Refused) {
        if self.refused.len() < REFUSED && self.refused.insert(file_name.to_owned()) {
            let maildir = self.watched.maildir.display();
            log::warn!("{maildir}: new/{file_name:?} {why}; it makes no event. Give it to that owner with chown");
        }
    }

    /// When each unsure file is to be looked at.
    pub fn due(&self) -> impl Iterator<Item = Instant> {
        self.unsure.values().map(|unsure| unsure.due)
    }

    /// Takes the unsure files that are to be looked at by `now`.
    pub fn take_due(&mut self, now: Instant) -> Vec<(OsString, Unsure)> {
        let due = self.unsure.extract_if(.., |_, unsure| unsure.due <= now);
        due.map(|(file_name, unsure)| (file_name, unsure.again(now))).collect()
    }

    /// Looks at a file again when it is due.
    pub fn wait_for(&mut self, file_name: OsString, unsure: Unsure) {
        self.unsure.insert(file_name, unsure);
    }

    /// Whether a file is unsure; it is not any more.
    pub fn take_unsure(&mut self, file_name: &OsStr) -> bool {
        self.unsure.remove(file_name).is_some()
    }

    /// Whether a file is unsure.
    pub fn is_unsure(&self, file_name: &OsStr) -> bool {
        self.unsure.contains_key(file_name)
    }

    /// The attributes of a file have changed, which may be what it waits for.
    pub fn hasten(&mut self, file_name: &OsStr) {
        if let Some(unsure) = self.unsure.get_mut(file_name) {
            unsure.due = Instant::now();
        }
    }

    /// The names of all unsure files.
    pub fn unsure_names(&self) -> impl Iterator<Item = &OsString> {
        self.unsure.keys()
    }

    /// Whether this message is in `new/`, by this name or, where names are not unique, by one that says the same.
    pub fn has(&self, file_name: &OsStr) -> bool {
        let Ok(new) = self.open(Place::New) else { return false };
        new.stat(file_name).is_ok() || !name::is_unique(file_name.as_bytes()) && has_other_name(&new, file_name)
    }

    /// Whether this message is in `new/` by another name that says the same.
    pub fn has_renamed(&self, file_name: &OsStr) -> bool {
        !name::is_unique(file_name.as_bytes()) && self.open(Place::New).is_ok_and(|new| has_other_name(&new, file_name))
    }
}

fn has_other_name(new: &Folder, file_name: &OsStr) -> bool {
    let id = name::known_as(file_name.as_bytes());
    let names = new.names().unwrap_or_default();
    names.iter().any(|name| name != file_name && name::known_as(name.as_bytes()) == id)
}
