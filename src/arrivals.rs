//! Messages that others put into Maildirs, and those that a crash left unrecorded: found by inotify and by scans, each
//! recorded once.

use crate::delivery::Delivery;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A Maildir that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Whose mail it is.
    pub user: String,
    /// The folder that has `new/`.
    pub maildir: PathBuf,
}

/// The thread that watches.
pub struct Arrivals {}

impl Arrivals {
    /// Watches, then scans every Maildir once (what came while nobody watched is recorded before this returns), then goes
    /// on in a thread.
    ///
    /// # Errors
    ///
    /// When inotify is not to be had.
    pub fn start(_delivery: Arc<Delivery>, _watched: Vec<Watched>) -> io::Result<Arrivals> {
        unimplemented!("arrivals")
    }

    /// Watches these from now on, after a reload.
    pub fn watch(&self, _watched: Vec<Watched>) {
        unimplemented!("arrivals")
    }

    /// Ends the thread; what has arrived so far is recorded. Saves what is known.
    pub fn stop(self) {
        unimplemented!("arrivals")
    }
}
