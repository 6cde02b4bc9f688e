//! Messages that wait to be sent elsewhere, in `STATE/queue`. Pure files: this room opens no socket, knows no clock but for
//! ids, and does not decide what is sent when.
//!
//! A message is one file: a head of fixed length ([`Head`]), one line of JSON (the envelope), then the octets of the message
//! with LF line ends, as in Maildirs.
//!
//! | on disk | when | what cleans up |
//! |---|---|---|
//! | `tmp/ID`, whole or not | killed before the rename; the client was told nothing | [`Queue::clean`], after 36 hours |
//! | `waiting/ID` | the message waits | [`Queue::remove`] when every recipient is decided, or `mailbell queue drop` |
//! | `waiting/ID` and `tries/ID` | it was tried | the same, in this order |
//! | `tries/ID` alone | killed between the two removals | [`Queue::clean`] |
//! | `waiting/ID` of a message that was sent | a power cut in the seconds after its removal | it is sent again |
//! | `tmp/ID.tries` | killed while progress was noted; the older note counts | the next note, or [`Queue::clean`] |
//! | `retry/ID`, `retry/all` | a person asked for a try now | the server, when it has seen it |
//! | `damaged/ID` | head or envelope cannot be read; it was said in the log once | the administrator |
//!
//! A `tries/ID` that holds something else counts as none: the recipients are tried again. One that the system cannot read
//! just now is an error: the message waits.

mod entry;
mod envelope;
mod progress;
mod status;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

pub use entry::{Entry, Head};
pub use envelope::{Envelope, QueueId, Recipient};
pub use progress::{Outcome, Progress, State};
pub use status::{Doing, Status};
pub use watch::{Event, Watch};
pub use writer::{Staged, Writer};

use crate::maildir::failpoint;
use crate::maildir::unique::Ids;
use crate::sys::folder::make_folder;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The folders below `STATE/queue`.
const FOLDERS: [&str; 5] = ["tmp", "waiting", "tries", "retry", "damaged"];

/// The name in `retry/` that stands for every message.
const ALL: &str = "all";

/// A file in `tmp/` of this age is litter.
const LITTER: Duration = Duration::from_secs(36 * 60 * 60);

/// Why a message was not taken into the queue. Nothing of it is left then.
#[derive(Debug)]
pub enum Error {
    /// The disk is full, or a limit on space is reached; the text says which: 452 4.3.1.
    Full(&'static str),
    /// The system failed: 451 4.3.0.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Full(why) => f.write_str(why),
            Error::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull => Error::Full("the queue's disk is full"),
            io::ErrorKind::QuotaExceeded => Error::Full("the disk quota of the queue is reached"),
            io::ErrorKind::FileTooLarge => Error::Full("the limit on a file's size is reached"),
            _ => Error::System(error),
        }
    }
}

/// The queue of a server. Several processes may have it open.
pub struct Queue {
    folder: PathBuf,
    ids: Ids,
    known: Mutex<Known>,
    status: Mutex<Status>,
}

/// The messages that wait, as far as this process knows.
#[derive(Debug, Default)]
struct Known {
    messages: BTreeMap<QueueId, Option<String>>,
    by_user: HashMap<String, usize>,
}

impl Queue {
    /// Opens the queue of a state folder, and makes its folders where they are not there. Nothing is read.
    ///
    /// # Errors
    ///
    /// Of mkdir(2).
    pub fn open(state: &Path) -> io::Result<Queue> {
        let folder = state.join("queue");
        make_folder(&folder, 0o750, None)?;
        for name in FOLDERS {
            make_folder(&folder.join(name), 0o750, None)?;
        }
        Ok(Queue { folder, ids: Ids::new(""), known: Mutex::default(), status: Mutex::default() })
    }

    /// Begins a message. Its log lines have [`Writer::id`].
    ///
    /// # Errors
    ///
    /// When the disk is full or the system fails.
    pub fn begin(&self, mut envelope: Envelope) -> Result<Writer<'_>, Error> {
        debug_assert!(!envelope.recipients.is_empty());
        if envelope.arrived == 0 {
            envelope.arrived = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        }
        let id = QueueId::parse(self.ids.next().unique());
        let id = id.ok_or_else(|| Error::System(io::Error::other("no id for the message")))?;
        Writer::new(self, id, envelope)
    }

    /// The ids of all messages on disk, the oldest first.
    ///
    /// # Errors
    ///
    /// Of readdir(3).
    pub fn ids(&self) -> io::Result<Vec<QueueId>> {
        let mut ids = names(&self.waiting_folder())?;
        ids.sort();
        Ok(ids)
    }

    /// One message; `None` when it waits no more. One that cannot be read is put aside, which is logged.
    ///
    /// # Errors
    ///
    /// Of open(2) and read(2): the message stays where it is.
    pub fn entry(&self, id: &QueueId) -> io::Result<Option<Entry>> {
        let path = self.waiting_folder().join(id.as_str());
        let tries = self.folder.join("tries").join(id.as_str());
        match Entry::read(&path, &tries, id) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let aside = self.folder.join("damaged").join(id.as_str());
                fs::rename(&path, &aside)?;
                log::error!("queue: {id}: {error}; it is not sent, and kept as {}", aside.display());
                self.forget(id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps what is known of a message. What is known of a recipient that is decided is safe against a power cut; that a
    /// message waits longer need not be.
    ///
    /// # Errors
    ///
    /// What was known before still counts then.
    pub fn note(&self, id: &QueueId, progress: &Progress) -> io::Result<()> {
        let must_last = progress.outcomes.iter().any(|outcome| outcome.state != State::Waiting);
        let draft = self.tmp().join(format!("{id}.tries"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&progress.to_octets())?;
        if must_last {
            file.sync_all()?;
        }
        failpoint::reach("queue-noted");
        let folder = self.folder.join("tries");
        fs::rename(&draft, folder.join(id.as_str()))?;
        if must_last { File::open(folder)?.sync_all() } else { Ok(()) }
    }

    /// Takes a message out: every recipient is decided. Whether it was there. The folder is not synced, as by other mail
    /// servers: a power cut, and no kill, may bring back what was sent in the last seconds before it.
    ///
    /// # Errors
    ///
    /// Of unlink(2).
    pub fn remove(&self, id: &QueueId) -> io::Result<bool> {
        let folder = self.waiting_folder();
        let was_there = gone(fs::remove_file(folder.join(id.as_str())))?;
        failpoint::reach("queue-removed");
        gone(fs::remove_file(self.folder.join("tries").join(id.as_str())))?;
        self.forget(id);
        Ok(was_there)
    }

    /// `mailbell queue drop`: takes a message out, and no one is told. Whether it was there.
    ///
    /// # Errors
    ///
    /// As [`Queue::remove`].
    pub fn drop_entry(&self, id: &QueueId) -> io::Result<bool> {
        self.remove(id)
    }

    /// `mailbell queue retry`: asks the server for a try now, of these messages or, where there are none, of all.
    ///
    /// # Errors
    ///
    /// Of open(2).
    pub fn retry(&self, ids: &[QueueId]) -> io::Result<()> {
        let folder = self.folder.join("retry");
        let names: Vec<&str> = if ids.is_empty() { vec![ALL] } else { ids.iter().map(QueueId::as_str).collect() };
        names.into_iter().try_for_each(|name| {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(name)).map(drop)
        })
    }

    /// The messages that a person wants to be tried now, each once; `None` in it stands for all.
    ///
    /// # Errors
    ///
    /// Of readdir(3).
    pub fn take_retries(&self) -> io::Result<Vec<Option<QueueId>>> {
        let folder = self.folder.join("retry");
        let mut asked = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name();
            let _ = fs::remove_file(folder.join(&name));
            match name.to_str() {
                Some(ALL) => asked.push(None),
                Some(name) => asked.extend(QueueId::parse(name).map(Some)),
                None => {}
            }
        }
        Ok(asked)
    }

    /// Messages of this user that wait, as far as this process knows.
    pub fn waiting(&self, user: &str) -> usize {
        self.known().by_user.get(user).copied().unwrap_or(0)
    }

    /// How many messages wait, and when the oldest of them came, seconds since 1970; as far as this process knows.
    pub fn size(&self) -> (usize, Option<u64>) {
        let known = self.known();
        (known.messages.len(), known.messages.keys().next().map(QueueId::seconds))
    }

    /// What the sender does.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known of the sender.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether a message is known to wait.
    pub fn knows(&self, id: &QueueId) -> bool {
        self.known().messages.contains_key(id)
    }

    /// A message is known to wait.
    pub fn learn(&self, id: &QueueId, user: Option<String>) {
        let mut known = self.known();
        if known.messages.insert(id.clone(), user.clone()).is_none()
            && let Some(user) = user
        {
            *known.by_user.entry(user).or_insert(0) += 1;
        }
    }

    /// A message is known to wait no more.
    pub fn forget(&self, id: &QueueId) {
        let mut known = self.known();
        let Some(Some(user)) = known.messages.remove(id) else { return };
        if let Some(count) = known.by_user.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                known.by_user.remove(&user);
            }
        }
    }

    /// Removes what crashes have left.
    ///
    /// # Errors
    ///
    /// Of readdir(3).
    pub fn clean(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.tmp())? {
            let entry = entry?;
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > LITTER) {
                gone(fs::remove_file(entry.path()))?;
            }
        }
        let waiting = self.waiting_folder();
        for id in names(&self.folder.join("tries"))? {
            if !waiting.join(id.as_str()).try_exists()? {
                gone(fs::remove_file(self.folder.join("tries").join(id.as_str())))?;
            }
        }
        Ok(())
    }

    /// The folder of the messages that wait, to watch it.
    pub fn waiting_folder(&self) -> PathBuf {
        self.folder.join("waiting")
    }

    /// The folder of `retry`, to watch it.
    pub fn retry_folder(&self) -> PathBuf {
        self.folder.join("retry")
    }

    fn tmp(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The ids among the names in a folder.
fn names(folder: &Path) -> io::Result<Vec<QueueId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder)? {
        ids.extend(entry?.file_name().to_str().and_then(QueueId::parse));
    }
    Ok(ids)
}

/// Whether a removal removed something.
fn gone(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
