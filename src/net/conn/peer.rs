//! The shared half of a connection: its worker reads and writes through it, and other threads can see what the worker
//! waits for and end that wait.

use crate::sys::poll;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// What a worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A command, a TLS handshake, a PROXY header, or the end of a pause. A stop ends it at once.
    Command = 1,
    /// Octets of a message. A stop lets them come for some seconds.
    Data = 2,
    /// Room in the socket, because the client does not read. A stop lets it read for some seconds.
    Output = 3,
}

/// No wait: the worker does something itself.
const BUSY: u64 = 0;

/// The session goes on.
const RUN: u8 = 0;
/// The session ends at its next command.
const STOP: u8 = 1;
/// The session ends at its next wait of any kind.
const END: u8 = 2;

/// The shared half of a connection. The list of sessions keeps one for each.
#[derive(Debug)]
pub struct Peer {
    socket: OwnedFd,
    /// Milliseconds after `epoch` at which the present wait began, times four, plus its [`Wait`]; or [`BUSY`].
    waiting: AtomicU64,
    /// Milliseconds after `epoch` of the last progress.
    progress: AtomicU64,
    logged_in: AtomicBool,
    is_stream: AtomicBool,
    /// `RUN`, `STOP` or `END`; it only grows.
    end: AtomicU8,
    epoch: Instant,
}

impl Peer {
    /// Takes over an accepted, blocking socket.
    pub fn new(socket: OwnedFd) -> Peer {
        Peer {
            socket,
            waiting: AtomicU64::new(BUSY),
            progress: AtomicU64::new(0),
            logged_in: AtomicBool::new(false),
            is_stream: AtomicBool::new(false),
            end: AtomicU8::new(RUN),
            epoch: Instant::now(),
        }
    }

    /// The user id that the process at the other end of a unix socket had when it connected; `None` for TCP.
    pub fn uid(&self) -> Option<u32> {
        if sockopt::socket_domain(&self.socket) != Ok(AddressFamily::UNIX) {
            return None;
        }
        sockopt::socket_peercred(&self.socket).ok().map(|peer| peer.uid.as_raw())
    }

    /// The addresses of the other end and of ours; `None` for a unix socket.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let theirs = SocketAddr::try_from(rustix::net::getpeername(&self.socket).ok()??).ok()?;
        let ours = SocketAddr::try_from(rustix::net::getsockname(&self.socket).ok()?).ok()?;
        Some((canonical(theirs), canonical(ours)))
    }

    /// Ends the session at its next command: at once when it waits for one, else when the message under way is done.
    pub fn stop(&self) {
        self.end.fetch_max(STOP, SeqCst);
        match self.wait() {
            Some(Wait::Command) => self.wake(Wait::Command),
            Some(wait) if self.is_stream() => self.wake(wait),
            _ => {}
        }
    }

    /// Ends the session now when it waits for the client in any way, else at its next wait.
    pub fn end(&self) {
        self.end.store(END, SeqCst);
        if let Some(wait) = self.wait() {
            self.wake(wait);
        }
    }

    /// Cuts the connection at once, also while the worker is busy.
    pub fn cut(&self) {
        self.end.store(END, SeqCst);
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    /// How long the present wait has lasted; `None` while the worker is busy.
    pub fn silence(&self) -> Option<Duration> {
        let waiting = self.waiting.load(SeqCst);
        (waiting != BUSY).then(|| self.epoch.elapsed().saturating_sub(Duration::from_millis(waiting / 4)))
    }

    /// How long ago the session last made progress (see `Peer::mark_progress`); `None` while the worker is busy, and when
    /// the session was ended already.
    pub fn idle(&self) -> Option<Duration> {
        if self.end.load(SeqCst) == END {
            return None;
        }
        let since = Duration::from_millis(self.progress.load(SeqCst));
        self.wait().map(|_| self.epoch.elapsed().saturating_sub(since))
    }

    /// Whether the client has logged in.
    pub fn is_logged_in(&self) -> bool {
        self.logged_in.load(SeqCst)
    }

    /// Writes a last line past all queues, without waiting; for a session that cannot begin, or that failed.
    pub fn last_words(&self, line: &str) {
        let _ = rustix::net::send(&self.socket, line.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// Waits until octets can be read, at most until `end`; false when none came.
    ///
    /// # Errors
    ///
    /// When the socket fails, or with [`io::ErrorKind::ConnectionAborted`] when the session must end.
    pub fn readable(&self, end: Instant) -> io::Result<bool> {
        Ok(!self.poll(Wait::Command, PollFlags::IN, end)?.is_empty())
    }

    /// Reads without waiting and without taking the octets out of the socket, or taking them.
    pub(crate) fn receive_now(&self, into: &mut [u8], peek: bool) -> io::Result<usize> {
        let peek = if peek { RecvFlags::PEEK } else { RecvFlags::empty() };
        self.receive(into, RecvFlags::DONTWAIT | peek)
    }

    /// One recv(2).
    pub(super) fn receive(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let (count, _) = rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut *into, flags))?;
        Ok(count)
    }

    /// The same into the free capacity of a vector.
    pub(super) fn append(&self, into: &mut Vec<u8>, flags: RecvFlags) -> io::Result<usize> {
        let receive = || rustix::net::recv(&self.socket, rustix::buffer::spare_capacity(into), flags);
        let (_, count) = rustix::io::retry_on_intr(receive)?;
        Ok(count)
    }

    /// One send(2) that does not wait.
    pub(super) fn send_now(&self, octets: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, octets, flags))?)
    }

    /// Runs `wait`, in which the worker waits for the client. Other threads see that it waits and can end it.
    ///
    /// # Errors
    ///
    /// The error of `wait`; [`io::ErrorKind::ConnectionAborted`] when the session must end. `wait` does not run then.
    pub(super) fn waiting<T>(&self, what: Wait, wait: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.waiting.store(self.epoch.elapsed().as_millis() as u64 * 4 + what as u64, SeqCst);
        // `stop` and `end` write `end` first and read `waiting` second, so that one side sees the other.
        let outcome = if self.must_end(what) { Err(aborted()) } else { wait() };
        self.waiting.store(BUSY, SeqCst);
        outcome
    }

    /// Whether such a wait must end or not begin.
    pub(super) fn must_end(&self, what: Wait) -> bool {
        self.end.load(SeqCst) >= if what == Wait::Command || self.is_stream() { STOP } else { END }
    }

    /// Waits for events at the socket, at most until `end`; none when the time is over.
    pub(super) fn poll(&self, what: Wait, events: PollFlags, end: Instant) -> io::Result<PollFlags> {
        self.waiting(what, || {
            let mut fds = [PollFd::new(&self.socket, events)];
            poll(&mut fds, Some(end.saturating_duration_since(Instant::now())))?;
            if self.must_end(what) { Err(aborted()) } else { Ok(fds[0].revents()) }
        })
    }

    /// Lets time pass until `end`. A client that closed only its own half still waits for a reply, one that left does not.
    pub(super) fn outlast(&self, end: Instant) -> io::Result<()> {
        let mut awaited = PollFlags::RDHUP;
        while Instant::now() < end {
            let seen = self.poll(Wait::Command, awaited, end)?;
            if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if seen.contains(PollFlags::RDHUP) {
                awaited = PollFlags::empty();
            }
        }
        if self.must_end(Wait::Command) { Err(aborted()) } else { Ok(()) }
    }

    /// Waits until `fd` is readable, at most until `end`. A client that closes its side has left.
    pub(super) fn wait_beside(&self, fd: Option<BorrowedFd<'_>>, end: Instant) -> io::Result<()> {
        self.waiting(Wait::Command, || {
            let mut fds = vec![PollFd::new(&self.socket, PollFlags::RDHUP)];
            fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            poll(&mut fds, Some(end.saturating_duration_since(Instant::now())))?;
            if self.must_end(Wait::Command) {
                return Err(aborted());
            }
            if fds[0].revents().is_empty() { Ok(()) } else { Err(io::ErrorKind::ConnectionReset.into()) }
        })
    }

    /// Octets that the client has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        crate::sys::unsent(&self.socket).unwrap_or(usize::MAX)
    }

    /// Whether the session is a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream.load(SeqCst)
    }

    /// The session becomes a stream.
    pub(super) fn become_stream(&self) {
        self.is_stream.store(true, SeqCst);
    }

    /// The session got further: a message was stored, a block of one has moved, or a client that logged in gave a command.
    /// When places are few, the sessions without progress for the longest time are ended first.
    pub(super) fn mark_progress(&self) {
        self.progress.store(self.epoch.elapsed().as_millis() as u64, SeqCst);
    }

    /// The client has logged in.
    pub(super) fn mark_login(&self) {
        self.logged_in.store(true, SeqCst);
    }

    /// For socket options.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    fn wait(&self) -> Option<Wait> {
        match self.waiting.load(SeqCst) % 4 {
            1 => Some(Wait::Command),
            2 => Some(Wait::Data),
            3 => Some(Wait::Output),
            _ => None,
        }
    }

    /// Makes recv(2) return the end of the stream, or send(2) fail.
    fn wake(&self, wait: Wait) {
        let half = if wait == Wait::Output { Shutdown::Both } else { Shutdown::Read };
        let _ = rustix::net::shutdown(&self.socket, half);
    }
}

/// What a wait says that was ended from outside.
pub(super) fn aborted() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
