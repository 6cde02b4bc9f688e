//! Records on their way into the journal. What the journal does not take, because the state disk is full, waits here
//! in order and is tried again; nobody's mail waits for it.

use super::Recipient;
use crate::journal::{Journal, KnownIds, Record};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Memory for records that wait, octets. What is more is found again by a scan of the Maildirs.
const WAITING: usize = 4 * 1024 * 1024;

/// After so many records what is known is to be put in order, whatever the time.
const UNSETTLED: u64 = 50_000;

/// The way into the journal, for every thread.
#[derive(Debug)]
pub struct Recorder {
    journal: Arc<Journal>,
    known: Arc<KnownIds>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Record>,
    /// Memory that they take, about.
    octets: usize,
    /// Records were dropped from the waiting: their messages are unknown again.
    overflowed: bool,
    /// The last try failed, and the log knows.
    failing: bool,
    /// There is something to be synced or tried again.
    due: bool,
    unsettled: u64,
    stopping: bool,
}

/// Why [`Recorder::wait`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There are records to be synced or tried again.
    Due,
    /// The time is over, or there is much to settle.
    Time,
    /// The end.
    Stop,
}

impl Recorder {
    /// Writes to `journal` and marks in `known`.
    pub fn new(journal: Arc<Journal>, known: Arc<KnownIds>) -> Recorder {
        Recorder { journal, known, state: Mutex::default(), changed: Condvar::new() }
    }

    /// What is known.
    pub fn known(&self) -> &KnownIds {
        &self.known
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A message is about to be in the Maildirs of these recipients, and its records are to follow.
    pub fn announce(&self, recipients: &[&Recipient], id: &str) {
        for to in recipients {
            self.known.insert(&to.user, id.as_bytes());
        }
    }

    /// The message that was announced will not be there.
    pub fn withdraw(&self, recipients: &[&Recipient], id: &str) {
        for to in recipients {
            self.known.remove(&to.user, id.as_bytes());
        }
    }

    /// Appends the records in one write(2), or keeps them for later: it never fails.
    pub fn record(&self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.unsettled += records.len() as u64;
        if state.waiting.is_empty() {
            self.append(&mut state, records);
        } else {
            self.keep(&mut state, records);
        }
        if !state.due {
            state.due = true;
            self.changed.notify_all();
        }
    }

    fn append(&self, state: &mut State, mut records: Vec<Record>) {
        match self.journal.append(&mut records) {
            Ok(()) => {
                records.iter().for_each(|record| self.known.recorded(&record.user, record.id.as_bytes()));
                if std::mem::take(&mut state.failing) {
                    log::info!("journal: the records that waited are written");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut state.failing, true) {
                    log::error!("journal: {error}; mail is stored all the same, and its records follow");
                }
                self.keep(state, records);
            }
        }
    }

    fn keep(&self, state: &mut State, records: Vec<Record>) {
        for record in records {
            let octets = memory(&record);
            if state.octets + octets > WAITING {
                self.known.remove(&record.user, record.id.as_bytes());
                state.overflowed = true;
                continue;
            }
            state.octets += octets;
            state.waiting.push(record);
        }
    }

    /// Tries again what waits, and makes the journal last. True: everything is recorded, but the Maildirs must be
    /// scanned for messages whose records were too many to wait.
    pub fn flush(&self) -> bool {
        let overflowed = {
            let mut state = self.lock();
            let waiting = std::mem::take(&mut state.waiting);
            state.octets = 0;
            if !waiting.is_empty() {
                self.append(&mut state, waiting);
            }
            state.due = !state.waiting.is_empty();
            state.waiting.is_empty() && std::mem::take(&mut state.overflowed)
        };
        if let Err(error) = self.journal.sync() {
            log::error!("journal: {error}");
            self.lock().due = true;
        }
        overflowed
    }

    /// A moment at which no record is being written: what is recorded becomes ready to be saved, and `seq` is that of
    /// the last such record.
    pub fn settle(&self) -> u64 {
        let mut state = self.lock();
        state.unsettled = 0;
        self.known.settle();
        self.journal.last_seq()
    }

    /// Sleeps until there is something to do, at most until `end`.
    pub fn wait(&self, end: Instant) -> Wake {
        self.wait_while(end, |state| !state.due && !state.stopping && state.unsettled < UNSETTLED)
    }

    /// Sleeps for a while in which more records may come, unless the end comes first.
    pub fn linger(&self, time: Duration) -> Wake {
        self.wait_while(Instant::now() + time, |state| !state.stopping)
    }

    fn wait_while(&self, end: Instant, condition: impl Fn(&mut State) -> bool) -> Wake {
        let time = end.saturating_duration_since(Instant::now());
        let (state, _) =
            self.changed.wait_timeout_while(self.lock(), time, condition).unwrap_or_else(PoisonError::into_inner);
        match *state {
            State { stopping: true, .. } => Wake::Stop,
            State { due: true, .. } => Wake::Due,
            _ => Wake::Time,
        }
    }

    /// Ends every [`Recorder::wait`], now and later.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a record takes in memory, about.
fn memory(record: &Record) -> usize {
    let texts = crate::journal::record::FIELDS.iter().filter_map(|name| record.field(name));
    size_of::<Record>() + texts.map(|text| text.len()).sum::<usize>()
}
