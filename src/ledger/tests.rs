use super::*;
use crate::journal::record::tests::sample;
use crate::journal::segment::Segment;
use crate::journal::{Cursor, Item, Kept, Reader, mark};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("mailbell-ledger-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// A Maildir for alice, with these messages.
    fn maildir(&self, names: &[&str]) {
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(self.0.join("alice").join(folder)).unwrap();
        }
        names.iter().for_each(|name| fs::write(self.0.join("alice/new").join(name), "x").unwrap());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn keep(age: Duration) -> Keep {
    Keep { age, size: 1 << 30 }
}

fn open(scratch: &Scratch) -> Arc<Ledger> {
    Ledger::open(&scratch.0, keep(Duration::from_secs(1 << 30))).unwrap()
}

/// Records a message for alice that is there.
pub(super) fn add(ledger: &Arc<Ledger>, id: &str, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = sample(0, "alice", id);
    change(&mut record);
    let copy = Copy { user: "alice".into(), path: record.path.clone(), rcpt_to: None };
    drop(ledger.expect(vec![copy], id).record(record));
    all(&ledger.dir).pop().unwrap()
}

/// The same in the Maildir of the scratch folder.
fn add_in(scratch: &Scratch, ledger: &Arc<Ledger>, id: &str) -> u64 {
    add(ledger, id, |record| record.path = scratch.0.join("alice/new").join(id).to_str().unwrap().to_owned()).seq
}

fn all(dir: &Path) -> Vec<Record> {
    let mut reader = Reader::of_all(dir);
    let mut records = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Record(record) => records.push(Arc::unwrap_or_clone(record)),
            Item::Lost { from, to } => println!("lost {from} to {to}"),
        }
    }
    records
}

fn told(scratch: &Scratch) -> Vec<u64> {
    let mut reader = Reader::new(&scratch.journal(), 0);
    std::iter::from_fn(|| match reader.next_item().unwrap()? {
        Item::Record(record) => Some(record.seq),
        Item::Lost { from, to } => panic!("lost {from} to {to}"),
    })
    .collect()
}

#[test]
fn a_record_is_told_when_the_journal_is_synced_and_not_before() {
    let scratch = Scratch::new("safe");
    let ledger = open(&scratch);
    for (id, number) in [("a", 1), ("b", 2)] {
        assert_eq!(add(&ledger, id, |_| {}).seq, number);
        assert_eq!(told(&scratch).len() as u64, number - 1, "it is in the file, and not on the disk");
        assert!(ledger.sync());
        assert_eq!(told(&scratch).len() as u64, number);
    }
}

#[test]
fn the_thread_tells_by_itself() {
    let scratch = Scratch::new("thread");
    let ledger = open(&scratch);
    ledger.start().unwrap();
    add(&ledger, "a", |_| {});
    let end = std::time::Instant::now() + Duration::from_secs(60);
    // The mark for other processes is written last.
    while ledger.told().seq() != 1 || told(&scratch) != [1] || ledger.lock().tick_at.is_some() {
        assert!(std::time::Instant::now() < end, "{:?}", told(&scratch));
        std::thread::sleep(Duration::from_millis(5));
    }
    ledger.stop();
}

#[test]
fn what_cannot_be_told_now_is_told_later() {
    let scratch = Scratch::new("mark-full");
    let ledger = open(&scratch);
    ledger.start().unwrap();
    let full = Arc::new(File::options().write(true).open("/dev/full").unwrap());
    let file = lock(&ledger.mark).as_mut().unwrap().swap_file(full);
    add(&ledger, "a", |_| {});
    let end = std::time::Instant::now() + Duration::from_secs(60);
    let wait = |ask: &dyn Fn() -> bool| {
        while !ask() {
            assert!(std::time::Instant::now() < end);
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    wait(&|| ledger.lock().failing.mark);
    assert!(told(&scratch).is_empty());
    lock(&ledger.mark).as_mut().unwrap().swap_file(file);
    wait(&|| told(&scratch) == [1]);
    assert!(!ledger.lock().failing.mark);
    ledger.stop();
}

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
fn a_delivery_without_a_server_does_not_append_behind_a_cursor() {
    let scratch = Scratch::new("deliver");
    drop(Cursor::open(&scratch.0, "hook:a", || 7).unwrap());
    let ledger = Ledger::for_delivery(&scratch.0, keep(Duration::MAX)).unwrap();
    assert_eq!(add(&ledger, "a", |_| {}).seq, 8);
    ledger.tick();
    let mut reader = Reader::new(&scratch.journal(), 7);
    assert!(matches!(reader.next_item().unwrap(), Some(Item::Record(record)) if record.seq == 8));
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
fn known_messages_are_those_of_the_journal_and_of_the_files() {
    let scratch = Scratch::new("seen");
    scratch.maildir(&["old", "not recorded"]);
    let home = vec![("alice".to_owned(), scratch.0.join("alice"))];
    let knows = |ledger: &Arc<Ledger>, id: &[u8]| ledger.claim("alice", id).is_none();
    let ledger = open(&scratch);
    ledger.watch(home.clone());
    add_in(&scratch, &ledger, "old");
    add_in(&scratch, &ledger, "gone");
    let waits = ledger.claim("alice", b"not recorded").unwrap();
    ledger.save_known();
    assert!(!knows(&ledger, b"gone"), "forgotten, as it is not in the Maildir any more");
    add_in(&scratch, &ledger, "later");
    ledger.tick();
    drop(waits);
    let ledger = open(&scratch);
    assert!(knows(&ledger, b"old") && knows(&ledger, b"later"));
    assert!(!knows(&ledger, b"gone") && !knows(&ledger, b"not recorded"));
    // The oldest segments may go: the file knows.
    fs::remove_dir_all(scratch.journal()).unwrap();
    fs::create_dir(scratch.journal()).unwrap();
    fs::write(Segment::plain(&scratch.journal(), 4).path, "").unwrap();
    assert!(knows(&open(&scratch), b"old"));
    // Damage costs a longer start, and nothing that the journal has.
    scratch.maildir(&["%FFx"]);
    add_in(&scratch, &open(&scratch), "%FFx");
    fs::write(scratch.0.join("seen/alice"), b"mbseen1\nx").unwrap();
    assert!(knows(&open(&scratch), b"\xffx"), "as the record says it");
}

#[test]
fn a_mark_that_was_taken_away_or_replaced_is_put_back() {
    let scratch = Scratch::new("replaced");
    let ledger = open(&scratch);
    add(&ledger, "a", |_| {});
    ledger.tick();
    let path = scratch.journal().join(mark::NAME);
    fs::remove_file(&path).unwrap();
    ledger.tick();
    assert_eq!(mark::read(&scratch.journal()), Some(1));
    fs::write(&path, "garbled").unwrap();
    fs::rename(&path, scratch.journal().join("away")).unwrap();
    fs::write(&path, "garbled").unwrap();
    ledger.tick();
    assert_eq!(mark::read(&scratch.journal()), Some(1));
}

#[test]
fn an_active_segment_that_is_taken_away_is_not_written_any_more() {
    let scratch = Scratch::new("taken-away");
    let ledger = open(&scratch);
    for (n, length) in [(1, None), (2, Some(10)), (3, None)] {
        assert_eq!(add(&ledger, &n.to_string(), |_| {}).seq, n);
        ledger.tick();
        let path = Segment::plain(&scratch.journal(), n).path;
        match length {
            None => fs::remove_file(path).unwrap(),
            Some(length) => File::options().write(true).open(path).unwrap().set_len(length).unwrap(),
        }
        ledger.tick();
    }
    assert_eq!(add(&ledger, "4", |_| {}).seq, 4);
    ledger.tick();
    assert!(Segment::plain(&scratch.journal(), 4).path.exists());
    drop(ledger);
    assert_eq!(add(&open(&scratch), "5", |_| {}).seq, 5);
}

#[test]
fn what_was_not_told_yet_is_recorded_again_when_its_segment_is_taken_away() {
    let scratch = Scratch::new("recorded-again");
    let ledger = open(&scratch);
    add(&ledger, "1", |_| {});
    ledger.tick();
    (2..=3).for_each(|n| _ = add(&ledger, &n.to_string(), |_| {}));
    let path = Segment::plain(&scratch.journal(), 1).path;
    fs::remove_file(&path).unwrap();
    fs::create_dir(path).unwrap();
    ledger.tick();
    ledger.tick();
    let (last, records) = last_told(&scratch.journal(), 9);
    assert_eq!(last, 3);
    let found: Vec<_> = records.iter().map(|record| (record.seq, record.id.as_str(), record.duplicate_of)).collect();
    assert_eq!(found, [(2, "2", None), (3, "3", None)]);
}

#[test]
fn a_journal_that_is_removed_as_a_whole_is_made_again() {
    let scratch = Scratch::new("made-again");
    let ledger = open(&scratch);
    (1..=2).for_each(|n| _ = add(&ledger, &n.to_string(), |_| {}));
    ledger.tick();
    fs::remove_dir_all(scratch.journal()).unwrap();
    ledger.tick();
    drop(ledger.expect(Vec::new(), "3").record(sample(0, "alice", "3")));
    ledger.found(vec![(ledger.claim("alice", b"4").unwrap(), sample(0, "alice", "4"))]);
    ledger.tick();
    let (last, records) = last_told(&scratch.journal(), 9);
    assert_eq!((last, records.len()), (3, 1));
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

/// Reads all that may be told: numbers that follow each other, to an end. Gives the last.
fn last_told(journal: &Path, limit: usize) -> (u64, Vec<Record>) {
    let mut reader = Reader::new(journal, 0);
    let (mut last, mut records) = (0, Vec::new());
    for _ in 0..limit {
        let (from, to) = match reader.next_item().unwrap() {
            None => return (last, records),
            Some(Item::Lost { from, to }) => (from, to),
            Some(Item::Record(record)) => {
                records.push(Arc::unwrap_or_clone(record));
                (records[records.len() - 1].seq, records[records.len() - 1].seq)
            }
        };
        assert!(from == last + 1 && to >= from, "{from} to {to} after {last}");
        last = to;
    }
    panic!("it does not end");
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
