//! Messages and their records while the journal is full, and from many threads.

use super::tests::{House, envelope, store};
use super::*;
use std::fs::OpenOptions;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn mail_is_stored_while_the_journal_is_full_and_its_records_follow() {
    let house = House::new("journal-full");
    let mut delivery = house.open();
    static STIRRED: AtomicU32 = AtomicU32::new(0);
    delivery.on_record(Box::new(|| _ = STIRRED.fetch_add(1, Ordering::SeqCst)));
    store(&delivery, envelope(&["alice"]), b"Subject: 1\n\n").unwrap();
    assert_eq!(STIRRED.load(Ordering::SeqCst), 1);
    delivery.tick();
    let journal = delivery.recorder().unwrap().journal();
    let file = journal.swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for subject in ["2", "3"] {
        store(&delivery, envelope(&["alice", "bob"]), format!("Subject: {subject}\n\n").as_bytes()).unwrap();
    }
    assert_eq!(STIRRED.load(Ordering::SeqCst), 2, "once, until the next tick");
    delivery.tick();
    assert_eq!((STIRRED.load(Ordering::SeqCst), house.records().len()), (3, 1), "it is to be tried again");
    // What is saved meanwhile does not say that these are recorded.
    delivery.watch(["alice", "bob"].map(|user| (user.to_owned(), house.config.maildir(user))).to_vec());
    journal.swap_file(file);
    delivery.save_known();
    let known = KnownIds::load(&house.config.state, journal).unwrap();
    let id = house.files("bob")[0].strip_prefix("new/").unwrap().split(',').next().unwrap().to_owned();
    assert!(known.insert("bob", id.as_bytes()));
    store(&delivery, envelope(&["alice"]), b"Subject: 4\n\n").unwrap();
    assert_eq!(house.records().len(), 1, "in order, after those that wait");
    delivery.tick();
    let subjects: Vec<_> = house.records().into_iter().map(|record| record.summary.subject.unwrap()).collect();
    assert_eq!(subjects, ["1", "2", "2", "3", "3", "4"]);
    delivery.tick();
    assert_eq!(STIRRED.load(Ordering::SeqCst), 3);
}

#[test]
fn records_that_are_too_many_to_wait_are_found_by_a_scan() {
    let house = House::new("missed");
    let delivery = house.open();
    static SCANS: AtomicU32 = AtomicU32::new(0);
    delivery.on_missed(Box::new(|| _ = SCANS.fetch_add(1, Ordering::SeqCst)));
    let recorder = delivery.recorder().unwrap();
    let file = recorder.journal().swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    // A value has at most 2,048 octets, so a large record has many values.
    let fields = ["Subject", "From", "To", "Reply-To", "Date", "MIME-Version", "Content-Transfer-Encoding"];
    let large: String = fields.iter().map(|name| format!("{name}: {}\n", "x".repeat(2_048))).collect::<String>() + "\n";
    let ids: Vec<String> =
        (0..350).map(|_| store(&delivery, envelope(&["alice"]), large.as_bytes()).unwrap().id).collect();
    delivery.tick();
    assert_eq!(SCANS.load(Ordering::SeqCst), 0, "there is still no room");
    recorder.journal().swap_file(file);
    delivery.tick();
    assert_eq!(SCANS.load(Ordering::SeqCst), 1);
    let recorded = house.records().len();
    assert!((200..350).contains(&recorded), "{recorded}");
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(recorder.known().insert("alice", id.as_bytes()), number >= recorded);
    }
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
