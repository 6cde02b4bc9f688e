//! What another user can put into a watched Maildir: files of others, many names of one file, names of any octets.

use super::tests::{deliver, foreign, settled, subjects};
use super::*;
use crate::delivery::tests::House;
use crate::maildir::store::{Modes, make_maildir};
use std::fs;
use std::path::Path;

/// Runs `test` only as root, which can make files of other users.
fn as_root(test: impl FnOnce()) {
    if rustix::process::geteuid().is_root() {
        test();
    } else {
        eprintln!("skipped: needs root");
    }
}

#[test]
fn a_watched_user_cannot_make_us_read_files_of_others() {
    as_root(|| {
        let house = House::new("thief");
        let bob = foreign(&house);
        let own = |path: &Path| std::os::unix::fs::lchown(path, Some(2002), Some(2002)).unwrap();
        let new = bob.maildir.join("new");
        [&bob.maildir, &new, &bob.maildir.join("cur")].into_iter().for_each(|folder| own(folder));
        // A secret of root's, with two names, and a message of alice's.
        let secret = house.folder.join("secret");
        fs::write(&secret, "Subject: secret\n\n").unwrap();
        fs::write(house.folder.join("alice.h"), "Subject: alice's\n\n").unwrap();
        std::os::unix::fs::lchown(house.folder.join("alice.h"), Some(2001), None).unwrap();
        let arrivals = Arrivals::start(Arc::new(house.open()), vec![bob.clone()]).unwrap();
        let put = |name: &str, subject: &str| {
            let tmp = bob.maildir.join("tmp").join(name);
            fs::write(&tmp, format!("Subject: {subject}\n\n")).unwrap();
            own(&tmp);
            fs::rename(&tmp, new.join(name)).unwrap();
        };
        fs::hard_link(&secret, new.join("1.h")).unwrap();
        fs::rename(house.folder.join("alice.h"), new.join("2.h")).unwrap();
        std::os::unix::fs::symlink(&secret, new.join("3.h")).unwrap();
        put("4.h", "bob's own");
        assert_eq!(subjects(&settled(&house, 1)), ["bob's own"]);
        // A file that is given to bob becomes an event.
        own(&new.join("2.h"));
        assert_eq!(subjects(&settled(&house, 2)), ["bob's own", "alice's"]);
        // new/ itself is a link to another Maildir's.
        let other = house.folder.join("other");
        make_maildir(&other, &Modes::of_files(0o600)).unwrap();
        deliver(&other, "5.h", "Subject: other's\n\n");
        fs::rename(&new, bob.maildir.join("old")).unwrap();
        std::os::unix::fs::symlink(other.join("new"), &new).unwrap();
        arrivals.watch(vec![bob.clone()]);
        fs::remove_file(&new).unwrap();
        // The whole Maildir is a link of bob's.
        fs::rename(&bob.maildir, house.folder.join("old")).unwrap();
        own(bob.maildir.parent().unwrap());
        // It is bob's before it is there: a link of root's would be followed.
        let link = house.folder.join("link");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        own(&link);
        fs::rename(&link, &bob.maildir).unwrap();
        arrivals.watch(vec![bob.clone()]);
        fs::remove_file(&bob.maildir).unwrap();
        fs::rename(house.folder.join("old"), &bob.maildir).unwrap();
        fs::rename(bob.maildir.join("old"), &new).unwrap();
        put("6.h", "last");
        assert_eq!(subjects(&settled(&house, 3)), ["bob's own", "alice's", "last"]);
        arrivals.stop();
    });
}

/// One file under many names costs each name's record, and no more memory than a batch of them.
#[test]
fn many_names_of_one_file_are_each_recorded_once() {
    let house = House::new("names");
    let bob = foreign(&house);
    let header = format!("Subject: many names\nX-Long: {}\n\n", "x".repeat(60_000));
    fs::write(bob.maildir.join("tmp/one"), header).unwrap();
    (0..500).for_each(|n| fs::hard_link(bob.maildir.join("tmp/one"), bob.maildir.join(format!("new/{n}.h"))).unwrap());
    Arrivals::start(Arc::new(house.open()), vec![bob]).unwrap().stop();
    assert_eq!(house.records().len(), 500);
}

#[test]
fn names_that_are_not_utf8_are_messages_of_their_own() {
    use std::os::unix::ffi::OsStrExt;
    let house = House::new("latin1");
    let bob = foreign(&house);
    let arrivals = Arrivals::start(Arc::new(house.open()), vec![bob.clone()]).unwrap();
    for (count, name) in [b"1.\xE4.h", b"1.\xF6.h"].into_iter().enumerate() {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(bob.maildir.join("tmp/x"), "Subject: x\n\n").unwrap();
        fs::rename(bob.maildir.join("tmp/x"), bob.maildir.join("new").join(name)).unwrap();
        settled(&house, count + 1);
    }
    let records = house.records();
    assert_eq!([&records[0].id, &records[1].id], ["1.%E4.h", "1.%F6.h"]);
    let path = bob.maildir.join("new/1.%E4.h");
    assert_eq!(Path::new(&records[0].path), path);
    let mut text = String::new();
    let opened = crate::maildir::moved::open(&bob.maildir, path.file_name().unwrap()).unwrap();
    std::io::Read::read_to_string(&mut opened.unwrap(), &mut text).unwrap();
    assert_eq!(text, "Subject: x\n\n");
    arrivals.stop();
    // Neither the journal nor what is saved of it mistakes one for another, nor for a new one.
    Arrivals::start(Arc::new(house.open()), vec![bob]).unwrap().stop();
    settled(&house, 2);
}
