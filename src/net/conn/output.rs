//! The way out of a connection: replies are queued, and sent in blocks, each within the client's patience.

use super::stream::Stream;
use super::{Conn, Error};
use rustix::net::Shutdown;
use std::io::Write;
use std::time::{Duration, Instant};

/// Queued output is sent at this size at the latest, octets.
pub(super) const OUTPUT_BLOCK: usize = 128 * 1024;

/// The most that is sent inside TLS between two looks at the clock, octets: four records.
const TLS_BLOCK: usize = 64 * 1024;

/// How long the last reply may take after the session's deadline.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Conn {
    /// Sends `octets` soon: when the next input is waited for, or when a block is full.
    ///
    /// # Errors
    ///
    /// When a full block could not be sent.
    pub fn queue(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.output.extend_from_slice(octets);
        self.flush_blocks()
    }

    /// The queue itself, to be written to in place and followed by [`Conn::flush_blocks`].
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what is queued when it is a block or more.
    ///
    /// # Errors
    ///
    /// When the peer left or does not read.
    pub fn flush_blocks(&mut self) -> Result<(), Error> {
        if self.output.len() >= OUTPUT_BLOCK { self.flush() } else { Ok(()) }
    }

    /// Sends what is queued.
    ///
    /// # Errors
    ///
    /// When the peer left, or reads nothing until its deadline, or when the session must end.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = self.send();
        self.output.clear();
        if self.output.capacity() > 2 * OUTPUT_BLOCK {
            self.output = Vec::new();
        }
        // A part of it may be sent, and which one is not known. So nothing that follows is worth a wait.
        sent.inspect_err(|_| self.session_end = Instant::now())
    }

    fn send(&mut self) -> Result<(), Error> {
        let (patience, end) = (self.command_timeout, self.session_end);
        let mut socket = Stream { peer: &self.peer, wait: None, patience, end };
        let mut rest = &self.output[..];
        while !rest.is_empty() {
            if Instant::now() >= end {
                return Err(Error::Timeout);
            }
            let count = match &mut self.tls {
                None => socket.write(rest)?,
                Some(session) => {
                    let part = &rest[..rest.len().min(TLS_BLOCK)];
                    session.write_all(&mut socket, part)?;
                    part.len()
                }
            };
            if count == 0 {
                return Err(Error::Closed);
            }
            if self.peer.is_logged_in() {
                self.peer.mark_progress();
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Ends the connection on every layer. It tries to send what is still queued.
    pub fn close(&mut self) {
        let now = Instant::now();
        if self.session_end <= now {
            self.session_end = now + LAST_WORDS;
        }
        let _ = self.flush();
        if let Some(session) = &mut self.tls {
            let (patience, end) = (LAST_WORDS, now + LAST_WORDS);
            session.close(&mut Stream { peer: &self.peer, wait: None, patience, end });
        }
        let _ = rustix::net::shutdown(self.peer.socket(), Shutdown::Write);
    }
}
