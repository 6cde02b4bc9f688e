//! When a name in `new/` is a message, and when it is another message.

use super::look::{self, Look, QUIET, Way};
use super::tests::{deliver, foreign, settled, subjects};
use super::*;
use crate::delivery::tests::House;
use crate::maildir::folder::Folder;
use crate::maildir::name::Place;
use crate::maildir::store::{Modes, make_maildir};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

/// A look at a file in `new/`.
fn look(watched: &Watched, file_name: &str, way: Way) -> Look {
    let new = Folder::of_others(&watched.maildir, Place::New).unwrap();
    look::look(watched, false, &new, file_name.as_ref(), file_name.as_ref(), way, &Default::default()).unwrap()
}

#[test]
fn another_name_for_the_same_message_is_no_new_one() {
    let house = House::new("renamed");
    let watched = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched.clone()]).unwrap();
    let new = watched.maildir.join("new");
    let names = [
        ("1763888639_0.4242.box,U=5,FMD5=0a:2,", "1763888639_0.4242.box,U=5,FMD5=0a:2,F"),
        ("msg", "msg:2,S"),
        ("note.eml", "note.eml,S=40"),
    ];
    names.iter().for_each(|(name, _)| deliver(&watched.maildir, name, "Subject: x\n\n"));
    settled(&house, 3);
    names.iter().for_each(|(name, other)| fs::rename(new.join(name), new.join(other)).unwrap());
    settled(&house, 3);
    arrivals.watch(vec![watched.clone()]);
    settled(&house, 3);
    arrivals.stop();
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched]).unwrap();
    settled(&house, 3);
    arrivals.stop();
}

#[test]
fn an_empty_file_is_a_message_only_when_it_is_not_written_for_long() {
    let house = House::new("empty");
    let watched = foreign(&house);
    let new = watched.maildir.join("new");
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched.clone()]).unwrap();
    // As a script does it that makes the file with mktemp(1) and fills it afterwards.
    drop(fs::File::create(new.join("1.h")).unwrap());
    std::thread::sleep(QUIET * 3 / 2);
    fs::write(new.join("1.h"), "Subject: late\n\n").unwrap();
    assert_eq!(subjects(&settled(&house, 1)), ["late"]);
    // What was renamed was written before.
    deliver(&watched.maildir, "2.h", "");
    assert_eq!(settled(&house, 2)[1].size, 0);
    let old = fs::File::create(new.join("3.h")).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(70)).unwrap();
    drop(old);
    assert!(matches!(look(&watched, "3.h", Way::Closed), Look::Message(_)));
    arrivals.stop();
}

#[test]
fn a_message_that_is_moved_to_cur_at_once_is_an_event() {
    let house = House::new("moved");
    let bob = foreign(&house);
    let mut watcher = Watcher::new(Arc::new(house.open()));
    watcher.watch(vec![bob.clone()]);
    for name in ["1.M1.h,S=12", "2.M1.h"] {
        deliver(&bob.maildir, name, "Subject: x\n\n");
    }
    fs::rename(bob.maildir.join("new/1.M1.h,S=12"), bob.maildir.join("cur/1.M1.h,S=12:2,RS")).unwrap();
    fs::remove_file(bob.maildir.join("new/2.M1.h")).unwrap();
    assert!(watcher.take_events());
    let [record] = &house.records()[..] else { panic!("{:?}", house.records()) };
    assert_eq!((record.summary.subject.as_deref(), record.size), (Some("x"), 14));
    assert!(record.path.ends_with("/new/1.M1.h,S=12"));
    assert!(matches!(look(&bob, "2.M1.h", Way::Renamed), Look::Missing));
}

#[test]
fn nothing_is_read_for_long() {
    let house = House::new("huge");
    let bob = foreign(&house);
    let new = bob.maildir.join("new");
    let size = |name: &str| match look(&bob, name, Way::Renamed) {
        Look::Message(record) => record.size,
        found => panic!("{found:?}"),
    };
    // A hole takes nothing on the disk, and an hour to read.
    fs::write(new.join("sparse"), "Subject: x\n\n").unwrap();
    fs::File::options().write(true).open(new.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(size("sparse"), (1 << 40) + 2);
    // What is small on the disk may be as long.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let block = [0_u8; 1 << 20];
    (0..70).for_each(|_| gzip.write_all(&block).unwrap());
    fs::write(new.join("gzip"), gzip.finish().unwrap()).unwrap();
    assert!((64 << 20..65 << 20).contains(&size("gzip")));
    // A large message is measured.
    fs::write(new.join("large"), "line\n".repeat(1 << 20)).unwrap();
    assert_eq!(size("large"), 6 << 20);
}

#[test]
fn a_file_that_cannot_be_read_yet_is_looked_at_again() {
    let house = House::new("unreadable");
    let watched = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched.clone()]).unwrap();
    // Root may read what it likes, but not half a gzip file. It has another name, at which inotify does not look.
    let (elsewhere, new) = (house.folder.join("elsewhere"), watched.maildir.join("new"));
    let unreadable = |name: &str| {
        fs::write(&elsewhere, b"\x1F\x8B\x08").unwrap();
        fs::hard_link(&elsewhere, watched.maildir.join("tmp").join(name)).unwrap();
        fs::rename(watched.maildir.join("tmp").join(name), new.join(name)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    };
    unreadable("1.h");
    fs::write(&elsewhere, "Subject: later\n\n").unwrap();
    assert_eq!(subjects(&settled(&house, 1)), ["later"]);
    // A change of its attributes may be what it waits for.
    fs::remove_file(&elsewhere).unwrap();
    unreadable("2.h");
    std::thread::sleep(QUIET * 5);
    fs::write(&elsewhere, "Subject: at once\n\n").unwrap();
    fs::set_permissions(new.join("2.h"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(subjects(&settled(&house, 2)), ["later", "at once"]);
    // What is no file will never be one.
    let _socket = std::os::unix::net::UnixListener::bind(new.join("socket")).unwrap();
    assert!(matches!(look(&watched, "socket", Way::Renamed), Look::Nothing));
    arrivals.stop();
}

#[test]
fn a_message_under_the_name_of_a_deleted_one_is_a_message() {
    let house = House::new("again");
    let watched = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched.clone()]).unwrap();
    for (count, subject) in ["one", "two", "three"].into_iter().enumerate() {
        deliver(&watched.maildir, "1", &format!("Subject: {subject}\n\n"));
        assert_eq!(subjects(&settled(&house, count + 1)).last(), Some(&subject));
        fs::remove_file(watched.maildir.join("new/1")).unwrap();
        if count == 1 {
            fs::remove_dir_all(&watched.maildir).unwrap();
            make_maildir(&watched.maildir, &Modes::of_files(0o600)).unwrap();
        }
    }
    // One that replaces another by a rename is as if the other had been changed.
    deliver(&watched.maildir, "2", "Subject: four\n\n");
    settled(&house, 4);
    deliver(&watched.maildir, "2", "Subject: five\n\n");
    settled(&house, 4);
    arrivals.stop();
}

#[test]
fn names_that_share_an_id_are_several_messages() {
    let house = House::new("shared-id");
    let watched = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![watched.clone()]).unwrap();
    let names = ["2026-11-24T12:30:01.77", "2026-11-24T12:31:02.78", "mail,1", "mail,2", "mail,\u{e4}"];
    for (count, name) in names.into_iter().enumerate() {
        deliver(&watched.maildir, name, &format!("Subject: {name}\n\n"));
        settled(&house, count + 1);
    }
    let ids: Vec<String> = settled(&house, names.len()).into_iter().map(|record| record.id).collect();
    assert_eq!(ids, ["2026-11-24T12", "2026-11-24T12", "mail", "mail", "mail"]);
    // Neither the journal nor what is saved of it mistakes one for another.
    Arrivals::start(Arc::new(house.open()), vec![watched]).unwrap().stop();
    arrivals.stop();
    Arrivals::start(Arc::new(house.open()), vec![foreign(&house)]).unwrap().stop();
    settled(&house, names.len());
}

#[test]
fn a_name_that_is_not_unique_may_come_again() {
    let house = House::new("report");
    let delivery = Arc::new(house.open());
    let watched = foreign(&house);
    let (new, cur) = (watched.maildir.join("new/report.eml"), watched.maildir.join("cur/report.eml:2,S"));
    let arrivals = Arrivals::start(delivery.clone(), vec![watched.clone()]).unwrap();
    for (count, to) in [&house.folder.join("elsewhere"), &cur, &cur, &cur].into_iter().enumerate() {
        deliver(&watched.maildir, "report.eml", &format!("Subject: {count}\n\n"));
        settled(&house, count + 1);
        fs::rename(&new, to).unwrap();
        // The work of the hour does not take the one in cur/ for the next one.
        delivery.save_known();
    }
    // So fast that it is gone before the look.
    deliver(&watched.maildir, "report.eml", "Subject: 4\n\n");
    fs::rename(&new, &cur).unwrap();
    settled(&house, 5);
    deliver(&watched.maildir, "report.eml", "Subject: 5\n\n");
    assert_eq!(subjects(&settled(&house, 6)), ["0", "1", "2", "3", "4", "5"]);
    // A reader that marks a message as unread moves it back.
    deliver(&watched.maildir, "1700000000.M1P1.host", "Subject: unique\n\n");
    settled(&house, 7);
    let back = watched.maildir.join("cur/1700000000.M1P1.host:2,S");
    fs::rename(watched.maildir.join("new/1700000000.M1P1.host"), &back).unwrap();
    fs::rename(&back, watched.maildir.join("new/1700000000.M1P1.host")).unwrap();
    settled(&house, 7);
    arrivals.stop();
}

/// Waits until all that happened before has been dealt with: a message that comes after it has its record, and a second one,
/// which belongs to a later batch.
fn pass(house: &House, watched: &Watched, records: usize) {
    for count in records + 1..=records + 2 {
        deliver(&watched.maildir, &format!("after-{count}.h"), "Subject: after\n\n");
        settled(house, count);
    }
}

#[test]
fn what_is_deleted_in_one_maildir_is_known_while_another_of_the_user_has_it() {
    let house = House::new("two");
    let one = foreign(&house);
    let two = Watched { user: "bob".into(), maildir: house.folder.join("two") };
    make_maildir(&two.maildir, &Modes::of_files(0o600)).unwrap();
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![one.clone(), two.clone()]).unwrap();
    deliver(&one.maildir, "1.h", "Subject: linked\n\n");
    settled(&house, 1);
    fs::hard_link(one.maildir.join("new/1.h"), two.maildir.join("new/1.h")).unwrap();
    fs::remove_file(one.maildir.join("new/1.h")).unwrap();
    pass(&house, &one, 1);
    arrivals.watch(vec![one.clone()]);
    arrivals.watch(vec![one.clone(), two.clone()]);
    settled(&house, 3);
    fs::rename(two.maildir.join("new/1.h"), one.maildir.join("new/1.h")).unwrap();
    settled(&house, 3);
    fs::remove_file(one.maildir.join("new/1.h")).unwrap();
    pass(&house, &one, 3);
    deliver(&two.maildir, "1.h", "Subject: another\n\n");
    settled(&house, 6);
    arrivals.stop();
}
