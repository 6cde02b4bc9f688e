//! From a message's octets to files in Maildirs and records in the journal, in the durable order of the first promise.
//!
//! Nothing is locked while the disk works, so that many messages are synced at once. `incoming.rs` tells the way of a
//! message from top to bottom.

mod first_look;
mod housekeeping;
#[cfg(test)]
mod housekeeping_tests;
mod incoming;
mod outgoing;
#[cfg(test)]
mod recorder_tests;
#[cfg(test)]
pub(crate) mod tests;
mod unwritable;

pub use first_look::FirstLook;
pub use incoming::Incoming;
use outgoing::Outgoing;
pub use outgoing::{Asked, Elsewhere, Onward};

use crate::config::Config;
use crate::ledger::Ledger;
use crate::maildir::quota::Quota;
use crate::maildir::store::Modes;
use crate::maildir::unique::Ids;
use crate::message::header::EventSettings;
use crate::message::trace::{Facts, Origin, Via};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use unwritable::Unwritable;

/// How long the free space of the disk is taken to be what it was.
const FREE_SPACE_AGE: Duration = Duration::from_secs(1);

/// One recipient: a user that exists, and the address as the sender typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The user with the Maildir.
    pub user: String,
    /// As typed, without brackets; empty where no address came with the message.
    pub typed: String,
}

/// Everything about a message but its octets.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The client and the session that it came from.
    pub origin: Origin,
    /// For the `with` clause of `Received:`.
    pub facts: Facts,
    /// Each user once (the first address counts). At least one, unless the message also goes to other servers.
    pub recipients: Vec<Recipient>,
    /// Octets with CRLF line ends that may come at most.
    pub max_size: u64,
    /// Submission: add a missing Date and Message-ID.
    pub complete_header: bool,
}

/// Why a message was not stored. Nothing of it is left then.
#[derive(Debug)]
pub enum Failure {
    /// More than `max_size` octets: 552 5.3.4.
    TooLarge,
    /// More than 100 Received fields, or three of our own in a message that goes on to another server: 554 5.4.6.
    Loop,
    /// The disk is full, or as full as `min_free` allows, or another limit is reached; the text says which: 452 4.3.1.
    DiskFull(&'static str),
    /// The quota of every recipient (of any, where one answer is for all of them) was reached: 552 5.2.2.
    OverQuota,
    /// The system failed: 451 4.3.0.
    System(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::TooLarge => f.write_str("message too large"),
            Failure::Loop => f.write_str("too many Received fields, or too many of this server"),
            Failure::DiskFull(why) => f.write_str(why),
            Failure::OverQuota => f.write_str("mailbox full"),
            Failure::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::StorageFull => Failure::DiskFull("disk full"),
            io::ErrorKind::QuotaExceeded => Failure::DiskFull("disk quota reached"),
            io::ErrorKind::FileTooLarge => {
                Failure::DiskFull("file size limit reached (RLIMIT_FSIZE, or the file system's)")
            }
            _ => Failure::System(error),
        }
    }
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message's id, the same for all users; where no user got it, its id in the queue.
    pub id: String,
    /// Its ids in the queue of what goes to other servers.
    pub queued: Vec<String>,
    /// Octets with CRLF line ends.
    pub size: u64,
    /// The header as it came, where [`Incoming::keep_header`] asked for it.
    pub header: Vec<u8>,
    /// LMTP: users with a reached quota; the message was not delivered to them (552 5.2.2 for each).
    pub over_quota: Vec<String>,
}

/// Stores messages. One for the process.
pub struct Delivery {
    hostname: String,
    root: PathBuf,
    modes: Modes,
    min_free: u64,
    quota: Quota,
    ids: Ids,
    /// What the disk had free, and when that was asked.
    free: Mutex<Option<(Instant, u64)>>,
    ledger: OnceLock<Arc<Ledger>>,
    #[cfg(feature = "relay")]
    queue: OnceLock<Arc<crate::queue::Queue>>,
    unwritable: Unwritable,
    /// `[event]`.
    event: Mutex<Arc<EventSettings>>,
    first_look: FirstLook,
    /// Held by the work of the hour, which never overlaps itself.
    housekeeping: Mutex<()>,
}

impl Delivery {
    /// Stores below `config.mail.root` and records in `ledger`; without one (a server runs, and this is another process)
    /// the server records what it finds.
    pub fn new(config: &Config, ledger: Option<Arc<Ledger>>) -> Delivery {
        let delivery = Delivery {
            hostname: config.hostname.clone(),
            root: config.mail.root.clone(),
            modes: Modes::of_files(config.mail.file_mode),
            min_free: config.mail.min_free,
            quota: Quota::new(config.mail.quota),
            ids: Ids::new(&config.hostname),
            free: Mutex::default(),
            ledger: OnceLock::new(),
            #[cfg(feature = "relay")]
            queue: OnceLock::new(),
            unwritable: Unwritable::default(),
            event: Mutex::new(Arc::new(config.event.clone())),
            first_look: FirstLook::default(),
            housekeeping: Mutex::default(),
        };
        ledger.into_iter().for_each(|ledger| delivery.record_in(ledger));
        delivery
    }

    /// What goes to other servers waits here. Only the first queue counts.
    #[cfg(feature = "relay")]
    pub fn send_by(&self, queue: Arc<crate::queue::Queue>) {
        let _ = self.queue.set(queue);
    }

    /// Where what goes to other servers waits; `None` where nothing is sent.
    #[cfg(feature = "relay")]
    pub fn queue(&self) -> Option<&Arc<crate::queue::Queue>> {
        self.queue.get()
    }

    /// Messages of this user that wait to be sent to other servers.
    pub fn waiting(&self, user: &str) -> usize {
        #[cfg(feature = "relay")]
        return self.queue().map_or(0, |queue| queue.waiting(user));
        #[cfg(not(feature = "relay"))]
        {
            let _ = user;
            0
        }
    }

    /// Records from now on. Only the first ledger counts.
    pub fn record_in(&self, ledger: Arc<Ledger>) {
        let _ = self.ledger.set(ledger);
    }

    /// What records say beyond the usual fields.
    pub fn event(&self) -> Arc<EventSettings> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it.
    pub fn tell(&self, event: EventSettings) {
        *self.event.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(event);
    }

    /// Whether a message of `announced` octets may come: MAIL FROM's 452 4.3.1.
    pub fn has_room(&self, announced: u64) -> bool {
        let free = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            match *free {
                Some((when, octets)) if when.elapsed() < FREE_SPACE_AGE => octets,
                _ => free.insert((Instant::now(), free_space(&self.root))).1,
            }
        };
        free.saturating_sub(self.min_free) >= announced && free >= self.min_free
    }

    /// Whether the user's Maildir has no room for `announced` octets more: RCPT TO's 552 5.2.2.
    pub fn over_quota(&self, user: &str, announced: u64) -> bool {
        !self.quota.has_room(&self.maildir(user), announced)
    }

    /// Begins a message. An error is kept and returned by [`Incoming::commit`].
    pub fn begin(&self, envelope: Envelope) -> Incoming<'_> {
        Incoming::new(self, envelope, None)
    }

    /// Begins a message that goes to other servers, too.
    pub fn begin_with(&self, envelope: Envelope, elsewhere: Option<Elsewhere>) -> Incoming<'_> {
        Incoming::new(self, envelope, elsewhere)
    }

    /// Where a user's mail is.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.root.join(user)
    }

    /// Whether it is the Maildir of a user of ours, where our trace fields can be believed.
    pub fn is_own(&self, user: &str, maildir: &Path) -> bool {
        self.maildir(user) == maildir
    }

    /// The first look at the Maildirs after a start.
    pub fn first_look(&self) -> &FirstLook {
        &self.first_look
    }

    /// Where messages are recorded; `None` where another process records.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.ledger.get()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Envelope {
    /// Whether each recipient gets an answer of its own (RFC 2033), so that a message can be stored for some of them.
    fn answers_each(&self) -> bool {
        self.origin.via == Via::Lmtp
    }
}

/// Octets that the disk of a folder has for us. A folder that is not there yet will be on the disk of the next one
/// above. An unknown amount is no reason to refuse mail.
fn free_space(folder: &Path) -> u64 {
    for there in folder.ancestors() {
        match rustix::fs::statvfs(there) {
            Ok(stat) => return stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                log::warn!("{}: free space is unknown: {error}", there.display());
                break;
            }
        }
    }
    u64::MAX
}
