//! A maildrop (RFC 1939): one Maildir as it was when a session opened it, for that session alone. Other programs may
//! move, flag and remove messages meanwhile; a message is then found again by its id, or it is gone, and the others
//! stay what they are. It speaks no POP3.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::{Listing, Place, path};
use super::maildrops::{Lock, Maildrops};
use super::name::Name;
use super::reader::MessageReader;
use crate::pop3::{self, Marks};

/// Why a maildrop or a message of it cannot be opened.
#[derive(Debug)]
pub enum Error {
    /// Another session of this process has the maildrop.
    InUse,
    /// Another program removed the message.
    Gone,
    /// The system failed at this path.
    Io(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InUse => write!(f, "the maildrop is open in another session"),
            Error::Gone => write!(f, "another program removed the message"),
            Error::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether trying again later can help: it cannot where rights are missing or the Maildir is none.
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Error::Io(_, error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory))
    }
}

/// What became of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateReport {
    /// Messages that were removed.
    pub removed: usize,
    /// Messages to be removed that were not there any more, which is as good.
    pub gone: usize,
    /// Messages that could not be removed.
    pub failed: usize,
}

/// One open maildrop. Message-numbers count from 1.
#[derive(Debug)]
pub struct Maildrop {
    maildir: PathBuf,
    /// As it was at the beginning: this numbers the messages and never changes.
    listing: Arc<Listing>,
    /// As it was when a message was last found to be moved.
    fresh: Option<Arc<Listing>>,
    lock: Lock,
}

impl Maildrop {
    /// Opens the maildrop of a user, unless another session has it. A Maildir that does not exist yet is empty.
    pub fn open(maildir: &Path, user: &str, maildrops: &Arc<Maildrops>) -> Result<Maildrop, Error> {
        let lock = maildrops.lock(user).ok_or(Error::InUse)?;
        let listing = maildrops.listing(maildir, user).map_err(|error| Error::Io(maildir.to_owned(), error))?;
        Ok(Maildrop { maildir: maildir.to_owned(), listing, fresh: None, lock })
    }

    /// Opens a message to be read from its first octet.
    pub fn open_message(&mut self, message_number: u32) -> Result<MessageReader, Error> {
        let path = match self.locate(message_number) {
            Some((place, file_name)) => path(&self.maildir, place, file_name),
            None => self.relocate(message_number)?,
        };
        match MessageReader::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.relocate(message_number)?;
                MessageReader::open(&path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Error::Gone,
                    _ => Error::Io(path, error),
                })
            }
            outcome => outcome.map_err(|error| Error::Io(path, error)),
        }
    }

    /// Where a message was when it was last looked for.
    fn locate(&self, message_number: u32) -> Option<(Place, &[u8])> {
        let index = message_number as usize - 1;
        match &self.fresh {
            None => Some((self.listing.place(index), self.listing.file_name(index))),
            Some(fresh) => fresh.find(&self.listing, index).map(|found| (fresh.place(found), fresh.file_name(found))),
        }
    }

    /// Looks where a message is now.
    fn relocate(&mut self, message_number: u32) -> Result<PathBuf, Error> {
        self.refresh()?;
        let (place, file_name) = self.locate(message_number).ok_or(Error::Gone)?;
        Ok(path(&self.maildir, place, file_name))
    }

    /// Reads the directories again, unless they are surely as they were at the last look.
    fn refresh(&mut self) -> Result<(), Error> {
        if self.fresh.as_ref().is_some_and(|fresh| fresh.is_current(&self.maildir)) {
            return Ok(());
        }
        let fresh = match self.lock.maildrops().kept(&self.maildir) {
            Some(kept) => kept,
            None => Arc::new(Listing::read(&self.maildir).map_err(|error| Error::Io(self.maildir.clone(), error))?),
        };
        self.fresh = Some(fresh);
        Ok(())
    }

    /// Removes the deleted messages, and moves those that were only seen to `cur/` with the flag S, as qmail and
    /// Dovecot do. Each is tried once where it was last; those that were not there are looked for together, so that a
    /// program that moved all of them costs one look.
    pub fn update(&mut self, deleted: &Marks, seen: &Marks) -> UpdateReport {
        let mut report = UpdateReport::default();
        let mut missing: Vec<u32> = deleted.iter().collect();
        let mut unmarked: Vec<u32> = seen.iter().filter(|&message_number| !deleted.contains(message_number)).collect();
        missing.retain(|&message_number| !self.remove(message_number, &mut report));
        unmarked.retain(|&message_number| !self.mark_seen(message_number));
        if !missing.is_empty() || !unmarked.is_empty() {
            if let Err(error) = self.refresh() {
                log::warn!("pop3: {error}");
            }
            missing.retain(|&message_number| !self.remove(message_number, &mut report));
            report.gone = missing.len();
            unmarked.retain(|&message_number| !self.mark_seen(message_number));
        }
        // A flag that a power cut takes back is no harm, a deleted message that comes back is.
        if report.removed > 0 {
            self.sync();
        }
        report
    }

    /// False if there is no such file.
    fn remove(&self, message_number: u32, report: &mut UpdateReport) -> bool {
        let Some((place, file_name)) = self.locate(message_number) else {
            return false;
        };
        let path = path(&self.maildir, place, file_name);
        match fs::remove_file(&path) {
            Ok(()) => report.removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => {
                log::warn!("{}: cannot be removed: {error}", path.display());
                report.failed += 1;
            }
        }
        true
    }

    /// False if there is no such file. One whose new name may be another's stays as it is.
    fn mark_seen(&self, message_number: u32) -> bool {
        if self.listing.shares_base(message_number as usize - 1) {
            return true;
        }
        let Some((place, file_name)) = self.locate(message_number) else {
            return false;
        };
        let name = Name::parse(file_name);
        if place == Place::Cur && name.flags.contains(&b'S') {
            return true;
        }
        let from = path(&self.maildir, place, file_name);
        let to = path(&self.maildir, Place::Cur, &name.with_flag(b'S'));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => log::warn!("{}: cannot be marked as seen: {error}", from.display()),
            Ok(()) => {}
        }
        true
    }

    /// Makes the update last. A failure is told to the log alone: the files are gone from this running system, and
    /// after a power cut the client is shown them once more, which loses nothing.
    fn sync(&self) {
        for place in [Place::New, Place::Cur] {
            let folder = self.maildir.join(place.folder());
            if let Err(error) = File::open(&folder).and_then(|folder| folder.sync_all()) {
                log::warn!("{}: cannot be synced: {error}", folder.display());
            }
        }
    }
}

impl pop3::Maildrop for Maildrop {
    fn count(&self) -> u32 {
        // More file names than 4 GiB are refused, so there are fewer messages.
        u32::try_from(self.listing.len()).unwrap_or(u32::MAX)
    }

    fn size(&self, message_number: u32) -> u64 {
        self.listing.wire(message_number as usize - 1)
    }

    fn unique_id(&self, message_number: u32, out: &mut Vec<u8>) {
        self.listing.unique_id(message_number as usize - 1, out);
    }
}

#[cfg(test)]
#[path = "drop_tests.rs"]
mod tests;
