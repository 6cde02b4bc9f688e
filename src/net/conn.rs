//! One connection as its worker sees it: bounded lines in, blocks out, deadlines on both, with TLS below or without.
//!
//! Replies are queued and sent when the worker is about to wait for input, so PIPELINING needs no code. What the octets
//! mean is known to the sessions above.

mod client;
mod output;
mod peer;
mod stream;

pub use client::Client;
pub use peer::Peer;

use crate::limits;
use crate::net::line::{Buffer, Line};
use crate::net::tls;
use peer::Wait;
use rustix::net::sockopt;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::Stream;

/// One read of commands from a client that sends many at once, octets.
const PIPELINED_BLOCK: usize = 4 * 1024;

/// One read of message data, octets. It bounds the memory of a session while its client pauses in the middle of a message.
/// A small message is read as a whole.
const DATA_BLOCK: usize = 8 * 1024;

/// Slowest sender of message data, octets a second, after the patience of its first timeout. The same as Postfix's
/// `smtpd_min_data_rate`.
const MIN_DATA_RATE: u64 = 500;

/// So many octets of message data are progress. A client that sends less is idle.
const PROGRESS: usize = 4 * 1024;

/// A stream has no end of its own.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Why a connection cannot go on.
#[derive(Debug)]
pub enum Error {
    /// The peer closed the connection.
    Closed,
    /// The peer sent nothing, read nothing, or was too slow, until its deadline.
    Timeout,
    /// The server stops, or needs the place for another client.
    Stopping,
    /// The system or the TLS layer failed.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => f.write_str("the peer closed the connection"),
            Error::Timeout => f.write_str("timed out"),
            Error::Stopping => f.write_str("the server stops, or needs the place for another client"),
            Error::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Error::Closed,
            // Set by `Peer` alone; recv(2) and send(2) do not say so of an accepted socket.
            io::ErrorKind::ConnectionAborted => Error::Stopping,
            _ => Error::Io(error),
        }
    }
}

/// How long a session waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one whole command line, for progress in message data, or for the client to read (RFC 5321 section 4.5.3.2,
    /// RFC 1939 section 3).
    pub command: Duration,
    /// For the whole session.
    pub session: Duration,
}

/// What a client did before the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// It waited, as it must.
    Silent,
    /// It sent something.
    Sent,
    /// It closed the connection.
    Left,
}

/// The worker's end of a connection.
pub struct Conn {
    peer: Arc<Peer>,
    tls: Option<Box<tls::Session>>,
    input: Buffer,
    output: Vec<u8>,
    command_timeout: Duration,
    session_end: Instant,
    /// SO_RCVTIMEO as this connection has set it; `None` before the first time.
    receive_timeout: Option<Duration>,
    /// Octets of message data since the last mark of progress.
    moved: usize,
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
    /// A connection over an accepted, blocking socket.
    pub fn new(peer: Arc<Peer>, timeouts: Timeouts) -> Conn {
        Conn {
            peer,
            tls: None,
            input: Buffer::default(),
            output: Vec::new(),
            command_timeout: timeouts.command,
            session_end: Instant::now() + timeouts.session,
            receive_timeout: None,
            moved: 0,
        }
    }

    /// Begins TLS as the server: implicit TLS, STARTTLS and STLS alike.
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
            let patience = self.command_timeout;
            session.exchange(&mut Stream { peer: &self.peer, wait: Some(Wait::Command), patience, end: deadline })?;
        }
        self.tls = Some(session);
        Ok(())
    }

    /// The user id of the process at the other end of a unix socket; `None` for TCP.
    pub fn peer_uid(&self) -> Option<u32> {
        self.peer.uid()
    }

    /// Protocol version and cipher, for `Received:` and the event; `None` in clear.
    pub fn tls_description(&self) -> Option<String> {
        self.tls.as_ref().map(|session| session.description())
    }

    /// The next command line of at most `limit` octets with its end; sends what is queued before it waits.
    ///
    /// # Errors
    ///
    /// When the peer left or let the deadline of the line pass, or when the session must end.
    pub fn command(&mut self, limit: usize) -> Result<Command<'_>, Error> {
        if self.peer.is_logged_in() {
            self.peer.mark_progress();
        }
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

    /// What the peer did until now, before anything was said. Does not wait.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn early(&mut self) -> Result<Early, Error> {
        if self.has_input() {
            return Ok(Early::Sent);
        }
        match self.peer.receive_now(&mut [0], true) {
            Ok(0) => Ok(Early::Left),
            Ok(_) => Ok(Early::Sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Early::Silent),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the peer wait, after what is queued was sent.
    ///
    /// # Errors
    ///
    /// Early, when the peer left or the session must end. A peer that closed only its own half still waits for a reply.
    pub fn pause(&mut self, how_long: Duration) -> Result<(), Error> {
        self.flush()?;
        Ok(self.peer.outlast(Instant::now() + how_long)?)
    }

    /// The session becomes a stream of what the server has to say. It lasts for as long as its client reads: what the client
    /// has not read is bounded, and all that it takes of that is progress. A stop ends each of its waits at once.
    pub fn become_stream(&mut self) {
        self.session_end = Instant::now() + FOREVER;
        self.peer.become_stream();
        let socket = self.peer.socket();
        let _ = sockopt::set_socket_send_buffer_size(socket, limits::STREAM_ROOM);
        // Keepalive finds a client that is gone without a word. A unix socket does not have it.
        let patience = u32::try_from(self.command_timeout.as_millis()).unwrap_or(u32::MAX);
        let _ = sockopt::set_tcp_user_timeout(socket, patience);
    }

    /// Waits until `fd` is readable, at most until `end`, or until the client leaves. What is queued was sent before.
    ///
    /// # Errors
    ///
    /// When the client has closed its side, or the session must end.
    pub fn wait_beside(&mut self, fd: Option<BorrowedFd<'_>>, end: Instant) -> Result<(), Error> {
        self.output = Vec::new();
        Ok(self.peer.wait_beside(fd, end)?)
    }

    /// Whether the session may go on.
    ///
    /// # Errors
    ///
    /// When it must end.
    pub fn check(&self) -> Result<(), Error> {
        if self.peer.must_end(Wait::Command) { Err(Error::Stopping) } else { Ok(()) }
    }

    /// The shared half: another thread can end the session by it.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Our address in this connection; `None` for a unix socket.
    pub fn local_ip(&self) -> Option<IpAddr> {
        let address = rustix::net::getsockname(self.peer.socket()).ok()?;
        SocketAddr::try_from(address).ok().map(|address| address.ip().to_canonical())
    }

    /// How long each wait may last from now on.
    pub fn set_command_timeout(&mut self, timeout: Duration) {
        self.command_timeout = timeout;
    }

    /// The client has logged in. Sessions of such clients are the last that are ended when places are few.
    pub fn mark_login(&self) {
        self.peer.mark_login();
        self.peer.mark_progress();
    }

    /// The session got further, for example because a message was stored.
    pub fn mark_progress(&self) {
        self.peer.mark_progress();
    }

    /// Message data: what is there, at least one octet, to be taken with [`Conn::consume`].
    ///
    /// `received` is how much of this message has come so far and `began` when it began. A sender slower than
    /// `MIN_DATA_RATE` after the patience of its first timeout is not waited for.
    ///
    /// # Errors
    ///
    /// When the peer left or is too slow, or when the session must end.
    pub fn data(&mut self, began: Instant, received: u64) -> Result<&[u8], Error> {
        if self.input.is_empty() {
            let patience = self.command_timeout + Duration::from_secs(received / MIN_DATA_RATE);
            let now = Instant::now();
            let deadline = (began + patience).min(now + self.command_timeout).min(self.session_end);
            self.flush()?;
            while self.input.is_empty() {
                self.arm(deadline)?;
                self.receive(DATA_BLOCK, Some(Wait::Data))?;
            }
            self.moved += self.input.bytes().len();
            if self.moved >= PROGRESS {
                self.moved = 0;
                self.peer.mark_progress();
            }
        }
        Ok(self.input.bytes())
    }

    /// Takes `count` octets of what [`Conn::data`] showed.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }

    /// Reads into the input for a command.
    fn receive_command(&mut self, deadline: Instant) -> Result<(), Error> {
        self.flush()?;
        if self.output.capacity() > Buffer::BLOCK {
            // A client that pipelines has sent more by now, and the buffers are needed again at once. Without this try,
            // each RETR of such a client would cost a new buffer of 128 KiB.
            match self.receive(PIPELINED_BLOCK, None) {
                Err(Error::Timeout) => {
                    self.output = Vec::new();
                    self.input.shrink();
                }
                Ok(()) if self.peer.must_end(Wait::Command) => return Err(Error::Stopping),
                received => return received,
            }
        }
        self.arm(deadline)?;
        self.receive(Buffer::BLOCK, Some(Wait::Command))
    }

    /// One read of up to `block` octets or more into the input. Inside TLS it may bring none.
    fn receive(&mut self, block: usize, wait: Option<Wait>) -> Result<(), Error> {
        let (patience, end) = (self.command_timeout, self.session_end);
        let mut socket = Stream { peer: &self.peer, wait, patience, end };
        let received = match &mut self.tls {
            None => socket.append(self.input.reserve(block)),
            Some(session) => session.read(&mut socket, self.input.space(block)),
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

    /// Makes the next read end soon after `deadline`. The timeout is in whole seconds, so it is nearly always the one that
    /// is set already; a socket begins without one, even if its listener has one.
    fn arm(&mut self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout);
        }
        let timeout = Some(Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0)));
        if timeout != self.receive_timeout {
            sockopt::set_socket_timeout(self.peer.socket(), sockopt::Timeout::Recv, timeout)
                .map_err(io::Error::from)?;
            self.receive_timeout = timeout;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
