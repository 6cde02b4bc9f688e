//! The orders that a retrying subscriber takes: hand events over again, pause, go on.

use super::Settings;
use super::desk::{Desk, Order};
use super::given_up::given_up;
use super::ranges::{Ranges, united};
use crate::journal::{self, Item, Reader};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Most ranges of numbers in one request.
const RANGES: usize = 500;

/// How long its thread may take to carry an order out.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscriber that takes orders.
pub struct Handle {
    pub(super) desk: Arc<Desk>,
    pub(super) settings: Settings,
    pub(super) state: PathBuf,
}

/// What became of the events that were to be handed over again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// So many will be.
    pub queued: u64,
    /// So many its filter does not want.
    pub unwanted: u64,
    /// These the journal has no more, or not yet.
    pub gone: Vec<(u64, u64)>,
}

/// Why an order was not carried out.
#[derive(Debug)]
pub enum Refused {
    /// The journal cannot be read.
    Io(io::Error),
    /// Too many separate numbers.
    TooMany,
    /// Its settings have `paused = true`.
    PausedBySettings,
    /// Its thread did not answer.
    Silent,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Io(error) => write!(f, "the journal cannot be read: {error}"),
            Refused::TooMany => {
                write!(
                    f,
                    "more than {RANGES} separate numbers or ranges wait; write ranges, or wait until some are done"
                )
            }
            Refused::PausedBySettings => {
                f.write_str("the configuration has `paused = true` for it; take that out, and reload with SIGHUP")
            }
            Refused::Silent => f.write_str("the subscriber does not answer; `mailbell status` shows its last error"),
        }
    }
}

impl std::error::Error for Refused {}

impl Handle {
    /// Hands the events with these numbers over again.
    ///
    /// # Errors
    ///
    /// When the order is not carried out.
    pub fn replay(&self, ranges: &[(u64, u64)]) -> Result<Replayed, Refused> {
        if ranges.len() > RANGES {
            return Err(Refused::TooMany);
        }
        let mut replayed = Replayed::default();
        let mut there = Ranges::new();
        for &(from, to) in &united(ranges, &[]) {
            self.look(from, to, &mut there, &mut replayed).map_err(Refused::Io)?;
        }
        let there = united(&there, &[]);
        if !there.is_empty() {
            self.give(Order::Replay(there))?;
        }
        Ok(replayed)
    }

    /// Hands over again what it gave up, as far as the list of these goes back.
    ///
    /// # Errors
    ///
    /// As [`Handle::replay`].
    pub fn replay_given_up(&self) -> Result<Replayed, Refused> {
        let given_up = given_up(&self.state, &self.settings.name());
        self.replay(&given_up.iter().map(|event| (event.seq, event.seq)).collect::<Vec<_>>())
    }

    /// Begins no more tries, until it is told to go on; over restarts too.
    ///
    /// # Errors
    ///
    /// When the order is not carried out.
    pub fn pause(&self, is_paused: bool) -> Result<(), Refused> {
        if !is_paused && self.settings.is_paused() {
            return Err(Refused::PausedBySettings);
        }
        self.give(Order::Pause(is_paused))
    }

    fn give(&self, order: Order) -> Result<(), Refused> {
        match self.desk.give(order).recv_timeout(PATIENCE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refused::TooMany),
            Err(_) => Err(Refused::Silent),
        }
    }

    /// Which of these the journal has.
    fn look(&self, from: u64, to: u64, there: &mut Ranges, replayed: &mut Replayed) -> io::Result<()> {
        let folder = self.state.join("journal");
        let (first, last) = (journal::first_seq(&folder)?, journal::last_seq(&folder)?);
        let (begin, end) = (from.max(first), to.min(last));
        if begin > end {
            replayed.gone.push((from, to));
            return Ok(());
        }
        if from < begin {
            replayed.gone.push((from, begin - 1));
        }
        let mut reader = Reader::new(&folder, begin.saturating_sub(1));
        let mut next = begin;
        while next <= end {
            match reader.next_item()? {
                Some(Item::Record(record)) if record.seq <= end => {
                    next = record.seq + 1;
                    let is_wanted = self.settings.replays().is_some_and(|filter| filter.wants(&record));
                    *if is_wanted { &mut replayed.queued } else { &mut replayed.unwanted } += 1;
                    match there.last_mut() {
                        Some((_, last)) if *last + 1 == record.seq => *last = record.seq,
                        _ => there.push((record.seq, record.seq)),
                    }
                }
                Some(Item::Lost { from, to }) => {
                    replayed.gone.push((from, to.min(end)));
                    next = to + 1;
                }
                _ => break,
            }
        }
        if end < to {
            replayed.gone.push((end + 1, to));
        }
        Ok(())
    }
}
