//! The server: one event loop that owns listeners, signals and timers, admits or refuses, and hands every accepted
//! socket to a worker thread. It waits nowhere but in epoll_wait(2) and reads no file. When nothing happens it does not wake
//! up.
//!
//! ```text
//! start::prepare -> Loop::run --- SIGHUP, mounts ---> a thread: reload
//!                      |  ^  '--- each hour --------> a thread: housekeeping
//!      SIGTERM, SIGINT |  '--- accept, timers
//!                      v
//!                  stopping: listeners closed, sessions told -- all gone, or the deadline, or a second signal --> end
//! ```

mod acceptor;
mod background;
#[cfg(feature = "mqtt")]
mod broker_status;
mod certificate;
mod handshake;
pub mod listener;
pub mod local;
#[cfg(feature = "remote")]
pub mod look_once;
pub mod monitor;
mod notice;
mod orders;
pub mod owner;
mod pool;
#[cfg(feature = "relay")]
mod queue_status;
mod reload;
#[cfg(feature = "remote")]
mod remote_status;
#[cfg(feature = "remote")]
pub mod remotes;
mod retention;
mod sandbox;
#[cfg(feature = "relay")]
mod sender;
mod start;
#[cfg(feature = "http")]
pub mod token;

use crate::config::Config;
use crate::service::Service;
use crate::sys;
use acceptor::Acceptor;
use background::Background;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use reload::{Change, Reloader};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Why the server does not start, or cannot go on.
#[derive(Debug)]
pub enum StartError {
    /// Something in the configuration or the files that it names: exit code 78.
    Configuration(String),
    /// Another server, a port that is taken, a full disk: exit code 75.
    Temporary(String),
    /// A right that is missing: exit code 77.
    Permission(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Configuration(message) | StartError::Temporary(message) | StartError::Permission(message) => {
                f.write_str(message)
            }
        }
    }
}

impl StartError {
    /// A system error with what it happened to.
    fn io(what: impl fmt::Display, error: &io::Error) -> StartError {
        let message = format!("{what}: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied => StartError::Permission(message),
            _ => StartError::Temporary(message),
        }
    }
}

/// A time of the status, from seconds since 1970.
fn time(seconds: Option<u64>) -> Option<String> {
    seconds.map(|at| crate::message::date::rfc3339_micros(at.saturating_mul(1_000_000)))
}

/// Sessions that have not ended so long after the signal are cut. A message of which octets keep coming has this long.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A message is not waited for during a stop when nothing of it comes for this long.
const STOP_SILENCE: Duration = Duration::from_secs(2);

/// While the server stops, it looks this often whether all sessions have ended.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// Housekeeping: journal, litter in `tmp/`, old messages, compression; and the look at the certificate. The first round comes
/// soon after the start. A `journal.keep` of less than some hours asks for more.
const HOUSEKEEPING_FIRST: Duration = Duration::from_secs(2);
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

const SIGNALS: Token = Token(usize::MAX);
const MOUNTS: Token = Token(usize::MAX - 1);

/// Runs until a signal ends it.
///
/// # Errors
///
/// Why it could not start.
pub fn run(config: Config) -> Result<(), StartError> {
    sys::tune_heap();
    let signals = sys::signals().map_err(|error| StartError::io("signals", &error))?;
    let epoll = |error: io::Error| StartError::io("epoll", &error);
    let poll = Poll::new().map_err(epoll)?;
    let registry = poll.registry();
    registry.register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE).map_err(epoll)?;
    let mounts = File::open("/proc/self/mountinfo").ok();
    if let Some(mounts) = &mounts {
        registry.register(&mut SourceFd(&mounts.as_raw_fd()), MOUNTS, Interest::PRIORITY).map_err(epoll)?;
    }
    let started = start::prepare(config)?;
    let stop = Arc::new(AtomicBool::new(false));
    let reloader = Reloader::new(started.service.clone(), started.arrivals, started.acceptor.pool().clone());
    let reloader = Arc::new(reloader);
    #[cfg(feature = "relay")]
    reloader
        .sender()
        .replace(&started.service, started.service.config.relay.clone())
        .map_err(|error| StartError::io("queue", &error))?;
    let changes = Background::new("reload", {
        let reloader = reloader.clone();
        move |change| reloader.apply(change)
    });
    let housekeeping = Background::new("housekeeping", {
        let (service, stop) = (started.service.clone(), stop.clone());
        move |()| housekeeping(&service, &stop)
    });
    Loop {
        poll,
        signals: File::from(signals),
        _mounts: mounts,
        service: started.service,
        acceptor: started.acceptor,
        reloader,
        changes,
        housekeeping,
        housekeeping_at: Instant::now() + HOUSEKEEPING_FIRST,
        stopping_since: None,
        stop,
        _lock: started.lock,
    }
    .run();
    Ok(())
}

struct Loop {
    poll: Poll,
    signals: File,
    /// Tells when something is mounted (proc_pid_mountinfo(5)).
    _mounts: Option<File>,
    service: Arc<Service>,
    acceptor: Acceptor,
    reloader: Arc<Reloader>,
    /// Does what SIGHUP and mounts ask for.
    changes: Background<Change>,
    housekeeping: Background<()>,
    housekeeping_at: Instant,
    /// When a signal said stop.
    stopping_since: Option<Instant>,
    /// Tells the housekeeping thread to end.
    stop: Arc<AtomicBool>,
    _lock: crate::journal::Lock,
}

impl Loop {
    fn run(mut self) {
        if let Err(error) = self.acceptor.register(self.poll.registry()) {
            log::error!("the listeners cannot be watched: {error}");
            return;
        }
        let _ = self.service.listeners.set(self.acceptor.places().collect());
        notice::ready(&self.acceptor, self.service.config.file.is_none());
        let mut events = Events::with_capacity(64);
        while !self.is_over() {
            let timeout = self.next_timer().saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!("epoll_wait: {error}");
                    break;
                }
                Ok(()) => {}
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.on_signals(),
                    MOUNTS => self.change(Change::Mounts),
                    Token(index) => self.acceptor.accept(index),
                }
            }
            self.on_timers();
        }
        self.end();
    }

    fn is_over(&self) -> bool {
        let is_late = |since: Instant| since.elapsed() >= STOP_PATIENCE;
        self.stopping_since.is_some_and(|since| self.service.admission.open() == 0 || is_late(since))
    }

    fn next_timer(&self) -> Instant {
        let next = first_timer(self.stopping_since, self.housekeeping_at, Instant::now());
        self.acceptor.retry_at().map_or(next, |at| at.min(next))
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        if self.acceptor.retry_at().is_some_and(|at| at <= now) {
            self.acceptor.accept_all();
        }
        if self.stopping_since.is_some_and(|since| since + STOP_SILENCE <= now) {
            self.service.sessions.end_silent(STOP_SILENCE);
        }
        if self.housekeeping_at <= now && self.stopping_since.is_none() {
            self.change(Change::Certificate);
            let keep = self.service.config.journal_keep;
            self.housekeeping_at = now + HOUSEKEEPING.min((keep / 4).max(HOUSEKEEPING_FIRST));
            if let Err(error) = self.housekeeping.request(()) {
                log::error!("housekeeping put off: {error}");
            }
        }
    }

    fn on_signals(&mut self) {
        let mut numbers = [0; 16];
        while let Ok(count @ 1..) = self.signals.read(&mut numbers) {
            for &number in &numbers[..count] {
                match i32::from(number) {
                    libc::SIGHUP => self.change(Change::Reload),
                    number if self.stopping_since.is_some() => {
                        log::warn!("a second signal: ending at once");
                        // All that was acknowledged is safe; what a clean end would do besides is done at the next start.
                        std::process::exit(128 + number);
                    }
                    _ => self.begin_stop(),
                }
            }
        }
    }

    /// Asks the thread for a change. During a stop nothing changes any more.
    fn change(&self, change: Change) {
        if self.stopping_since.is_none()
            && let Err(error) = self.changes.request(change)
        {
            log::error!("no thread to reload in, the old settings stay: {error}; send SIGHUP again");
        }
    }

    fn begin_stop(&mut self) {
        notice::stopping();
        log::info!("stopping: {} connections are open", self.service.admission.open());
        self.acceptor.close(self.poll.registry());
        self.stopping_since = Some(Instant::now());
        self.stop.store(true, Relaxed);
        self.service.sessions.stop_all();
        #[cfg(feature = "remote")]
        remotes::begin_stop(&self.service);
        #[cfg(feature = "relay")]
        self.reloader.sender().begin_stop();
    }

    /// What comes after the last session: everything that is known reaches the disk, unread lines leave the pipes.
    fn end(self) {
        self.service.sessions.cut_all();
        #[cfg(feature = "remote")]
        remotes::stop(&self.service);
        #[cfg(feature = "relay")]
        self.reloader.sender().stop();
        self.reloader.stop();
        self.service.ledger.stop();
        let subscribers = self.service.subscribers().take();
        if let Some(subscribers) = subscribers {
            subscribers.stop();
        }
        let _ = std::fs::remove_file(crate::server::monitor::control_socket(&self.service.config.state));
        log::info!("stopped");
    }
}

/// The first timer that is always there. Housekeeping does not begin during a stop, so it must not wake the loop then.
fn first_timer(stopping_since: Option<Instant>, housekeeping_at: Instant, now: Instant) -> Instant {
    match stopping_since {
        Some(since) => (since + STOP_PATIENCE).min(now + STOP_LOOK),
        None => housekeeping_at,
    }
}

/// The slow work of each hour, in a thread of its own and at the lowest priority.
fn housekeeping(service: &Service, stop: &AtomicBool) {
    let _ = rustix::process::setpriority_process(None, 19);
    service.delivery.first_look().wait();
    service.delivery.housekeep();
    retention::run(service, stop);
    let Some(older_than) = service.config.mail.compress_after else { return };
    let users: Vec<String> = service.live().accounts.names().map(str::to_owned).collect();
    for user in users {
        if stop.load(Relaxed) {
            return;
        }
        let maildir = service.config.maildir(&user);
        let pause = || std::thread::sleep(Duration::from_millis(1));
        match crate::maildir::compress::compress_pass(&maildir, older_than, stop, pause) {
            Ok(report) if report.compressed > 0 => {
                log::info!("{user}: {} messages compressed, {} octets saved", report.compressed, report.saved);
            }
            Ok(_) => {}
            Err(error) => log::warn!("{}: cannot be compressed: {error}", maildir.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn housekeeping_that_is_due_does_not_keep_a_stop_busy() {
        let now = Instant::now();
        assert_eq!(first_timer(None, now, now), now);
        assert_eq!(first_timer(Some(now), now, now), now + STOP_LOOK);
    }
}
