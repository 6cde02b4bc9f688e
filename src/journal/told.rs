//! Up to which `seq` records may be told, and the latest records themselves, for readers in the process that writes the
//! journal. Readers in other processes read the mark and the files.

use super::record::Record;
use crate::sys::Wake;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// So many of the latest records are kept in memory. A reader that is further behind reads the files.
const RECENT: usize = 256;

/// So many octets of their lines at most.
const RECENT_OCTETS: usize = 256 * 1024;

/// A number that only grows, and wakes the threads that wait for that.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    seq: AtomicU64,
    recent: Mutex<Recent>,
    waiters: Mutex<Vec<Weak<State>>>,
}

/// The latest records of one segment, told or not.
#[derive(Debug, Default)]
struct Recent {
    /// `seq` in the segment's name.
    segment: u64,
    /// Their numbers follow each other. Each with the octets of its line.
    records: VecDeque<(Arc<Record>, usize)>,
    octets: usize,
}

impl Recent {
    fn push(&mut self, record: Record, octets: usize) {
        if self.records.back().is_some_and(|(last, _)| last.seq + 1 != record.seq) {
            (self.records, self.octets) = (VecDeque::new(), 0);
        }
        self.octets += octets;
        self.records.push_back((Arc::new(record), octets));
        while self.records.len() > RECENT || self.octets > RECENT_OCTETS {
            self.octets -= self.records.pop_front().map_or(self.octets, |(_, octets)| octets);
        }
    }
}

#[derive(Debug)]
struct State {
    wake: Wake,
    /// The thread waits, and is to be woken.
    waits: AtomicBool,
}

impl Told {
    /// Records up to `seq` are told already.
    pub fn new(seq: u64) -> Told {
        Told(Arc::new(Shared { seq: seq.into(), ..Shared::default() }))
    }

    /// The number.
    pub fn seq(&self) -> u64 {
        self.0.seq.load(SeqCst)
    }

    /// Records up to `seq` may be told, from any thread. False when that was so before.
    pub fn advance(&self, seq: u64) -> bool {
        if self.0.seq.fetch_max(seq, SeqCst) >= seq {
            return false;
        }
        let waiters = self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in waiters.iter().filter_map(Weak::upgrade) {
            if waiter.waits.swap(false, SeqCst) {
                waiter.wake.wake();
            }
        }
        true
    }

    /// These records are in the file of the segment that begins with `segment`, each with the octets of its line.
    pub fn keep(&self, segment: u64, records: impl Iterator<Item = (Record, usize)>) {
        let mut recent = self.recent();
        if recent.segment != segment {
            *recent = Recent { segment, ..Recent::default() };
        }
        records.for_each(|(record, octets)| recent.push(record, octets));
    }

    /// The files may not be what they were: nothing is kept.
    pub fn forget(&self) {
        *self.recent() = Recent::default();
    }

    /// The record with this `seq`, if it is one of the latest, and `seq` in the name of its segment.
    pub(super) fn record(&self, seq: u64) -> Option<(Arc<Record>, u64)> {
        let recent = self.recent();
        let ahead = seq.checked_sub(recent.records.front()?.0.seq)?;
        let (record, _) = recent.records.get(usize::try_from(ahead).ok()?)?;
        Some((record.clone(), recent.segment))
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one thread that waits for more.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn waiter(&self) -> io::Result<Waiter> {
        let state = Arc::new(State { wake: Wake::new()?, waits: AtomicBool::new(false) });
        let mut waiters = self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.retain(|other| other.strong_count() > 0);
        waiters.push(Arc::downgrade(&state));
        Ok(Waiter { told: self.clone(), state, may_be_ready: Cell::new(false) })
    }
}

/// One thread's means to wait.
#[derive(Debug)]
pub struct Waiter {
    told: Told,
    state: Arc<State>,
    /// It may be readable since the last look.
    may_be_ready: Cell<bool>,
}

impl Waiter {
    /// Readable as soon as more than `seq` is told.
    pub fn fd(&self, seq: u64) -> BorrowedFd<'_> {
        self.state.waits.store(true, SeqCst);
        self.may_be_ready.set(true);
        if self.told.seq() > seq && self.state.waits.swap(false, SeqCst) {
            self.state.wake.wake();
        }
        self.state.wake.as_fd()
    }

    /// To be called after a wait: the descriptor is not readable then. A wake-up that comes at this moment may end the
    /// next wait early.
    pub fn clear(&self) {
        if self.may_be_ready.take() && !self.state.waits.swap(false, SeqCst) {
            self.state.wake.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    #[test]
    fn only_a_thread_that_waits_is_woken_and_none_misses_anything() {
        let told = Told::new(3);
        let waiter = told.waiter().unwrap();
        let is_readable = |fd: BorrowedFd<'_>| {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&none)).unwrap() == 1
        };
        assert!(told.advance(4) && !told.advance(4) && !told.advance(2));
        assert!(!is_readable(waiter.state.wake.as_fd()), "it does not wait");
        assert!(is_readable(waiter.fd(3)), "4 came before it may_be_ready");
        waiter.clear();
        assert!(!is_readable(waiter.fd(4)));
        told.advance(5);
        assert!(is_readable(waiter.state.wake.as_fd()));
        waiter.clear();
        assert!(!is_readable(waiter.fd(5)));
        waiter.clear();
        told.advance(6);
        assert!(!is_readable(waiter.state.wake.as_fd()), "it does not wait");
        drop(waiter);
        told.advance(7);
        told.waiter().unwrap();
        assert_eq!(told.0.waiters.lock().unwrap().len(), 1, "the one before is forgotten");
    }

    #[test]
    fn the_latest_records_are_kept_within_bounds() {
        let told = Told::new(0);
        let numbers = |told: &Told| (0..3_000).filter(|seq| told.record(*seq).is_some()).collect::<Vec<_>>();
        let keep = |segment, seqs: std::ops::Range<u64>, octets| {
            told.keep(segment, seqs.map(|seq| (sample(seq, "alice", "x"), octets)));
        };
        keep(1, 1..4, 100);
        assert_eq!(
            (numbers(&told), told.record(2).map(|(record, segment)| (record.seq, segment))),
            (vec![1, 2, 3], Some((2, 1)))
        );
        keep(1, 4..1_000, 100);
        assert_eq!(numbers(&told), (1_000 - RECENT as u64..1_000).collect::<Vec<_>>());
        keep(1, 1_000..1_100, RECENT_OCTETS / 10);
        assert_eq!(numbers(&told), (1_090..1_100).collect::<Vec<_>>());
        keep(1, 1_100..1_101, RECENT_OCTETS + 1);
        assert!(numbers(&told).is_empty());
        keep(1, 1_101..1_103, 100);
        // Another segment, and a gap.
        keep(1_103, 1_103..1_104, 100);
        assert_eq!((numbers(&told), told.record(1_103).unwrap().1), (vec![1_103], 1_103));
        keep(1_103, 2_000..2_001, 100);
        assert_eq!(numbers(&told), [2_000]);
        told.forget();
        assert!(numbers(&told).is_empty());
    }
}
