//! Messages and their records while the journal is full, and from many threads.

use super::tests::{House, envelope, store};
use super::*;
use crate::journal;
use std::fs::OpenOptions;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn mail_is_stored_while_the_journal_is_full_and_its_records_follow() {
    let house = House::new("journal-full");
    let delivery = house.open();
    let told = delivery.ledger().unwrap().told();
    store(&delivery, envelope(&["alice"]), b"Subject: 1\n\n").unwrap();
    assert_eq!(told.seq(), 0, "it is not synced");
    delivery.tick();
    assert_eq!(told.seq(), 1);
    let ledger = delivery.ledger().unwrap();
    let file = ledger.swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for subject in ["2", "3"] {
        store(&delivery, envelope(&["alice", "bob"]), format!("Subject: {subject}\n\n").as_bytes()).unwrap();
    }
    delivery.tick();
    assert_eq!((told.seq(), house.records().len()), (1, 1), "it is to be tried again");
    // What is saved meanwhile does not say that these are recorded.
    delivery.watch(["alice", "bob"].map(|user| (user.to_owned(), house.config.maildir(user))).to_vec());
    ledger.swap_file(file);
    delivery.save_known();
    let id = house.files("bob")[0].strip_prefix("new/").unwrap().to_owned();
    assert!(house.ledger().claim("bob", id.as_bytes()).is_some());
    store(&delivery, envelope(&["alice"]), b"Subject: 4\n\n").unwrap();
    assert_eq!(house.records().len(), 1, "in order, after those that wait");
    delivery.tick();
    let subjects: Vec<_> = house.records().into_iter().map(|record| record.summary.subject.unwrap()).collect();
    assert_eq!(subjects, ["1", "2", "2", "3", "3", "4"]);
    assert_eq!(journal::mark::read(&house.config.journal()), Some(6));
}

#[test]
fn the_thread_records_what_waits_when_there_is_room_again() {
    let house = House::new("again");
    let delivery = house.open();
    let ledger = delivery.ledger().unwrap();
    ledger.start().unwrap();
    let file = ledger.swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    store(&delivery, envelope(&["alice"]), b"Subject: 1\n\n").unwrap();
    ledger.swap_file(file);
    let end = Instant::now() + Duration::from_secs(60);
    while journal::mark::read(&house.config.journal()) != Some(1) {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    ledger.stop();
}

#[test]
fn records_that_are_too_many_to_wait_are_found_by_a_scan() {
    let house = House::new("missed");
    let delivery = house.open();
    static SCANS: AtomicU32 = AtomicU32::new(0);
    delivery.on_missed(Box::new(|| _ = SCANS.fetch_add(1, Ordering::SeqCst)));
    let ledger = delivery.ledger().unwrap();
    let file = ledger.swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    // A field is cut, so it takes many.
    let field = "x".repeat(3_000);
    let names = ["Subject", "From", "To", "Date", "Reply-To", "Content-Type", "MIME-Version"];
    let large: String = names.iter().map(|name| format!("{name}: {field}\n")).collect::<String>() + "\n";
    let files: Vec<String> =
        (0..350).map(|_| store(&delivery, envelope(&["alice"]), large.as_bytes()).unwrap().id).collect();
    delivery.tick();
    assert_eq!(SCANS.load(Ordering::SeqCst), 0, "there is still no room");
    ledger.swap_file(file);
    delivery.tick();
    assert_eq!(SCANS.load(Ordering::SeqCst), 1);
    let recorded = house.records().len();
    assert!((100..350).contains(&recorded), "{recorded}");
    for (number, id) in files.iter().enumerate() {
        assert_eq!(ledger.claim("alice", id.as_bytes()).is_some(), number >= recorded);
    }
}

#[test]
fn nobody_is_told_of_what_comes_after_a_message_with_a_folder_that_is_not_synced() {
    let house = House::new("withdrawn");
    let delivery = house.open();
    let ledger = delivery.ledger().unwrap();
    let copy = |user: &str, name: &str| {
        let path = format!("/mail/{user}/new/{name}");
        crate::ledger::Copy { user: user.into(), path, rcpt_to: None }
    };
    let record = |user: &str, name: &str| {
        ledger.expect(vec![copy(user, name)], name).record(journal::Record { id: name.into(), ..Default::default() })
    };
    let told = || {
        delivery.tick();
        journal::mark::read(&house.config.journal()).unwrap()
    };
    drop(record("alice", "1.M1.a"));
    let failed = record("alice", "1.M2.a");
    let slow = record("bob", "1.M3.a");
    drop(record("bob", "1.M4.a"));
    assert_eq!(told(), 1, "nobody is told of what comes after a record that is not safe");
    // The folder cannot be synced, and the file is removed: its record stays, as where somebody has removed the file.
    drop(failed);
    assert_eq!(told(), 2, "bob's folder is still to be synced");
    drop(slow);
    assert_eq!(told(), 4);
    let records = house.records();
    let found: Vec<_> = records.iter().map(|record| (record.seq, record.id.as_str())).collect();
    assert_eq!(found, [(1, "1.M1.a"), (2, "1.M2.a"), (3, "1.M3.a"), (4, "1.M4.a")]);
    let expected = ledger.expect(vec![copy("bob", "1.M5.a")], "1.M5.a");
    assert!(ledger.claim("bob", b"1.M5.a").is_none());
    drop(expected);
    assert!(ledger.claim("bob", b"1.M5.a").is_some());
}

#[test]
fn a_message_for_many_has_its_header_once_and_each_record_is_bounded() {
    let house = House::new("many");
    let delivery = house.open();
    let users: Vec<String> = (0..500).map(|number| format!("u{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let message = format!("Subject: {}\nTo: {}\n\n", "s".repeat(30_000), "t".repeat(30_000));
    store(&delivery, envelope(&users), message.as_bytes()).unwrap();
    let records = house.records();
    assert!(records.iter().map(|record| record.seq).eq(1..=500));
    assert!(records.iter().all(|record| record.summary.to.as_ref().unwrap().len() == 2_048));
    let journal = house.config.journal().join("00000000000000000001.jsonl");
    assert!(std::fs::metadata(journal).unwrap().len() < 500 * 6_000);
}

#[test]
fn many_threads_store_at_once_and_each_keeps_its_order() {
    let house = House::new("threads");
    let delivery = house.open();
    std::thread::scope(|scope| {
        for sender in 0..8 {
            let delivery = &delivery;
            scope.spawn(move || {
                for number in 0..25 {
                    let message = format!("Subject: {sender} {number}\n\n");
                    store(delivery, envelope(&["alice", "bob"][..1 + number % 2]), message.as_bytes()).unwrap();
                }
            });
        }
    });
    let records = house.records();
    assert!(records.iter().map(|record| record.seq).eq(1..=8 * (13 + 12 * 2)));
    for user in ["alice", "bob"] {
        for sender in 0..8 {
            let mine: Vec<(u32, &str)> = records
                .iter()
                .filter(|record| record.user == user)
                .filter_map(|record| {
                    let (from, number) = record.summary.subject.as_ref()?.split_once(' ')?;
                    (from == sender.to_string()).then_some((number.parse().ok()?, record.id.as_str()))
                })
                .collect();
            assert!(mine.windows(2).all(|pair| pair[0] < pair[1] && pair[0].1 < pair[1].1), "{mine:?}");
        }
    }
    assert_eq!(house.files("alice").len(), 200);
}
