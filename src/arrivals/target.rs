//! One Maildir that is watched, and the names in its `new/`: each is looked at until it is known what it is.

use super::Watched;
use super::look::{Look, QUIET, Way, look};
use crate::journal::Record;
use crate::ledger::{Expected, Ledger};
use crate::maildir::{name, typed};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long at most between two looks at a file that is never finished.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A Maildir, and what is not decided yet in it.
pub struct Target {
    pub watched: Watched,
    is_own: bool,
    /// Looked at from time to time.
    pub is_slow: bool,
    /// The log knows that it cannot be read.
    pub has_complained: bool,
    /// Which folder `new/` was when it was watched: device and inode.
    folder: Option<(u64, u64)>,
    /// The files that may still be written, or cannot be read yet. They are known, so that they are looked at when they
    /// are due and not at each scan.
    unsure: BTreeMap<OsString, Unsure>,
}

/// When a file is looked at again, and how much later if that is in vain.
struct Unsure {
    due: Instant,
    wait: Duration,
    expected: Expected,
}

impl Target {
    /// Nothing of it is looked at yet.
    pub fn new(watched: Watched, is_own: bool) -> Target {
        Target { watched, is_own, is_slow: false, has_complained: false, folder: None, unsure: BTreeMap::new() }
    }

    /// It is about to be watched: remembers which folder it is.
    pub fn note_folder(&mut self) {
        self.folder = self.folder_now();
    }

    /// Whether `new/` may be another folder than the one that is watched. Where there was none, it may come to be below
    /// another one.
    pub fn is_another_folder(&self) -> bool {
        self.folder.is_none() || self.folder != self.folder_now()
    }

    fn folder_now(&self) -> Option<(u64, u64)> {
        fs::metadata(self.watched.maildir.join("new")).ok().map(|found| (found.dev(), found.ino()))
    }

    /// What is in `new/`. If that cannot be told, it is looked at again from time to time.
    pub fn names(&mut self) -> Vec<OsString> {
        let new = self.watched.maildir.join("new");
        match file_names(&new) {
            Ok(names) => return names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.is_slow = true;
                if !std::mem::replace(&mut self.has_complained, true) {
                    log::error!("{}: {error}", new.display());
                }
            }
        }
        Vec::new()
    }

    /// When each unsure file is to be looked at.
    pub fn due(&self) -> impl Iterator<Item = Instant> {
        self.unsure.values().map(|unsure| unsure.due)
    }

    /// The unsure files that are to be looked at by `now`.
    pub fn due_names(&self, now: Instant) -> impl Iterator<Item = &OsString> {
        self.unsure.iter().filter(move |(_, unsure)| unsure.due <= now).map(|(file_name, _)| file_name)
    }

    /// Looks at a name that came, if it is not known.
    pub fn consider(&mut self, file_name: OsString, way: Way, ledger: &Arc<Ledger>) -> Option<(Expected, Record)> {
        if !name::is_message(file_name.as_bytes()) {
            return None;
        }
        let expected = match self.unsure.remove(&file_name) {
            Some(unsure) if way == Way::Unknown => {
                self.unsure.insert(file_name, unsure);
                return None;
            }
            Some(unsure) => unsure.expected,
            None => ledger.claim(&self.watched.user, file_name.as_bytes())?,
        };
        self.decide(file_name, way, Unsure { due: Instant::now() + QUIET, wait: QUIET, expected })
    }

    /// Looks again at an unsure file.
    pub fn look_again(&mut self, file_name: OsString, now: Instant) -> Option<(Expected, Record)> {
        let Unsure { wait, expected, .. } = self.unsure.remove(&file_name)?;
        let next = Unsure { due: now + wait, wait: (wait * 2).min(LONGEST_WAIT), expected };
        self.decide(file_name, Way::Unknown, next)
    }

    /// Looks at a name that is expected. What comes to nothing is unknown again. `next`: when it is looked at again, if it
    /// may still become something.
    fn decide(&mut self, file_name: OsString, way: Way, next: Unsure) -> Option<(Expected, Record)> {
        match look(&self.watched, self.is_own, &file_name, way)
            .unwrap_or_else(|error| self.complain(&file_name, &error))
        {
            Look::Message(record) => return Some((next.expected, *record)),
            Look::Unsure => drop(self.unsure.insert(file_name, next)),
            Look::Nothing => {
                log::debug!("{}: {file_name:?} was gone, or no message", self.watched.maildir.display());
            }
        }
        None
    }

    /// What cannot be read now may be given to us by a chown(2) that follows, or wait for a descriptor that is left.
    fn complain(&mut self, file_name: &OsStr, error: &io::Error) -> Look {
        let path = self.watched.maildir.join("new").join(file_name);
        if std::mem::replace(&mut self.has_complained, true) {
            log::debug!("{}: {error}", path.display());
        } else {
            log::error!(
                "{}: {error}; it makes no event until it can be read (said once for this Maildir)",
                path.display()
            );
        }
        Look::Unsure
    }

    /// The attributes of a file have changed, which may be what it waits for: no later than now it is looked at.
    pub fn hasten(&mut self, file_name: &OsStr) {
        if let Some(unsure) = self.unsure.get_mut(file_name) {
            unsure.due = Instant::now();
        }
    }

    /// Whether there is this message in `new/`, by this name or, where names are not unique, by one that says the same.
    pub fn has(&self, file_name: &OsStr) -> bool {
        self.watched.maildir.join("new").join(file_name).symlink_metadata().is_ok()
            || !name::is_unique(file_name.as_bytes())
                && self.known_names().contains_key(name::known_as(file_name.as_bytes()))
    }

    /// The names in `new/`, by what they are known as.
    pub fn known_names(&self) -> HashMap<Vec<u8>, Vec<OsString>> {
        let mut names: HashMap<_, Vec<_>> = HashMap::new();
        for file_name in file_names(&self.watched.maildir.join("new")).unwrap_or_default() {
            names.entry(name::known_as(file_name.as_bytes()).to_vec()).or_default().push(file_name);
        }
        names
    }

    /// A name has left `new/`: another message may come by it, if it is not elsewhere.
    pub fn forget(&mut self, file_name: &OsStr, is_elsewhere: bool, ledger: &Ledger) {
        self.unsure.remove(file_name);
        if !is_elsewhere {
            ledger.gone(&self.watched.user, file_name.as_bytes());
        }
    }

    /// The recipients beside a file are not needed any more when its record is there.
    pub fn forget_recipients(&self, record: &Record) {
        if self.is_own && record.rcpt_to.is_some() {
            let path = Path::new(&record.path);
            let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
            let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
            let _ = file.map(|file| typed::forget_user(&file, &record.user));
        }
    }
}

fn file_names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}
