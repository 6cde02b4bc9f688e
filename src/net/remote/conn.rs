//! One connection to a server: bounded lines and octets in, octets out, a deadline on everything, TLS or not. A wait can be
//! interrupted from another thread.

use super::tls::{Client, Fingerprint, Session};
use super::{Error, dial};
use crate::net::line::{Buffer, Line};
use crate::sys::{Wake, poll};
use rustix::event::{PollFd, PollFlags};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// For what is sent to be taken.
const SEND: Duration = Duration::from_secs(60);

/// One read of the socket, octets.
const BLOCK: usize = 16 * 1024;

/// Slowest server that data is taken from, octets a second.
const RATE: u64 = 500;

/// How long data may come more slowly than [`RATE`].
const RATE_PATIENCE: Duration = Duration::from_secs(60);

/// Interrupts a wait from another thread.
#[derive(Clone, Debug)]
pub struct Signal(Arc<Wake>);

impl Signal {
    /// Not given yet.
    ///
    /// # Errors
    ///
    /// Of eventfd(2).
    pub fn new() -> io::Result<Signal> {
        Ok(Signal(Arc::new(Wake::new()?)))
    }

    /// Given when this eventfd(2) is readable.
    pub fn of(descriptor: OwnedFd) -> Signal {
        Signal(Arc::new(Wake::of(descriptor)))
    }

    /// Ends every wait from now on, until it is taken back.
    pub fn give(&self) {
        self.0.wake();
    }

    /// Takes it back; whether it was given.
    pub fn take(&self) -> bool {
        self.0.clear()
    }

    /// Whether it is given.
    pub fn is_given(&self) -> bool {
        poll(&mut [PollFd::new(&*self.0, PollFlags::IN)], Some(Duration::ZERO)).is_ok_and(|count| count > 0)
    }

    /// Waits until the signal is given or `fd` is readable, or the time is over.
    pub fn wait_beside(&self, fd: BorrowedFd<'_>, timeout: Option<Duration>) {
        let mut fds = [PollFd::new(&*self.0, PollFlags::IN), PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let _ = poll(&mut fds, timeout);
    }

    /// Waits until one of the signals is given, or the time is over.
    pub fn wait_any(signals: &[&Signal], timeout: Option<Duration>) {
        let mut fds: Vec<PollFd<'_>> = signals.iter().map(|signal| PollFd::new(&*signal.0, PollFlags::IN)).collect();
        let _ = poll(&mut fds, timeout);
    }
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    tls: Option<Box<Session>>,
    input: Buffer,
    /// The peer sends nothing more.
    has_ended: bool,
    /// Ends every wait for input.
    stop: Signal,
    /// No wait is longer than until then.
    deadline: Option<Instant>,
}

impl Conn {
    /// Over a connected socket.
    ///
    /// # Errors
    ///
    /// Of fcntl(2).
    pub fn new(stream: TcpStream, stop: Signal) -> io::Result<Conn> {
        stream.set_nonblocking(true)?;
        Ok(Conn { stream, tls: None, input: Buffer::default(), has_ended: false, stop, deadline: None })
    }

    /// From now on another signal ends waits: for a goodbye after a stop.
    pub fn heed(&mut self, stop: Signal) {
        self.stop = stop;
    }

    /// From now on every wait, for input or output, ends at this time at the latest.
    pub fn end_at(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// The same, where that is sooner than what was said before.
    pub fn end_at_most(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |before| before.min(deadline)));
    }

    /// Whether the server has neither sent anything that was not read nor gone: the connection can be used again.
    pub fn is_quiet(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::IN)];
        self.input.is_empty() && !self.has_ended && poll(&mut fds, Some(Duration::ZERO)).is_ok_and(|count| count == 0)
    }

    /// The server's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Begins TLS; what came before it is dropped (CVE-2011-0411).
    ///
    /// # Errors
    ///
    /// A certificate that is not trusted, a failed handshake, or 30 s without one.
    pub fn start_tls(&mut self, client: &Client, host: &str) -> Result<(), Error> {
        self.input.clear();
        let mut session = Box::new(Session::new(client, host)?);
        let end = Instant::now() + HANDSHAKE;
        while session.is_handshaking() || session.wants_write() {
            match session.send(&mut &self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll(PollFlags::OUT, end, "the TLS handshake", &[])?;
                    continue;
                }
                sent => sent?,
            }
            if session.is_handshaking() {
                self.poll(PollFlags::IN, end, "the TLS handshake", &[])?;
                if let Err(error) = session.receive(&mut &self.stream)
                    && !would_block(&error)
                {
                    // The alert, if it can be sent at once.
                    let _ = session.send(&mut &self.stream);
                    return Err(error);
                }
            }
        }
        self.tls = Some(session);
        Ok(())
    }

    /// Version and cipher; `None` in clear.
    pub fn tls_description(&self) -> Option<String> {
        self.tls.as_ref().map(|session| session.description())
    }

    /// Address, TLS and fingerprint, for people.
    pub fn description(&self) -> String {
        let peer = self.peer().map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
        match (self.tls_description(), self.fingerprint()) {
            (Some(tls), Some(fingerprint)) => {
                format!("connected to {peer} with {tls}; fingerprint {}", super::tls::hexadecimal(&fingerprint))
            }
            _ => format!("connected to {peer} without TLS"),
        }
    }

    /// The fingerprint of the server's certificate.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.tls.as_ref().and_then(|session| session.fingerprint())
    }

    /// Sends all octets.
    ///
    /// # Errors
    ///
    /// When the server does not take them within 60 s, or has gone.
    pub fn send(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.send_within(octets, SEND)
    }

    /// The same with another patience.
    ///
    /// # Errors
    ///
    /// As [`Conn::send`].
    pub fn send_within(&mut self, mut octets: &[u8], patience: Duration) -> Result<(), Error> {
        let end = Instant::now() + patience;
        while !octets.is_empty() || self.tls.as_ref().is_some_and(|session| session.wants_write()) {
            let sent = match &mut self.tls {
                None => (&self.stream).write(octets),
                Some(session) => match session.write(octets) {
                    Ok(taken) => {
                        octets = &octets[taken..];
                        session.send(&mut &self.stream).map(|()| 0)
                    }
                    Err(error) => Err(error),
                },
            };
            match sent {
                Ok(count) => octets = &octets[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll(PollFlags::OUT, end, "sending", &[])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next line without its end; `None` for one of more than `limit` octets. `also` are signals that end this wait
    /// besides the stop.
    ///
    /// # Errors
    ///
    /// When the time is up (`what` was waited for), a signal was given, or the server has gone.
    pub fn line(
        &mut self,
        limit: usize,
        end: Instant,
        what: &'static str,
        also: &[&Signal],
    ) -> Result<Option<&[u8]>, Error> {
        let place = loop {
            match self.input.line(limit) {
                Line::Whole(place) => break place,
                Line::TooLong => return Ok(None),
                Line::Partial => {
                    self.input.shrink();
                    self.fill(end, what, also)?;
                }
            }
        };
        Ok(Some(self.input.at(place)))
    }

    /// Octets that have come, at least one; to be taken with [`Conn::consume`]. `began` and `taken` are of the whole
    /// message: it must come with 500 octets a second after its first 60 s.
    ///
    /// # Errors
    ///
    /// As [`Conn::line`], and when the server is too slow.
    pub fn data(&mut self, began: Instant, taken: u64) -> Result<&[u8], Error> {
        if self.input.is_empty() {
            let end = began + RATE_PATIENCE + Duration::from_secs(taken / RATE);
            match self.fill(end, "data", &[]) {
                Err(Error::Timeout(_)) if taken > 0 => return Err(Error::TooSlow),
                filled => filled?,
            }
        }
        Ok(self.input.bytes())
    }

    /// Octets that have come, at least one; to be taken with [`Conn::consume`]. The deadline is for the first of them.
    ///
    /// # Errors
    ///
    /// As [`Conn::line`].
    pub fn octets(&mut self, end: Instant, what: &'static str, also: &[&Signal]) -> Result<&[u8], Error> {
        if self.input.is_empty() {
            self.input.shrink();
            self.fill(end, what, also)?;
        }
        Ok(self.input.bytes())
    }

    /// Takes `count` octets of what [`Conn::data`] or [`Conn::octets`] showed.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }

    /// So many octets, in the blocks in which they come.
    ///
    /// # Errors
    ///
    /// As [`Conn::data`].
    pub fn exactly(&mut self, octets: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let (began, mut taken) = (Instant::now(), 0);
        while taken < octets {
            let block = self.data(began, taken)?;
            let count = block.len().min(usize::try_from(octets - taken).unwrap_or(usize::MAX));
            take(&block[..count]);
            self.consume(count);
            taken += count as u64;
        }
        Ok(())
    }

    /// Tells the server that nothing follows; does not wait.
    pub fn close(mut self) {
        if let Some(session) = &mut self.tls {
            session.close();
            let _ = session.send(&mut &self.stream);
        }
    }

    /// Reads until there is at least one octet more.
    fn fill(&mut self, end: Instant, what: &'static str, also: &[&Signal]) -> Result<(), Error> {
        loop {
            let space = self.input.space(BLOCK);
            let count = match &mut self.tls {
                None => match (&self.stream).read(space) {
                    Ok(count) => Some(count),
                    Err(error) if would_block_io(&error) => None,
                    Err(error) => return Err(error.into()),
                },
                Some(session) => match session.read(space)? {
                    None if self.has_ended => Some(0),
                    count => count,
                },
            };
            match count {
                Some(0) => return Err(Error::Closed),
                Some(count) => {
                    self.input.filled(count);
                    return Ok(());
                }
                None => {}
            }
            self.poll(PollFlags::IN, end, what, also)?;
            if let Some(session) = &mut self.tls {
                match session.receive(&mut &self.stream) {
                    Err(error) if would_block(&error) => {}
                    Err(Error::Closed) => self.has_ended = true,
                    received => received?,
                }
                // An answer to a key update; it is small, and a part that the socket does not take now is sent with the next data.
                let _ = session.send(&mut &self.stream);
            }
        }
    }

    /// Waits until the socket is ready.
    fn poll(&self, flags: PollFlags, end: Instant, what: &'static str, also: &[&Signal]) -> Result<(), Error> {
        let end = self.deadline.map_or(end, |deadline| deadline.min(end));
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds =
                vec![PollFd::from_borrowed_fd(self.stream.as_fd(), flags), PollFd::new(&*self.stop.0, PollFlags::IN)];
            fds.extend(also.iter().map(|signal| PollFd::new(&*signal.0, PollFlags::IN)));
            poll(&mut fds, Some(left))?;
            if fds[1..].iter().any(|fd| !fd.revents().is_empty()) {
                return Err(Error::Interrupted);
            }
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
            if left.is_zero() {
                return Err(Error::Timeout(what));
            }
        }
    }
}

/// Connects, and begins TLS at once where `implicit` says so.
///
/// # Errors
///
/// As [`dial::dial`] and [`Conn::start_tls`].
pub fn connect(
    host: &str,
    port: u16,
    implicit: Option<&Client>,
    private_only: bool,
    stop: &Signal,
) -> Result<Conn, Error> {
    let mut conn = Conn::new(dial::dial(host, port, private_only)?, stop.clone())?;
    if let Some(client) = implicit {
        conn.start_tls(client, host)?;
    }
    Ok(conn)
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if would_block_io(error))
}

fn would_block_io(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
#[path = "conn_tests.rs"]
mod tests;
