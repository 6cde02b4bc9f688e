//! What every session of the process shares: the settings, who may log in, the store, and the counts.

pub mod admission;
pub mod counters;
pub mod login;
pub mod maillog;
pub mod sessions;

use crate::accounts::{Accounts, Penalties, Verifier};
use crate::config::{Config, Users};
use crate::delivery::Delivery;
use crate::ledger::Ledger;
use crate::maildir::maildrops::Maildrops;
use crate::net::tls;
use crate::notify::Subscribers;
use crate::service::admission::Admission;
use crate::service::counters::Counters;
use crate::service::sessions::Sessions;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

/// What a reload replaces as a whole. A session keeps the one that it began with for a transaction's time.
#[derive(Debug)]
pub struct Live {
    /// Where the accounts are read from.
    pub users: Users,
    /// Users and aliases.
    pub accounts: Accounts,
    /// Certificate and key.
    pub tls: Option<tls::Config>,
}

/// One for the process.
pub struct Service {
    /// As it was at the start; what a reload may change is in [`Service::live`].
    pub config: Config,
    live: RwLock<Arc<Live>>,
    /// Stores and records.
    pub delivery: Arc<Delivery>,
    /// What was recorded.
    pub ledger: Arc<Ledger>,
    subscribers: Mutex<Option<Subscribers>>,
    /// Open maildrops and kept listings.
    pub maildrops: Arc<Maildrops>,
    /// Checks credentials.
    pub verifier: Verifier,
    /// Slows down who guesses.
    pub penalties: Penalties,
    /// What is counted.
    pub counters: Counters,
    /// Who may come in.
    pub admission: Admission,
    /// Who is in.
    pub sessions: Sessions,
    /// When the process began to serve.
    pub started: Instant,
}

impl Service {
    /// All of it.
    pub fn new(
        config: Config,
        live: Live,
        delivery: Arc<Delivery>,
        ledger: Arc<Ledger>,
        subscribers: Subscribers,
    ) -> Service {
        Service {
            live: RwLock::new(Arc::new(live)),
            delivery,
            ledger,
            subscribers: Mutex::new(Some(subscribers)),
            maildrops: Arc::new(Maildrops::new(config.state.join("sizes"))),
            verifier: Verifier::default(),
            penalties: Penalties::default(),
            counters: Counters::default(),
            admission: Admission::by(&config.limits),
            sessions: Sessions::default(),
            started: Instant::now(),
            config,
        }
    }

    /// Accounts and certificate as they are now.
    pub fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The running pipes and hooks; `None` during the last moments of a clean stop.
    pub fn subscribers(&self) -> MutexGuard<'_, Option<Subscribers>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces them.
    pub fn replace(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }
}

/// By which kind of listener a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `smtp.listen`.
    Smtp,
    /// `submission.listen`.
    Submission,
    /// `tls.smtps`: submission inside TLS.
    Smtps,
    /// `lmtp.listen`.
    Lmtp,
    /// `pop3.listen`.
    Pop3,
    /// `tls.pop3s`.
    Pop3s,
    /// `metrics.listen`.
    Metrics,
}

impl Door {
    /// Its name, in the ready line, in the log, and as systemd's `FileDescriptorName`.
    pub fn name(self) -> &'static str {
        match self {
            Door::Smtp => "smtp",
            Door::Submission => "submission",
            Door::Smtps => "smtps",
            Door::Lmtp => "lmtp",
            Door::Pop3 => "pop3",
            Door::Pop3s => "pop3s",
            Door::Metrics => "metrics",
        }
    }

    /// TLS begins with the connection.
    pub fn is_implicit_tls(self) -> bool {
        matches!(self, Door::Smtps | Door::Pop3s)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
