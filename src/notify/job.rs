//! One record that a subscriber was told, or is being told, and has not acknowledged yet.

use crate::journal::record::FIELDS;
use crate::journal::{Begun, Record};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A record that is not done.
#[derive(Debug)]
pub(super) enum Job {
    /// It was begun before the start; its record has not come from the journal again.
    Begun(Begun),
    /// It is being handed over.
    Running(Try),
    /// It failed, and is tried again at that time.
    Waits(Try, Instant),
}

/// How its tries went.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) record: Arc<Record>,
    /// Tries that failed.
    pub(super) tries: u32,
    /// How long it had been failing at `since`.
    pub(super) failing: Duration,
    /// Its first try since this server started, or the end of a pause; `None` during one.
    pub(super) since: Option<Instant>,
}

impl Try {
    /// How long it has been failing.
    pub(super) fn failing(&self) -> Duration {
        self.failing + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Job {
    /// Its tries, where it was begun since the start.
    pub(super) fn of(&self) -> Option<&Try> {
        match self {
            Job::Begun(_) => None,
            Job::Running(job) | Job::Waits(job, _) => Some(job),
        }
    }

    /// What its cursor keeps of it.
    pub(super) fn begun(&self, seq: u64) -> Begun {
        match self {
            Job::Begun(begun) => *begun,
            Job::Running(job) | Job::Waits(job, _) => Begun { seq, tries: job.tries, failing: job.failing().as_secs() },
        }
    }
}

/// What a record takes in memory, roughly.
pub(super) fn octets(record: &Record) -> usize {
    FIELDS.iter().filter_map(|name| record.field(name)).map(|value| value.len() + 32).sum()
}
