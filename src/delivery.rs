//! From a message's octets to files in Maildirs and records in the journal, in the durable order of the first promise.

use crate::config::Config;
use crate::journal::{Journal, KnownIds};
use crate::trace::{Facts, Origin};
use std::fmt;
use std::io;
use std::sync::Arc;

/// One recipient: a user that exists, and the address as the sender typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Whose Maildir.
    pub user: String,
    /// As typed, without brackets.
    pub typed: String,
}

/// Everything about a message but its octets.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Who handed it over.
    pub origin: Origin,
    /// For the `with` clause of `Received:`.
    pub facts: Facts,
    /// At least one; each user once (the first address counts).
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
    /// More than 100 Received fields: 554 5.4.6.
    Loop,
    /// The disk is full, or as full as `min_free` allows: 452 4.3.1.
    DiskFull,
    /// The system failed: 451 4.3.0.
    System(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::TooLarge => f.write_str("message too large"),
            Failure::Loop => f.write_str("too many Received fields"),
            Failure::DiskFull => f.write_str("disk full"),
            Failure::System(error) => write!(f, "{error}"),
        }
    }
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message's id, the same for all recipients.
    pub id: String,
    /// Octets with CRLF line ends.
    pub size: u64,
    /// Users whose quota was reached: not delivered to them (LMTP says so for each; 552 5.2.2).
    pub over_quota: Vec<String>,
}

/// Stores messages. One for the process.
pub struct Delivery {}

impl Delivery {
    /// Stores below `config.mail.root` and records in `journal`; without one (a server runs, and this is another process)
    /// the server records what it finds.
    pub fn new(_config: &Config, _journal: Option<(Arc<Journal>, Arc<KnownIds>)>) -> Delivery {
        unimplemented!("delivery")
    }

    /// Whether a message of `announced` octets may come: MAIL FROM's 452 4.3.1.
    pub fn has_room(&self, _announced: u64) -> bool {
        unimplemented!("delivery")
    }

    /// Whether the user's Maildir has no room for `announced` octets more: RCPT TO's 552 5.2.2.
    pub fn over_quota(&self, _user: &str, _announced: u64) -> bool {
        unimplemented!("delivery")
    }

    /// Begins a message. What goes wrong is kept and told by [`Incoming::commit`].
    pub fn begin(&self, _envelope: Envelope) -> Incoming<'_> {
        unimplemented!("delivery")
    }
}

/// A message that is coming in. Dropping it leaves nothing.
pub struct Incoming<'a> {
    _delivery: &'a Delivery,
}

impl Incoming<'_> {
    /// Takes decoded octets (LF line ends, dots removed). After a failure they are dropped.
    pub fn write(&mut self, _octets: &[u8]) {
        unimplemented!("delivery")
    }

    /// Makes it last, then records it: fsync, rename, fsync of the directories, journal.
    ///
    /// # Errors
    ///
    /// Nothing is stored then.
    pub fn commit(self) -> Result<Stored, Failure> {
        unimplemented!("delivery")
    }
}

/// What the event loop needs.
impl Delivery {
    /// `stir` is called after records were appended (from any thread, cheap); the loop then calls [`Delivery::tick`] soon.
    pub fn on_record(&mut self, _stir: Box<dyn Fn() + Send + Sync>) {
        unimplemented!("delivery")
    }

    /// Makes the journal safe against a power cut, and records what could not be recorded before. Costs nothing when there
    /// is nothing to do. Called within half a second of a record.
    pub fn tick(&self) {
        unimplemented!("delivery")
    }

    /// The work of each hour, in a thread of its own: the journal's `maintain`, litter in `tmp/`, what is known saved.
    pub fn housekeep(&self) {
        unimplemented!("delivery")
    }
}
