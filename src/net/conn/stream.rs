//! The socket as the layers above read and write it, in clear or below TLS. Each wait in it has a deadline and can be
//! ended from outside.

use super::peer::{Peer, Wait, aborted};
use rustix::event::PollFlags;
use rustix::net::RecvFlags;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// A blocking stream socket, TCP or unix.
pub(super) struct Stream<'a> {
    pub(super) peer: &'a Peer,
    /// What a read waits for. `None`: it does not wait.
    pub(super) wait: Option<Wait>,
    /// How long the client may read nothing while there is something to send.
    pub(super) patience: Duration,
    /// And the latest moment for that.
    pub(super) end: Instant,
}

impl Stream<'_> {
    /// Appends to the free capacity of a vector, which is not filled before.
    pub(super) fn append(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.receive(|flags| self.peer.append(into, flags))
    }

    /// Waits for as long as SO_RCVTIMEO says.
    fn receive(&self, receive: impl FnOnce(RecvFlags) -> io::Result<usize>) -> io::Result<usize> {
        let Some(wait) = self.wait else { return receive(RecvFlags::DONTWAIT) };
        let count = self.peer.waiting(wait, || receive(RecvFlags::empty()))?;
        if count == 0 && self.peer.must_end(wait) { Err(aborted()) } else { Ok(count) }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(|flags| self.peer.receive(into, flags))
    }
}

impl Write for Stream<'_> {
    /// Nearly always there is room, so the first try does not wait and asks for no deadline.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        loop {
            match self.peer.send_now(octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            let end = self.end.min(Instant::now() + self.patience);
            let before = self.peer.is_stream().then(|| self.peer.unsent());
            if self.peer.poll(Wait::Output, PollFlags::OUT, end)?.is_empty() {
                // The kernel tells of room when a third is free. A client may be slower than that and read all the same.
                if before.is_some_and(|before| self.peer.unsent() < before) {
                    continue;
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
