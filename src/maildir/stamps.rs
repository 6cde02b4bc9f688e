//! When the directories of a Maildir changed last, which tells whether what was read of them is still right.

use rustix::fs::Stat;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A change in the same tick of the clock as the listing may not show in a directory's time, so a listing is trusted
/// again only if its directories had been quiet for this long.
const QUIET: Duration = Duration::from_secs(1);

/// Tells whether a directory changed: its inode and the time of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Stamp {
    fn of(stat: &Stat) -> Stamp {
        Stamp { inode: stat.st_ino, seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 }
    }

    /// Of a directory by its path. One that is not there has the stamp of nothing.
    fn read(directory: &Path) -> io::Result<Stamp> {
        match rustix::fs::stat(directory) {
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
