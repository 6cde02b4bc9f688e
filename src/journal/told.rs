//! Up to which `seq` records may be told, for readers in the process that writes the journal. Those in other processes
//! read the mark.

use crate::sys::Wake;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A number that only grows, and wakes those that sleep until it does.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    seq: AtomicU64,
    sleepers: Mutex<Vec<Weak<Bed>>>,
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
        Ok(Sleeper { told: self.clone(), bed })
    }
}

/// What one thread waits with.
#[derive(Debug)]
pub struct Sleeper {
    told: Told,
    bed: Arc<Bed>,
}

impl Sleeper {
    /// Readable as soon as more than `seq` is told.
    pub fn fd(&self, seq: u64) -> BorrowedFd<'_> {
        self.bed.sleeps.store(true, SeqCst);
        if self.told.seq() > seq && self.bed.sleeps.swap(false, SeqCst) {
            self.bed.wake.wake();
        }
        self.bed.wake.as_fd()
    }

    /// To be called after a wait: it is not readable then.
    pub fn is_awake(&self) {
        self.bed.sleeps.store(false, SeqCst);
        self.bed.wake.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        drop(sleeper);
        told.advance(6);
        told.sleeper().unwrap();
        assert_eq!(told.0.sleepers.lock().unwrap().len(), 1, "the one before is forgotten");
    }
}
