//! Which messages are known, across files, restarts and losses.

use super::tests::{Scratch, add};
use super::*;

/// What the server does from time to time: everything that is recorded may be saved, and is.
fn save(known: &KnownIds, journal: &Journal, user: &str, new: &[&str]) {
    known.settle();
    let seq = journal.last_seq();
    let digests = new.iter().map(|id| KnownIds::digest(id.as_bytes()));
    known.save(user, Present { new: digests.collect(), is_all: true, ..Present::default() }).unwrap();
    known.cover(seq).unwrap();
}

#[test]
fn known_ids_are_those_of_the_journal_and_of_the_files() {
    let scratch = Scratch::new("seen");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "old");
    add(&journal, "gone");
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    assert!(!known.insert("alice", b"old") && known.insert("alice", b"new") && known.insert("bob", b"old"));
    known.remove("alice", b"new");
    save(&known, &journal, "alice", &["old"]);
    assert!(known.insert("alice", b"gone"), "forgotten, as it was not in the Maildir any more");
    add(&journal, "later");
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    assert!(!known.insert("alice", b"old"), "it is in the file");
    assert!(!known.insert("alice", b"later"), "it is in the journal");
    assert!(known.insert("alice", b"gone") && known.insert("alice", b"new"));
    // The oldest segments may go: the file knows.
    drop(journal);
    fs::remove_dir_all(scratch.journal()).unwrap();
    fs::create_dir(scratch.journal()).unwrap();
    fs::write(segment::Segment::plain(&scratch.journal(), 4).path, "").unwrap();
    let journal = Journal::open(&scratch.journal()).unwrap();
    assert!(!KnownIds::load(&scratch.0, &journal).unwrap().insert("alice", b"old"));
}

#[test]
fn a_record_that_the_journal_lost_makes_its_message_unknown() {
    let scratch = Scratch::new("lost-end");
    let journal = Journal::open(&scratch.journal()).unwrap();
    add(&journal, "one");
    add(&journal, "two");
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    save(&known, &journal, "alice", &["one", "two"]);
    drop(journal);
    for (octets, one, two) in [(1, false, true), (400, true, true)] {
        let file =
            fs::OpenOptions::new().write(true).open(segment::Segment::plain(&scratch.journal(), 1).path).unwrap();
        file.set_len(file.metadata().unwrap().len() - octets).unwrap();
        let journal = Journal::open(&scratch.journal()).unwrap();
        let known = KnownIds::load(&scratch.0, &journal).unwrap();
        assert_eq!((known.insert("alice", b"one"), known.insert("alice", b"two")), (one, two));
    }
}

#[test]
fn what_is_not_recorded_yet_is_not_saved_as_known() {
    let scratch = Scratch::new("fresh");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    assert!(known.insert("alice", b"on its way") && known.insert("alice", b"done"));
    add(&journal, "done");
    known.recorded("alice", b"done");
    save(&known, &journal, "alice", &["on its way", "done"]);
    assert!(!known.insert("alice", b"on its way") && !known.insert("alice", b"done"));
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    assert!(known.insert("alice", b"on its way") && !known.insert("alice", b"done"));
    // It was recorded after all; the next file has it.
    add(&journal, "on its way");
    known.recorded("alice", b"on its way");
    save(&known, &journal, "alice", &["on its way", "done"]);
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    assert!(!known.insert("alice", b"on its way") && !known.insert("alice", b"done"));
}

#[test]
fn what_lies_in_cur_is_known_and_names_of_any_octets_are() {
    let scratch = Scratch::new("cur");
    let journal = Journal::open(&scratch.journal()).unwrap();
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    let cur = vec![KnownIds::digest(b"\xff\xfe"), KnownIds::digest(b"x")];
    known.save("bob", Present { new: vec![KnownIds::digest(b"unrecorded")], cur, is_all: true }).unwrap();
    known.save("carol", Present::default()).unwrap();
    let known = KnownIds::load(&scratch.0, &journal).unwrap();
    assert!(!known.insert("bob", b"\xff\xfe") && !known.insert("bob", b"x") && known.insert("bob", b"unrecorded"));
    add(&journal, "%FF%FFx");
    assert!(!KnownIds::load(&scratch.0, &journal).unwrap().insert("alice", b"\xff\xffx"), "as the record says it");
    // Damage costs a longer start, and nothing that the journal has.
    fs::write(scratch.0.join("seen/bob"), b"mbseen1\nx").unwrap();
    known.cover(1).unwrap();
    assert!(!KnownIds::load(&scratch.0, &journal).unwrap().insert("alice", b"\xff\xffx"));
}
