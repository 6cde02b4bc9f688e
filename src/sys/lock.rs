//! Locks: of this process, and flock(2) with patience, which dies with its holder, so that nothing has to be cleaned up after
//! a crash.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a lock that another process holds is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// Locks a mutex. A thread that panicked with it costs its own session; what it has left behind is used as it is.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a file or a folder for this process alone, until the file is closed. While another process holds the lock,
/// `give_up` is asked, with the time that has passed; false when it gave up.
///
/// # Errors
///
/// As flock(2) says, and what `give_up` says.
pub fn hold(file: &File, mut give_up: impl FnMut(Duration) -> io::Result<bool>) -> io::Result<bool> {
    let begin = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if give_up(begin.elapsed())? => return Ok(false),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(AGAIN),
            Err(error) => return Err(error.into()),
        }
    }
}
