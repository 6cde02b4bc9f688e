//! One folder or maildrop, with its session, its back-off, and what was logged of it.

use super::answer::{Answer, SharedWaiter, tell};
use super::end::{BackOff, End, Kind};
use super::job::Job;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A failure that lasts is logged again after this, then each day.
const AGAIN: Duration = Duration::from_secs(3_600);
const DAILY: Duration = Duration::from_secs(86_400);

/// One connection's worth: a folder, or a maildrop.
pub struct Slot {
    pub id: u64,
    pub job: Job,
    pub back_off: BackOff,
    /// When the next session begins; `None` while one runs.
    pub due: Option<Instant>,
    /// A refused login was tried once more.
    pub has_retried: bool,
    /// It is not wanted any more.
    pub is_gone: bool,
    pub waiters: Vec<SharedWaiter>,
    pub complained: Option<Complained>,
}

/// What was logged last.
pub struct Complained {
    pub kind: Kind,
    pub at: Instant,
    pub wait: Duration,
}

impl Slot {
    /// Whether a session runs and has a connection.
    pub fn is_connected(&self) -> bool {
        self.due.is_none() && self.job.is_connected.load(Ordering::Relaxed)
    }

    /// A look at it is over.
    pub fn answer(&mut self, answer: &Answer) {
        self.waiters.drain(..).for_each(|waiter| tell(&waiter, answer));
    }

    /// Logs the end of a session: once, again after an hour, then daily.
    pub fn complain(&mut self, end: &End) {
        let label = self.job.label();
        match end.kind {
            Kind::Passed | Kind::Stopped => return,
            Kind::Normal => return log::info!("remote {label}: {}; connecting again", end.why),
            _ => {}
        }
        let wait = match &self.complained {
            Some(before) if before.kind == end.kind && before.at.elapsed() < before.wait => {
                return log::debug!("remote {label}: {}", end.why);
            }
            Some(before) if before.kind == end.kind => DAILY,
            _ => AGAIN,
        };
        log::warn!("remote {label}: {}; tried again", end.why);
        self.complained = Some(Complained { kind: end.kind, at: Instant::now(), wait });
    }
}
