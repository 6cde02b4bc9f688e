//! The listening sockets in the event loop: accept until there is no more, admit or refuse, hand to the pool.
//!
//! Accept errors are weather: a connection that died is passed over; when descriptors or memory run out, the loop tries
//! again a little later (mio is edge-triggered, so the event would not come again).

use crate::net::conn::{Client, Peer};
use crate::server::handshake::{self, Accepted, refusal_line};
use crate::server::listener::{self, Listener};
use crate::server::monitor;
use crate::server::pool::Pool;
use crate::service::admission::{Admission, Refusal};
use crate::service::{Door, Service};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon accepting is tried again when the system had no room.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Refusals are logged this often at the most, with their number; failures to accept, too.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Who has been silent for this long gives his place to somebody else when all places are taken.
const IDLE_PATIENCE: Duration = Duration::from_secs(10);

/// Clients of the control socket served at once; they do not take places from mail.
const STATUS_CLIENTS: usize = 8;

/// A kind of listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For a protocol.
    Door(Door),
    /// For `mailbell status`.
    Control,
    /// For `sendmail` of local users: SMTP.
    Local,
}

impl Kind {
    /// The protocol of a session; `None` for the control socket.
    fn door(self) -> Option<Door> {
        match self {
            Kind::Door(door) => Some(door),
            Kind::Local => Some(Door::Smtp),
            Kind::Control => None,
        }
    }
}

/// All listeners.
pub struct Doors {
    listeners: Vec<(Kind, Listener)>,
    service: Arc<Service>,
    pool: Pool,
    status_clients: Admission,
    retry_at: Option<Instant>,
    /// When it was logged that accepting fails.
    troubled: Option<Instant>,
    refused: u64,
    logged: Option<Instant>,
}

impl Doors {
    /// Over listeners that listen already.
    pub fn new(listeners: Vec<(Kind, Listener)>, service: Arc<Service>, pool: Pool) -> Doors {
        Doors {
            listeners,
            service,
            pool,
            status_clients: Admission::new(STATUS_CLIENTS, STATUS_CLIENTS),
            retry_at: None,
            troubled: None,
            refused: 0,
            logged: None,
        }
    }

    /// Hands to this pool from now on; what the one before does comes to its end there.
    pub fn replace_pool(&mut self, pool: Pool) {
        self.pool = pool;
    }

    /// Puts every listener into the loop; its token is its index.
    pub fn register(&self, registry: &Registry) -> io::Result<()> {
        for (index, (_, listener)) in self.listeners.iter().enumerate() {
            registry.register(&mut SourceFd(&listener.raw_fd()), Token(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Protocol and true address of every listener.
    pub fn places(&self) -> impl Iterator<Item = (Door, String)> {
        self.listeners.iter().filter_map(|(kind, listener)| match kind {
            Kind::Door(door) => Some((*door, listener.place().to_string())),
            Kind::Control | Kind::Local => None,
        })
    }

    /// When accepting is to be tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries every listener.
    pub fn stir_all(&mut self) {
        self.retry_at = None;
        (0..self.listeners.len()).for_each(|index| self.stir(index));
    }

    /// Takes every connection that waits at a listener.
    pub fn stir(&mut self, index: usize) {
        while let Some((kind, listener)) = self.listeners.get(index) {
            match listener.accept() {
                Ok((socket, client)) => self.arrived(*kind, socket, client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if listener::is_about_the_connection(&error) => {}
                Err(error) => {
                    let now = Instant::now();
                    if self.troubled.is_none_or(|troubled| troubled + LOG_INTERVAL <= now) {
                        log::error!("{}: accept: {error}; trying again", listener.place());
                        self.troubled = Some(now);
                    }
                    self.retry_at = Some(now + BACK_OFF);
                    return;
                }
            }
        }
    }

    /// Does something that may take the disk's time on a worker thread, so that accepting does not wait for it.
    pub fn beside(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.pool.run(job)
    }

    /// Closes every listener: nobody new comes in.
    pub fn close(&mut self, registry: &Registry) {
        for (_, listener) in &self.listeners {
            let _ = registry.deregister(&mut SourceFd(&listener.raw_fd()));
        }
        self.listeners.clear();
        self.retry_at = None;
    }

    fn arrived(&mut self, kind: Kind, socket: OwnedFd, client: Client) {
        let service = self.service.clone();
        let Some(door) = kind.door() else {
            if let Ok(ticket) = self.status_clients.admit(None) {
                let job = move || {
                    let _ticket = ticket;
                    monitor::serve_status(&service, socket.into());
                };
                let _ = self.pool.run(job);
            }
            return;
        };
        // A proxy's connections count for their clients, who are not known yet.
        let address = client.ip().filter(|address| !service.config.is_proxy(*address));
        match service.admission.admit(address) {
            Ok(ticket) => {
                service.counters.connections_accepted.one();
                if service.admission.is_crowded() {
                    service.sessions.make_room(IDLE_PATIENCE);
                }
                let accepted = Accepted { socket, client, door, ticket };
                if let Err(error) = self.pool.run(move || handshake::serve(&service, accepted)) {
                    log::error!("{door}: no thread for a connection: {error}");
                }
            }
            Err(refusal) => self.refuse(door, socket, &client, refusal),
        }
    }

    fn refuse(&mut self, door: Door, socket: OwnedFd, client: &Client, refusal: Refusal) {
        self.service.counters.connections_refused.one();
        if refusal == Refusal::Full {
            self.service.sessions.make_room(IDLE_PATIENCE);
        }
        self.refused += 1;
        let now = Instant::now();
        if self.logged.is_none_or(|logged| logged + LOG_INTERVAL <= now) {
            let (limit, refused) = (refusal.limit(), self.refused);
            log::warn!("{door}: {client} refused: {limit} reached ({refused} refused since the last such line)");
            (self.refused, self.logged) = (0, Some(now));
        }
        Peer::new(socket).last_words(refusal_line(door, refusal));
    }
}
