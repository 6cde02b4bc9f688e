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

/// A number that only grows, and wakes those that sleep until it does.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    seq: AtomicU64,
    recent: Mutex<Recent>,
    sleepers: Mutex<Vec<Weak<Bed>>>,
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
struct Bed {
    wake: Wake,
    /// It is to be woken.
    sleeps: AtomicBool,
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
        let sleepers = self.0.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        for sleeper in sleepers.iter().filter_map(Weak::upgrade) {
            if sleeper.sleeps.swap(false, SeqCst) {
                sleeper.wake.wake();
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
    pub fn sleeper(&self) -> io::Result<Sleeper> {
        let bed = Arc::new(Bed { wake: Wake::new()?, sleeps: AtomicBool::new(false) });
        let mut sleepers = self.0.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.retain(|other| other.strong_count() > 0);
        sleepers.push(Arc::downgrade(&bed));
        Ok(Sleeper { told: self.clone(), bed, slept: Cell::new(false) })
    }
}

/// What one thread waits with.
#[derive(Debug)]
pub struct Sleeper {
    told: Told,
    bed: Arc<Bed>,
    /// It may be readable since the last look.
    slept: Cell<bool>,
}

impl Sleeper {
    /// Readable as soon as more than `seq` is told.
    pub fn fd(&self, seq: u64) -> BorrowedFd<'_> {
        self.bed.sleeps.store(true, SeqCst);
        self.slept.set(true);
        if self.told.seq() > seq && self.bed.sleeps.swap(false, SeqCst) {
            self.bed.wake.wake();
        }
        self.bed.wake.as_fd()
    }

    /// To be called after a wait: it is not readable then. A wake-up that is under way at this moment ends one more wait.
    pub fn is_awake(&self) {
        if self.slept.take() && !self.bed.sleeps.swap(false, SeqCst) {
            self.bed.wake.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    #[test]
    fn only_a_thread_that_sleeps_is_woken_and_none_misses_anything() {
        let told = Told::new(3);
        let sleeper = told.sleeper().unwrap();
        let is_readable = |fd: BorrowedFd<'_>| {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&none)).unwrap() == 1
        };
        assert!(told.advance(4) && !told.advance(4) && !told.advance(2));
        assert!(!is_readable(sleeper.bed.wake.as_fd()), "it does not sleep");
        assert!(is_readable(sleeper.fd(3)), "4 came before it slept");
        sleeper.is_awake();
        assert!(!is_readable(sleeper.fd(4)));
        told.advance(5);
        assert!(is_readable(sleeper.bed.wake.as_fd()));
        sleeper.is_awake();
        assert!(!is_readable(sleeper.fd(5)));
        sleeper.is_awake();
        told.advance(6);
        assert!(!is_readable(sleeper.bed.wake.as_fd()), "it does not sleep");
        drop(sleeper);
        told.advance(7);
        told.sleeper().unwrap();
        assert_eq!(told.0.sleepers.lock().unwrap().len(), 1, "the one before is forgotten");
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
