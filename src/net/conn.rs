//! One connection as its worker sees it: bounded lines in, blocks out, deadlines on both, TLS under both or not.
//!
//! Replies are queued and leave only when the worker is about to block on input, so PIPELINING needs no code (as in
//! qmail). What the octets mean is the sessions' affair, above.

mod client;
mod peer;

pub use client::Client;
pub use peer::Peer;

use crate::limits;
use crate::net::line::{Buffer, Line};
use crate::net::tls;
use rustix::net::{RecvFlags, Shutdown, sockopt};
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Queued output leaves at this size at the latest, octets: one write(2) a block.
pub const OUTPUT_BLOCK: usize = 128 * 1024;

/// One read of commands from a client that sends many at once, octets.
const PIPELINED_BLOCK: usize = 4 * 1024;

/// What goes out inside TLS between two looks at the clock, octets: four records.
const TLS_BLOCK: usize = 64 * 1024;

/// One read of message data, octets.
const DATA_BLOCK: usize = 64 * 1024;

/// The first read, which is all of a small message.
const FIRST_DATA_BLOCK: usize = 8 * 1024;

/// Slowest sender of message data that is waited for, octets a second, after its first timeout's worth of patience.
/// Postfix's `smtpd_min_data_rate` is the same.
const MIN_DATA_RATE: u64 = 500;

/// How long a peer whose time is up may take to hear so.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a connection can go on no longer.
#[derive(Debug)]
pub enum Error {
    /// The peer left.
    Closed,
    /// The peer was silent, or too slow, past its deadline.
    Timeout,
    /// The server stops, or needs the place for somebody else.
    Stopping,
    /// The system or the TLS layer gave up.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => f.write_str("the peer closed the connection"),
            Error::Timeout => f.write_str("timed out"),
            Error::Stopping => f.write_str("the server is stopping"),
            Error::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Error::Closed,
            _ => Error::Io(error),
        }
    }
}

/// How long a session waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one whole command line, or for progress in message data (RFC 5321 section 4.5.3.2, RFC 1939 section 3).
    pub command: Duration,
    /// For the whole session.
    pub session: Duration,
}

/// The worker's end of a connection.
pub struct Conn {
    peer: Arc<Peer>,
    tls: Option<Box<tls::Session>>,
    input: Buffer,
    output: Vec<u8>,
    command_timeout: Duration,
    session_end: Instant,
    /// What SO_RCVTIMEO is now. The listener sets it to the command timeout, and accepted sockets inherit that.
    receive_timeout: Duration,
}

/// A command line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// As the peer sent it.
    Line(&'a [u8]),
    /// It was longer than the limit; what follows up to its end is dropped.
    TooLong,
}

impl Conn {
    /// A connection over an accepted socket whose SO_RCVTIMEO and SO_SNDTIMEO are `timeouts.command` already.
    pub fn new(peer: Arc<Peer>, timeouts: Timeouts) -> Conn {
        Conn {
            peer,
            tls: None,
            input: Buffer::default(),
            output: Vec::new(),
            command_timeout: timeouts.command,
            session_end: Instant::now() + timeouts.session,
            receive_timeout: timeouts.command,
        }
    }

    /// Makes TLS out of the connection, as the server: implicit TLS, STARTTLS and STLS alike.
    ///
    /// What the peer sent in clear before the handshake is dropped (RFC 3207 section 4.2, CVE-2011-0411).
    ///
    /// # Errors
    ///
    /// When the handshake fails, or takes longer than a command may or [`limits::TLS_HANDSHAKE`].
    pub fn start_tls(&mut self, config: &tls::Config) -> Result<(), Error> {
        self.flush()?;
        let injected = self.input.clear();
        if injected > 0 {
            log::warn!("dropped {injected} octets sent in clear after STARTTLS and before the handshake");
        }
        let mut session = Box::new(tls::Session::new(config)?);
        let now = Instant::now();
        let deadline = self.deadline(now).min(now + limits::TLS_HANDSHAKE);
        while session.is_handshaking() {
            self.arm(deadline)?;
            let exchange = || session.exchange(&mut self.peer.stream(RecvFlags::empty()));
            self.peer.waiting(exchange).ok_or(Error::Stopping)??;
        }
        self.tls = Some(session);
        Ok(())
    }

    /// Protocol version and cipher, for `Received:` and the event; `None` in clear.
    pub fn tls_description(&self) -> Option<String> {
        self.tls.as_ref().map(|session| session.description())
    }

    /// The next command line of at most `limit` octets with its end; sends what is queued before it waits.
    ///
    /// # Errors
    ///
    /// When the peer left or let the deadline of the line pass, or when the server stops.
    pub fn command(&mut self, limit: usize) -> Result<Command<'_>, Error> {
        let mut deadline = None;
        let place = loop {
            match self.input.line(limit) {
                Line::Whole(place) => break Some(place),
                Line::TooLong => break None,
                Line::Partial => {
                    let deadline = *deadline.get_or_insert_with(|| self.deadline(Instant::now()));
                    self.input.shrink();
                    self.receive_command(deadline)?;
                }
            }
        };
        Ok(place.map_or(Command::TooLong, |place| Command::Line(self.input.at(place))))
    }

    /// True when the peer sent more than the line just taken (RFC 2920: only some commands may be followed so).
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// True when the peer has sent something already, without waiting for it or for `patience` at the most.
    ///
    /// # Errors
    ///
    /// When the socket cannot be asked.
    pub fn talks_early(&mut self, patience: Duration) -> Result<bool, Error> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if self.has_input() {
            return Ok(true);
        }
        let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        let mut fds = [PollFd::new(self.peer.socket(), PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience))).map_err(io::Error::from)?;
        Ok(ready > 0)
    }

    /// Lets the peer wait, after what is queued was sent.
    ///
    /// # Errors
    ///
    /// Early, when the peer left or the server stops. A peer that closed only its own half still waits for a reply.
    pub fn pause(&mut self, how_long: Duration) -> Result<(), Error> {
        self.flush()?;
        let end = Instant::now() + how_long;
        self.peer.waiting(|| self.peer.outlast(end)).unwrap_or(Err(Error::Stopping))
    }

    /// How long each command is waited for from now on.
    pub fn set_command_timeout(&mut self, timeout: Duration) {
        self.command_timeout = timeout;
    }

    /// Message data: whatever is there, at least one octet, to be taken with [`Conn::consume`].
    ///
    /// `received` is how much of this message has come so far and `began` when it began: a sender slower than
    /// `MIN_DATA_RATE` past its first timeout's patience is not waited for.
    ///
    /// # Errors
    ///
    /// When the peer left or is too slow, or when the server stops for good.
    pub fn data(&mut self, began: Instant, received: u64) -> Result<&[u8], Error> {
        if self.input.is_empty() {
            let patience = self.command_timeout + Duration::from_secs(received / MIN_DATA_RATE);
            let now = Instant::now();
            let deadline = (began + patience).min(now + self.command_timeout).min(self.session_end);
            let block = if received == 0 { FIRST_DATA_BLOCK } else { DATA_BLOCK };
            self.flush()?;
            while self.input.is_empty() {
                self.arm(deadline)?;
                self.receive(block, RecvFlags::empty())?;
            }
        }
        Ok(self.input.bytes())
    }

    /// Takes `count` octets of what [`Conn::data`] showed.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }

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
    /// When the peer left or does not read within the timeout.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = self.send();
        self.output.clear();
        if self.output.capacity() > 2 * OUTPUT_BLOCK {
            self.output = Vec::new();
        }
        // Part of it may be sent, and nobody knows which; what is said after that, nobody waits for.
        sent.inspect_err(|_| self.session_end = Instant::now())
    }

    fn send(&mut self) -> Result<(), Error> {
        let mut socket = self.peer.stream(RecvFlags::empty());
        let mut rest = &self.output[..];
        while !rest.is_empty() {
            if Instant::now() >= self.session_end {
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
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Says goodbye on every layer. What is still queued is sent as far as it goes.
    pub fn close(&mut self) {
        if self.session_end <= Instant::now() {
            self.session_end = Instant::now() + LAST_WORDS;
            let _ = sockopt::set_socket_timeout(self.peer.socket(), sockopt::Timeout::Send, Some(LAST_WORDS));
        }
        let _ = self.flush();
        if let Some(session) = &mut self.tls {
            session.close(&mut self.peer.stream(RecvFlags::empty()));
        }
        let _ = rustix::net::shutdown(self.peer.socket(), Shutdown::Write);
    }

    /// Reads into the input for a command, interruptible by [`Peer::stop`].
    fn receive_command(&mut self, deadline: Instant) -> Result<(), Error> {
        self.flush()?;
        if self.output.capacity() > Buffer::BLOCK {
            // A client that pipelines has sent more by now, and the queue is wanted again at once.
            match self.receive(PIPELINED_BLOCK, RecvFlags::DONTWAIT) {
                Err(Error::Timeout) => {
                    self.output = Vec::new();
                    self.input.shrink();
                }
                Ok(()) if self.peer.is_stopped() => return Err(Error::Stopping),
                received => return received,
            }
        }
        self.arm(deadline)?;
        let peer = self.peer.clone();
        match peer.waiting(|| self.receive(Buffer::BLOCK, RecvFlags::empty())).unwrap_or(Err(Error::Stopping)) {
            Err(Error::Closed) if self.peer.is_stopped() => Err(Error::Stopping),
            other => other,
        }
    }

    /// One read of up to `block` octets or more into the input; of TLS it may bring none.
    fn receive(&mut self, block: usize, flags: RecvFlags) -> Result<(), Error> {
        let mut socket = self.peer.stream(flags);
        let space = self.input.space(block);
        let received = match &mut self.tls {
            None => socket.read(space),
            Some(session) => session.read(&mut socket, space),
        };
        match received {
            Ok(0) => Err(Error::Closed),
            Ok(count) => {
                self.input.filled(count);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn deadline(&self, now: Instant) -> Instant {
        (now + self.command_timeout).min(self.session_end)
    }

    /// Makes the next read end at `deadline`, with a setsockopt(2) only where the timeout in force would not do.
    fn arm(&mut self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout);
        }
        let late = self.receive_timeout > left + Duration::from_millis(100);
        let early = self.receive_timeout + Duration::from_secs(1) < left.min(self.command_timeout);
        if late || early {
            let left = left.max(Duration::from_millis(1));
            sockopt::set_socket_timeout(self.peer.socket(), sockopt::Timeout::Recv, Some(left))
                .map_err(io::Error::from)?;
            self.receive_timeout = left;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
