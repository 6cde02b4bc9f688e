//! poll(2), how a thread that waits in it is woken, and what other threads ask of it.

use super::lock;
use rustix::event::{EventfdFlags, PollFd, Timespec, eventfd};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Waits until one of the descriptors is ready, or the time is over; how many are ready.
///
/// # Errors
///
/// As poll(2) says; a signal ends no wait.
pub fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let end = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        match rustix::event::poll(fds, left.as_ref()) {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

/// A descriptor that is readable from the first [`Wake::wake`] until [`Wake::clear`].
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// One that is not readable.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Wake> {
        Ok(Wake(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Over an eventfd(2) that others have, too.
    pub fn of(descriptor: OwnedFd) -> Wake {
        Wake(descriptor)
    }

    /// Makes it readable; it may be so already.
    pub fn wake(&self) {
        // It fails only when the counter is full, and then it is readable.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it not readable; whether it was.
    pub fn clear(&self) -> bool {
        rustix::io::read(&self.0, &mut [0_u8; 8]).is_ok()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What other threads ask of a thread that waits in poll(2); readable while there is something.
#[derive(Debug)]
pub struct Orders<T> {
    waiting: Mutex<Vec<T>>,
    wake: Wake,
}

impl<T> Orders<T> {
    /// None yet.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Orders<T>> {
        Ok(Orders { waiting: Mutex::default(), wake: Wake::new()? })
    }

    /// Adds one, from any thread.
    pub fn give(&self, order: T) {
        lock(&self.waiting).push(order);
        self.wake.wake();
    }

    /// Takes all of them.
    pub fn take(&self) -> Vec<T> {
        self.wake.clear();
        std::mem::take(&mut *lock(&self.waiting))
    }
}

impl<T> AsFd for Orders<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
