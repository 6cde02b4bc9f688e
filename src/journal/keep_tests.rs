use super::record::tests::sample;
use super::tests::{Scratch, add};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Another program's delivery that lay there for years before it was found.
fn add_old(journal: &Journal, id: &str) {
    journal.append(&mut [Record { timestamp: 1_000_000, ..sample(0, "alice", id) }]).unwrap();
}

fn rotate(journal: &Journal) {
    journal.rotate(&mut journal.lock()).unwrap();
}

fn firsts(journal: &Journal) -> Vec<u64> {
    segment::list(journal.dir()).unwrap().iter().map(|segment| segment.first).collect()
}

#[test]
fn what_is_older_than_keep_is_dropped_and_its_readers_are_told() {
    let scratch = Scratch::new("keep");
    let journal = Journal::open(&scratch.journal()).unwrap();
    for id in ["a", "b"] {
        add(&journal, id);
        rotate(&journal);
    }
    add(&journal, "c");
    let mut waiting = Follower::open(&scratch.journal(), 0).unwrap();
    journal.maintain(SystemTime::now() + Duration::from_secs(2), Duration::from_secs(1)).unwrap();
    assert!(matches!(waiting.next_item().unwrap(), Some(Item::Lost { from: 1, to: 3 })));
    assert_eq!(add(&journal, "a").duplicate_of, None);
    assert_eq!(journal.last_seq(), 4);
}

#[test]
fn nothing_is_dropped_before_its_time_however_old_the_messages_are() {
    let scratch = Scratch::new("old-messages");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "a");
    rotate(&journal);
    for id in ["b", "c"] {
        add_old(&journal, id);
        rotate(&journal);
    }
    let now = SystemTime::now();
    // Plain, then compressed.
    for age in [Duration::ZERO, KEEP - HOUR] {
        journal.maintain(now + age, KEEP).unwrap();
        assert_eq!(firsts(&journal), [1, 2, 3, 4]);
    }
    journal.maintain(now + KEEP + HOUR, KEEP).unwrap();
    assert_eq!(firsts(&journal), [4]);
}

#[test]
fn a_segment_that_is_compressed_late_is_as_old_as_before() {
    let scratch = Scratch::new("late");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "a");
    rotate(&journal);
    let appended = SystemTime::now() - 10 * 24 * HOUR;
    let plain = Segment::plain(journal.dir(), 1).path;
    File::options().append(true).open(&plain).unwrap().set_modified(appended).unwrap();
    journal.maintain(SystemTime::now(), KEEP).unwrap();
    assert!(!plain.exists());
    assert_eq!(fs::metadata(plain.with_extension("jsonl.gz")).unwrap().modified().unwrap(), appended);
}

#[test]
fn a_segment_is_sealed_by_the_age_of_its_first_append() {
    let scratch = Scratch::new("age");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let now = SystemTime::now();
    journal.maintain(now + 2 * SEGMENT_AGE, KEEP).unwrap();
    add_old(&journal, "a");
    journal.maintain(now + SEGMENT_AGE - HOUR, KEEP).unwrap();
    add(&journal, "b");
    assert_eq!(firsts(&journal), [1]);
    journal.maintain(now + SEGMENT_AGE + HOUR, KEEP).unwrap();
    assert_eq!(firsts(&journal), [1, 3]);
}

#[test]
fn a_segment_that_a_restart_finds_is_sealed_in_time() {
    let scratch = Scratch::new("age-restart");
    let old = SystemTime::now() - 2 * SEGMENT_AGE;
    let timestamp = old.duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let journal = Journal::open(&scratch.journal()).unwrap();
    journal.append(&mut [Record { timestamp, ..sample(0, "alice", "a") }]).unwrap();
    drop(journal);
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "b");
    journal.maintain(SystemTime::now(), KEEP).unwrap();
    assert_eq!(firsts(&journal), [1, 3]);
}
