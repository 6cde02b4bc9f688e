//! What power cuts and damage leave: every record that can be read is told, and no number is given twice.

use super::tests::{Scratch, add, add_in, all, last_told, open, told};
use super::*;
use crate::journal::record::tests::sample;
use crate::journal::segment::Segment;
use crate::journal::{Cursor, Kept, mark};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::FileExt;

#[test]
fn a_record_stays_whether_its_message_is_there_or_not() {
    let scratch = Scratch::new("power");
    scratch.maildir(&["1.a", "2.a", "3.a"]);
    let ledger = open(&scratch);
    _ = add_in(&scratch, &ledger, "1.a");
    ledger.tick();
    // A subscriber was told of these, and the mark is behind.
    (2..=3).for_each(|n| _ = add_in(&scratch, &ledger, &format!("{n}.a")));
    drop(ledger);
    fs::remove_file(scratch.0.join("alice/new/2.a")).unwrap();
    let ledger = open(&scratch);
    assert_eq!(told(&scratch), [1, 2, 3]);
    assert_eq!(add(&ledger, "4.a", |_| {}).seq, 4);
}

/// After a power cut with damage the mark is older than what was told; what is reserved is not.
#[test]
fn damage_to_the_newest_segment_lets_numbers_go_on_behind_those_that_were_reserved() {
    let whole = {
        let scratch = Scratch::new("reserved-sample");
        let ledger = open(&scratch);
        (1..=5).for_each(|n| _ = add(&ledger, &n.to_string(), |_| {}));
        ledger.tick();
        fs::read(Segment::plain(&scratch.journal(), 1).path).unwrap()
    };
    let line = whole.len() / 5;
    let block = whole.len() / 512 * 512;
    let garbled = [&whole[..line + 9], &[0; 30], &whole[line + 39..]].concat();
    let zeroed = [&whole[..2 * line], &vec![0; whole.len() - 2 * line]].concat();
    let grown = [&whole[..3 * line], &[0; 700]].concat();
    let cases: [(&str, Option<&[u8]>, u64); 9] = [
        ("whole", Some(&whole), 6),
        ("cut short as a crash does", Some(&whole[..block]), 0),
        ("zeroes, as after a power cut", Some(&grown), 0),
        ("missing", None, 100),
        ("empty", Some(b""), 100),
        ("cut below what was told", Some(&whole[..line + 9]), 100),
        ("cut within a line", Some(&whole[..4 * line + 7]), 100),
        ("garbled", Some(&garbled), 100),
        ("zeroed", Some(&zeroed), 100),
    ];
    for (name, octets, next) in cases {
        let scratch = Scratch::new("reserved");
        fs::create_dir(scratch.journal()).unwrap();
        let reserve = mark::Reserved { to: 99, active: 1 };
        drop(mark::Mark::open(&scratch.journal(), 3, reserve).unwrap());
        octets.inspect(|octets| fs::write(Segment::plain(&scratch.journal(), 1).path, octets).unwrap());
        let records = octets.map_or(0, |octets| octets.iter().filter(|octet| **octet == b'\n').count() as u64);
        let ledger = open(&scratch);
        let wanted = if next == 0 { records + 1 } else { next };
        assert_eq!(add(&ledger, "n", |_| {}).seq, wanted, "{name}");
        ledger.tick();
        assert_eq!(last_told(&scratch.journal(), 20).0, wanted, "{name}: what is left out is lost, and passed");
        // The damage is not found again.
        drop(ledger);
        assert_eq!(add(&open(&scratch), "m", |_| {}).seq, wanted + 1, "{name}");
    }
}

/// The mark names a segment before anything in it is told.
#[test]
fn a_power_cut_before_a_segments_first_record_is_told_leaves_no_number_out() {
    let sealed = {
        let scratch = Scratch::new("sealed-sample");
        let journal = Journal::open(&scratch.journal()).unwrap();
        journal.append(&mut (1..=5).map(|n| sample(0, "alice", &n.to_string())).collect::<Vec<_>>()).unwrap();
        journal.seal();
        fs::read(scratch.journal().join("00000000000000000001.jsonl.gz")).unwrap()
    };
    let cases: [(&str, Option<&[u8]>, u64, u64); 4] = [
        ("no segment yet", None, 0, 1),
        ("the newest one is sealed", Some(&sealed), 1, 6),
        ("the one behind it is missing", Some(&sealed), 6, 100),
        ("the only one is missing", None, 1, 100),
    ];
    for (name, octets, active, next) in cases {
        let scratch = Scratch::new("unnamed");
        fs::create_dir(scratch.journal()).unwrap();
        let told = octets.map_or(0, |_| 5);
        drop(mark::Mark::open(&scratch.journal(), told, mark::Reserved { to: 99, active }).unwrap());
        octets.inspect(|octets| {
            fs::write(scratch.journal().join("00000000000000000001.jsonl.gz"), octets).unwrap();
        });
        assert_eq!(add(&open(&scratch), "n", |_| {}).seq, next, "{name}");
    }
}

#[test]
fn no_number_is_told_that_is_not_reserved_and_a_clean_stop_reserves_none() {
    let scratch = Scratch::new("reserves");
    let ledger = open(&scratch);
    let reserved = || mark::reserved(&scratch.journal()).unwrap();
    assert_eq!(reserved().to, safe::AHEAD);
    for n in 1..=safe::AHEAD + 3 {
        ledger.found(vec![(ledger.claim("alice", n.to_string().as_bytes()).unwrap(), sample(0, "alice", "x"))]);
        if n % 200 == 0 {
            ledger.sync();
        }
    }
    lock(&ledger.mark).as_mut().unwrap().swap_file(Arc::new(File::options().write(true).open("/dev/full").unwrap()));
    let before = ledger.lock().reserved.to;
    (1..=before).for_each(|n| {
        ledger.found(vec![(ledger.claim("bob", n.to_string().as_bytes()).unwrap(), sample(0, "bob", "x"))]);
    });
    ledger.sync();
    assert_eq!(ledger.told().seq(), before, "the others wait");
    *lock(&ledger.mark) = None;
    ledger.tick();
    ledger.tick();
    assert_eq!(ledger.told().seq(), ledger.last_seq());
    assert!(reserved().to > ledger.last_seq() && reserved().active == 1);
    ledger.stop();
    assert_eq!(reserved().to, ledger.last_seq());
}

#[test]
fn a_number_that_a_cursor_or_the_mark_has_is_never_given_again() {
    let scratch = Scratch::new("never-twice");
    let ledger = open(&scratch);
    (1..=5).for_each(|n| _ = add(&ledger, &n.to_string(), |_| {}));
    ledger.stop();
    drop(ledger);
    let mut cursor = Cursor::open(&scratch.0, "hook:a", || 0).unwrap();
    let path = Segment::plain(&scratch.journal(), 1).path;
    for (kept, next) in [(Kept::default(), 6), (Kept::at(9), 10)] {
        cursor.set(kept).unwrap();
        fs::write(&path, fs::read_to_string(&path).unwrap().split_inclusive('\n').take(2).collect::<String>()).unwrap();
        let ledger = open(&scratch);
        assert_eq!(add(&ledger, &format!("n{next}"), |_| {}).seq, next);
        ledger.stop();
        fs::remove_file(Segment::plain(&scratch.journal(), next).path).unwrap();
        mark::Mark::open(&scratch.journal(), 5, mark::Reserved::default()).unwrap();
    }
    // Nor when nothing is left of the journal.
    fs::remove_dir_all(scratch.journal()).unwrap();
    assert_eq!(add(&open(&scratch), "x", |_| {}).seq, 10);
}

#[test]
fn whatever_is_left_of_the_file_its_whole_records_are_the_journal() {
    let scratch = Scratch::new("prefix");
    scratch.maildir(&["a", "b", "c"]);
    let ledger = open(&scratch);
    for id in ["a", "b", "c"] {
        add_in(&scratch, &ledger, id);
    }
    drop(ledger);
    let path = Segment::plain(&scratch.journal(), 1).path;
    let octets = fs::read(&path).unwrap();
    for length in (0..=octets.len()).step_by(7).chain([octets.len()]) {
        let whole = octets[..length].iter().filter(|octet| **octet == b'\n').count() as u64;
        fs::write(&path, &octets[..length]).unwrap();
        mark::Mark::open(&scratch.journal(), 0, mark::Reserved::default()).unwrap();
        let ledger = open(&scratch);
        assert_eq!(ledger.last_seq(), whole, "cut at {length}");
        assert!(told(&scratch).into_iter().eq(1..=whole));
        let unknown = ["a", "b", "c"].into_iter().filter(|id| ledger.claim("alice", id.as_bytes()).is_some());
        assert_eq!(unknown.count() as u64, 3 - whole);
        assert_eq!(add(&ledger, "d", |_| {}).seq, whole + 1);
        fs::remove_dir_all(scratch.journal()).unwrap();
        fs::create_dir(scratch.journal()).unwrap();
    }
}

#[test]
fn a_part_of_a_line_that_cannot_be_cut_off_costs_no_later_record() {
    let scratch = Scratch::new("torn");
    let ledger = open(&scratch);
    add(&ledger, "a", |_| {});
    let path = Segment::plain(&scratch.journal(), 1).path;
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"{\"seq\":2,\"eve", file.metadata().unwrap().len()).unwrap();
    ledger.lock().writer.be_torn();
    assert_eq!(add(&ledger, "b", |_| {}).seq, 2);
    ledger.tick();
    assert_eq!(told(&scratch), [1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever is damaged: readers come to the end, no number is told twice or given again, and new records are told.
    #[test]
    fn damage_is_passed_and_no_number_is_given_twice(
        damage in proptest::collection::vec((0..2_usize, 0..6_u8, any::<u16>(), 1..900_usize), 0..4),
        compressed in any::<bool>(),
        marked in any::<bool>(),
    ) {
        let scratch = Scratch::new("damage");
        let journal = Journal::open(&scratch.journal()).unwrap();
        let record = |n: u64| sample(0, "alice", &format!("{n}.h"));
        (1..=6).for_each(|n| journal.append(&mut [record(n)]).unwrap());
        if compressed { journal.seal() } else { journal.rotate() }
        (7..=12).for_each(|n| journal.append(&mut [record(n)]).unwrap());
        drop(journal);
        if marked {
            mark::Mark::open(&scratch.journal(), 12, mark::Reserved { to: 20, active: 7 }).unwrap();
        }
        let segments = journal::segment::list(&scratch.journal()).unwrap();
        for (which, kind, place, length) in &damage {
            let path = &segments[*which].path;
            let mut octets = fs::read(path).unwrap();
            let from = usize::from(*place) % (octets.len() + 1);
            let to = (from + length).min(octets.len());
            match kind {
                0 => octets[from..to].fill(0),
                1 => octets.truncate(from),
                2 => drop(octets.drain(from..to)),
                3 => octets[from..to].iter_mut().for_each(|octet| *octet = !*octet),
                4 => octets.splice(from..from, vec![b'x'; *length]).for_each(drop),
                _ => {
                    let copy = octets[from..to].to_vec();
                    octets.extend_from_slice(&copy);
                }
            }
            fs::write(path, octets).unwrap();
        }
        let (told, before) = last_told(&scratch.journal(), 60);
        // Every record that is told is what it was. (Nothing tells when octets within a value were added or taken out.)
        let is_cut = damage.iter().any(|(_, kind, ..)| matches!(kind, 2 | 4 | 5));
        let is_right = is_cut || before.iter().all(|record| record.id == format!("{}.h", record.seq));
        prop_assert!(is_right);
        if marked {
            prop_assert_eq!(told, 12);
        }
        let ledger = open(&scratch);
        prop_assert!(ledger.last_seq() >= told);
        let new = add(&ledger, "new.h", |_| {}).seq;
        prop_assert!(new > told);
        ledger.tick();
        let (last, after) = last_told(&scratch.journal(), 60);
        prop_assert_eq!(last, new);
        prop_assert_eq!(after.last().map(|record| record.id.as_str()), Some("new.h"));
        prop_assert!(before.iter().all(|record| after.contains(record)), "what could be read can be read");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Record(usize),
    /// The journal is synced, and its records are told.
    Sync,
    /// The mark is synced, too.
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(1_usize..5).prop_map(Step::Record), Just(Step::Sync), Just(Step::Tick)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A power cut takes what was not synced: the end of the segment, at a line's end or within a line, and what the mark
    /// said since it was synced. What was told is there, and its numbers are not given again.
    #[test]
    fn a_power_cut_takes_no_record_that_was_told(
        steps in proptest::collection::vec(step(), 1..12),
        cut in any::<prop::sample::Index>(),
        at_line_end in any::<bool>(),
        zeroes in 0..3_usize,
    ) {
        let scratch = Scratch::new("power-cut");
        let ledger = open(&scratch);
        let (path, mark) = (Segment::plain(&scratch.journal(), 1).path, scratch.journal().join(mark::NAME));
        let (mut ids, mut synced) = (0.., 0);
        let mut marked = fs::read(&mark).unwrap();
        for step in steps {
            match step {
                Step::Record(count) => ids.by_ref().take(count).for_each(|id: u32| _ = add(&ledger, &id.to_string(), |_| {})),
                Step::Sync => assert!(ledger.sync()),
                Step::Tick => ledger.tick(),
            }
            if !matches!(step, Step::Record(_)) {
                synced = fs::metadata(&path).map_or(0, |file| file.len() as usize);
            }
            if matches!(step, Step::Tick) {
                marked = fs::read(&mark).unwrap();
            }
        }
        let (told, before) = (ledger.told().seq(), all(&ledger.dir));
        drop(ledger);
        if path.exists() {
            let octets = fs::read(&path).unwrap();
            let mut left = synced + cut.index(octets.len() - synced + 1);
            if at_line_end {
                left = octets[..left].iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
            }
            // Some file systems know the new length before they have the octets.
            fs::write(&path, [&octets[..left], &vec![0; zeroes * 512]].concat()).unwrap();
        }
        fs::write(&mark, marked).unwrap();
        let ledger = open(&scratch);
        prop_assert_eq!(&all(&ledger.dir)[..told as usize], &before[..told as usize]);
        let new = add(&ledger, "new", |_| {}).seq;
        prop_assert!(new > told);
    }
}
