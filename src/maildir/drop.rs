//! A maildrop (RFC 1939): one Maildir as it was when a session opened it, for that session alone. Other programs may
//! move, flag and remove messages meanwhile. A message is then found again by its id, or it is gone; the numbers of
//! the other messages do not change. This file does not know the POP3 protocol.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, fsync, renameat, unlinkat};
use rustix::io::Errno;

use super::folder::{Folder, Refused, open_ours};
use super::listing::{Listing, path};
use super::maildrops::{Lock, Maildrops};
use super::name::Name;
use super::name::Place;
use super::reader::{MessageReader, line_ends};
use crate::message::dot::encode::LineEnds;
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
    /// Whether trying again later can help: it cannot where permissions are missing or there is no folder.
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Error::Io(_, error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory))
    }
}

/// The result of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateReport {
    /// Messages that were removed.
    pub removed: usize,
    /// Messages to be removed that were gone already.
    pub gone: usize,
    /// Messages that could not be removed.
    pub failed: usize,
}

/// One open maildrop. Message-numbers count from 1.
#[derive(Debug)]
pub struct Maildrop {
    maildir: PathBuf,
    /// As it was at the beginning: it numbers the messages and never changes.
    listing: Arc<Listing>,
    /// As it was when a moved message was last looked for.
    fresh: Option<Arc<Listing>>,
    lock: Lock,
}

impl Maildrop {
    /// Opens the maildrop of a user, unless another session has it. A Maildir that does not exist yet is empty.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    pub fn open(maildir: &Path, user: &str, maildrops: &Arc<Maildrops>) -> Result<Maildrop, Error> {
        let lock = maildrops.lock(user).ok_or(Error::InUse)?;
        let listing = maildrops.listing(maildir, user).map_err(|error| Error::Io(maildir.to_owned(), error))?;
        Ok(Maildrop { maildir: maildir.to_owned(), listing, fresh: None, lock })
    }

    /// Opens a message to be read from its first octet.
    pub fn open_message(&mut self, message_number: u32) -> Result<MessageReader, Error> {
        match self.open_located(message_number) {
            Err(Error::Gone) => {
                self.refresh()?;
                self.open_located(message_number)
            }
            outcome => outcome,
        }
    }

    /// Opens a message where the last look found it.
    fn open_located(&self, message_number: u32) -> Result<MessageReader, Error> {
        let (place, file_name) = self.locate(message_number).ok_or(Error::Gone)?;
        match open_ours(&self.maildir, place, file_name, self.listing.owner(place)) {
            Ok(file) => Ok(MessageReader::of(file, file_name)),
            Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => Err(Error::Gone),
            Err(refused) => Err(Error::Io(path(&self.maildir, place, file_name), refused.into())),
        }
    }

    /// What ends the lines of a message that begins with `head`.
    pub fn line_ends(&self, message_number: u32, head: &[u8]) -> LineEnds {
        line_ends(self.listing.file_name(message_number as usize - 1), head)
    }

    /// Where the last look found a message.
    fn locate(&self, message_number: u32) -> Option<(Place, &[u8])> {
        let index = message_number as usize - 1;
        match &self.fresh {
            None => Some((self.listing.place(index), self.listing.file_name(index))),
            Some(fresh) => fresh.find(&self.listing, index).map(|found| (fresh.place(found), fresh.file_name(found))),
        }
    }

    /// Reads the directories again, unless they are certainly unchanged since the last look.
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
    /// Dovecot do. Each is tried once where the last look found it. Those that were not there are looked for
    /// together: if a program moved all of them, that costs one look.
    pub fn update(&mut self, deleted: &Marks, seen: &Marks) -> UpdateReport {
        let mut report = UpdateReport::default();
        let folders = Folders::open(&self.maildir);
        let mut missing: Vec<u32> = deleted.iter().collect();
        let mut unmarked: Vec<u32> = seen.iter().filter(|&message_number| !deleted.contains(message_number)).collect();
        missing.retain(|&message_number| !self.remove(&folders, message_number, &mut report));
        unmarked.retain(|&message_number| !self.mark_seen(&folders, message_number));
        if !missing.is_empty() || !unmarked.is_empty() {
            if let Err(error) = self.refresh() {
                log::warn!("pop3: {error}");
            }
            missing.retain(|&message_number| !self.remove(&folders, message_number, &mut report));
            report.gone = missing.len();
            unmarked.retain(|&message_number| !self.mark_seen(&folders, message_number));
        }
        // A power cut may undo a flag, but must not bring back a deleted message.
        if report.removed > 0 {
            folders.sync(&self.maildir);
        }
        report
    }

    /// False if there is no such file.
    fn remove(&self, folders: &Folders, message_number: u32, report: &mut UpdateReport) -> bool {
        let Some((place, file_name)) = self.locate(message_number) else {
            return false;
        };
        match folders.of(place).and_then(|folder| unlinkat(folder, file_name, AtFlags::empty())) {
            Ok(()) => report.removed += 1,
            Err(Errno::NOENT) => return false,
            Err(error) => {
                log::warn!("{}: cannot be removed: {error}", path(&self.maildir, place, file_name).display());
                report.failed += 1;
            }
        }
        true
    }

    /// False if there is no such file. A file that shares its base with another stays as it is: the new name may be that
    /// of the other file.
    fn mark_seen(&self, folders: &Folders, message_number: u32) -> bool {
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
        let to = name.with_flag(b'S');
        let both = folders.of(place).and_then(|from| folders.of(Place::Cur).map(|cur| (from, cur)));
        match both.and_then(|(from, cur)| renameat(from, file_name, cur, &*to)) {
            Err(Errno::NOENT) => return false,
            Err(error) => {
                log::warn!("{}: cannot be marked as seen: {error}", path(&self.maildir, place, file_name).display());
            }
            Ok(()) => {}
        }
        true
    }
}

/// `new/` and `cur/` while an update is made.
struct Folders([Result<Folder, Errno>; 2]);

impl Folders {
    fn open(maildir: &Path) -> Folders {
        let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Folders([Place::New, Place::Cur].map(|place| Folder::of_ours(maildir, place).map_err(errno)))
    }

    fn of(&self, place: Place) -> Result<&Folder, Errno> {
        self.0[usize::from(place == Place::Cur)].as_ref().map_err(|errno| *errno)
    }

    /// Makes the update durable. A failure is only logged: the files are gone from the running system, and after a power
    /// cut the client is shown them once more, which loses nothing.
    fn sync(&self, maildir: &Path) {
        for place in [Place::New, Place::Cur] {
            if let Err(error) = self.of(place).and_then(fsync) {
                log::warn!("{}/{}: cannot be synced: {error}", maildir.display(), place.folder());
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
