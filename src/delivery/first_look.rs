//! The first look at the Maildirs after a start, which goes on beside the first sessions. A message that came while no
//! server ran must not be removed before it has its record.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Whether the look goes on. Where it never begins, nothing waits for it.
#[derive(Debug, Default)]
pub struct FirstLook(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_running: Mutex<bool>,
    ended: Condvar,
}

/// The look goes on until this is dropped; so it ends after a panic, too, and no session waits for ever.
#[derive(Debug)]
pub struct Looking(Arc<Shared>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FirstLook {
    /// It begins.
    pub fn begin(&self) -> Looking {
        *self.0.lock() = true;
        Looking(self.0.clone())
    }

    /// Waits for its end. To be called before messages are removed from Maildirs, or moved to `cur/`.
    pub fn wait(&self) {
        let ended = self.0.ended.wait_while(self.0.lock(), |is_running| *is_running);
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.ended.notify_all();
    }
}
