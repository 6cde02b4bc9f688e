//! What the server says of itself: the JSON of `mailbell status`, on a unix socket in the state folder, and the same
//! numbers for Prometheus, which `httpd` serves. Both only ever read.

use super::{orders, time};
use crate::config::Config;
use crate::httpd::{self, Reports};
use crate::message::date;
use crate::net::tls;
use crate::notify::{GivenUp, Settings, SubscriberStatus};
use crate::service::Service;
use crate::service::counters::{self, Metric, label};
use serde_json::{Value, json};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `httpd` serves of this.
pub const REPORTS: Reports = Reports { status: |service| status(service).to_string(), metrics: prometheus };

/// How long a client of the control socket may read nothing.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// Longest order of a client of the control socket, octets, and how long it may take to come.
const ORDER: u64 = 64 * 1024;
const ORDER_PATIENCE: Duration = Duration::from_secs(1);

/// Where `mailbell status` asks.
pub fn control_socket(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// Answers one client of the control socket by one JSON object, then the end: an order where the client sends one, else
/// the whole status.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
pub fn serve_status(service: &Service, mut stream: std::os::unix::net::UnixStream) {
    let _ = stream.set_write_timeout(Some(STATUS_PATIENCE));
    let _ = stream.set_read_timeout(Some(ORDER_PATIENCE));
    let mut order = String::new();
    // A client that sends nothing and does not say so wants the status, too.
    let _ = io::BufReader::new(&stream).take(ORDER).read_line(&mut order);
    let answer = if order.trim().is_empty() { status(service) } else { orders::answer(service, &order) };
    let _ = stream.write_all(format!("{answer}\n").as_bytes());
}

/// The status of a running server.
pub fn status(service: &Service) -> Value {
    let mut counters = json!({});
    for (name, _, value) in service.counters.list() {
        counters[name] = value.into();
    }
    #[allow(unused_mut)] // Where no feature has something to tell.
    let mut status = json!({
        "running": true,
        "version": env!("CARGO_PKG_VERSION"),
        "hostname": service.config.hostname,
        "pid": std::process::id(),
        "uptime_seconds": service.started.elapsed().as_secs(),
        "listeners": listeners(service),
        "sessions": service.admission.open(),
        "sessions_limit": service.config.limits.connections,
        "maildrops_open": service.maildrops.open_count(),
        "accounts": service.live().accounts.names().count(),
        "disk_free_octets": free_octets(&service.config.mail.root),
        "min_free_octets": service.config.mail.min_free,
        "certificates": certificates(service),
        "http_streams": httpd::open_streams(),
        "last_seq": service.ledger.last_seq(),
        "counters": counters,
        "subscribers": subscribers(service).iter().map(subscriber).collect::<Vec<_>>(),
        "remotes": [],
        "queue": null,
        "brokers": [],
    });
    #[cfg(feature = "remote")]
    {
        status["remotes"] = super::remote_status::status(service);
    }
    #[cfg(feature = "relay")]
    {
        status["queue"] = super::queue_status::status(service);
    }
    #[cfg(feature = "mqtt")]
    {
        status["brokers"] = super::broker_status::status(service);
    }
    status
}

/// The certificate of the server: when it ends, and when it should have been renewed.
fn certificates(service: &Service) -> Value {
    let live = service.live();
    let pair = live.tls.as_ref().zip(service.config.tls.pair.as_ref());
    let one = |(tls, (file, _)): (&tls::Config, &(PathBuf, PathBuf))| json!({ "file": file, "expires": time(tls.expires()), "renew_by": time(tls.renew_by()) });
    pair.map(one).into_iter().collect()
}

/// Protocol and real address of each listener that is open to clients.
fn listeners(service: &Service) -> Vec<Value> {
    let all = service.listeners.get().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|(kind, address)| json!({"protocol": kind.name(), "address": address})).collect()
}

/// The status as far as files tell it, when no server runs.
///
/// # Errors
///
/// When the journal or the cursors cannot be read.
pub fn status_without_server(config: &Config) -> io::Result<Value> {
    let last_seq = crate::journal::last_seq(&config.journal())?;
    let mut subscribers = crate::notify::status_of_files(&config.state)?;
    let configured = config.subscribers();
    // Others are not in use any more.
    subscribers.retain_mut(|each| {
        let settings = configured.iter().find(|settings| settings.name() == each.name);
        each.is_paused |= settings.is_some_and(Settings::is_paused);
        settings.is_some() || each.name.starts_with("watch:")
    });
    #[cfg(feature = "relay")]
    let queue = super::queue_status::status_of_files(config);
    #[cfg(not(feature = "relay"))]
    let queue = Value::Null;
    Ok(json!({
        "running": false,
        "version": env!("CARGO_PKG_VERSION"),
        "disk_free_octets": free_octets(&config.mail.root),
        "last_seq": last_seq,
        "subscribers": subscribers.iter().map(subscriber).collect::<Vec<_>>(),
        "queue": queue,
    }))
}

fn subscriber(status: &SubscriberStatus) -> Value {
    json!({
        "name": status.name,
        "kind": status.name.split(':').next(),
        "last_seq": status.last_seq,
        "backlog": status.backlog,
        "oldest_unread": status.oldest_unread.map(date::rfc3339_micros),
        "retries": status.retries,
        "given_up": status.given_up,
        "lost": status.lost,
        "paused": status.is_paused,
        "last_error": status.last_error,
        "given_up_events": status.last_given_up.iter().map(GivenUp::json).collect::<Vec<_>>(),
    })
}

fn subscribers(service: &Service) -> Vec<SubscriberStatus> {
    service.subscribers().as_ref().map(|subscribers| subscribers.status()).unwrap_or_default()
}

fn free_octets(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The metrics of each subscriber.
const SUBSCRIBERS: [Metric<SubscriberStatus>; 7] = [
    ("subscriber_last_seq", "seq up to which a subscriber is done.", "gauge", |each| each.last_seq),
    ("subscriber_backlog", "Events that a subscriber has not got yet.", "gauge", |each| each.backlog),
    ("subscriber_backlog_age_seconds", "Age of the oldest of these.", "gauge", |each| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        each.oldest_unread.map_or(0, |stored| now.saturating_sub(stored) / 1_000_000)
    }),
    ("subscriber_paused", "Whether a subscriber is paused.", "gauge", |each| each.is_paused.into()),
    ("subscriber_retries_total", "Failed tries of a hook or webhook.", "counter", |each| each.retries),
    ("subscriber_given_up_total", "Events that a hook or webhook gave up.", "counter", |each| each.given_up),
    ("subscriber_lost_total", "Events dropped from the journal unread.", "counter", |each| each.lost),
];

/// The numbers in Prometheus' text format.
fn prometheus(service: &Service) -> String {
    let mut text = String::new();
    for (name, help, value) in service.counters.list() {
        counters::prometheus(&mut text, &format!("{name}_total"), help, "counter", &[(String::new(), value)]);
    }
    let mut gauge = |name: &str, help: &str, value: u64| {
        counters::prometheus(&mut text, name, help, "gauge", &[(String::new(), value)]);
    };
    gauge("sessions", "Connections open now.", service.admission.open() as u64);
    gauge("sessions_limit", "Connections that may be open at most.", service.config.limits.connections as u64);
    gauge("http_streams", "Streams of events open over HTTP now.", httpd::open_streams());
    gauge("maildrops_open", "Maildrops open in POP3 sessions.", service.maildrops.open_count() as u64);
    gauge("journal_last_seq", "seq of the latest event.", service.ledger.last_seq());
    if let Some(octets) = free_octets(&service.config.mail.root) {
        gauge("disk_free_octets", "Octets free on the disk of the mail.", octets);
    }
    gauge("min_free_octets", "Octets that mail.min_free keeps free.", service.config.mail.min_free);
    if let Some(seconds) = service.live().tls.as_ref().and_then(crate::net::tls::Config::expires) {
        gauge("certificate_expiry_timestamp_seconds", "When the certificate ends.", seconds);
    }
    counters::families(&mut text, &subscribers(service), |each| label("subscriber", &each.name), &SUBSCRIBERS);
    #[cfg(feature = "remote")]
    super::remote_status::metrics(service, &mut text);
    #[cfg(feature = "relay")]
    super::queue_status::metrics(service, &mut text);
    #[cfg(feature = "mqtt")]
    super::broker_status::metrics(service, &mut text);
    text
}
