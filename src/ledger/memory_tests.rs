//! Readers in the process that records: the latest records come from memory, and older ones from the files.

use super::tests::{Scratch, add, keep};
use super::*;
use crate::journal::record::tests::sample;
use crate::journal::segment::Segment;
use crate::journal::{Follower, Item};
use proptest::prelude::*;
use std::fs;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Record(u64),
    Rotate,
    Sync,
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..150).prop_map(Step::Record),
        1 => Just(Step::Rotate),
        4 => Just(Step::Sync),
        4 => (1_usize..200).prop_map(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_reader_inside_sees_each_record_once_however_far_it_is_behind(steps in proptest::collection::vec(step(), 0..24)) {
        let scratch = Scratch::new("memory");
        let ledger = Ledger::open(&scratch.0, keep(Duration::MAX)).unwrap();
        let mut follower = Follower::inside(&scratch.journal(), 0, &ledger.told()).unwrap();
        let mut read = 0;
        let mut next = |wanted: u64| -> Option<()> {
            let Item::Record(record) = follower.next_item().unwrap()? else { panic!("nothing is lost") };
            assert_eq!((record.seq, record.id.as_str()), (wanted, wanted.to_string().as_str()));
            Some(())
        };
        for step in steps.into_iter().chain([Step::Sync, Step::Read(usize::MAX)]) {
            match step {
                Step::Record(count) => {
                    let first = ledger.last_seq() + 1;
                    ledger.found((first..first + count).map(|seq| {
                        let id = seq.to_string();
                        (ledger.claim("alice", id.as_bytes()).unwrap(), sample(0, "alice", &id))
                    }).collect());
                }
                Step::Rotate => ledger.lock().writer.rotate(),
                Step::Sync => assert!(ledger.sync()),
                Step::Read(count) => {
                    for _ in 0..count {
                        match next(read + 1) {
                            Some(()) => read += 1,
                            None => break,
                        }
                    }
                    assert!(read <= ledger.told().seq(), "nothing is seen before it is safe");
                }
            }
        }
        prop_assert_eq!(read, ledger.last_seq());
    }
}

#[test]
fn what_is_in_memory_is_what_is_in_the_file() {
    let scratch = Scratch::new("memory-same");
    let ledger = Ledger::open(&scratch.0, keep(Duration::MAX)).unwrap();
    let mut inside = Follower::inside(&scratch.journal(), 0, &ledger.told()).unwrap();
    for (id, subject) in [("a", "s".repeat(5_000)), ("b", "\u{2028}\r\n\"\\".into()), ("a", String::new())] {
        let on_disk = add(&ledger, id, |record| record.summary.subject = Some(subject));
        assert!(inside.next_item().unwrap().is_none(), "it is not safe");
        ledger.sync();
        assert!(matches!(inside.next_item().unwrap(), Some(Item::Record(record)) if *record == on_disk));
    }
}

#[test]
fn records_that_lost_their_segment_are_not_told_from_memory() {
    let scratch = Scratch::new("memory-lost");
    let ledger = Ledger::open(&scratch.0, keep(Duration::MAX)).unwrap();
    let mut inside = Follower::inside(&scratch.journal(), 0, &ledger.told()).unwrap();
    add(&ledger, "a", |_| {});
    fs::remove_file(Segment::plain(&scratch.journal(), 1).path).unwrap();
    ledger.tick();
    ledger.tick();
    let found: Vec<_> = std::iter::from_fn(|| inside.next_item().unwrap()).collect();
    assert!(matches!(&found[..], [Item::Lost { from: 1, to: 1 }, Item::Record(again)] if again.seq == 2), "{found:?}");
}
