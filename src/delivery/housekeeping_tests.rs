//! What the work of the hour forgets, and what it must not.

use super::tests::{House, envelope, store};
use super::*;
use crate::ledger::Ledger;
use crate::maildir::store::make_maildir;
use std::fs;

/// Whether a message is known; it stays what it is.
fn knows(ledger: &Arc<Ledger>, user: &str, file_name: &str) -> bool {
    ledger.claim(user, file_name.as_bytes()).is_none()
}

/// Another program's delivery.
fn record(ledger: &Arc<Ledger>, user: &str, maildir: &Path, name: &str) {
    let path = maildir.join("new").join(name);
    fs::write(&path, "").unwrap();
    let expected = ledger.claim(user, name.as_bytes()).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let record = crate::journal::Record { user: user.into(), id: name.into(), path, ..Default::default() };
    ledger.found(vec![(expected, record)]);
}

#[test]
fn the_work_of_the_hour_forgets_what_is_gone_and_nothing_else() {
    let house = House::new("hour");
    let delivery = house.open();
    let foreign = house.folder.join("home/bob/Maildir");
    make_maildir(&foreign, &Modes::of_files(0o600)).unwrap();
    let own = |user: &str| (user.to_owned(), house.config.maildir(user));
    delivery.watch(vec![own("alice"), own("bob"), ("bob".into(), foreign.clone())]);
    let kept = store(&delivery, envelope(&["alice"]), b"1\n").unwrap().id;
    let gone = store(&delivery, envelope(&["alice"]), b"2\n").unwrap().id;
    fs::remove_file(&house.records()[1].path).unwrap();
    record(delivery.ledger().unwrap(), "bob", &foreign, "foreign");
    for seen in ["cur/1.M1.seen:2,S", "cur/seen:2,S"] {
        fs::write(foreign.join(seen), "").unwrap();
    }
    delivery.housekeep();
    // The next start, with nothing of the journal but the number that comes next.
    fs::remove_dir_all(house.config.journal()).unwrap();
    fs::create_dir(house.config.journal()).unwrap();
    fs::write(house.config.journal().join("00000000000000000004.jsonl"), "").unwrap();
    let ledger = house.ledger();
    assert!(knows(&ledger, "alice", &kept) && !knows(&ledger, "alice", &gone));
    assert!(knows(&ledger, "bob", "foreign") && knows(&ledger, "bob", "1.M1.seen"));
    assert!(!knows(&ledger, "bob", "seen"), "another message may be given such a name");
    // A disk that is not mounted is no reason to forget.
    ledger.watch(vec![("bob".into(), foreign.clone())]);
    fs::remove_dir_all(house.folder.join("home")).unwrap();
    ledger.save_known();
    assert!(knows(&house.ledger(), "bob", "foreign"));
}

#[test]
fn nothing_is_forgotten_while_a_maildir_of_the_user_cannot_be_read() {
    let house = House::new("away");
    let place = |name: &str| ("alice".to_owned(), house.folder.join(name));
    let places = [("alice".to_owned(), house.config.maildir("alice")), place("one"), place("two")];
    for (_, maildir) in &places {
        make_maildir(maildir, &Modes::of_files(0o600)).unwrap();
    }
    let (own, one, two) = (&places[0].1, &places[1].1, &places[2].1);
    let ledger = house.ledger();
    ledger.watch(places.to_vec());
    (0..3).for_each(|number| record(&ledger, "alice", &places[number].1, &number.to_string()));
    let known = |ledger: &Arc<Ledger>| ["0", "1", "2"].map(|id| knows(ledger, "alice", id));
    // A folder is away for a while, ours or another's; or a link leads nowhere.
    for maildir in [own, one] {
        fs::rename(maildir, house.folder.join("away")).unwrap();
        ledger.save_known();
        std::os::unix::fs::symlink(house.folder.join("nowhere"), maildir).unwrap();
        ledger.save_known();
        fs::remove_file(maildir).unwrap();
        fs::rename(house.folder.join("away"), maildir).unwrap();
        assert_eq!(known(&ledger), [true; 3]);
    }
    // The second Maildir is watched no more, across a restart too. Its message makes no new event when it is watched again.
    ledger.watch(places[..2].to_vec());
    ledger.save_known();
    let ledger = house.ledger();
    ledger.watch(places[..1].to_vec());
    ledger.save_known();
    ledger.save_known();
    assert_eq!(known(&ledger), [true; 3]);
    // The same for the Maildir of an account that is gone, while another program delivers to the user.
    ledger.watch(places[1..].to_vec());
    ledger.save_known();
    ledger.watch(Vec::new());
    ledger.save_known();
    ledger.watch(places.to_vec());
    assert_eq!(known(&ledger), [true; 3]);
    // A message that is in none of the Maildirs is forgotten: all of them could be read.
    fs::remove_file(two.join("new/2")).unwrap();
    ledger.save_known();
    assert_eq!(known(&house.ledger()), [true, true, false]);
}

#[test]
fn the_work_of_the_hour_never_overlaps_itself() {
    let house = House::new("overlap");
    let delivery = house.open();
    delivery.watch(vec![("alice".to_owned(), house.config.maildir("alice"))]);
    let litter = house.config.maildir("alice").join("tmp/1.h");
    make_maildir(&house.config.maildir("alice"), &Modes::of_files(0o600)).unwrap();
    let file = fs::File::create(&litter).unwrap();
    let old = std::time::SystemTime::now() - 2 * crate::maildir::litter::AGE;
    file.set_times(fs::FileTimes::new().set_modified(old).set_accessed(old)).unwrap();
    let running = delivery.housekeeping.lock().unwrap();
    delivery.housekeep();
    assert!(litter.exists(), "another one is about it");
    drop(running);
    delivery.housekeep();
    assert!(!litter.exists());
}
