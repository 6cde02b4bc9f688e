//! One Maildir that is watched, and the files that may not be whole messages yet.

use super::Watched;
use super::watches::{Key, Wd};
use crate::ledger::Expected;
use crate::maildir::folder::{Folder, Refused};
use crate::maildir::name::Place;
use crate::maildir::{name, typed};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Longest time between two looks at a file that is never finished, and at a file of another user.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// File names of refused files that are remembered for a Maildir, so that each is logged once.
const REFUSED: usize = 50;

/// File names by what their messages are known as.
pub type Names = HashMap<Vec<u8>, Vec<OsString>>;

/// A Maildir.
pub struct Target {
    pub watched: Watched,
    /// Below `mail.root`: our own trace fields are believed, and links above the Maildir are the administrator's.
    pub is_own: bool,
    /// The inotify watch of `new/`. Without one the Maildir is missing, or is looked at from time to time.
    pub wd: Option<Wd>,
    /// Device and inode of the `new/` that is watched.
    identity: Option<(u64, u64)>,
    /// An error was logged. No other one is until the Maildir is watched again.
    has_complained: bool,
    /// Files of other users that were logged.
    refused: BTreeSet<OsString>,
}

/// Files that may still be written, or cannot be read yet, in all Maildirs. They are known, so that a scan does not look at
/// them.
pub type Unsures = BTreeMap<(Key, OsString), Unsure>;

/// When a file is looked at again, and how long the next wait is.
pub struct Unsure {
    pub due: Instant,
    pub wait: Duration,
    /// The file's message stays known as long as this lives.
    pub expected: Expected,
}

impl Unsure {
    /// Looks again after this time, and then after twice as long each time.
    pub fn after(wait: Duration, expected: Expected) -> Unsure {
        Unsure { due: Instant::now() + wait, wait: (wait * 2).min(LONGEST_WAIT), expected }
    }
}

impl Target {
    pub fn new(watched: Watched, is_own: bool) -> Target {
        Target { watched, is_own, wd: None, identity: None, has_complained: false, refused: BTreeSet::new() }
    }

    /// Opens a folder of the Maildir.
    pub fn open(&self, place: Place) -> io::Result<Folder> {
        let open = if self.is_own { Folder::of_ours } else { Folder::of_others };
        open(&self.watched.maildir, place)
    }

    /// Opens `new/`. `None`: it is missing, or cannot be read, which is logged.
    pub fn open_new(&mut self) -> Option<Folder> {
        let opened = self.open(Place::New);
        if let Err(error) = &opened
            && error.kind() != io::ErrorKind::NotFound
        {
            self.complain("new/", error);
        }
        opened.ok()
    }

    /// Whether `new/` is another folder than the one that is watched.
    pub fn is_replaced(&self) -> bool {
        self.open(Place::New).ok().map(|folder| folder.identity()) != self.identity
    }

    /// Has this watch of this `new/` from now on. Gives the watch that it had.
    pub fn set_watch(&mut self, wd: Option<Wd>, new: Option<&Folder>) -> Option<Wd> {
        self.identity = new.map(Folder::identity);
        self.has_complained &= self.wd.is_some() || wd.is_none();
        std::mem::replace(&mut self.wd, wd)
    }

    /// The names in `new/`.
    pub fn names(&mut self, new: Option<Folder>) -> Vec<OsString> {
        let names = new.map_or(Ok(Vec::new()), |new| new.names());
        names.inspect_err(|error| self.complain("new/", error)).unwrap_or_default()
    }

    /// Logs an error, once until the Maildir is watched again.
    pub fn complain(&mut self, what: &str, error: &io::Error) {
        let maildir = self.watched.maildir.display();
        if std::mem::replace(&mut self.has_complained, true) {
            log::debug!("{maildir}: {what}: {error}");
        } else {
            log::error!("{maildir}: {what}: {error}; no events until this can be read (logged once for this Maildir)");
        }
    }

    /// Logs that a file makes no event, once for each name.
    pub fn refuse(&mut self, file_name: &OsStr, why: &Refused) {
        if self.refused.len() < REFUSED && self.refused.insert(file_name.to_owned()) {
            let maildir = self.watched.maildir.display();
            log::warn!("{maildir}: new/{file_name:?} {why}; it makes no event. Give it to that owner with chown");
        }
    }

    /// Removes what our own file says beside itself of this user: the record says it now.
    pub fn forget_recipient(&self, file_name: &OsStr) {
        if self.is_own
            && let Ok(new) = self.open(Place::New)
            && let Ok((file, _)) = new.message(file_name)
        {
            typed::forget_user(&file, &self.watched.user);
        }
    }

    /// Whether this name is in `new/`.
    pub fn has(&self, file_name: &OsStr) -> bool {
        self.open(Place::New).is_ok_and(|new| new.stat(file_name).is_ok())
    }

    /// The names in `new/` by what they are known as.
    pub fn names_by_id(&self) -> Names {
        let mut by_id = Names::new();
        for name in self.open(Place::New).and_then(|new| new.names()).unwrap_or_default() {
            by_id.entry(name::known_as(name.as_bytes()).to_vec()).or_default().push(name);
        }
        by_id
    }
}
