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
//! With one job at a time the order is kept: while a record fails, later ones wait. With more, later records do not wait
//! for a failing one: the cursor stands before the oldest record that is not done, and lists the later ones that are not
//! done either, so that a restart repeats nothing that is done. After `kill -9` some records may be handed over again;
//! none is left out.

use super::Retry;
use super::subscriber::{Looked, Sink, Waits};
use crate::journal::record::FIELDS;
use crate::journal::{Begun, Kept, Place, Record};
use crate::sys::Wake;
use rustix::event::PollFlags;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Records that may run or wait at a time.
const OPEN: usize = 64;

/// Octets that these may take together in memory; a record that is larger is run alone.
const OCTETS: usize = 1024 * 1024;

/// Stack of the thread of one try, octets.
const STACK: usize = 128 * 1024;

/// What is done with a record.
pub(super) trait Work: Send + Sync {
    /// The subscriber in log lines: `hook archive`.
    fn label(&self) -> &str;

    /// Hands the record over once, in a thread of its own. It is bounded in time, and ends soon when `cancel` is readable.
    fn try_once(&self, record: &Record, cancel: &Wake) -> Outcome;

    /// How long a clean stop waits for tries that run, before it cancels them.
    fn patience(&self) -> Duration;
}

/// How a try ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was not.
    Failed {
        /// Why, for the log.
        why: String,
        /// When it is to be tried again, where that was said.
        after: Option<Duration>,
    },
    /// It was cancelled, and is no failure.
    Cancelled,
}

impl Outcome {
    /// A failure after which the usual wait is kept.
    pub(super) fn failed(why: impl fmt::Display) -> Outcome {
        Outcome::Failed { why: why.to_string(), after: None }
    }
}

/// A subscriber that is served.
pub(super) struct Retrying {
    work: Arc<dyn Work>,
    retry: Retry,
    /// Records that are not done, of those up to `written`.
    jobs: BTreeMap<u64, Job>,
    /// Every record up to this one is done, or in `jobs`.
    written: u64,
    /// Tries that failed and records that were given up, since [`Sink::report`].
    failed: u64,
    given_up: u64,
    results: Receiver<(u64, Outcome)>,
    sender: Sender<(u64, Outcome)>,
    /// Woken when there is a result.
    wake: Arc<Wake>,
    /// Woken when tries that run must end.
    cancel: Arc<Wake>,
}

#[derive(Debug)]
enum Job {
    /// It was begun before the start; its record has not come from the journal again.
    Begun(Begun),
    /// It is being handed over.
    Running(Try),
    /// It failed, and is tried again at that time.
    Waits(Try, Instant),
}

#[derive(Debug)]
struct Try {
    record: Arc<Record>,
    /// Tries that failed.
    tries: u32,
    /// How long it had been failing when this server started.
    failing: Duration,
    /// Its first try since.
    since: Instant,
}

impl Try {
    fn failing(&self) -> Duration {
        self.failing + self.since.elapsed()
    }
}

impl Job {
    fn of(&self) -> Option<&Try> {
        match self {
            Job::Begun(_) => None,
            Job::Running(job) | Job::Waits(job, _) => Some(job),
        }
    }

    fn begun(&self, seq: u64) -> Begun {
        match self {
            Job::Begun(begun) => *begun,
            Job::Running(job) | Job::Waits(job, _) => Begun { seq, tries: job.tries, failing: job.failing().as_secs() },
        }
    }
}

impl Retrying {
    /// Gets ready to go on where `kept` says.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub(super) fn open(work: Arc<dyn Work>, retry: Retry, kept: &Kept) -> io::Result<Retrying> {
        let (sender, results) = channel();
        Ok(Retrying {
            work,
            retry,
            jobs: kept.begun.iter().map(|begun| (begun.seq, Job::Begun(*begun))).collect(),
            written: kept.place.written,
            failed: 0,
            given_up: 0,
            results,
            sender,
            wake: Arc::new(Wake::new()?),
            cancel: Arc::new(Wake::new()?),
        })
    }

    /// Whether a record may be begun.
    fn has_room(&self, record: &Record) -> bool {
        let open = || self.jobs.values().filter_map(Job::of);
        let octets = || open().map(|job| octets(&job.record)).sum::<usize>();
        match self.retry.jobs {
            0 | 1 => open().next().is_none(),
            jobs => {
                let count = open().count();
                count == 0 || self.running() < jobs && count < OPEN && octets() + self::octets(record) <= OCTETS
            }
        }
    }

    fn running(&self) -> usize {
        self.jobs.values().filter(|job| matches!(job, Job::Running(_))).count()
    }

    /// Hands a record over.
    fn start(&mut self, seq: u64, job: Try) {
        let (work, record) = (self.work.clone(), job.record.clone());
        let (sender, wake, cancel) = (self.sender.clone(), self.wake.clone(), self.cancel.clone());
        self.jobs.insert(seq, Job::Running(job));
        let run = move || {
            let outcome = work.try_once(&record, &cancel);
            // After a stop that took too long there is no receiver any more.
            let _ = sender.send((seq, outcome));
            wake.wake();
        };
        let builder = std::thread::Builder::new().name("hand-over".into()).stack_size(STACK);
        if let Err(error) = builder.spawn(run) {
            let _ = self.sender.send((seq, Outcome::failed(error)));
            self.wake.wake();
        }
    }

    fn on_result(&mut self, seq: u64, outcome: Outcome) {
        let Some(Job::Running(mut job)) = self.jobs.remove(&seq) else { return };
        let (why, after) = match outcome {
            Outcome::Done => return,
            Outcome::Cancelled => {
                self.jobs.insert(seq, Job::Waits(job, Instant::now()));
                return;
            }
            Outcome::Failed { why, after } => (why, after),
        };
        job.tries = job.tries.saturating_add(1);
        self.failed += 1;
        let (label, left) = (self.work.label(), self.retry.give_up.saturating_sub(job.failing()));
        if left.is_zero() {
            log::error!("{label}: seq {seq} id {}: {why}; given up after {} tries", job.record.id, job.tries);
            self.given_up += 1;
            return;
        }
        let pause = after.unwrap_or_else(|| self.retry.pause(job.tries)).min(left);
        log::warn!("{label}: seq {seq} id {}: {why}; again in {pause:.0?}", job.record.id);
        self.jobs.insert(seq, Job::Waits(job, Instant::now() + pause));
    }

    /// When the next try is due, if one more may run then.
    fn next_try(&self) -> Option<(Instant, u64)> {
        let due = |(seq, job): (&u64, &Job)| match job {
            Job::Waits(_, due) => Some((*due, *seq)),
            _ => None,
        };
        self.jobs.iter().filter_map(due).min().filter(|_| self.running() < self.retry.jobs.max(1))
    }
}

impl Sink for Retrying {
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
        let seq = record.seq;
        let begun = match self.jobs.get(&seq) {
            Some(Job::Begun(begun)) => *begun,
            // Done before the start.
            None if seq <= self.written => return Ok(()),
            _ => Begun::default(),
        };
        if !self.has_room(&record) {
            return Err(record);
        }
        let failing = Duration::from_secs(begun.failing);
        let job = Try { record, tries: begun.tries, failing, since: Instant::now() };
        self.written = self.written.max(seq);
        self.start(seq, job);
        Ok(())
    }

    fn pass(&mut self, seq: u64) {
        self.lost(seq, seq);
    }

    /// One that was begun before the start may be among them: the journal dropped it, or the filter has changed.
    fn lost(&mut self, from: u64, to: u64) {
        self.jobs.retain(|seq, job| !((from..=to).contains(seq) && matches!(job, Job::Begun(_))));
        self.written = self.written.max(to);
    }

    fn report(&mut self, kept: &mut Kept) {
        let acknowledged = self.jobs.keys().next().map_or(self.written, |oldest| oldest - 1);
        kept.place = Place { acknowledged, written: self.written, waiting: self.jobs.len() as u64 };
        kept.begun = self.jobs.iter().map(|(seq, job)| job.begun(*seq)).collect();
        kept.retries += std::mem::take(&mut self.failed);
        kept.given_up += std::mem::take(&mut self.given_up);
    }

    fn look(&mut self, _rest: Option<Instant>) -> Looked {
        self.wake.clear();
        let mut moved = false;
        while let Ok((seq, outcome)) = self.results.try_recv() {
            self.on_result(seq, outcome);
            moved = true;
        }
        while let Some((due, seq)) = self.next_try()
            && due <= Instant::now()
            && let Some(Job::Waits(job, _)) = self.jobs.remove(&seq)
        {
            self.start(seq, job);
        }
        Looked { moved, go_back: None }
    }

    fn waits(&self, _full: bool) -> Waits<'_> {
        let timeout = self.next_try().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        Waits { fds: vec![(self.wake.as_fd(), PollFlags::IN)], timeout }
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

/// What a record takes in memory, roughly.
fn octets(record: &Record) -> usize {
    FIELDS.iter().filter_map(|name| record.field(name)).map(|value| value.len() + 32).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;

    /// Holds each record until it is cancelled.
    struct Held;

    impl Work for Held {
        fn label(&self) -> &str {
            "test"
        }
        fn try_once(&self, _record: &Record, cancel: &Wake) -> Outcome {
            super::super::subscriber::wait(&mut [rustix::event::PollFd::new(cancel, PollFlags::IN)], None);
            Outcome::Cancelled
        }
        fn patience(&self) -> Duration {
            Duration::from_secs(60)
        }
    }

    fn retry(jobs: usize) -> Retry {
        let (from, to) = (Duration::from_secs(60), Duration::from_secs(6 * 3_600));
        Retry { jobs, from, to, give_up: Duration::from_secs(86_400) }
    }

    #[test]
    fn large_records_are_not_all_in_memory_at_once() {
        let open = || Retrying::open(Arc::new(Held), retry(64), &Kept::default()).unwrap();
        let offer = |retrying: &mut Retrying, seq: u64, octets: usize| {
            let mut record = sample(seq, "alice", "x");
            record.summary.subject = Some("x".repeat(octets));
            retrying.offer(Arc::new(record)).is_ok()
        };
        let mut retrying = open();
        let begun = (1..).take_while(|seq| offer(&mut retrying, *seq, OCTETS / 5)).count();
        assert_eq!(begun, 4);
        let mut kept = Kept::default();
        retrying.report(&mut kept);
        assert_eq!((kept.place, kept.begun.len()), (Place { acknowledged: 0, written: 4, waiting: 4 }, 4));
        retrying.cancel.wake();
        retrying.finish();
        // One that is too large for all that is run alone.
        let mut retrying = open();
        assert!(offer(&mut retrying, 1, OCTETS * 2) && !offer(&mut retrying, 2, 1));
        retrying.cancel.wake();
        retrying.finish();
    }

    #[test]
    fn waits_grow_up_to_the_longest() {
        let waits = [1, 2, 3, 9, 10, 40, u32::MAX].map(|tries| retry(1).pause(tries).as_secs());
        assert_eq!(waits, [60, 120, 240, 15_360, 21_600, 21_600, 21_600]);
    }
}
