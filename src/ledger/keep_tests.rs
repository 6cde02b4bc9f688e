use super::tests::{Scratch, add, keep};
use super::*;
use crate::journal::segment::{self, Segment};
use crate::journal::{Follower, Item};
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

const HOUR: Duration = Duration::from_secs(3600);
const KEEP: Keep = Keep { age: Duration::from_secs(30 * 24 * 3600), size: 1 << 30 };

/// Another program's delivery that lay there for years before it was found.
fn add_old(ledger: &Arc<Ledger>, id: &str, timestamp: u64) {
    add(ledger, id, |record| record.timestamp = timestamp);
}

fn rotate(ledger: &Ledger) {
    ledger.lock().writer.rotate();
}

fn firsts(scratch: &Scratch) -> Vec<u64> {
    segment::list(&scratch.journal()).unwrap().iter().map(|segment| segment.first).collect()
}

/// The clock goes on without being set.
fn maintain(ledger: &Ledger, now: SystemTime) {
    lock(&ledger.clock).was_set_forward(now);
    ledger.maintain(now).unwrap();
}

#[test]
fn what_is_older_than_keep_is_dropped_and_its_readers_are_told() {
    let scratch = Scratch::new("keep");
    let ledger = Ledger::open(&scratch.0, keep(Duration::from_secs(1))).unwrap();
    for id in ["a", "b"] {
        add(&ledger, id, |_| {});
        rotate(&ledger);
    }
    add(&ledger, "c", |_| {});
    ledger.tick();
    let mut waiting = Follower::open(&scratch.journal(), 0).unwrap();
    maintain(&ledger, SystemTime::now() + Duration::from_secs(2));
    assert!(matches!(waiting.next_item().unwrap(), Some(Item::Lost { from: 1, to: 3 })));
    assert_eq!(add(&ledger, "a", |_| {}).duplicate_of, None);
    assert_eq!(ledger.last_seq(), 4);
}

#[test]
fn nothing_is_dropped_before_its_time_however_old_the_messages_are() {
    let scratch = Scratch::new("old-messages");
    let ledger = Ledger::open(&scratch.0, KEEP).unwrap();
    add(&ledger, "a", |_| {});
    rotate(&ledger);
    for id in ["b", "c"] {
        add_old(&ledger, id, 1_000_000);
        rotate(&ledger);
    }
    add(&ledger, "d", |_| {});
    let now = SystemTime::now();
    // Plain, then compressed.
    for age in [Duration::ZERO, KEEP.age - HOUR] {
        maintain(&ledger, now + age);
        assert_eq!(firsts(&scratch)[..3], [1, 2, 3]);
    }
    maintain(&ledger, now + KEEP.age + HOUR);
    assert!(firsts(&scratch).iter().all(|first| *first > 3));
}

#[test]
fn a_segment_that_is_compressed_late_is_as_old_as_before() {
    let scratch = Scratch::new("late");
    let ledger = Ledger::open(&scratch.0, KEEP).unwrap();
    add(&ledger, "a", |_| {});
    rotate(&ledger);
    let appended = SystemTime::now() - 10 * 24 * HOUR;
    let plain = Segment::plain(&scratch.journal(), 1).path;
    File::options().append(true).open(&plain).unwrap().set_modified(appended).unwrap();
    maintain(&ledger, SystemTime::now());
    assert!(!plain.exists());
    assert_eq!(fs::metadata(plain.with_extension("jsonl.gz")).unwrap().modified().unwrap(), appended);
}

#[test]
fn a_segment_is_sealed_by_the_age_of_its_first_append_also_after_a_restart() {
    let scratch = Scratch::new("age");
    let ledger = Ledger::open(&scratch.0, KEEP).unwrap();
    let now = SystemTime::now();
    maintain(&ledger, now + 2 * upkeep::SEGMENT_AGE);
    add_old(&ledger, "a", 1_000_000);
    maintain(&ledger, now + upkeep::SEGMENT_AGE - HOUR);
    add(&ledger, "b", |_| {});
    assert_eq!(firsts(&scratch), [1]);
    maintain(&ledger, now + upkeep::SEGMENT_AGE + HOUR);
    add(&ledger, "c", |_| {});
    assert_eq!(firsts(&scratch), [1, 3]);
    let old = (now - 2 * upkeep::SEGMENT_AGE).duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    rotate(&ledger);
    add_old(&ledger, "d", old);
    ledger.stop();
    let ledger = Ledger::open(&scratch.0, KEEP).unwrap();
    maintain(&ledger, SystemTime::now());
    add(&ledger, "e", |_| {});
    assert_eq!(firsts(&scratch), [1, 3, 4, 5]);
}

#[test]
fn a_clock_that_is_set_forward_drops_nothing() {
    let scratch = Scratch::new("clock");
    let ledger = Ledger::open(&scratch.0, KEEP).unwrap();
    add(&ledger, "a", |_| {});
    rotate(&ledger);
    add(&ledger, "b", |_| {});
    // No clock of its own: everything was appended in 1970, and then the network tells the time.
    let plain = Segment::plain(&scratch.journal(), 1).path;
    File::options().append(true).open(&plain).unwrap().set_modified(UNIX_EPOCH + HOUR).unwrap();
    ledger.maintain(SystemTime::now()).unwrap();
    assert_eq!(firsts(&scratch), [1, 2]);
    // A step while the server runs.
    let later = SystemTime::now() + KEEP.age * 10;
    ledger.maintain(later).unwrap();
    assert_eq!(firsts(&scratch)[..2], [1, 2]);
    // From then on, age counts again.
    maintain(&ledger, later + KEEP.age + HOUR);
    assert!(!firsts(&scratch).contains(&1));
}

#[test]
fn the_oldest_go_when_the_journal_is_too_large() {
    let scratch = Scratch::new("max-size");
    let ledger = Ledger::open(&scratch.0, Keep { size: 3_000, ..KEEP }).unwrap();
    for n in 0..20 {
        add(&ledger, &n.to_string(), |_| {});
        rotate(&ledger);
        ledger.tick();
        ledger.drop_too_much();
    }
    let firsts = firsts(&scratch);
    assert!(firsts.len() < 12 && firsts.contains(&20), "{firsts:?}");
    assert_eq!(ledger.last_seq(), 20);
}

#[test]
fn a_message_stays_known_when_its_record_is_dropped_for_its_size_and_the_process_is_killed() {
    let scratch = Scratch::new("max-size-known");
    let small = Keep { size: 3_000, ..KEEP };
    let ledger = Ledger::open(&scratch.0, small).unwrap();
    for n in 0..20 {
        add(&ledger, &n.to_string(), |_| {});
        rotate(&ledger);
        ledger.tick();
        ledger.drop_too_much();
    }
    assert!(firsts(&scratch)[0] > 1);
    // Nothing is saved at the end, as after `kill -9`.
    drop(ledger);
    let ledger = Ledger::open(&scratch.0, small).unwrap();
    let unknown: Vec<_> = (0..20).filter(|n: &u32| !ledger.has("alice", n.to_string().as_bytes())).collect();
    assert!(unknown.is_empty(), "would be recorded twice: {unknown:?}");
}
