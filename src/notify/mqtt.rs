//! The sink of an `[[mqtt]]`: each record is published at a broker, and done when the broker has sent PUBACK for it. Records
//! are published in order, several before the first PUBACK; a restart repeats what the broker has not acknowledged.
//!
//! ```text
//! journal -> Subscriber -> Mqtt -> Queue -> the worker: dial, TLS, mqtt::Session -> broker
//!            (a thread)     '----- PUBACK <--' (a thread)
//! ```
//!
//! The worker waits for the broker, so that the subscriber never does. A broker that is away costs a connection attempt
//! now and then; nothing is given up for that.

mod messages;
mod queue;
mod worker;

pub use worker::probe;

use super::subscriber::{Looked, Sink, Waits};
use super::{Filter, Format, Piece};
use crate::journal::{Begun, Kept, Place, Record};
use crate::net::remote::tls::Trust;
use queue::{Job, Shared};
use rustix::event::PollFlags;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use worker::Worker;

/// How long a clean stop waits for PUBACK packets. What has not been acknowledged then is published again after the start.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stack of the worker, octets; the deepest path is a TLS handshake.
const STACK: usize = 256 * 1024;

/// `[[mqtt]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttSettings {
    /// Its name: of its cursor, and in the log.
    pub name: String,
    /// The broker: a name or an address.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// Which certificates are trusted; `None`: without TLS.
    pub trust: Option<Trust>,
    /// The user name.
    pub login: Option<String>,
    /// Its password, read before each connection.
    pub password_file: Option<PathBuf>,
    /// The topic.
    pub topic: Vec<Piece>,
    /// What is published; `None`: the record.
    pub payload: Option<Format>,
    /// Whether Home Assistant is told of a sensor for each user.
    pub discovery: bool,
    /// The client id: always the same for this section, and no other section's.
    pub client_id: String,
    /// First and longest wait after a connection that failed.
    pub retry: (Duration, Duration),
    /// An event on which the broker ends the connection is given up after this.
    pub give_up: Duration,
    /// Which records.
    pub filter: Filter,
    /// Users with an account here, for `discovery`. The server fills it in.
    pub accounts: Vec<String>,
}

impl MqttSettings {
    /// As a subscriber, and of the cursor.
    pub fn subscriber(&self) -> String {
        format!("mqtt:{}", self.name)
    }

    /// Users whose sensors are told at once.
    fn users(&self) -> &[String] {
        let users = self.filter.users();
        if users.is_empty() { &self.accounts } else { users }
    }
}

/// What the worker of an `[[mqtt]]` does now, for `mailbell status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// `mqtt:home`.
    pub name: String,
    /// The broker's address, as in the configuration.
    pub broker: String,
    /// Whether the broker has taken the login.
    pub is_connected: bool,
    /// How often it has since the start.
    pub connections: u64,
    /// Why the last connection failed; `None` once there is a good one.
    pub last_error: Option<String>,
    /// When the next one is tried, seconds since 1970; `None` while there is one.
    pub next_try: Option<u64>,
}

/// The states of all workers.
pub type Brokers = Arc<Mutex<BTreeMap<String, BrokerStatus>>>;

/// An `[[mqtt]]` that is served.
pub(super) struct Mqtt {
    name: String,
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
    /// Begun before the start; their records have not come from the journal again.
    begun: BTreeMap<u64, Begun>,
    /// Every record up to this one is done, in `begun`, or in the queue.
    written: u64,
}

impl Mqtt {
    /// Goes on where `kept` says, and connects.
    ///
    /// # Errors
    ///
    /// When there are no descriptors or threads left.
    pub(super) fn open(settings: &MqttSettings, kept: &Kept, brokers: &Brokers) -> io::Result<Mqtt> {
        let shared = Arc::new(Shared::new()?);
        let mut worker = Worker::new(settings, shared.clone(), brokers.clone());
        let builder = std::thread::Builder::new().name("mqtt".into()).stack_size(STACK);
        Ok(Mqtt {
            name: settings.name.clone(),
            worker: Some(builder.spawn(move || worker.run())?),
            shared,
            begun: kept.begun.iter().map(|begun| (begun.seq, *begun)).collect(),
            written: kept.place.written,
        })
    }
}

impl Sink for Mqtt {
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
        let seq = record.seq;
        if seq <= self.written && !self.begun.contains_key(&seq) {
            // Done before the start.
            return Ok(());
        }
        let mut queue = self.shared.lock();
        if !queue.has_room(&record) {
            return Err(record);
        }
        let begun = self.begun.remove(&seq).unwrap_or(Begun { seq, ..Begun::default() });
        queue.push(Job::new(record, begun));
        self.written = self.written.max(seq);
        drop(queue);
        self.shared.work.give();
        Ok(())
    }

    fn pass(&mut self, seq: u64) {
        self.lost(seq, seq);
    }

    /// One that was begun before the start may be among them: the journal dropped it, or the filter has changed.
    fn lost(&mut self, from: u64, to: u64) {
        self.begun.retain(|seq, _| !(from..=to).contains(seq));
        self.written = self.written.max(to);
    }

    fn report(&mut self, kept: &mut Kept) {
        let mut queue = self.shared.lock();
        let mut begun: Vec<Begun> = self.begun.values().copied().chain(queue.jobs().map(Job::begun)).collect();
        begun.sort_by_key(|begun| begun.seq);
        let acknowledged = begun.first().map_or(self.written, |oldest| oldest.seq - 1);
        kept.place = Place { acknowledged, written: self.written, waiting: begun.len() as u64 };
        kept.begun = begun;
        let (retries, given_up) = queue.take_counts();
        kept.retries += retries;
        kept.given_up += given_up;
    }

    fn look(&mut self, _rest: Option<Instant>) -> Looked {
        self.shared.wake.clear();
        Looked { moved: self.shared.lock().take_moved(), go_back: None, is_urgent: false }
    }

    fn waits(&self, _full: bool) -> Waits<'_> {
        Waits { fds: vec![(self.shared.wake.as_fd(), PollFlags::IN)], timeout: None }
    }

    fn finish(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        if self.shared.end(PATIENCE) {
            // It catches its panics itself.
            let _ = worker.join();
        } else {
            // A look-up of a name or a connection attempt, which nothing cuts short. It ends by itself after that.
            log::debug!("mqtt {}: not waiting for the end of a connection attempt", self.name);
        }
    }
}

/// Most records in a queue.
const RECORDS: usize = 2 * crate::mqtt::WINDOW;

/// Octets that these may take together in memory; a record that is larger is alone in the queue.
const OCTETS: usize = 1024 * 1024;

#[cfg(test)]
#[path = "mqtt_tests.rs"]
mod tests;
