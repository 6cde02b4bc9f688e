use super::record::tests::sample;
use super::segment::Segment;
use super::*;
use crate::ledger::Journal;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::Duration;

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
        if round % 2 == 0 {
            journal.seal();
        } else {
            journal.rotate();
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
        journal.rotate();
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
            journal.seal();
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
    for n in 0..10_000 {
        add(&journal, &n.to_string());
    }
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    assert_eq!(rest(&mut follower).len(), 10_000);
}

/// What a reader of the journal says: the numbers of records, and of what is lost.
fn items(dir: &std::path::Path, after: u64) -> Vec<std::ops::RangeInclusive<i64>> {
    let mut reader = Reader::new(dir, after);
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        found.push(match item {
            Item::Record(record) => record.seq as i64..=record.seq as i64,
            Item::Lost { from, to } => -(from as i64)..=-(to as i64),
        });
    }
    found
}

#[test]
fn a_hole_in_the_active_segment_costs_what_it_hit_and_no_number_is_given_twice() {
    let scratch = Scratch::new("hole");
    let journal = Journal::open(&scratch.journal()).unwrap();
    (0..500).for_each(|n| _ = add(&journal, &n.to_string()));
    drop(journal);
    let path = Segment::plain(&scratch.journal(), 1).path;
    let mut octets = fs::read(&path).unwrap();
    octets[40_000..44_096].fill(0);
    fs::write(&path, octets).unwrap();
    let found = items(&scratch.journal(), 0);
    let lost: Vec<_> = found.iter().filter(|range| *range.start() < 0).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    let lost = (-lost[0].end() + lost[0].start()).unsigned_abs() as usize + 1;
    assert!(lost < 20 && found.len() == 500 - lost + 1, "{lost} lost");
    assert_eq!(add(&Journal::open(&scratch.journal()).unwrap(), "next").seq, 501);
}

#[test]
fn a_compressed_segment_may_be_cut_empty_garbled_or_a_folder_and_what_follows_is_read() {
    let scratch = Scratch::new("gzip");
    let journal = Journal::open(&scratch.journal()).unwrap();
    (0..100).for_each(|n| _ = add(&journal, &n.to_string()));
    journal.seal();
    (0..3).for_each(|n| _ = add(&journal, &format!("later {n}")));
    let path = Segment::plain(&scratch.journal(), 1).path.with_extension("jsonl.gz");
    let whole = fs::read(&path).unwrap();
    let garbled: Vec<u8> =
        whole.iter().enumerate().map(|(at, octet)| if at > whole.len() / 2 { !octet } else { *octet }).collect();
    let half = whole.len() / 2;
    for damaged in [Some(&whole[..half]), Some(&[][..]), Some(&garbled[..]), Some(&b"no gzip"[..]), Some(b"link"), None]
    {
        fs::remove_file(&path).unwrap();
        match damaged {
            Some(b"link") => std::os::unix::fs::symlink("/nonexistent", &path).unwrap(),
            Some(octets) => fs::write(&path, octets).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }
        let found = items(&scratch.journal(), 0);
        assert_eq!(found[found.len() - 3..], [101..=101, 102..=102, 103..=103]);
        let lost = &found[found.len() - 4];
        assert_eq!(*lost.end(), -100, "{found:?}");
        assert!(found[..found.len() - 4].iter().cloned().eq((1..-lost.start()).map(|seq| seq..=seq)));
        // Nor does it stop the writer, with its index gone, too.
        let _ = fs::remove_file(path.with_extension("").with_extension("keys"));
        assert_eq!(Journal::open(&scratch.journal()).unwrap().last_seq(), 103);
    }
    fs::remove_dir(&path).unwrap();
}

#[test]
fn a_line_without_end_and_a_number_that_is_damaged_cost_their_own_records() {
    let scratch = Scratch::new("long-line");
    let journal = Journal::open(&scratch.journal()).unwrap();
    (0..6).for_each(|n| _ = add(&journal, &n.to_string()));
    let path = Segment::plain(&scratch.journal(), 1).path;
    let lines = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines[1] = "x".repeat(3 << 20);
    lines[3] = lines[3].replace("\"seq\":4", "\"seq\":4000");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    assert_eq!(items(&scratch.journal(), 0), [1..=1, -2..=-2, 3..=3, -4..=-4, 5..=5, 6..=6]);
    assert_eq!(items(&scratch.journal(), 3), [-4..=-4, 5..=5, 6..=6]);
}

#[test]
fn nothing_beyond_the_mark_is_told_and_what_was_read_of_it_is_forgotten() {
    let scratch = Scratch::new("mark");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let mark = mark::Mark::open(&scratch.journal(), 0).unwrap();
    (0..3).for_each(|n| _ = add(&journal, &n.to_string()));
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    assert!(rest(&mut follower).is_empty());
    assert_eq!(last_seq(&scratch.journal()).unwrap(), 0);
    mark.set(1).unwrap();
    follower.drain_events();
    assert_eq!(rest(&mut follower), [1]);
    // The tail is written anew before it is safe.
    let path = Segment::plain(&scratch.journal(), 1).path;
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("\"id\":\"1\"", "\"id\":\"other\"");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).unwrap();
    file.set_len(text.len() as u64).unwrap();
    mark.set(2).unwrap();
    follower.drain_events();
    let Some(Item::Record(record)) = follower.next_item().unwrap() else { panic!() };
    assert_eq!((record.seq, record.id.as_str()), (2, "other"));
    // What is safe and cannot be read is lost, and what is not safe comes later.
    fs::write(&path, text.replace("\"seq\":3", "\"seq\":x")).unwrap();
    add(&journal, "3");
    mark.set(3).unwrap();
    follower.drain_events();
    assert!(matches!(follower.next_item().unwrap(), Some(Item::Lost { from: 3, to: 3 })));
    assert!(follower.next_item().unwrap().is_none());
    mark.set(4).unwrap();
    follower.drain_events();
    assert_eq!(rest(&mut follower), [4]);
}

#[test]
fn a_mark_that_comes_later_is_obeyed() {
    let scratch = Scratch::new("mark-later");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let mut follower = Follower::open(&scratch.journal(), 0).unwrap();
    add(&journal, "a");
    assert_eq!(rest(&mut follower), [1]);
    let mark = mark::Mark::open(&scratch.journal(), 1).unwrap();
    add(&journal, "b");
    follower.drain_events();
    assert!(rest(&mut follower).is_empty());
    mark.set(2).unwrap();
    follower.drain_events();
    assert_eq!(rest(&mut follower), [2]);
}

#[test]
fn a_number_beyond_the_next_segment_is_damage() {
    let scratch = Scratch::new("beyond");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "1");
    journal.rotate();
    add(&journal, "2");
    drop(journal);
    let path = Segment::plain(&scratch.journal(), 1).path;
    let text = fs::read_to_string(&path).unwrap().replace("\"seq\":1", "\"seq\":7");
    fs::write(&path, text).unwrap();
    assert_eq!(items(&scratch.journal(), 0), [-1..=-1, 2..=2]);
}
