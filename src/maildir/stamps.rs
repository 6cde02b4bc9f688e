//! When the directories of a Maildir changed last, and their owners. The times tell whether a listing of them is still right.

use super::name::Place;
use rustix::fs::Stat;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A change in the same tick of the clock as the listing may not show in a directory's time. So a listing is used again
/// only if its directories had not changed for this long when it was read.
const QUIET: Duration = Duration::from_secs(1);

/// Tells whether a directory changed: its inode and the time of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: u32,
    owner: u32,
    /// Others than the owner can write in it.
    is_shared: bool,
}

impl Stamp {
    fn of(stat: &Stat) -> Stamp {
        Stamp {
            inode: stat.st_ino,
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec as u32,
            owner: stat.st_uid,
            is_shared: stat.st_mode & 0o022 != 0,
        }
    }

    /// Of a directory by its path. One that is not there has the stamp of nothing.
    fn read(directory: &Path) -> io::Result<Stamp> {
        match rustix::fs::lstat(directory) {
            Ok(stat) => Ok(Stamp::of(&stat)),
            Err(rustix::io::Errno::NOENT) => Ok(Stamp::default()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The times of both directories, and whether they were quiet when they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    new: Stamp,
    cur: Stamp,
}

impl Stamps {
    pub(super) fn read(maildir: &Path) -> io::Result<Stamps> {
        Ok(Stamps { new: Stamp::read(&maildir.join("new"))?, cur: Stamp::read(&maildir.join("cur"))? })
    }

    /// The owner of a directory; `None` where only the user of this process can write in it.
    pub(super) fn owner(&self, place: Place) -> Option<u32> {
        let Stamp { owner, is_shared, .. } = if place == Place::New { self.new } else { self.cur };
        (is_shared || owner != rustix::process::geteuid().as_raw()).then_some(owner)
    }

    /// Whether `cur/` did not change since.
    pub(super) fn cur_is_as_it_was(&self, maildir: &Path) -> io::Result<bool> {
        Ok(Stamp::read(&maildir.join("cur"))? == self.cur)
    }

    /// Whether nothing changed for a while before now.
    pub(super) fn quiet(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        [self.new, self.cur].iter().all(|stamp| {
            let changed = Duration::new(u64::try_from(stamp.seconds).unwrap_or(0), stamp.nanoseconds);
            changed + QUIET <= now
        })
    }
}
