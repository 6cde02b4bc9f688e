//! What a session needs, and its beginning: the secret, the connection, the sandbox, TLS.

use super::checkpoint::Checkpoint;
use super::end::{End, Kind};
use super::folder::Verdict;
use super::status::Status;
use crate::config::{Encryption, Remote};
use crate::delivery::Delivery;
use crate::net::remote::conn::{Conn, Signal};
use crate::net::remote::dial;
use crate::net::remote::secret::Secret;
use crate::net::remote::tls::{Client, Trust};
use crate::sasl::client::Secret as SecretKind;
use crate::sys::lock;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Enters the sandbox of threads that speak to peers.
pub type Enter = Arc<dyn Fn() + Send + Sync>;

/// What a session needs.
#[derive(Clone)]
pub struct Job {
    pub remote: Arc<Remote>,
    /// `None` for POP3.
    pub folder: Option<String>,
    pub delivery: Arc<Delivery>,
    pub checkpoint: Arc<Mutex<Checkpoint>>,
    pub status: Status,
    pub trusts: Arc<Trusts>,
    /// Ends the session.
    pub stop: Signal,
    /// Whether there is a connection. Before it the session waits for a secret, a name or connect(2), which a stop cannot
    /// end and need not wait for.
    pub is_connected: Arc<AtomicBool>,
    /// Ends a wait for news.
    pub look: Signal,
    /// APOP was refused, and USER and PASS not yet.
    pub without_apop: Arc<AtomicBool>,
    /// One pass, then the end.
    pub once: bool,
    /// Called after each good pass.
    pub on_pass: Arc<dyn Fn() + Send + Sync>,
    /// Enters the sandbox.
    pub enter: Enter,
}

/// The end of a session, and the least wait before the next one after a good pass.
pub type Outcome = (End, Option<Duration>);

/// Certificates that are trusted, read once for all remotes that trust the same.
#[derive(Debug, Default)]
pub struct Trusts(Mutex<Vec<(Trust, Client)>>);

impl Trusts {
    fn client(&self, trust: &Trust) -> Result<Client, String> {
        let mut known = lock(&self.0);
        if let Some((_, client)) = known.iter().find(|(each, _)| each == trust) {
            return Ok(client.clone());
        }
        let client = Client::new(trust)?;
        known.push((trust.clone(), client.clone()));
        Ok(client)
    }
}

impl Job {
    /// For one pass of a session that keeps nothing.
    pub fn new(
        remote: &Arc<Remote>,
        folder: Option<String>,
        delivery: &Arc<Delivery>,
        enter: &Enter,
    ) -> io::Result<Job> {
        Ok(Job {
            remote: remote.clone(),
            status: Status::new(&remote.name, folder.as_deref()),
            folder,
            delivery: delivery.clone(),
            checkpoint: Arc::default(),
            trusts: Arc::default(),
            stop: Signal::new()?,
            is_connected: Arc::default(),
            look: Signal::new()?,
            without_apop: Arc::default(),
            once: true,
            on_pass: Arc::new(|| {}),
            enter: enter.clone(),
        })
    }

    /// What is known of the remote.
    pub fn checkpoint(&self) -> MutexGuard<'_, Checkpoint> {
        lock(&self.checkpoint)
    }

    /// Writes down what is known.
    pub fn save(&self) -> Result<(), End> {
        let last = self.delivery.ledger().map_or(0, |ledger| ledger.last_seq());
        Ok(self.checkpoint().save(last)?)
    }

    /// Before a message is recorded.
    pub fn begin_message(&self) {
        let last = self.delivery.ledger().map_or(0, |ledger| ledger.last_seq());
        self.checkpoint().begin(self.folder.as_deref().unwrap_or_default(), last);
    }

    /// A good pass is over.
    pub fn passed(&self, parked: u64, given_up: u64) {
        if self.status.passed(parked, given_up) {
            log::info!("remote {}: logged in; everything was looked at", self.label());
        }
        (self.on_pass)();
    }

    /// Logs what becomes of a message that failed.
    pub fn log_failed(&self, message: u32, verdict: Verdict, why: &str) {
        let label = self.label();
        match verdict {
            Verdict::ParkedNow => {
                log::warn!("remote {label}: message {message} cannot be fetched ({why}); tried again daily")
            }
            Verdict::GivenUp => log::warn!("remote {label}: message {message} is given up: {why}"),
            Verdict::Again | Verdict::Parked => log::debug!("remote {label}: message {message}: {why}"),
        }
    }

    /// The name of the folder.
    pub fn folder_name(&self) -> &str {
        self.folder.as_deref().unwrap_or("INBOX")
    }

    /// Whether a refused login is tried once more at once: with a new token, or without APOP.
    pub fn has_another_way(&self) -> bool {
        self.remote.secret.kind() == SecretKind::Token || self.without_apop.load(Ordering::Relaxed)
    }

    /// How its log lines begin.
    pub fn label(&self) -> String {
        super::intake::label(&self.remote, self.folder.as_deref())
    }
}

/// A connection and what to say on it.
pub struct Connected {
    pub conn: Conn,
    pub secret: Secret,
    /// For STARTTLS.
    pub tls: Option<Client>,
}

/// Reads the secret and connects, then enters the sandbox, then begins implicit TLS.
pub fn connect(job: &Job) -> Result<Connected, End> {
    let remote = &job.remote;
    let tls = match remote.encryption {
        Encryption::Off => None,
        _ => Some(job.trusts.client(&remote.trust).map_err(|why| End::new(Kind::Certificate, why))?),
    };
    let secret = remote.secret.read()?;
    let stream = dial::dial(&remote.host, remote.port, remote.encryption == Encryption::Off)?;
    job.is_connected.store(true, Ordering::Relaxed);
    (job.enter)();
    let mut conn = Conn::new(stream, job.stop.clone()).map_err(crate::net::remote::Error::from)?;
    if let (Encryption::Implicit, Some(client)) = (remote.encryption, &tls) {
        conn.start_tls(client, &remote.host)?;
    }
    Ok(Connected { conn, secret, tls })
}
