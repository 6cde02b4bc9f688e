//! A bell between threads that poll(2) can wait for.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Readable from the first [`Wake::ring`] until [`Wake::silence`].
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// A silent one.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Wake> {
        Ok(Wake(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Rings; it does not matter how often.
    pub fn ring(&self) {
        // The only thing that can go wrong is that it has been rung 2^64 times.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Stops ringing.
    pub fn silence(&self) {
        // It may be silent already.
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
