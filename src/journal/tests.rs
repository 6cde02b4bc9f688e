use super::record::tests::sample;
use super::*;
use std::time::Instant;

pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("mailbell-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn add(journal: &Journal, id: &str) -> Record {
    let mut records = [sample(0, "alice", id)];
    journal.append(&mut records).unwrap();
    records[0].clone()
}

fn rest(follower: &mut Follower) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(item) = follower.next_item().unwrap() {
        match item {
            Item::Record(record) => seqs.push(record.seq),
            Item::Lost { from, to } => panic!("lost {from} to {to}"),
        }
    }
    seqs
}

#[test]
fn numbers_go_on_after_a_restart_and_duplicates_are_found() {
    let scratch = Scratch::new("restart");
    let journal = Journal::open(&scratch.journal()).unwrap();
    assert_eq!(journal.last_seq(), 0);
    assert_eq!(add(&journal, "a").duplicate_of, None);
    assert_eq!(add(&journal, "b").seq, 2);
    drop(journal);
    let journal = Journal::open(&scratch.journal()).unwrap();
    let again = add(&journal, "a");
    assert_eq!((again.seq, again.duplicate_of), (3, Some(1)));
    assert_eq!(add(&journal, "a").duplicate_of, Some(3));
    let mut other = [sample(0, "bob", "a")];
    journal.append(&mut other).unwrap();
    assert_eq!(other[0].duplicate_of, None);
}

#[test]
fn duplicates_are_found_within_a_batch_too_and_only_when_it_is_written() {
    let scratch = Scratch::new("batch");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let mut batch = [("alice", "a"), ("bob", "a"), ("alice", "a"), ("alice", "b"), ("alice", "a")]
        .map(|(user, id)| sample(0, user, id));
    let file = journal.swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    journal.append(&mut batch).unwrap_err();
    journal.swap_file(file);
    for expected in [[None, None, Some(1), None, Some(3)], [Some(5), Some(2), Some(6), Some(4), Some(8)]] {
        journal.append(&mut batch).unwrap();
        assert_eq!(batch.each_ref().map(|record| record.duplicate_of), expected);
    }
}

#[test]
fn a_torn_last_line_is_cut_off_whatever_its_length() {
    let scratch = Scratch::new("torn");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "a");
    let path = Segment::plain(&scratch.journal(), 1).path;
    let one = fs::read(&path).unwrap();
    add(&journal, "b");
    drop(journal);
    let two = fs::read(&path).unwrap();
    for length in one.len()..two.len() {
        fs::write(&path, &two[..length]).unwrap();
        let journal = Journal::open(&scratch.journal()).unwrap();
        assert_eq!(journal.last_seq(), 1, "cut at {length}");
        assert_eq!(fs::read(&path).unwrap(), one);
        assert_eq!(add(&journal, "c").seq, 2);
    }
    // Zeros, as some file systems leave them.
    fs::write(&path, [&one[..], &[0; 100], b"\n"].concat()).unwrap();
    assert_eq!(Journal::open(&scratch.journal()).unwrap().last_seq(), 1);
}

#[test]
fn whatever_is_left_of_the_file_its_whole_records_are_the_journal() {
    let scratch = Scratch::new("prefix");
    let journal = Journal::open(&scratch.journal()).unwrap();
    for id in ["a", "b", "c"] {
        add(&journal, id);
    }
    drop(journal);
    let path = Segment::plain(&scratch.journal(), 1).path;
    let all = fs::read(&path).unwrap();
    for length in 0..=all.len() {
        let whole = all[..length].iter().filter(|octet| **octet == b'\n').count() as u64;
        fs::write(&path, &all[..length]).unwrap();
        let journal = Journal::open(&scratch.journal()).unwrap();
        assert_eq!(journal.last_seq(), whole, "cut at {length}");
        let known = KnownIds::load(&scratch.0, &journal).unwrap();
        let unknown = ["a", "b", "c"].into_iter().filter(|id| known.insert("alice", id.as_bytes())).count() as u64;
        assert_eq!(unknown, 3 - whole);
        assert_eq!(add(&journal, "d").seq, whole + 1);
        // Letting go of an inotify instance takes the kernel its time, so not at each octet.
        if length % 100 == 0 {
            let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
            assert_eq!(rest(&mut follower), (1..=whole + 1).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_full_disk_costs_no_number_and_no_later_record() {
    let scratch = Scratch::new("full");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "a");
    let file = journal.swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    journal.append(&mut [sample(0, "alice", "b")]).unwrap_err();
    assert_eq!(journal.last_seq(), 1);
    journal.swap_file(file);
    assert_eq!(add(&journal, "b").seq, 2);
}

#[test]
fn a_damaged_line_costs_its_own_record_only() {
    let scratch = Scratch::new("damaged");
    let journal = Journal::open(&scratch.journal()).unwrap();
    for id in ["a", "b", "c"] {
        add(&journal, id);
    }
    let path = Segment::plain(&scratch.journal(), 1).path;
    let text = fs::read_to_string(&path).unwrap().replace("\"seq\":2", "\"seq\":x");
    fs::write(&path, text).unwrap();
    assert_eq!(Journal::open(&scratch.journal()).unwrap().last_seq(), 3);
    for after in 0..3 {
        let mut follower = Follower::open(&scratch.journal(), after).unwrap();
        let mut seen = Vec::new();
        while let Some(item) = follower.next_item().unwrap() {
            seen.push(match item {
                Item::Record(record) => record.seq,
                Item::Lost { from: 2, to: 2 } => 222,
                Item::Lost { from, to } => panic!("lost {from} to {to}"),
            });
        }
        assert_eq!(seen, [1, 222, 3][after as usize..]);
    }
}

#[test]
fn a_follower_sees_each_record_once_across_rotation_and_compression() {
    let scratch = Scratch::new("follow");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    assert!(rest(&mut follower).is_empty());
    let mut seen = Vec::new();
    for round in 0..6 {
        for n in 0..50 {
            add(&journal, &format!("{round}-{n}"));
            if n % 7 == 0 {
                follower.drain_events();
                seen.extend(rest(&mut follower));
            }
        }
        journal.rotate(&mut journal.lock()).unwrap();
        if round % 2 == 0 {
            journal.maintain(UNIX_EPOCH, Duration::from_secs(1 << 30)).unwrap();
        }
    }
    follower.drain_events();
    seen.extend(rest(&mut follower));
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
    // From every place, also inside compressed segments.
    for after in [0, 1, 49, 50, 51, 149, 299, 300, 301] {
        let mut follower = Follower::open(&scratch.journal(), after).unwrap();
        assert_eq!(rest(&mut follower), (after + 1..=300).collect::<Vec<_>>(), "after {after}");
    }
    drop(journal);
    // The index of sealed segments is read back, and made again where it is gone.
    for _ in 0..2 {
        let journal = Journal::open(&scratch.journal()).unwrap();
        assert_eq!(journal.last_seq(), 300);
        assert_eq!(journal.lock().duplicates.latest("alice", "mid:<0-3>"), Some(4));
        for entry in fs::read_dir(scratch.journal()).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension().is_some_and(|extension| extension == "keys") {
                fs::remove_file(entry).unwrap();
            }
        }
    }
}

#[test]
fn a_line_that_is_being_written_is_not_an_item_yet() {
    use std::io::Write;
    let scratch = Scratch::new("partial");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "a");
    let mut line = Vec::new();
    sample(2, "alice", "b").write_json(&mut line);
    line.push(b'\n');
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    assert_eq!(rest(&mut follower), [1]);
    let mut file = OpenOptions::new().append(true).open(Segment::plain(&scratch.journal(), 1).path).unwrap();
    for octet in &line[..line.len() - 1] {
        file.write_all(&[*octet]).unwrap();
        assert!(rest(&mut follower).is_empty());
    }
    file.write_all(b"\n").unwrap();
    assert_eq!(rest(&mut follower), [2]);
}

#[test]
fn a_line_that_a_crash_left_is_forgotten_when_the_next_start_cuts_it_off() {
    use std::io::Write;
    let scratch = Scratch::new("cut");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "a");
    drop(journal);
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    assert_eq!(rest(&mut follower), [1]);
    let path = Segment::plain(&scratch.journal(), 1).path;
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"seq\":2,\"event\":\"Mess").unwrap();
    assert!(rest(&mut follower).is_empty());
    let journal = Journal::open(&scratch.journal()).unwrap();
    for id in ["b", "c"] {
        add(&journal, id);
    }
    assert_eq!(rest(&mut follower), [2, 3]);
}

#[test]
fn a_follower_goes_back_and_forth() {
    let scratch = Scratch::new("rewind");
    let journal = Journal::open(&scratch.journal()).unwrap();
    for id in ["a", "b", "c"] {
        add(&journal, id);
        journal.rotate(&mut journal.lock()).unwrap();
    }
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    for after in [0, 2, 0, 1, 3] {
        follower.go_to(after);
        assert_eq!(rest(&mut follower), (after + 1..=3).collect::<Vec<_>>());
    }
}

#[test]
fn the_end_and_single_records_are_found_without_following() {
    let scratch = Scratch::new("look");
    assert_eq!(last_seq(&scratch.journal()).unwrap(), 0);
    let journal = Journal::open(&scratch.journal()).unwrap();
    assert_eq!(last_seq(&scratch.journal()).unwrap(), 0);
    for n in 0..9 {
        add(&journal, &n.to_string());
        if n % 4 == 3 {
            journal.rotate(&mut journal.lock()).unwrap();
            journal.maintain(UNIX_EPOCH, Duration::from_secs(1 << 30)).unwrap();
        }
        assert_eq!(last_seq(&scratch.journal()).unwrap(), n + 1);
    }
    for seq in 1..=9 {
        assert_eq!(oldest_after(&scratch.journal(), seq - 1).unwrap().unwrap().seq, seq);
    }
    assert!(oldest_after(&scratch.journal(), 9).unwrap().is_none());
    fs::remove_file(segment::list(&scratch.journal()).unwrap()[0].path.clone()).unwrap();
    assert_eq!(oldest_after(&scratch.journal(), 0).unwrap().unwrap().seq, 5);
}

#[test]
fn the_lock_tells_a_server_from_a_delivery() {
    let scratch = Scratch::new("lock");
    let server = Lock::for_server(&scratch.0).unwrap();
    assert!(matches!(Lock::for_server(&scratch.0), Err(Held::ByServer)));
    assert!(matches!(Lock::for_delivery(&scratch.0), Err(Held::ByServer)));
    drop(server);
    let delivery = Lock::for_delivery(&scratch.0).unwrap();
    let state = scratch.0.clone();
    let waiting = std::thread::spawn(move || Lock::for_server(&state).is_ok());
    std::thread::sleep(Duration::from_millis(20));
    drop(delivery);
    assert!(waiting.join().unwrap());
}

#[test]
fn a_server_that_was_killed_is_waited_for_while_its_child_has_the_lock() {
    let scratch = Scratch::new("child");
    let server = Lock::for_server(&scratch.0).unwrap();
    // A process that is surely there no more.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    fs::write(scratch.0.join("lock"), format!("serve {}\n", child.id())).unwrap();
    let state = scratch.0.clone();
    let waiting = std::thread::spawn(move || Lock::for_server(&state).is_ok());
    std::thread::sleep(Duration::from_millis(20));
    assert!(!waiting.is_finished());
    drop(server);
    assert!(waiting.join().unwrap());
}

#[test]
fn ten_thousand_records_are_appended_and_followed_in_one_go() {
    let scratch = Scratch::new("many");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let begin = Instant::now();
    for n in 0..10_000 {
        add(&journal, &n.to_string());
    }
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    assert_eq!(rest(&mut follower).len(), 10_000);
    println!("10,000 appended and followed in {:?}", begin.elapsed());
}
