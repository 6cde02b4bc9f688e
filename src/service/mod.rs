//! What every session of the process shares: the settings, the accounts, the store, and the counts.

pub mod admission;
pub mod counters;
pub mod login;
pub mod maillog;
pub mod sending;
pub mod sessions;

use crate::accounts::{Accounts, Penalties, Verifier};
use crate::config::{Config, ListenerKind};
use crate::delivery::Delivery;
use crate::ledger::Ledger;
use crate::maildir::maildrops::Maildrops;
use crate::net::tls;
use crate::notify::Subscribers;
use crate::service::admission::Admission;
use crate::service::counters::Counters;
use crate::service::sending::Sending;
use crate::service::sessions::Sessions;
use crate::sys::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

/// What a reload replaces as a whole. A session keeps the one that it began with for a transaction's time.
#[derive(Clone, Debug)]
pub struct Live {
    /// Users and aliases.
    pub accounts: Arc<Accounts>,
    /// Certificate and key.
    pub tls: Option<tls::Config>,
    /// The users of this machine, by id, where mail is sent elsewhere: `sendmail` of local users asks for it.
    pub system_users: HashMap<u32, String>,
    /// What a client of `[http]` must know, where `http.token_file` is given.
    #[cfg(feature = "http")]
    pub http_token: Option<crate::net::remote::secret::Secret>,
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
    #[cfg(feature = "remote")]
    remotes: Mutex<Option<crate::fetch::Remotes>>,
    /// Messages that wait to be sent elsewhere.
    #[cfg(feature = "relay")]
    pub queue: Arc<crate::queue::Queue>,
    /// Open maildrops and kept listings.
    pub maildrops: Arc<Maildrops>,
    /// Checks credentials.
    pub verifier: Verifier,
    /// Delays clients that guess passwords.
    pub penalties: Penalties,
    /// What is counted.
    pub counters: Counters,
    /// Counts and limits connections.
    pub admission: Admission,
    /// Limits what one user sends to other servers.
    pub sending: Sending,
    /// The open sessions.
    pub sessions: Sessions,
    /// When the process began to serve.
    pub started: Instant,
    /// The listeners' kinds and real addresses, once all of them listen.
    pub listeners: OnceLock<Vec<(ListenerKind, String)>>,
}

impl Service {
    /// All of it.
    pub fn new(
        config: Config,
        live: Live,
        delivery: Arc<Delivery>,
        ledger: Arc<Ledger>,
        subscribers: Subscribers,
        #[cfg(feature = "relay")] queue: Arc<crate::queue::Queue>,
    ) -> Service {
        Service {
            live: RwLock::new(Arc::new(live)),
            delivery,
            ledger,
            subscribers: Mutex::new(Some(subscribers)),
            #[cfg(feature = "remote")]
            remotes: Mutex::default(),
            #[cfg(feature = "relay")]
            queue,
            maildrops: Arc::new(Maildrops::new(config.state.join("sizes"))),
            verifier: Verifier::default(),
            penalties: Penalties::new(config.limits.penalty_exempt.clone()),
            counters: Counters::default(),
            admission: Admission::by(&config.limits),
            sending: Sending::by(&config),
            sessions: Sessions::default(),
            started: Instant::now(),
            listeners: OnceLock::new(),
            config,
        }
    }

    /// Accounts and certificate as they are now.
    pub fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The running pipes and hooks; `None` during the last moments of a clean stop.
    pub fn subscribers(&self) -> MutexGuard<'_, Option<Subscribers>> {
        lock(&self.subscribers)
    }

    /// What watches the remotes; `None` where there are none, and after a stop.
    #[cfg(feature = "remote")]
    pub fn remotes(&self) -> MutexGuard<'_, Option<crate::fetch::Remotes>> {
        lock(&self.remotes)
    }

    /// Replaces them.
    pub fn replace(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }
}
