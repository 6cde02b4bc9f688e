//! What others may know of a connection, and do to it, while its worker is busy with it or waits.

use super::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, Shutdown};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A blocking stream socket, TCP or unix, as the layers above read and write it.
pub(super) struct Stream<'a> {
    socket: &'a OwnedFd,
    /// DONTWAIT, or none.
    flags: RecvFlags,
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::io::retry_on_intr(|| rustix::net::recv(self.socket, &mut *into, self.flags))?;
        Ok(count)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::write(self.socket, octets))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What others may know of a connection, and do to it: the event loop keeps one for every session.
#[derive(Debug)]
pub struct Peer {
    socket: OwnedFd,
    /// Milliseconds after `epoch` since when the worker waits for a command; [`BUSY`] while it does something.
    waiting: AtomicU64,
    stop: AtomicBool,
    epoch: Instant,
}

const BUSY: u64 = u64::MAX;

impl Peer {
    /// Takes over an accepted, blocking socket.
    pub fn new(socket: OwnedFd) -> Peer {
        Peer { socket, waiting: AtomicU64::new(BUSY), stop: AtomicBool::new(false), epoch: Instant::now() }
    }

    /// Ends the session at its next command: at once when it waits for one, else when what it does is done.
    pub fn stop(&self) {
        self.stop.store(true, SeqCst);
        if self.waiting.load(SeqCst) != BUSY {
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        }
    }

    /// Cuts the connection now, whatever it is doing.
    pub fn cut(&self) {
        self.stop.store(true, SeqCst);
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    /// The socket as the layers above read and write it; `flags` is DONTWAIT or none.
    pub(super) fn stream(&self, flags: RecvFlags) -> Stream<'_> {
        Stream { socket: &self.socket, flags }
    }

    /// For poll(2) and socket options.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The worker waits for the peer while `wait` runs, and [`Peer::stop`] wakes it; when that has come already, `wait`
    /// does not run and there is `None`.
    pub(super) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> Option<T> {
        self.waiting.store(self.epoch.elapsed().as_millis() as u64, SeqCst);
        // The order matters: `Peer::stop` sets its flag first and looks at `waiting` second.
        let outcome = if self.is_stopped() { None } else { Some(wait()) };
        self.waiting.store(BUSY, SeqCst);
        outcome
    }

    /// Lets time pass until `end`, or until the peer leaves or the session is to end. A peer that closed only its own half
    /// still waits for a reply.
    pub(super) fn outlast(&self, end: Instant) -> Result<(), Error> {
        let mut awaited = PollFlags::RDHUP;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.is_stopped() {
                return Err(Error::Stopping);
            }
            if left.is_zero() {
                return Ok(());
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let mut fds = [PollFd::new(&self.socket, awaited)];
            rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left))).map_err(io::Error::from)?;
            let seen = fds[0].revents();
            if seen.intersects(PollFlags::HUP | PollFlags::ERR) && !self.is_stopped() {
                return Err(Error::Closed);
            }
            if seen.contains(PollFlags::RDHUP) {
                awaited = PollFlags::empty();
            }
        }
    }

    /// Whether the session is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// How long the peer has let the server wait for a command; `None` while a command is being served.
    pub fn idle(&self) -> Option<Duration> {
        match self.waiting.load(SeqCst) {
            BUSY => None,
            since => Some(self.epoch.elapsed().saturating_sub(Duration::from_millis(since))),
        }
    }

    /// Writes a last line past all queues, as far as it goes without waiting; for a session whose worker failed.
    pub fn last_words(&self, line: &str) {
        let _ = rustix::net::send(&self.socket, line.as_bytes(), rustix::net::SendFlags::DONTWAIT);
    }
}
