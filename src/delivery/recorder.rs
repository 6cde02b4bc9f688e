//! Records on their way into the journal. What the journal does not take, because the state disk is full, waits here
//! in order and is tried again; nobody's mail waits for it.

use super::Recipient;
use crate::journal::{Journal, KnownIds, Record};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory for records that wait, octets. What is more is found again by a scan of the Maildirs.
const WAITING: usize = 4 * 1024 * 1024;

/// After so many records what is known is put in order, which makes it small.
const UNSETTLED: usize = 50_000;

/// The way into the journal, for every thread.
pub struct Recorder {
    journal: Arc<Journal>,
    known: Arc<KnownIds>,
    state: Mutex<State>,
    /// Called when there is something to flush.
    stir: Option<Stir>,
}

/// Something cheap that can be done from any thread.
pub type Stir = Box<dyn Fn() + Send + Sync>;

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Record>,
    /// Memory that they take, about.
    octets: usize,
    /// Records were dropped from the waiting: their messages are unknown again.
    overflowed: bool,
    /// The last try failed, and the log knows.
    failing: bool,
    /// There is something to flush, and `stir` was called.
    due: bool,
    unsettled: usize,
}

impl Recorder {
    /// Writes to `journal` and marks in `known`.
    pub fn new(journal: Arc<Journal>, known: Arc<KnownIds>) -> Recorder {
        Recorder { journal, known, state: Mutex::default(), stir: None }
    }

    /// `stir` is called after records came, once until the next [`Recorder::flush`].
    pub fn on_record(&mut self, stir: Stir) {
        self.stir = Some(stir);
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
        state.unsettled += records.len();
        if state.waiting.is_empty() {
            self.append(&mut state, records);
        } else {
            self.keep(&mut state, records);
        }
        let due = std::mem::replace(&mut state.due, true);
        drop(state);
        if !due {
            self.stir.iter().for_each(|stir| stir());
        }
    }

    fn append(&self, state: &mut State, mut records: Vec<Record>) {
        match self.journal.append(&mut records) {
            Ok(()) => {
                records.iter().for_each(|record| self.known.recorded(&record.user, KnownIds::id_of(record)));
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
                self.known.remove(&record.user, KnownIds::id_of(&record));
                state.overflowed = true;
                continue;
            }
            state.octets += octets;
            state.waiting.push(record);
        }
    }

    /// Tries again what waits, and makes the journal last. What is still to do then stirs again. True: everything is
    /// recorded, but the Maildirs must be scanned for messages whose records were too many to wait.
    pub fn flush(&self) -> bool {
        let (mut due, missed) = {
            let mut state = self.lock();
            let waiting = std::mem::take(&mut state.waiting);
            state.octets = 0;
            if !waiting.is_empty() {
                self.append(&mut state, waiting);
            }
            if state.unsettled >= UNSETTLED
                && let Some(_alone) = self.known.try_saving()
            {
                self.settle_now(&mut state);
            }
            state.due = false;
            (!state.waiting.is_empty(), state.waiting.is_empty() && std::mem::take(&mut state.overflowed))
        };
        if let Err(error) = self.journal.sync() {
            log::error!("journal: {error}");
            due = true;
        }
        if due && !std::mem::replace(&mut self.lock().due, true) {
            self.stir.iter().for_each(|stir| stir());
        }
        missed
    }

    /// A moment at which no record is being written: what is recorded becomes ready to be saved, and `seq` is that of
    /// the last such record.
    pub fn settle(&self) -> u64 {
        self.settle_now(&mut self.lock())
    }

    fn settle_now(&self, state: &mut State) -> u64 {
        state.unsettled = 0;
        self.known.settle();
        self.journal.last_seq()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What a record takes in memory, about.
fn memory(record: &Record) -> usize {
    let texts = crate::journal::record::FIELDS.iter().filter_map(|name| record.field(name));
    size_of::<Record>() + texts.map(|text| text.len()).sum::<usize>()
}
