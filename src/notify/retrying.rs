//! The sink of every subscriber that is told until it acknowledges: it decides which record is tried when, and keeps what
//! is open. What a try does is the affair of its [`Work`]: a hook runs a program. A record that fails is tried again. The
//! waits between the tries grow from the first value of `retry` to the last one, until `give_up` has passed since the
//! first try (time without a server does not count).
//!
//! ```text
//! a record comes -> Running -- acknowledged, or given up ----> done
//!                    |   ^
//!             failed v   | its time has come
//!                   Waits
//! ```
//!
//! While it is paused, no try begins, and no event's time runs out. An event that is to be handed over again (`again`)
//! counts as one that is not done: the cursor stands before it, and the journal is read again from there.
//!
//! With one job at a time the order is kept: while a record fails, later ones wait. With more, later records do not wait
//! for a failing one: the cursor stands before the oldest record that is not done, and lists the later ones that are not
//! done either, so that a restart repeats nothing that is done. After `kill -9` some records may be handed over again;
//! none is left out.

use super::Retry;
use super::desk::{Desk, Order};
use super::given_up::{GivenUp, List};
use super::job::{self, Job, Try};
use super::ranges::{Ranges, contain, united, without};
use super::subscriber::{Looked, Sink, Waits};
use super::work::{Outcome, Work};
use crate::journal::{Begun, Kept, Place, Record};
use crate::sys::Wake;
use rustix::event::PollFlags;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Records that may run or wait at a time.
const OPEN: usize = 64;

/// Octets that these may take together in memory; a record that is larger is run alone.
const OCTETS: usize = 1024 * 1024;

/// Ranges of records that may wait to be handed over again: the cursor's file lists them.
const RANGES: usize = 1_000;

/// Stack of the thread of one try, octets; the deepest path is a TLS handshake.
const STACK: usize = crate::limits::WORKER_STACK;

/// A subscriber that is served.
pub(super) struct Retrying {
    work: Arc<dyn Work>,
    retry: Retry,
    /// Records that are not done, of those up to `written`.
    jobs: BTreeMap<u64, Job>,
    /// Every record up to this one is done, or in `jobs` or `again`.
    written: u64,
    /// Records that are to be handed over again and have not come from the journal yet.
    again: Ranges,
    /// By its settings, and by a person.
    paused: (bool, bool),
    list: List,
    /// Tries that failed since the last one that did not.
    in_trouble: u64,
    /// Tries that failed and records that were given up, since [`Sink::report`].
    failed: u64,
    given_up: u64,
    results: Receiver<(u64, Outcome)>,
    sender: Sender<(u64, Outcome)>,
    /// Woken also when there is a result.
    desk: Arc<Desk>,
    /// Askers of orders that were carried out and are not on disk yet.
    served: Vec<(Sender<bool>, bool)>,
    /// Woken when tries that run must end.
    cancel: Arc<Wake>,
    /// When [`Work::tidy`] is called next.
    tidy_at: Option<Instant>,
}

/// What [`Retrying::open`] needs besides its work.
pub(super) struct Opening<'a> {
    pub(super) retry: Retry,
    /// `paused = true`.
    pub(super) is_paused: bool,
    pub(super) list: List,
    pub(super) desk: Arc<Desk>,
    /// Where to go on.
    pub(super) kept: &'a Kept,
}

impl Retrying {
    /// Gets ready to go on where `kept` says.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub(super) fn open(work: Arc<dyn Work>, opening: Opening<'_>) -> io::Result<Retrying> {
        let Opening { retry, is_paused, list, desk, kept } = opening;
        let (sender, results) = channel();
        Ok(Retrying {
            work,
            retry,
            jobs: kept.begun.iter().map(|begun| (begun.seq, Job::Begun(*begun))).collect(),
            written: kept.place.written,
            again: kept.again.clone(),
            paused: (is_paused, kept.paused),
            list,
            in_trouble: 0,
            failed: 0,
            given_up: 0,
            results,
            sender,
            desk,
            served: Vec::new(),
            cancel: Arc::new(Wake::new()?),
            tidy_at: None,
        })
    }

    fn is_paused(&self) -> bool {
        self.paused.0 || self.paused.1
    }

    /// Whether a record may be begun.
    fn has_room(&self, record: &Record) -> bool {
        let open = || self.jobs.values().filter_map(Job::of);
        let octets = || open().map(|job| job::octets(&job.record)).sum::<usize>();
        match self.retry.jobs {
            _ if self.is_paused() => false,
            0 | 1 => open().next().is_none(),
            jobs => {
                let count = open().count();
                count == 0 || self.running() < jobs && count < OPEN && octets() + job::octets(record) <= OCTETS
            }
        }
    }

    fn running(&self) -> usize {
        self.jobs.values().filter(|job| matches!(job, Job::Running(_))).count()
    }

    /// Hands a record over.
    fn start(&mut self, seq: u64, job: Try) {
        let (work, record) = (self.work.clone(), job.record.clone());
        let (sender, desk, cancel) = (self.sender.clone(), self.desk.clone(), self.cancel.clone());
        self.jobs.insert(seq, Job::Running(job));
        let run = move || {
            let outcome = work.try_once(&record, &cancel);
            // After a stop that took too long there is no receiver any more.
            let _ = sender.send((seq, outcome));
            desk.wake.wake();
        };
        let builder = std::thread::Builder::new().name("hand-over".into()).stack_size(STACK);
        if let Err(error) = builder.spawn(run) {
            let _ = self.sender.send((seq, Outcome::failed(error)));
            self.desk.wake.wake();
        }
    }

    fn on_result(&mut self, seq: u64, outcome: Outcome) {
        let Some(Job::Running(job)) = self.jobs.remove(&seq) else { return };
        match outcome {
            Outcome::Done => {
                self.list.remove(seq);
                self.desk.set_trouble(None);
                let failed = std::mem::take(&mut self.in_trouble);
                if failed > 0 && self.work.is_quiet() {
                    let tries = if failed == 1 { "try" } else { "tries" };
                    log::info!("{}: seq {seq}: works again after {failed} failed {tries}", self.work.label());
                }
            }
            Outcome::Cancelled => drop(self.jobs.insert(seq, Job::Waits(job, Instant::now()))),
            Outcome::Again if self.is_paused() => drop(self.jobs.insert(seq, Job::Waits(job, Instant::now()))),
            Outcome::Again => self.start(seq, job),
            Outcome::Failed { why, after } => self.on_failure(seq, job, &why, after),
        }
    }

    fn on_failure(&mut self, seq: u64, mut job: Try, why: &str, after: Option<Duration>) {
        job.tries = job.tries.saturating_add(1);
        self.failed += 1;
        self.in_trouble += 1;
        self.desk.set_trouble(Some(format!("seq {seq}: {why}")));
        let (label, left) = (self.work.label(), self.retry.give_up.saturating_sub(job.failing()));
        if left.is_zero() {
            log::error!("{label}: seq {seq} id {}: {why}; given up after {} tries", job.record.id, job.tries);
            self.list.add(GivenUp::now(&job.record, job.tries, why));
            self.given_up += 1;
            return;
        }
        let pause = after.map_or_else(|| self.retry.pause(job.tries), |after| after.max(least(job.tries))).min(left);
        let level = if self.in_trouble > 1 && self.work.is_quiet() { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "{label}: seq {seq} id {}: {why}; again in {pause:.0?}", job.record.id);
        self.jobs.insert(seq, Job::Waits(job, Instant::now() + pause));
    }

    /// Carries an order out. Returns the record after which the journal is to be read again; an error where there are too
    /// many ranges.
    fn on_order(&mut self, order: Order) -> Result<Option<u64>, ()> {
        match order {
            Order::Pause(is_paused) => {
                self.paused.1 = is_paused;
                log::info!("{}: {}", self.work.label(), if is_paused { "paused" } else { "goes on" });
                let now = (!self.is_paused()).then(Instant::now);
                for job in self.jobs.values_mut() {
                    if let Job::Running(job) | Job::Waits(job, _) = job {
                        (job.failing, job.since) = (job.failing(), now);
                    }
                }
                Ok(None)
            }
            Order::Replay(ranges) => {
                for (seq, job) in &mut self.jobs {
                    if let Job::Waits(_, due) = job
                        && contain(&ranges, *seq)
                    {
                        *due = Instant::now();
                    }
                }
                // Later ones have not come yet, and will.
                let ranges = without(&ranges, self.written.saturating_add(1), u64::MAX);
                let all = united(&self.again, &ranges);
                if all.len() > RANGES {
                    return Err(());
                }
                self.again = all;
                Ok(ranges.first().map(|(oldest, _)| oldest - 1))
            }
        }
    }

    /// When the next try is due, if one more may run then.
    fn next_try(&self) -> Option<(Instant, u64)> {
        let due = |(seq, job): (&u64, &Job)| match job {
            Job::Waits(_, due) => Some((*due, *seq)),
            _ => None,
        };
        self.jobs.iter().filter_map(due).min().filter(|_| !self.is_paused() && self.running() < self.retry.jobs.max(1))
    }
}

impl Sink for Retrying {
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
        let seq = record.seq;
        let begun = match self.jobs.get(&seq) {
            Some(Job::Begun(begun)) => *begun,
            Some(_) => {
                self.again = without(&self.again, seq, seq);
                return Ok(());
            }
            // It is done.
            None if seq <= self.written && !contain(&self.again, seq) => return Ok(()),
            None => Begun::default(),
        };
        if !self.has_room(&record) {
            return Err(record);
        }
        let failing = Duration::from_secs(begun.failing);
        let job = Try { record, tries: begun.tries, failing, since: Some(Instant::now()) };
        self.written = self.written.max(seq);
        self.again = without(&self.again, seq, seq);
        self.start(seq, job);
        Ok(())
    }

    fn pass(&mut self, seq: u64) {
        self.lost(seq, seq);
    }

    /// One that was begun before the start may be among them: the journal dropped it, or the filter has changed.
    fn lost(&mut self, from: u64, to: u64) {
        self.jobs.retain(|seq, job| !((from..=to).contains(seq) && matches!(job, Job::Begun(_))));
        self.again = without(&self.again, from, to);
        self.written = self.written.max(to);
    }

    fn report(&mut self, kept: &mut Kept) {
        let oldest = self.jobs.keys().next().into_iter().chain(self.again.first().map(|(from, _)| from)).min();
        let again: u64 = self.again.iter().map(|(from, to)| to - from + 1).sum();
        let acknowledged = oldest.map_or(self.written, |oldest| oldest - 1);
        kept.place = Place { acknowledged, written: self.written, waiting: self.jobs.len() as u64 + again };
        kept.again.clone_from(&self.again);
        kept.paused = self.paused.1;
        kept.begun = self.jobs.iter().map(|(seq, job)| job.begun(*seq)).collect();
        kept.retries += std::mem::take(&mut self.failed);
        kept.given_up += std::mem::take(&mut self.given_up);
    }

    fn look(&mut self, _rest: Option<Instant>) -> Looked {
        self.desk.wake.clear();
        let mut looked = Looked::default();
        // Those of the last look: the cursor was written since.
        for (waiting, is_done) in self.served.drain(..) {
            let _ = waiting.send(is_done);
        }
        while let Ok((seq, outcome)) = self.results.try_recv() {
            self.on_result(seq, outcome);
            looked.moved = true;
            self.tidy_at = Some(Instant::now());
        }
        for (order, waiting) in self.desk.take() {
            let after = self.on_order(order);
            let go_back = looked.go_back.into_iter().chain(after.unwrap_or_default()).min();
            looked = Looked { moved: true, go_back, is_urgent: true };
            self.served.push((waiting, after.is_ok()));
            // For one more look.
            self.desk.wake.wake();
        }
        while let Some((due, seq)) = self.next_try()
            && due <= Instant::now()
            && let Some(Job::Waits(job, _)) = self.jobs.remove(&seq)
        {
            self.start(seq, job);
        }
        if self.tidy_at.is_some_and(|at| at <= Instant::now()) {
            self.tidy_at = self.work.tidy();
        }
        looked
    }

    fn waits(&self, _full: bool) -> Waits<'_> {
        let next = self.next_try().map(|(due, _)| due).into_iter().chain(self.tidy_at).min();
        let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
        Waits { fds: vec![(self.desk.wake.as_fd(), PollFlags::IN)], timeout }
    }

    fn finish(&mut self) {
        let patience = self.work.patience();
        let (mut end, mut cancelled) = (Instant::now() + patience, false);
        while self.running() > 0 {
            match self.results.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((seq, outcome)) => self.on_result(seq, outcome),
                Err(_) if !std::mem::replace(&mut cancelled, true) => {
                    log::warn!("{}: ending what still runs; it is done again at the next start", self.work.label());
                    self.cancel.wake();
                    end = Instant::now() + patience;
                }
                Err(_) => break,
            }
        }
    }
}

impl Retry {
    /// How long to wait after so many failed tries.
    fn pause(&self, tries: u32) -> Duration {
        self.from.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX)).min(self.to)
    }
}

/// The shortest wait after so many failed tries, whatever a receiver asks for: one that asks for another try at once gets it,
/// and a while later no more than one a second.
fn least(tries: u32) -> Duration {
    const FIRST: u32 = 20;
    Duration::from_millis(FIRST.saturating_mul(1_u32.checked_shl(tries - 1).unwrap_or(u32::MAX)).min(1_000).into())
}

#[cfg(test)]
#[path = "retrying_tests.rs"]
mod tests;
