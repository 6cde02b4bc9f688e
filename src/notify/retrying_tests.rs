use super::*;
use crate::journal::record::tests::sample;
use crate::notify::testing::Scratch;

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

fn open(jobs: usize, scratch: &Scratch) -> Retrying {
    let (desk, list) = (Arc::new(Desk::new().unwrap()), List::open(&scratch.0, "test"));
    let opening = Opening { retry: retry(jobs), is_paused: false, list, desk, kept: &Kept::default() };
    Retrying::open(Arc::new(Held), opening).unwrap()
}

fn retry(jobs: usize) -> Retry {
    let (from, to) = (Duration::from_secs(60), Duration::from_secs(6 * 3_600));
    Retry { jobs, from, to, give_up: Duration::from_secs(86_400) }
}

#[test]
fn large_records_are_not_all_in_memory_at_once() {
    let scratch = Scratch::new("large");
    let offer = |retrying: &mut Retrying, seq: u64, octets: usize| {
        let mut record = sample(seq, "alice", "x");
        record.summary.subject = Some("x".repeat(octets));
        retrying.offer(Arc::new(record)).is_ok()
    };
    let mut retrying = open(64, &scratch);
    let begun = (1..).take_while(|seq| offer(&mut retrying, *seq, OCTETS / 5)).count();
    assert_eq!(begun, 4);
    let mut kept = Kept::default();
    retrying.report(&mut kept);
    assert_eq!((kept.place, kept.begun.len()), (Place { acknowledged: 0, written: 4, waiting: 4 }, 4));
    retrying.cancel.wake();
    retrying.finish();
    // One that is too large for all that is run alone.
    let mut retrying = open(64, &scratch);
    assert!(offer(&mut retrying, 1, OCTETS * 2) && !offer(&mut retrying, 2, 1));
    retrying.cancel.wake();
    retrying.finish();
}

#[test]
fn waits_grow_up_to_the_longest() {
    let waits = [1, 2, 3, 9, 10, 40, u32::MAX].map(|tries| retry(1).pause(tries).as_secs());
    assert_eq!(waits, [60, 120, 240, 15_360, 21_600, 21_600, 21_600]);
    assert_eq!([1, 2, 6, 7, 99].map(|tries| least(tries).as_millis()), [20, 40, 640, 1_000, 1_000]);
}
