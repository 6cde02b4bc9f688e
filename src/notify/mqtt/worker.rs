//! The worker of an `[[mqtt]]`: one connection to the broker after the other, and on each what `mqtt::Session` says.

use super::messages::{self, Message};
use super::queue::Shared;
use super::{BrokerStatus, Brokers, MqttSettings, PATIENCE};
use crate::mqtt::{Failure, Publish, Session, Settings, Step};
use crate::net::remote::conn::{Conn, Signal, connect};
use crate::net::remote::tls::Client;
use crate::net::remote::{self, secret};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds within which the broker hears from us (MQTT 3.1.1 section 3.1.2.10).
const KEEP_ALIVE: u16 = 60;

/// PINGREQ is sent after so long without anything else.
const PING: Duration = Duration::from_secs(45);

/// How long the broker may take for CONNACK, PUBACK or PINGRESP.
const ANSWER: Duration = Duration::from_secs(30);

/// First and longest wait after what only a person can mend: the login, the certificate, the client id.
const WAITS_FOR_PERSON: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(6 * 3600));

/// Octets that are sent at once.
const BLOCK: usize = 64 * 1024;

/// The mark of messages that belong to no record; the number of a record is never 0.
const NO_RECORD: u64 = 0;

/// The mark of PINGRESP.
const PONG: u64 = u64::MAX;

/// What is waited for when nothing is.
const NOTHING: &str = "";

/// Why a session is over.
#[derive(Debug)]
struct End {
    why: String,
    /// Only a person can mend it.
    needs_person: bool,
}

impl From<remote::Error> for End {
    fn from(error: remote::Error) -> End {
        End { needs_person: matches!(error, remote::Error::Certificate(_)), why: error.to_string() }
    }
}

impl From<secret::Error> for End {
    fn from(error: secret::Error) -> End {
        End { why: error.to_string(), needs_person: true }
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        let needs_person = matches!(failure, Failure::Refused(refusal) if !refusal.is_temporary());
        End { why: failure.to_string(), needs_person }
    }
}

impl From<&str> for End {
    fn from(why: &str) -> End {
        End { why: why.to_owned(), needs_person: false }
    }
}

/// The worker.
pub(super) struct Worker {
    settings: MqttSettings,
    shared: Arc<Shared>,
    brokers: Brokers,
    /// The last state of each user's sensor: told again on each connection, since a broker may lose what it keeps.
    states: BTreeMap<String, Message>,
    /// The last wait, and whether it was for a person.
    waited: Option<(Duration, bool)>,
    /// The last failure that was logged.
    complained: Option<String>,
    /// A record was acknowledged in this session.
    has_progress: bool,
    /// The last session with a record ended before any was acknowledged: the next one publishes one record at first, so
    /// that it is known which one the broker does not take.
    is_careful: bool,
}

impl Worker {
    pub(super) fn new(settings: &MqttSettings, shared: Arc<Shared>, brokers: Brokers) -> Worker {
        let worker = Worker {
            settings: settings.clone(),
            shared,
            brokers,
            states: BTreeMap::new(),
            waited: None,
            complained: None,
            has_progress: false,
            is_careful: false,
        };
        let status = BrokerStatus {
            name: settings.subscriber(),
            broker: address(settings),
            is_connected: false,
            connections: 0,
            last_error: None,
            next_try: None,
        };
        worker.lock_brokers().insert(status.name.clone(), status);
        worker
    }

    /// Connects again and again, until it is told to end.
    pub(super) fn run(&mut self) {
        while !self.shared.is_ending() {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.session()));
            let outcome = outcome.unwrap_or_else(|_| Err("the session panicked; this is a fault of mailbell".into()));
            self.shared.in_session(false);
            if let Err(end) = outcome
                && !self.shared.is_ending()
            {
                let pause = self.on_failure(&end);
                self.wait(pause);
            }
        }
        self.tell(|status| status.is_connected = false);
        self.shared.ended();
    }

    /// One session; `Ok` after a clean end.
    fn session(&mut self) -> Result<(), End> {
        let (mut conn, session) = log_in(&self.settings, &self.settings.client_id, &self.shared.abort)?;
        if self.shared.is_ending() {
            return Ok(());
        }
        self.shared.in_session(true);
        log::info!("mqtt {}: {}", self.settings.name, conn.description());
        self.complained = None;
        self.tell(|status| {
            status.is_connected = true;
            status.connections += 1;
            (status.last_error, status.next_try) = (None, None);
        });
        let mut talk =
            Talk { session, out: Vec::new(), marks: Vec::new(), next: VecDeque::new(), told: BTreeSet::new() };
        if self.settings.discovery {
            for user in self.settings.users() {
                talk.announce(&self.settings, user);
            }
            // Of users with a sensor that is told here, too.
            for (user, state) in &self.states {
                talk.announce(&self.settings, user);
                talk.next.push_back((state.clone(), NO_RECORD, false));
            }
        }
        let ended = self.talk(&mut conn, &mut talk);
        conn.close();
        ended
    }

    fn talk(&mut self, conn: &mut Conn, talk: &mut Talk) -> Result<(), End> {
        let mut sent = Instant::now();
        let mut stop_by = None;
        loop {
            if stop_by.is_none() && self.shared.is_ending() {
                // Sooner than the subscriber loses its patience.
                stop_by = Some(Instant::now() + PATIENCE - Duration::from_secs(1));
            }
            let waiting = talk.session.waiting();
            match stop_by {
                Some(by) if waiting == 0 || by <= Instant::now() => {
                    talk.session.disconnect(&mut talk.out);
                    return Ok(conn.send(&talk.out)?);
                }
                Some(_) => {}
                None => self.publish(talk),
            }
            if !talk.out.is_empty() {
                conn.send(&talk.out)?;
                talk.out.clear();
                sent = Instant::now();
                continue;
            }
            let oldest = talk.marks.first().map(|(_, since)| *since + ANSWER);
            let (end, what) = match (oldest, talk.session.is_pinging()) {
                (Some(end), _) => (end, "PUBACK"),
                (None, true) => (sent + ANSWER, "PINGRESP"),
                (None, false) => (sent + PING, NOTHING),
            };
            let end = stop_by.map_or(end, |by| by.min(end));
            match conn.octets(end, what, &[&self.shared.work]) {
                Ok(octets) => {
                    let steps = talk.take(octets);
                    let count = octets.len();
                    conn.consume(count);
                    self.on_steps(steps?);
                }
                Err(remote::Error::Interrupted) if !self.shared.abort.is_given() => drop(self.shared.work.take()),
                Err(remote::Error::Timeout(NOTHING)) => talk.session.ping(&mut talk.out),
                Err(remote::Error::Timeout(_)) if stop_by.is_some_and(|by| by <= Instant::now()) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Publishes as much as may wait for its PUBACK.
    fn publish(&mut self, talk: &mut Talk) {
        while talk.session.room() > 0 && talk.out.len() < BLOCK {
            if let Some((message, mark, dup)) = talk.next.pop_front() {
                talk.publish(&message, mark, dup);
                continue;
            }
            if self.is_careful && !talk.marks.is_empty() {
                return;
            }
            let messages = 1 + u32::from(self.settings.discovery);
            let Some((record, dup)) = self.shared.lock().next(messages) else { return };
            if self.settings.discovery {
                talk.announce(&self.settings, &record.user);
                let state = messages::state(&self.settings, &record);
                talk.next.push_back((state.clone(), record.seq, dup));
                self.states.insert(record.user.clone(), state);
            }
            talk.next.push_back((messages::event(&self.settings, &record), record.seq, dup));
        }
    }

    fn on_steps(&mut self, taken: Vec<u64>) {
        let mut queue = self.shared.lock();
        for mark in taken.into_iter().filter(|mark| *mark != NO_RECORD) {
            // The broker works. Messages that belong to no record do not show that: it may take these and no others.
            self.waited = None;
            if mark != PONG {
                (self.has_progress, self.is_careful) = (true, false);
                queue.taken(mark);
            }
        }
        drop(queue);
        self.shared.wake.wake();
    }

    /// Logs it, and says how long to wait.
    fn on_failure(&mut self, end: &End) -> Duration {
        let (first, longest) = if end.needs_person { WAITS_FOR_PERSON } else { self.settings.retry };
        let pause = match self.waited {
            Some((waited, needed_person)) if needed_person == end.needs_person => (waited * 2).min(longest),
            _ => first,
        };
        self.waited = Some((pause, end.needs_person));
        let name = &self.settings.name;
        let level = match self.complained.replace(end.why.clone()) {
            Some(before) if before == end.why => log::Level::Debug,
            _ => log::Level::Warn,
        };
        log::log!(level, "mqtt {name}: {}: {}; again in {pause:.0?}", address(&self.settings), end.why);
        let mut queue = self.shared.lock();
        let was_published = queue.jobs().next().is_some_and(|job| job.is_open());
        self.is_careful |= was_published && !std::mem::take(&mut self.has_progress);
        let given_up = queue.lost(pause, self.settings.give_up);
        drop(queue);
        if let Some((seq, id)) = given_up.map(|job| (job.record.seq, job.record.id.clone())) {
            log::error!("mqtt {name}: seq {seq} id {id}: the broker ends each connection on it; given up");
        }
        self.shared.wake.wake();
        let next_try = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + pause;
        self.tell(|status| {
            status.is_connected = false;
            (status.last_error, status.next_try) = (Some(end.why.clone()), Some(next_try.as_secs()));
        });
        pause
    }

    /// Waits, unless it is told to end.
    fn wait(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while !self.shared.is_ending() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            Signal::wait_any(&[&self.shared.work], Some(left));
            self.shared.work.take();
        }
    }

    fn tell(&self, change: impl FnOnce(&mut BrokerStatus)) {
        if let Some(status) = self.lock_brokers().get_mut(&self.settings.subscriber()) {
            change(status);
        }
    }

    fn lock_brokers(&self) -> MutexGuard<'_, BTreeMap<String, BrokerStatus>> {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What belongs to one session.
struct Talk {
    session: Session,
    /// What is to be sent.
    out: Vec<u8>,
    /// The mark of each message that waits for its PUBACK, and when it was published; the oldest first.
    marks: Vec<(u64, Instant)>,
    /// Messages that come before the next record, each with its mark and whether it is a repeat.
    next: VecDeque<(Message, u64, bool)>,
    /// Users whose sensor was told.
    told: BTreeSet<String>,
}

impl Talk {
    /// Tells Home Assistant of a user's sensor, once.
    fn announce(&mut self, settings: &MqttSettings, user: &str) {
        if self.told.insert(user.to_owned()) {
            self.next.push_back((messages::discovery(settings, user), NO_RECORD, false));
        }
    }

    fn publish(&mut self, message: &Message, mark: u64, dup: bool) {
        let Message { topic, payload, retain } = message;
        self.session.publish(&Publish { topic, payload, retain: *retain, dup }, mark, &mut self.out);
        self.marks.push((mark, Instant::now()));
    }

    /// Takes what has come: the marks of what was acknowledged.
    fn take(&mut self, mut octets: &[u8]) -> Result<Vec<u64>, End> {
        let mut marks = Vec::new();
        while !octets.is_empty() {
            let (count, step) = self.session.octets(octets);
            octets = &octets[count..];
            match step {
                Step::Taken(mark) => {
                    if let Some(at) = self.marks.iter().position(|(sent, _)| *sent == mark) {
                        self.marks.remove(at);
                    }
                    marks.push(mark);
                }
                Step::Failed(failure) => return Err(failure.into()),
                Step::Pong => marks.push(PONG),
                Step::More | Step::Ready => {}
            }
        }
        Ok(marks)
    }
}

/// As in the configuration, for the log.
fn address(settings: &MqttSettings) -> String {
    let scheme = if settings.trust.is_some() { "mqtts" } else { "mqtt" };
    let host = if settings.host.contains(':') { format!("[{}]", settings.host) } else { settings.host.clone() };
    format!("{scheme}://{host}:{}", settings.port)
}

/// Connects, and waits for the broker's yes.
fn log_in(settings: &MqttSettings, client_id: &str, abort: &Signal) -> Result<(Conn, Session), End> {
    let secret = settings.password_file.as_deref().map(secret::read_file).transpose()?;
    let tls = settings.trust.as_ref().map(Client::new).transpose();
    let tls = tls.map_err(|why| End { why, needs_person: true })?;
    let mut conn = connect(&settings.host, settings.port, tls.as_ref(), false, abort)?;
    let said = Settings { client_id: client_id.to_owned(), login: settings.login.clone(), keep_alive: KEEP_ALIVE };
    let mut out = Vec::new();
    let mut session = Session::new(&said, secret.as_ref().map(secret::Secret::octets), &mut out);
    let sent = conn.send(&out);
    // It may hold the password.
    out.fill(0);
    std::hint::black_box(&out);
    sent?;
    let end = Instant::now() + ANSWER;
    loop {
        let octets = conn.octets(end, "CONNACK", &[])?;
        let (count, step) = session.octets(octets);
        conn.consume(count);
        match step {
            Step::Ready => return Ok((conn, session)),
            Step::Failed(failure) => return Err(failure.into()),
            _ => {}
        }
    }
}

/// Tries a broker once, for `mailbell check --online`: what it is connected to, or what is wrong. It has a client id of its
/// own, so that the connection of a server that runs stays.
///
/// # Errors
///
/// What is wrong, for a person.
pub fn probe(settings: &MqttSettings) -> Result<String, String> {
    let abort = Signal::new().map_err(|error| error.to_string())?;
    let client_id = format!("{}chk", settings.client_id);
    let (mut conn, mut session) = log_in(settings, &client_id, &abort).map_err(|end| end.why)?;
    let mut out = Vec::new();
    session.disconnect(&mut out);
    let _ = conn.send(&out);
    let description = conn.description();
    conn.close();
    Ok(description)
}
