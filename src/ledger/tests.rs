use super::*;
use crate::journal::record::tests::sample;
use crate::journal::segment::Segment;
use crate::journal::{Cursor, Item, Reader, mark};
use std::fs;
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
    pub(super) fn maildir(&self, names: &[&str]) {
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

pub(super) fn open(scratch: &Scratch) -> Arc<Ledger> {
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
pub(super) fn add_in(scratch: &Scratch, ledger: &Arc<Ledger>, id: &str) -> u64 {
    add(ledger, id, |record| record.path = scratch.0.join("alice/new").join(id).to_str().unwrap().to_owned()).seq
}

pub(super) fn all(dir: &Path) -> Vec<Record> {
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

pub(super) fn told(scratch: &Scratch) -> Vec<u64> {
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

/// Reads all that may be told: numbers that follow each other, to an end. Gives the last.
pub(super) fn last_told(journal: &Path, limit: usize) -> (u64, Vec<Record>) {
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
