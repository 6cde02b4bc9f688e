//! What the subscriber's thread and the worker of an `[[mqtt]]` share: the records that the broker has not acknowledged, in
//! order.

use super::{OCTETS, RECORDS};
use crate::journal::record::FIELDS;
use crate::journal::{Begun, Record};
use crate::net::remote::conn::Signal;
use crate::sys::Wake;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the broker must have ended the connection on an event before the event is given up.
const LEAST_TRIES: u32 = 10;

/// A record that the broker has not acknowledged.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) record: Arc<Record>,
    octets: usize,
    /// Sessions in which it was published, and that ended before it was acknowledged.
    tries: u32,
    /// For how long the broker has ended each session on it.
    failing: Duration,
    /// Its messages of this session that wait for a PUBACK; `None` when it was not published in this session.
    open: Option<u32>,
}

impl Job {
    pub(super) fn new(record: Arc<Record>, begun: Begun) -> Job {
        let octets = octets(&record);
        let failing = Duration::from_secs(begun.failing);
        Job { record, octets, tries: begun.tries, failing, open: None }
    }

    /// Whether it was published in this session.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn begun(&self) -> Begun {
        // What is on its way now may be known to the broker after a crash.
        let tries = self.tries.saturating_add(u32::from(self.open.is_some()));
        Begun { seq: self.record.seq, tries, failing: self.failing.as_secs() }
    }
}

/// The records.
#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    /// The worker must end.
    is_ending: bool,
    /// The worker has a session; without one, nothing is lost when nobody waits for it.
    is_in_session: bool,
    has_ended: bool,
    moved: bool,
    retries: u64,
    given_up: u64,
}

impl Queue {
    /// Whether one more record may wait.
    pub(super) fn has_room(&self, record: &Record) -> bool {
        let taken: usize = self.jobs.iter().map(|job| job.octets).sum();
        self.jobs.is_empty() || self.jobs.len() < RECORDS && taken + octets(record) <= OCTETS
    }

    pub(super) fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
        self.moved = true;
    }

    /// In the order of the journal.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.retries), std::mem::take(&mut self.given_up))
    }

    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// The next record to be published in this session, as `messages` messages; and whether it may have been published
    /// before.
    pub(super) fn next(&mut self, messages: u32) -> Option<(Arc<Record>, bool)> {
        let job = self.jobs.iter_mut().find(|job| job.open.is_none())?;
        job.open = Some(messages);
        Some((job.record.clone(), job.tries > 0))
    }

    /// PUBACK for one message of a record.
    pub(super) fn taken(&mut self, seq: u64) {
        let Some(at) = self.jobs.iter().position(|job| job.record.seq == seq) else { return };
        let job = &mut self.jobs[at];
        job.open = job.open.map(|open| open.saturating_sub(1));
        if job.open == Some(0) {
            self.jobs.remove(at);
            self.moved = true;
        }
    }

    /// The session has ended, and the next one comes after `pause`. Where the oldest record was published and is not
    /// acknowledged, it may be the reason; it is given up when that lasts for `give_up`. Returns it then.
    pub(super) fn lost(&mut self, pause: Duration, give_up: Duration) -> Option<Job> {
        for job in self.jobs.iter_mut().filter(|job| job.open.is_some()) {
            job.tries = job.tries.saturating_add(1);
        }
        let oldest = self.jobs.front_mut().filter(|job| job.open.is_some());
        let is_hopeless = oldest.is_some_and(|job| {
            self.retries += 1;
            job.failing += pause;
            job.tries >= LEAST_TRIES && job.failing >= give_up
        });
        self.jobs.iter_mut().for_each(|job| job.open = None);
        self.moved = true;
        is_hopeless.then(|| {
            self.given_up += 1;
            self.jobs.pop_front()
        })?
    }
}

/// What both threads reach.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Tells the subscriber that something is done.
    pub(super) wake: Wake,
    /// Tells the worker that there is something to do.
    pub(super) work: Signal,
    /// Ends every wait of the worker.
    pub(super) abort: Signal,
}

impl Shared {
    pub(super) fn new() -> io::Result<Shared> {
        Ok(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            wake: Wake::new()?,
            work: Signal::new()?,
            abort: Signal::new()?,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// The worker begins or ends a session.
    pub(super) fn in_session(&self, is: bool) {
        self.lock().is_in_session = is;
        self.changed.notify_all();
    }

    /// The worker has ended.
    pub(super) fn ended(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Tells the worker to end, and waits: `patience` for a session, not at all for a connection attempt. Whether it has
    /// ended, or will at once.
    pub(super) fn end(&self, patience: Duration) -> bool {
        let mut queue = self.lock();
        queue.is_ending = true;
        self.work.give();
        let (mut end, mut is_cut) = (Instant::now() + patience, false);
        loop {
            if queue.has_ended {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if (!queue.is_in_session || left.is_zero()) && !is_cut {
                (end, is_cut) = (Instant::now() + Duration::from_secs(1), true);
                self.abort.give();
            } else if left.is_zero() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
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

    fn queue(seqs: std::ops::RangeInclusive<u64>) -> Queue {
        let mut queue = Queue::default();
        for seq in seqs {
            queue.push(Job::new(Arc::new(sample(seq, "alice", "x")), Begun { seq, ..Begun::default() }));
        }
        queue
    }

    fn seqs(queue: &Queue) -> Vec<u64> {
        queue.jobs().map(|job| job.record.seq).collect()
    }

    #[test]
    fn a_record_is_done_when_all_its_messages_are_acknowledged() {
        let mut queue = queue(1..=3);
        assert_eq!(queue.next(2).map(|(record, dup)| (record.seq, dup)), Some((1, false)));
        assert_eq!(queue.next(1).map(|(record, _)| record.seq), Some(2));
        queue.taken(1);
        assert_eq!(seqs(&queue), [1, 2, 3]);
        queue.taken(2);
        queue.taken(1);
        assert_eq!(seqs(&queue), [3]);
        queue.taken(7);
        assert_eq!(queue.next(1).map(|(record, _)| record.seq), Some(3));
        assert!(queue.next(1).is_none());
    }

    #[test]
    fn after_a_lost_session_all_is_published_again_in_order_and_marked() {
        let mut queue = queue(1..=4);
        for _ in 0..3 {
            queue.next(1);
        }
        queue.taken(2);
        assert!(queue.lost(Duration::from_secs(1), Duration::ZERO).is_none(), "one try is too few to give up");
        let next = |queue: &mut Queue| queue.next(1).map(|(record, dup)| (record.seq, dup));
        assert_eq!(
            [next(&mut queue), next(&mut queue), next(&mut queue)],
            [Some((1, true)), Some((3, true)), Some((4, false))]
        );
        assert_eq!(queue.take_counts(), (1, 0));
    }

    #[test]
    fn only_an_event_on_which_the_broker_ends_each_session_is_given_up() {
        let mut queue = queue(1..=2);
        let pause = Duration::from_secs(60);
        // Without a session nothing is held against it.
        for _ in 0..100 {
            assert!(queue.lost(pause, Duration::from_secs(600)).is_none());
        }
        for _ in 0..9 {
            queue.next(1);
            assert!(queue.lost(pause, Duration::from_secs(600)).is_none());
        }
        queue.next(1);
        assert_eq!(queue.lost(pause, Duration::from_secs(600)).map(|job| job.record.seq), Some(1));
        assert_eq!((seqs(&queue), queue.take_counts()), (vec![2], (10, 1)));
    }

    #[test]
    fn a_queue_is_bounded_and_takes_one_record_of_any_size() {
        let mut queue = Queue::default();
        let mut large = sample(1, "alice", "x");
        large.rcpt_to = Some("x".repeat(OCTETS * 2));
        assert!(queue.has_room(&large));
        queue.push(Job::new(Arc::new(large), Begun::default()));
        assert!(!queue.has_room(&sample(2, "alice", "x")));
        let mut queue = Queue::default();
        for seq in 1..=RECORDS as u64 {
            assert!(queue.has_room(&sample(seq, "alice", "x")));
            queue.push(Job::new(Arc::new(sample(seq, "alice", "x")), Begun::default()));
        }
        assert!(!queue.has_room(&sample(1, "alice", "x")));
    }
}
