//! HTTP over a connection: `[http]` serves /events, /status, /metrics and a page for people; `metrics.listen` serves
//! /metrics alone. What is a request is in `http`; what the numbers are, the server says.
//!
//! A connection lasts for some requests where the client wants that. A stream of events ends with its connection.

#[cfg(feature = "http")]
mod page;
#[cfg(feature = "http")]
mod places;
#[cfg(feature = "http")]
mod query;
#[cfg(feature = "http")]
mod routes;
#[cfg(feature = "http")]
mod stream;

use crate::config::ListenerKind;
use crate::http::{Head, Refusal, Request, Session, Step, Version, reason};
use crate::net::conn::{Client, Command, Conn, Error};
use crate::service::Service;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a client may take for a whole head. Browsers and libraries send it at once.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection waits for another request.
const KEPT: Duration = Duration::from_secs(2);

/// How long, and how many lines long, a client that was refused may still send before the connection is closed. Data that
/// is not read would make the kernel take back the reply (RFC 9112 section 9.6).
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1_000);

const TEXT: &str = "text/plain; charset=utf-8";

/// Where the numbers come from.
#[derive(Clone, Copy)]
pub struct Reports {
    /// The status as one JSON object.
    pub status: fn(&Service) -> String,
    /// The metrics in Prometheus' text format.
    pub metrics: fn(&Service) -> String,
}

#[cfg(feature = "http")]
pub use places::prepare;

/// How many streams of events are open.
pub fn open_streams() -> u64 {
    #[cfg(feature = "http")]
    return places::open_streams();
    #[cfg(not(feature = "http"))]
    0
}

/// Serves one connection until it ends.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
pub fn serve(service: &Service, conn: Conn, client: &Client, kind: ListenerKind, reports: Reports) {
    let mut driver = Box::new(Driver { service, conn, client, kind, reports, session: Session::default() });
    let end = driver.run();
    driver.conn.close();
    if matches!(end, Ok(Rest::Unread)) {
        driver.linger();
    }
    if let Err(Error::Io(error)) = &end {
        log::info!("{kind}: {client}: {error}");
    }
}

/// Queues the reply to a request that is not served.
fn refuse(conn: &mut Conn, refusal: &Refusal, version: Version, keeps: bool, is_head: bool) -> Result<(), Error> {
    let body = format!("{} {}: {}\n", refusal.code, reason(refusal.code), refusal.why);
    let (code, length) = (refusal.code, Some(body.len()));
    Head { now: now(), version, code, content_type: TEXT, length, keeps, more: "" }.write(conn.output());
    if is_head { Ok(()) } else { conn.queue(body.as_bytes()) }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a connection may still hold when it ends.
enum Rest {
    /// Nothing that matters.
    Nothing,
    /// More of a request that was refused.
    Unread,
}

struct Driver<'a> {
    service: &'a Service,
    conn: Conn,
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    client: &'a Client,
    kind: ListenerKind,
    reports: Reports,
    session: Session,
}

/// What a request gets.
enum Answer {
    /// A body of this type, with further fields.
    Body(&'static str, String, &'static str),
    /// An error.
    Refuse(Refusal),
    /// Events, from a place on.
    #[cfg(feature = "http")]
    Stream(stream::Wanted),
}

impl Driver<'_> {
    fn run(&mut self) -> Result<Rest, Error> {
        let mut patience = HEAD_PATIENCE;
        loop {
            let request = match self.request(patience)? {
                Ok(request) => request,
                Err(refusal) => {
                    self.conn.set_command_timeout(self.service.config.limits.command_timeout);
                    let is_metrics = self.kind == ListenerKind::Metrics;
                    self.refuse(&refusal, if is_metrics { Version::Http10 } else { Version::Http11 }, false)?;
                    return Ok(Rest::Unread);
                }
            };
            self.conn.set_command_timeout(self.service.config.limits.command_timeout);
            if !self.answer(&request)? {
                return Ok(Rest::Nothing);
            }
            self.conn.flush()?;
            patience = KEPT;
        }
    }

    /// Reads a head. The first line may be awaited for `patience`; then the whole head has [`HEAD_PATIENCE`].
    fn request(&mut self, patience: Duration) -> Result<Result<Box<Request>, Refusal>, Error> {
        let longest = self.service.config.limits.command_timeout;
        let mut end = Instant::now() + patience.min(longest);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.conn.set_command_timeout(left);
            let was_begun = self.session.is_begun();
            let step = match self.conn.command(self.session.line_limit())? {
                Command::Line(line) => self.session.line(line),
                Command::TooLong => self.session.line_too_long(),
            };
            if self.session.is_begun() && !was_begun {
                end = Instant::now() + HEAD_PATIENCE.min(longest);
            }
            match step {
                Step::Line => {}
                Step::Serve(request) => return Ok(Ok(request)),
                Step::Refuse(refusal) => return Ok(Err(refusal)),
            }
        }
    }

    /// Answers a request; false when the connection ends.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn answer(&mut self, request: &Request) -> Result<bool, Error> {
        self.service.counters.http_requests.one();
        let is_metrics = self.kind == ListenerKind::Metrics;
        // Programs that read until the end of the connection were written for this listener.
        let version = if is_metrics { Version::Http10 } else { request.version };
        let keeps = !is_metrics && !request.closes;
        let answer = match is_metrics {
            true => self.metrics_only(request),
            false => self.route(request)?,
        };
        match answer {
            Answer::Body(content_type, body, more) => {
                let length = Some(body.len());
                Head { now: now(), version, code: 200, content_type, length, keeps, more }.write(self.conn.output());
                if !self.session.is_head() {
                    self.conn.queue(body.as_bytes())?;
                }
                Ok(keeps)
            }
            Answer::Refuse(refusal) => {
                let keeps = keeps && matches!(refusal.code, 401 | 404);
                self.refuse(&refusal, version, keeps)?;
                Ok(keeps)
            }
            #[cfg(feature = "http")]
            Answer::Stream(wanted) => {
                let is_head = self.session.is_head();
                stream::serve(self.service, &mut self.conn, self.client, version, &wanted, is_head).map(|()| false)
            }
        }
    }

    fn metrics_only(&self, request: &Request) -> Answer {
        match request.path.as_str() {
            "/metrics" => self.metrics(),
            _ => Answer::Refuse(Refusal::new(404, "the metrics are at /metrics")),
        }
    }

    fn metrics(&self) -> Answer {
        Answer::Body("text/plain; version=0.0.4; charset=utf-8", (self.reports.metrics)(self.service), "")
    }

    fn refuse(&mut self, refusal: &Refusal, version: Version, keeps: bool) -> Result<(), Error> {
        refuse(&mut self.conn, refusal, version, keeps, self.session.is_head())
    }

    /// Reads and drops what still comes.
    fn linger(&mut self) {
        let (patience, lines) = LINGER;
        let end = Instant::now() + patience;
        for _ in 0..lines {
            self.conn.set_command_timeout(end.saturating_duration_since(Instant::now()));
            if self.conn.command(crate::http::LONGEST_HEAD).is_err() {
                break;
            }
        }
    }
}

#[cfg(not(feature = "http"))]
impl Driver<'_> {
    fn route(&mut self, _request: &Request) -> Result<Answer, Error> {
        Ok(Answer::Refuse(Refusal::new(404, "this mailbell was built without it")))
    }
}
