use super::look::QUIET;
use super::watcher::{CHECK, SLOW};
use super::*;
use crate::delivery::tests::{House, envelope};
use crate::journal::Record;
use crate::maildir::store::{Modes, make_maildir};
use crate::message::trace::{Origin, Via};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// A Maildir of another program's, for bob.
pub(super) fn foreign(house: &House) -> Watched {
    let maildir = house.folder.join("home/bob/Maildir");
    make_maildir(&maildir, &Modes::of_files(0o600)).unwrap();
    Watched { user: "bob".into(), maildir }
}

fn own(house: &House) -> Watched {
    Watched { user: "alice".into(), maildir: house.config.maildir("alice") }
}

/// As Maildir's rules want it.
pub(super) fn deliver(maildir: &Path, name: &str, message: &str) {
    fs::write(maildir.join("tmp").join(name), message).unwrap();
    fs::rename(maildir.join("tmp").join(name), maildir.join("new").join(name)).unwrap();
}

pub(super) fn subjects(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.summary.subject.as_deref().unwrap_or("-")).collect()
}

/// Waits until there are so many records, and a little longer, in which no more must come.
pub(super) fn settled(house: &House, count: usize) -> Vec<Record> {
    let end = Instant::now() + Duration::from_secs(60);
    while house.records().len() < count {
        assert!(Instant::now() < end, "{count} records wanted: {:#?}", house.records());
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(60));
    let records = house.records();
    assert_eq!(records.len(), count, "{records:#?}");
    records
}

#[test]
fn another_programs_delivery_becomes_one_record() {
    let house = House::new("foreign");
    let watched = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched.clone()]).unwrap();
    deliver(&watched.maildir, "1.M2P3.host", "Return-Path: <x@y>\nSubject: rename\n\nbody\n");
    let record = settled(&house, 1).remove(0);
    assert_eq!((record.user.as_str(), record.id.as_str(), record.origin.via), ("bob", "1.M2P3.host", Via::Maildir));
    assert_eq!((record.size, record.origin.mail_from, record.rcpt_to), (45, None, None));
    assert_eq!(Path::new(&record.path), watched.maildir.join("new/1.M2P3.host"));
    let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    assert!(record.timestamp <= now && record.timestamp + 60_000_000 > now);
    // Dovecot says the size in the name, and may have compressed the file.
    deliver(&watched.maildir, "2.M2P3.host,S=9,W=1234", "Subject: named\n\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"Subject: gzip\n\n\n").unwrap();
    fs::write(watched.maildir.join("tmp/3.h,S=16"), gzip.finish().unwrap()).unwrap();
    fs::rename(watched.maildir.join("tmp/3.h,S=16"), watched.maildir.join("new/3.h,S=16")).unwrap();
    let records = settled(&house, 3);
    assert_eq!(subjects(&records), ["rename", "named", "gzip"]);
    assert_eq!((records[1].size, records[1].id.as_str(), records[2].size), (1234, "2.M2P3.host", 19));
    // What is no message.
    fs::write(watched.maildir.join("new/.hidden"), "x").unwrap();
    fs::create_dir(watched.maildir.join("new/folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", watched.maildir.join("new/link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        watched.maildir.join("new/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    // A message that is read, flagged, or made new again, is no new message.
    fs::rename(watched.maildir.join("new/1.M2P3.host"), watched.maildir.join("cur/1.M2P3.host:2,S")).unwrap();
    fs::rename(watched.maildir.join("cur/1.M2P3.host:2,S"), watched.maildir.join("cur/1.M2P3.host:2,FS")).unwrap();
    fs::rename(watched.maildir.join("cur/1.M2P3.host:2,FS"), watched.maildir.join("new/1.M2P3.host:2,F")).unwrap();
    fs::write(watched.maildir.join("cur/4.h:2,S"), "Subject: cur\n").unwrap();
    settled(&house, 3);
    arrivals.stop();
    // And nothing of it becomes an event at the next start.
    Arrivals::start(Arc::new(house.open()), vec![watched]).unwrap().stop();
    settled(&house, 3);
}

#[test]
fn the_first_look_records_what_came_before_in_order_and_can_be_awaited() {
    let house = House::new("first-look");
    let watched = foreign(&house);
    let names: Vec<String> = (100..300).map(|second| format!("{second}.M1P1.h")).collect();
    names.iter().rev().for_each(|name| deliver(&watched.maildir, name, &format!("Subject: {name}\n\n")));
    let delivery = Arc::new(house.open());
    let arrivals = Arrivals::start(delivery.clone(), vec![watched.clone()]).unwrap();
    delivery.first_look().wait();
    // A message that is removed after that has its record.
    names.iter().for_each(|name| fs::remove_file(watched.maildir.join("new").join(name)).unwrap());
    assert_eq!(subjects(&settled(&house, names.len())), names);
    arrivals.stop();
}

#[test]
fn links_and_files_written_in_place_are_recorded_when_they_are_whole() {
    let house = House::new("links");
    let watched = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched.clone()]).unwrap();
    let new = watched.maildir.join("new");
    // As qmail does, fast.
    fs::write(watched.maildir.join("tmp/1"), "Subject: link\n\n").unwrap();
    fs::hard_link(watched.maildir.join("tmp/1"), new.join("1")).unwrap();
    settled(&house, 1);
    // As qmail does, with the name in tmp/ gone before the look.
    fs::write(watched.maildir.join("tmp/2"), "Subject: unlinked\n\n").unwrap();
    fs::hard_link(watched.maildir.join("tmp/2"), new.join("2")).unwrap();
    fs::remove_file(watched.maildir.join("tmp/2")).unwrap();
    settled(&house, 2);
    // One way after the other: recorded in the order in which they came.
    for number in 0..20 {
        let (linked, renamed) = (format!("1{number:02}.l"), format!("1{number:02}.r"));
        for name in [&linked, &renamed] {
            fs::write(watched.maildir.join("tmp").join(name), format!("Subject: {name}\n\n")).unwrap();
        }
        fs::hard_link(watched.maildir.join("tmp").join(&linked), new.join(&linked)).unwrap();
        fs::remove_file(watched.maildir.join("tmp").join(&linked)).unwrap();
        fs::rename(watched.maildir.join("tmp").join(&renamed), new.join(&renamed)).unwrap();
    }
    let in_order: Vec<String> =
        (0..20).flat_map(|number| ["l", "r"].map(|way| format!("1{number:02}.{way}"))).collect();
    assert_eq!(subjects(&settled(&house, 42))[2..], in_order);
    // In place, slower than the quiet time, header first.
    let mut slow = fs::File::create(new.join("3")).unwrap();
    std::thread::sleep(QUIET + Duration::from_millis(200));
    slow.write_all(b"Subject: slow\n\n").unwrap();
    for _ in 0..3 {
        std::thread::sleep(QUIET * 5 / 4);
        slow.write_all(b"line\n").unwrap();
        assert_eq!(house.records().len(), 42);
    }
    drop(slow);
    let records = settled(&house, 43);
    assert_eq!((subjects(&records)[42], records[42].size), ("slow", 17 + 18));
    arrivals.stop();
}

#[test]
fn our_own_deliveries_are_recorded_once() {
    let house = House::new("own");
    let delivery = Arc::new(house.open());
    let arrivals = Arrivals::start(delivery.clone(), vec![own(&house)]).unwrap();
    for _ in 0..50 {
        let mut incoming = delivery.begin(envelope(&["alice"]));
        incoming.write(b"Subject: own\n\n");
        incoming.commit().unwrap();
    }
    settled(&house, 50);
    // Another process of ours stores and does not record: `mailbell deliver` beside a server.
    let other = Delivery::new(&house.config, None);
    let mut envelope = envelope(&["alice"]);
    envelope.origin.via = Via::Deliver;
    let mut incoming = other.begin(envelope);
    incoming.write(b"Subject: deliver\n\n");
    let stored = incoming.commit().unwrap();
    let record = settled(&house, 51).pop().unwrap();
    assert_eq!((record.id, record.size, record.origin.via), (stored.id, stored.size, Via::Deliver));
    assert_eq!(record.origin.mail_from.as_deref(), Some("a@example.com"));
    assert_eq!(record.rcpt_to.as_deref(), Some("alice@Example.org"));
    // A program copies a message of ours: that is another delivery.
    let maildir = house.config.maildir("alice");
    fs::copy(&record.path, maildir.join("tmp/1.copy")).unwrap();
    fs::rename(maildir.join("tmp/1.copy"), maildir.join("new/1.copy")).unwrap();
    let copy = settled(&house, 52).pop().unwrap();
    assert_eq!((copy.id.as_str(), copy.origin, copy.rcpt_to), ("1.copy", Origin::unknown(Via::Maildir), None));
    arrivals.stop();
}

#[test]
fn trace_fields_are_believed_in_our_own_maildirs_only() {
    let house = House::new("believed");
    let other = Delivery::new(&house.config, None);
    let mut incoming = other.begin(envelope(&["alice"]));
    incoming.write(b"Subject: x\n\n");
    incoming.commit().unwrap();
    let watched = foreign(&house);
    let from = fs::read_dir(house.config.maildir("alice").join("new")).unwrap().next().unwrap().unwrap();
    fs::copy(from.path(), watched.maildir.join("new").join(from.file_name())).unwrap();
    Arrivals::start(Arc::new(house.open()), vec![own(&house), watched]).unwrap().stop();
    let mut records = settled(&house, 2);
    records.sort_by_key(|record| record.user.clone());
    let told: Vec<_> = records.iter().map(|record| (record.origin.via, record.origin.mail_from.as_deref())).collect();
    assert_eq!(told, [(Via::Smtp, Some("a@example.com")), (Via::Maildir, None)]);
}

#[test]
fn what_came_while_no_server_ran_is_recorded_at_the_start_in_order() {
    let house = House::new("down");
    let (bob, alice) = (foreign(&house), own(&house));
    make_maildir(&alice.maildir, &Modes::of_files(0o600)).unwrap();
    deliver(&bob.maildir, "1700000002.M1P1.h", "Subject: second\n\n");
    deliver(&alice.maildir, "1700000003.M1P1.h", "Subject: third\n\n");
    deliver(&bob.maildir, "1700000001.M1P1.h", "Subject: first\n\n");
    fs::write(bob.maildir.join("cur/1700000000.M1P1.h:2,"), "Subject: seen\n\n").unwrap();
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![alice.clone(), bob.clone()]).unwrap();
    assert_eq!(subjects(&settled(&house, 3)), ["first", "second", "third"]);
    arrivals.stop();
    deliver(&bob.maildir, "1700000004.M1P1.h", "Subject: fourth\n\n");
    Arrivals::start(Arc::new(house.open()), vec![alice, bob]).unwrap().stop();
    assert_eq!(subjects(&house.records()), ["first", "second", "third", "fourth"]);
}

#[test]
fn a_maildir_that_comes_or_whose_new_is_replaced_is_watched_soon() {
    let house = House::new("comes");
    let bob = Watched { user: "bob".into(), maildir: house.folder.join("home/bob/Maildir") };
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![own(&house), bob.clone()]).unwrap();
    let modes = Modes::of_files(0o600);
    make_maildir(&bob.maildir, &modes).unwrap();
    deliver(&bob.maildir, "1.h", "Subject: made with all above it\n\n");
    settled(&house, 1);
    fs::rename(bob.maildir.join("new"), house.folder.join("old-new")).unwrap();
    fs::create_dir(bob.maildir.join("new")).unwrap();
    deliver(&bob.maildir, "2.h", "Subject: new/ alone replaced\n\n");
    settled(&house, 2);
    fs::remove_dir_all(&bob.maildir).unwrap();
    make_maildir(&bob.maildir, &modes).unwrap();
    deliver(&bob.maildir, "3.h", "Subject: removed and made again\n\n");
    settled(&house, 3);
    arrivals.stop();
}

/// What nothing tells of is found by the look that comes every minute; here it comes when the test says so.
#[test]
fn what_is_replaced_above_new_is_found_by_the_next_look() {
    let house = House::new("replaced");
    let home = house.folder.join("home");
    let bob = Watched { user: "bob".into(), maildir: home.join("bob/Maildir") };
    let modes = Modes::of_files(0o600);
    make_maildir(&bob.maildir, &modes).unwrap();
    let mut watcher = Watcher::new(Arc::new(house.open()));
    watcher.watch(vec![bob.clone()]);
    let mut count = 0;
    let mut becomes_an_event = |maildir: &Path, subject: &str| {
        count += 1;
        deliver(maildir, &format!("{count}.h"), &format!("Subject: {subject}\n\n"));
        watcher.take_events();
        watcher.look_at_folders(Instant::now() + CHECK * count);
        assert_eq!(subjects(&house.records()).last(), Some(&subject));
        // And from then on it is watched.
        deliver(maildir, &format!("{count}.again"), "Subject: again\n\n");
        assert!(watcher.take_events());
        assert_eq!(subjects(&house.records()).last(), Some(&"again"));
    };
    fs::rename(&bob.maildir, home.join("old")).unwrap();
    make_maildir(&bob.maildir, &modes).unwrap();
    becomes_an_event(&bob.maildir, "another in its place");
    fs::rename(&home, house.folder.join("elsewhere")).unwrap();
    make_maildir(&bob.maildir, &modes).unwrap();
    becomes_an_event(&bob.maildir, "a folder above it replaced");
    // All of it at once, with mail in it, as from a backup.
    fs::remove_dir_all(home.join("bob")).unwrap();
    make_maildir(&home.join("backup/Maildir"), &modes).unwrap();
    fs::rename(home.join("backup"), home.join("bob")).unwrap();
    becomes_an_event(&bob.maildir, "backup");
    // Links lead to other Maildirs, now here and then there.
    let real = |name: &str| {
        let maildir = house.folder.join(name).join("Maildir");
        make_maildir(&maildir, &modes).unwrap();
        maildir
    };
    for name in ["one", "two"] {
        let maildir = real(name);
        let _ = fs::remove_dir_all(home.join("bob")).or_else(|_| fs::remove_file(home.join("bob")));
        std::os::unix::fs::symlink(house.folder.join(name), home.join("bob")).unwrap();
        becomes_an_event(&maildir, name);
    }
}

#[test]
fn a_reload_changes_what_is_watched() {
    let house = House::new("reload");
    let (bob, alice) = (foreign(&house), own(&house));
    make_maildir(&alice.maildir, &Modes::of_files(0o600)).unwrap();
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![alice.clone()]).unwrap();
    deliver(&bob.maildir, "1.h", "Subject: bob\n\n");
    deliver(&alice.maildir, "2.h", "Subject: alice\n\n");
    assert_eq!(subjects(&settled(&house, 1)), ["alice"]);
    arrivals.watch(vec![bob.clone()]);
    assert_eq!(subjects(&settled(&house, 2)), ["alice", "bob"]);
    deliver(&alice.maildir, "3.h", "Subject: not watched\n\n");
    deliver(&bob.maildir, "4.h", "Subject: bob again\n\n");
    assert_eq!(subjects(&settled(&house, 3)), ["alice", "bob", "bob again"]);
    arrivals.watch(vec![alice, bob]);
    assert_eq!(subjects(&settled(&house, 4))[3], "not watched");
    arrivals.stop();
}

#[test]
fn without_inotify_it_looks_from_time_to_time() {
    let house = House::new("slow");
    let bob = foreign(&house);
    let mut watcher = Watcher::without_inotify(Arc::new(house.open()));
    let begin = Instant::now();
    watcher.watch(vec![bob.clone()]);
    deliver(&bob.maildir, "1.h", "Subject: slow\n\n");
    watcher.look_at_folders(begin);
    assert!(house.records().is_empty());
    watcher.look_at_folders(Instant::now() + SLOW);
    assert_eq!(subjects(&house.records()), ["slow"]);
}

#[test]
fn many_messages_at_once_are_each_recorded_once() {
    let house = House::new("flood");
    let bob = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![bob.clone()]).unwrap();
    for number in 0..3000 {
        deliver(&bob.maildir, &format!("{}.M1P{number}.h", 1_700_000_000 + number), &format!("Subject: {number}\n\n"));
    }
    let records = settled(&house, 3000);
    let ids: std::collections::HashSet<_> = records.iter().map(|record| &record.id).collect();
    assert_eq!(ids.len(), 3000);
    arrivals.stop();
}

#[test]
fn own_deliveries_are_read_many_at_a_time() {
    let house = House::new("rest");
    let delivery = Arc::new(house.open());
    make_maildir(&own(&house).maildir, &Modes::of_files(0o600)).unwrap();
    let mut watcher = Watcher::new(delivery.clone());
    watcher.watch(vec![own(&house)]);
    let send = || {
        let mut incoming = delivery.begin(envelope(&["alice"]));
        incoming.write(b"Subject: own\n\n");
        incoming.commit().unwrap();
    };
    send();
    assert!(watcher.take_events() && watcher.rests(), "only what is known came");
    deliver(&own(&house).maildir, "1.h", "Subject: foreign\n\n");
    assert!(watcher.take_events() && !watcher.rests());
    assert_eq!(subjects(&house.records()), ["own", "foreign"]);
}
