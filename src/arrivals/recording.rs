//! All that this room asks of the ledger: whether a message is new, that its record is written, that it is gone. Nothing
//! else here knows how messages are remembered.

use super::Watched;
use crate::delivery::Delivery;
use crate::journal::Record;
use crate::ledger::Expected;
use crate::message::header::EventSettings;
use std::sync::Arc;

/// The way from a file in a Maildir to its record.
pub struct Recording(Arc<Delivery>);

impl Recording {
    pub fn new(delivery: Arc<Delivery>) -> Recording {
        Recording(delivery)
    }

    /// These Maildirs are watched from now on, and no others.
    pub fn watch(&self, watched: &[Watched]) {
        self.0.watch(watched.iter().map(|each| (each.user.clone(), each.maildir.clone())).collect());
    }

    /// Whether it is the Maildir of a user below `mail.root`.
    pub fn is_own(&self, watched: &Watched) -> bool {
        self.0.is_own(&watched.user, &watched.maildir)
    }

    /// The expectation of a message that is new; `None` where it is recorded or expected already. When it is dropped, the
    /// message is new again.
    pub fn claim(&self, user: &str, file_name: &[u8]) -> Option<Expected> {
        self.0.ledger()?.claim(user, file_name)
    }

    /// What records say beyond the usual fields.
    pub fn event(&self) -> Arc<EventSettings> {
        self.0.event()
    }

    /// Writes the records of messages.
    pub fn found(&self, found: Vec<(Expected, Record)>) {
        self.0.ledger().inspect(|ledger| ledger.found(found));
    }

    /// A message is gone for good: another one may come under its name.
    pub fn gone(&self, user: &str, file_name: &[u8]) {
        self.0.ledger().inspect(|ledger| ledger.gone(user, file_name));
    }
}
