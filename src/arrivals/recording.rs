//! All that this room asks of `delivery`: whether a message is new, that its record is written, that it is gone. Nothing
//! else here knows how messages are remembered.

use super::Watched;
use crate::delivery::Delivery;
use crate::journal::Record;
use crate::maildir::name;
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

    /// Whether a message is new. It is known from now on; to be followed by [`Recording::record`] or
    /// [`Recording::withdraw`].
    pub fn claim(&self, user: &str, file_name: &[u8]) -> bool {
        self.0.recorder().is_some_and(|recorder| recorder.known().insert(user, name::known_as(file_name)))
    }

    /// A message that was claimed gets no record: it is unknown again.
    pub fn withdraw(&self, user: &str, file_name: &[u8]) {
        self.0.recorder().inspect(|recorder| recorder.known().remove(user, name::known_as(file_name)));
    }

    /// A message is gone for good: another one may come under its name.
    pub fn gone(&self, user: &str, file_name: &[u8]) {
        self.0.recorder().inspect(|recorder| recorder.known().forget(user, name::known_as(file_name)));
    }

    /// Writes the records of messages that were claimed.
    pub fn record(&self, records: Vec<Record>) {
        self.0.recorder().inspect(|recorder| recorder.record(records));
    }
}
