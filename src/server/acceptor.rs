//! The listening sockets in the event loop: accept, admit or refuse, hand to the pool.
//!
//! An accept error never stops the server. Where it is about one connection, the next one is accepted. Where descriptors
//! or memory run out, the client is told so, and the loop tries again a little later (mio is edge-triggered, so the event
//! would not come again).

use crate::config::ListenerKind;
use crate::net::conn::{Client, Peer};
use crate::server::handshake::{Accepted, Work, refusal_line};
use crate::server::listener::{self, Listener};
use crate::server::pool::Pool;
use crate::service::Service;
use crate::service::admission::{Admission, Origin, Refusal};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon accepting is tried again when the system had no room.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Connections accepted in one turn of the loop, so that signals and timers are served between.
const TURN: usize = 64;

/// Refusals are logged this often at the most, with their number; failures to accept, too.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A session without progress for this long gives its place up when few places are left.
const IDLE_PATIENCE: Duration = Duration::from_secs(8);

/// So many sessions give their places up for one connection that is refused, so that its next try finds one.
const ROOM: usize = 8;

/// Clients of the control socket served at once. They do not take places from mail.
const STATUS_CLIENTS: usize = 8;

/// All listeners.
pub struct Acceptor {
    listeners: Vec<(ListenerKind, Listener)>,
    service: Arc<Service>,
    pool: Pool<Work>,
    status_clients: Admission,
    retry_at: Option<Instant>,
    /// An open descriptor. When the system has no other one, it is closed so that a client can be told.
    reserve: Option<File>,
    /// When it was logged that accepting fails.
    troubled: Option<Instant>,
    refused: u64,
    logged: Option<Instant>,
}

impl Acceptor {
    /// Over listeners that listen already.
    pub fn new(listeners: Vec<(ListenerKind, Listener)>, service: Arc<Service>, pool: Pool<Work>) -> Acceptor {
        Acceptor {
            listeners,
            service,
            pool,
            status_clients: Admission::new(STATUS_CLIENTS, STATUS_CLIENTS),
            retry_at: None,
            reserve: reserve(),
            troubled: None,
            refused: 0,
            logged: None,
        }
    }

    /// The worker threads.
    pub fn pool(&self) -> &Pool<Work> {
        &self.pool
    }

    /// Puts every listener into the loop; its token is its index.
    pub fn register(&self, registry: &Registry) -> io::Result<()> {
        for (index, (_, listener)) in self.listeners.iter().enumerate() {
            registry.register(&mut SourceFd(&listener.raw_fd()), Token(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Protocol and true address of every listener.
    pub fn places(&self) -> impl Iterator<Item = (ListenerKind, String)> {
        let public = self.listeners.iter().filter(|(kind, _)| kind.is_public());
        public.map(|(kind, listener)| (*kind, listener.place().to_string()))
    }

    /// When accepting is to be tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Accepts at every listener.
    pub fn accept_all(&mut self) {
        self.retry_at = None;
        (0..self.listeners.len()).for_each(|index| self.accept(index));
    }

    /// Accepts the connections that wait at a listener, as many as one turn allows.
    pub fn accept(&mut self, index: usize) {
        for _ in 0..TURN {
            let Some((kind, listener)) = self.listeners.get(index) else { return };
            match listener.accept() {
                Ok((socket, client)) => self.arrived(*kind, socket, client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if listener::is_about_the_connection(&error) => {}
                Err(error) => return self.no_descriptor(index, &error),
            }
        }
        self.retry_at = Some(Instant::now());
    }

    /// Closes every listener: nothing is accepted any more.
    pub fn close(&mut self, registry: &Registry) {
        for (_, listener) in &self.listeners {
            let _ = registry.deregister(&mut SourceFd(&listener.raw_fd()));
        }
        self.listeners.clear();
        self.retry_at = None;
    }

    fn arrived(&mut self, kind: ListenerKind, socket: OwnedFd, client: Client) {
        let service = self.service.clone();
        if kind == ListenerKind::Control {
            if let Ok(ticket) = self.status_clients.admit(None, false) {
                let _ = self.pool.run(Work::Status(service, socket, ticket));
            }
            return;
        }
        // Behind a reverse proxy on this machine are many clients; streams have a limit of their own.
        let is_local_http =
            kind == ListenerKind::Http && matches!(client, Client::Net(address) if address.is_loopback());
        let origin = if is_local_http { None } else { origin(&service, &socket, &client) };
        match service.admission.admit(origin, kind.is_for_users()) {
            Ok(ticket) => {
                service.counters.connections_accepted.one();
                if service.admission.is_crowded() {
                    service.sessions.make_room(IDLE_PATIENCE, 1);
                }
                let peer = Arc::new(Peer::new(socket));
                let accepted = Box::new(Accepted { service, peer, client, kind, ticket });
                if let Err((Work::Session(accepted), error)) = self.pool.run(Work::Session(accepted)) {
                    log::error!("{kind}: no thread for a connection: {error}");
                    self.refuse(kind, &accepted.peer, &accepted.client, Refusal::NoResources);
                }
            }
            Err(refusal) => self.refuse(kind, &Peer::new(socket), &client, refusal),
        }
    }

    fn refuse(&mut self, kind: ListenerKind, peer: &Peer, client: &Client, refusal: Refusal) {
        self.service.counters.connections_refused.one();
        if matches!(refusal, Refusal::Full | Refusal::NoResources) {
            self.service.sessions.make_room(IDLE_PATIENCE, ROOM);
        }
        self.refused += 1;
        if is_to_be_logged(&mut self.logged) {
            let (reason, refused) = (refusal.reason(), std::mem::take(&mut self.refused));
            log::warn!("{kind}: {client} refused: {reason} reached ({refused} refused since the last such line)");
        }
        peer.last_words(&refusal_line(kind, refusal));
    }

    /// The system has no descriptor or no memory for one more connection. With the reserve the client that waits is told so;
    /// the next try comes a little later.
    fn no_descriptor(&mut self, index: usize, error: &io::Error) {
        if is_to_be_logged(&mut self.troubled) {
            log::error!("{}: accept: {error}; trying again", self.listeners[index].1.place());
        }
        self.retry_at = Some(Instant::now() + BACK_OFF);
        if self.reserve.take().is_some() {
            let (kind, listener) = &self.listeners[index];
            if let (kind, Ok((socket, client))) = (*kind, listener.accept()) {
                self.refuse(kind, &Peer::new(socket), &client, Refusal::NoResources);
            }
        }
        if self.reserve.is_none() {
            self.reserve = reserve();
        }
    }
}

/// What the connection counts for; `None` for a proxy's, which count for clients that are not known yet.
fn origin(service: &Service, socket: &OwnedFd, client: &Client) -> Option<Origin> {
    match client {
        Client::Net(address) if service.config.is_proxy(*address) => None,
        Client::Net(address) => Some(Origin::Address(*address)),
        Client::Local => sockopt::socket_peercred(socket).ok().map(|peer| Origin::User(peer.uid.as_raw())),
    }
}

/// Whether the last line of its kind was long enough ago; the next one counts from now.
fn is_to_be_logged(last: &mut Option<Instant>) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
