//! What comes before a session: the PROXY header, the limit for the client's address, implicit TLS. Then the session is
//! served, and the connection always ends here.

use crate::config::ListenerKind;
use crate::net::conn::{Client, Conn, Peer, Timeouts};
use crate::net::proxy::{self, Parsed, Source};
use crate::server::monitor;
use crate::server::pool::Job;
use crate::service::Service;
use crate::service::admission::{Origin, Refusal, Ticket};
use crate::service::login;
use crate::{httpd, pop3d, smtpd};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest wait for a PROXY header, which a proxy sends at once. Not longer than a command may take.
const PROXY_PATIENCE: Duration = Duration::from_secs(10);

/// A connection that was accepted and admitted.
pub struct Accepted {
    /// The settings and the store.
    pub service: Arc<Service>,
    /// The socket, blocking.
    pub peer: Arc<Peer>,
    /// The client, or a proxy before it.
    pub client: Client,
    /// The listener.
    pub kind: ListenerKind,
    /// The place that it takes.
    pub ticket: Ticket,
}

/// What the worker threads do.
pub enum Work {
    /// Serve a connection. On the heap, so that the stack of the thread that serves it stays small.
    Session(Box<Accepted>),
    /// Answer a client of the control socket.
    Status(Arc<Service>, OwnedFd, Ticket),
}

impl Job for Work {
    fn run(self) {
        match self {
            Work::Session(mut accepted) => serve(&mut accepted),
            Work::Status(service, socket, _ticket) => monitor::serve_status(&service, socket.into()),
        }
    }
}

/// Serves a connection until it ends. A session that panics ends no other one: its peer gets 421 or `-ERR`.
fn serve(accepted: &mut Accepted) {
    let _entry = accepted.service.sessions.enter(accepted.peer.clone());
    let Accepted { service, peer, client, kind, ticket } = accepted;
    let kind = *kind;
    if let Some(proxy) = client.ip().filter(|address| service.config.is_proxy(*address)) {
        match behind_proxy(service, peer, proxy, kind, ticket) {
            Some(address) => *client = Client::Net(address),
            None => return,
        }
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| session(service, peer.clone(), client, kind)));
    if outcome.is_err() {
        failed(service, peer, client, kind);
    }
}

// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
fn failed(service: &Service, peer: &Peer, client: &Client, kind: ListenerKind) {
    service.counters.session_panics.one();
    log::error!("{kind}: the session of {client} failed; the others go on");
    if !kind.is_implicit_tls() {
        peer.last_words(match kind {
            ListenerKind::Pop3 => "-ERR [SYS/TEMP] Internal error, try again later\r\n",
            // The reply may have begun.
            ListenerKind::Metrics | ListenerKind::Http => "",
            _ => "421 4.3.0 Internal error, try again later\r\n",
        });
    }
}

/// The address of the client behind a proxy; `None` when it is not served.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
fn behind_proxy(
    service: &Service,
    peer: &Peer,
    proxy: IpAddr,
    kind: ListenerKind,
    ticket: &mut Ticket,
) -> Option<IpAddr> {
    let patience = PROXY_PATIENCE.min(service.config.limits.command_timeout);
    let address = match proxied(peer, patience) {
        Ok(Source::Proxy) => proxy,
        Ok(Source::Client(true_client)) => true_client.ip().to_canonical(),
        Err(fault) => {
            log::warn!("{kind}: {proxy} is a trusted proxy, but sent no PROXY header: {fault}");
            return None;
        }
    };
    if let Err(refusal) = ticket.move_to(Origin::Address(address)) {
        service.counters.connections_refused.one();
        log::warn!("{kind}: {address} refused: {} reached", refusal.reason());
        peer.last_words(&refusal_line(kind, refusal));
        return None;
    }
    Some(address)
}

/// The reply to a client that is not admitted.
pub fn refusal_line(kind: ListenerKind, refusal: Refusal) -> String {
    let (code, why) = match refusal {
        Refusal::Full => ("4.3.2", "Too many connections"),
        Refusal::TooManyFromAddress => ("4.7.0", "Too many connections from your address"),
        Refusal::TooOften => ("4.7.0", "Your address connects too often"),
        Refusal::NoResources => ("4.3.1", "Out of resources"),
    };
    match kind {
        ListenerKind::Pop3 => format!("-ERR [SYS/TEMP] {why}, try again later\r\n"),
        ListenerKind::Smtp | ListenerKind::Submission | ListenerKind::Lmtp | ListenerKind::Local => {
            format!("421 {code} {why}, try again later\r\n")
        }
        ListenerKind::Metrics | ListenerKind::Http => {
            "HTTP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n\r\n".into()
        }
        // Nothing can be said in clear where TLS comes first.
        ListenerKind::Smtps | ListenerKind::Pop3s | ListenerKind::Control => String::new(),
    }
}

fn session(service: &Service, peer: Arc<Peer>, client: &Client, kind: ListenerKind) {
    let limits = &service.config.limits;
    let command = match kind {
        ListenerKind::Pop3 | ListenerKind::Pop3s => service.config.pop3.command_timeout,
        _ => limits.command_timeout,
    };
    let mut conn = Conn::new(peer, Timeouts { command, session: limits.session_timeout });
    if kind.is_implicit_tls() && login::start_tls(service, &mut conn, client, kind).is_err() {
        return;
    }
    match kind {
        ListenerKind::Smtp
        | ListenerKind::Submission
        | ListenerKind::Smtps
        | ListenerKind::Lmtp
        | ListenerKind::Local => smtpd::serve(service, conn, client, kind),
        ListenerKind::Pop3 | ListenerKind::Pop3s => pop3d::serve(service, conn, client, kind),
        ListenerKind::Metrics | ListenerKind::Http => httpd::serve(service, conn, client, kind, monitor::REPORTS),
        // Served as `Work::Status`.
        ListenerKind::Control => {}
    }
}

/// Reads the PROXY header, to its last octet and no further: a TLS handshake may follow.
fn proxied(peer: &Peer, patience: Duration) -> Result<Source, String> {
    let end = Instant::now() + patience;
    let mut header = Vec::new();
    loop {
        if !peer.readable(end).map_err(|error| error.to_string())? {
            return Err("timed out".into());
        }
        let known = header.len();
        header.resize(proxy::LONGEST, 0);
        let seen = peer.receive_now(&mut header[known..], true).map_err(|error| error.to_string())?;
        header.truncate(known + seen);
        let parsed = proxy::parse(&header).map_err(|fault| fault.0.to_owned())?;
        let (source, used) = match parsed {
            Parsed::Whole(source, length) => (Some(source), length - known),
            Parsed::Partial if seen == 0 => return Err("the connection ended".into()),
            Parsed::Partial if header.len() >= proxy::LONGEST => return Err("too long".into()),
            // All of it belongs to the header, so the session does not need it.
            Parsed::Partial => (None, seen),
        };
        // They are there: they were seen above.
        peer.receive_now(&mut vec![0; used], false).map_err(|error| error.to_string())?;
        if let Some(source) = source {
            return Ok(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_proxy_header_is_read_to_its_end_and_no_further() {
        let header = b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n";
        for split in 0..header.len() {
            let (mut proxy, ours) = UnixStream::pair().unwrap();
            proxy.write_all(&header[..split]).unwrap();
            let rest = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(u64::from(split > 0)));
                proxy.write_all(&header[split..]).unwrap();
                proxy.write_all(b"EHLO x").unwrap();
                proxy
            });
            let mut rest_of = ours.try_clone().unwrap();
            let peer = Peer::new(OwnedFd::from(ours));
            assert_eq!(
                proxied(&peer, MINUTE),
                Ok(Source::Client("192.0.2.9:4711".parse().unwrap())),
                "split at {split}"
            );
            let mut next = [0; 6];
            rest_of.read_exact(&mut next).unwrap();
            assert_eq!(&next, b"EHLO x");
            drop(rest.join());
        }
    }

    #[test]
    fn a_connection_without_a_header_is_refused() {
        let (mut client, ours) = UnixStream::pair().unwrap();
        client.write_all(b"EHLO client.example\r\n").unwrap();
        assert!(proxied(&Peer::new(OwnedFd::from(ours)), MINUTE).is_err());
        let (client, ours) = UnixStream::pair().unwrap();
        drop(client);
        assert_eq!(proxied(&Peer::new(OwnedFd::from(ours)), MINUTE), Err("the connection ended".into()));
        let (_client, ours) = UnixStream::pair().unwrap();
        assert_eq!(proxied(&Peer::new(OwnedFd::from(ours)), Duration::from_millis(1)), Err("timed out".into()));
    }
}
