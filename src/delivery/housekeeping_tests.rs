//! What the work of the hour forgets, and what it must not.

use super::tests::{House, envelope, store};
use super::*;
use crate::maildir::store::make_maildir;
use std::fs;

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
    let known = delivery.recorder().unwrap().known();
    known.insert("bob", b"foreign");
    known.recorded("bob", b"foreign");
    fs::write(foreign.join("new/foreign"), "").unwrap();
    for seen in ["cur/1.M1.seen:2,S", "cur/seen:2,S"] {
        fs::write(foreign.join(seen), "").unwrap();
    }
    delivery.housekeep();
    // The next start, with nothing of the journal but the number that comes next.
    fs::remove_dir_all(house.config.journal()).unwrap();
    fs::create_dir(house.config.journal()).unwrap();
    fs::write(house.config.journal().join("00000000000000000003.jsonl"), "").unwrap();
    let next = house.open();
    let known = next.recorder().unwrap().known();
    assert!(!known.insert("alice", kept.as_bytes()) && known.insert("alice", gone.as_bytes()));
    assert!(!known.insert("bob", b"foreign") && !known.insert("bob", b"1.M1.seen"));
    assert!(known.insert("bob", b"seen"), "another message may be given such a name");
    // A disk that is not mounted is no reason to forget.
    next.watch(vec![("bob".into(), foreign.clone())]);
    fs::remove_dir_all(house.folder.join("home")).unwrap();
    next.save_known();
    assert!(!house.open().recorder().unwrap().known().insert("bob", b"foreign"));
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
    let delivery = house.open();
    delivery.watch(places.to_vec());
    let known = delivery.recorder().unwrap().known();
    let recorded = |maildir: &Path, id: &str| {
        fs::write(maildir.join("new").join(id), "").unwrap();
        assert!(known.insert("alice", id.as_bytes()));
        known.recorded("alice", id.as_bytes());
    };
    (0..3).for_each(|number| recorded(&places[number].1, &number.to_string()));
    let known_are = |delivery: &Delivery, wanted: [bool; 3]| {
        let known = delivery.recorder().unwrap().known();
        let found = ["0", "1", "2"].map(|id| !known.insert("alice", id.as_bytes()));
        ["0", "1", "2"].iter().for_each(|id| known.remove("alice", id.as_bytes()));
        assert_eq!(found, wanted);
    };
    // A folder is away for a while, ours or another's; or a link leads nowhere.
    for maildir in [own, one] {
        fs::rename(maildir, house.folder.join("away")).unwrap();
        delivery.save_known();
        std::os::unix::fs::symlink(house.folder.join("nowhere"), maildir).unwrap();
        delivery.save_known();
        fs::remove_file(maildir).unwrap();
        fs::rename(house.folder.join("away"), maildir).unwrap();
        known_are(&delivery, [true; 3]);
    }
    // One is watched no more, across a restart too, and no more rings when it is watched again.
    delivery.watch(places[..2].to_vec());
    delivery.save_known();
    let delivery = house.open();
    delivery.watch(places[..1].to_vec());
    delivery.save_known();
    delivery.save_known();
    known_are(&delivery, [true; 3]);
    // Neither does that of an account that is gone, while another program delivers to the user.
    delivery.watch(places[1..].to_vec());
    delivery.save_known();
    delivery.watch(Vec::new());
    delivery.save_known();
    delivery.watch(places.to_vec());
    known_are(&delivery, [true; 3]);
    // What all who can be read do not have is gone.
    fs::remove_file(two.join("new/2")).unwrap();
    delivery.save_known();
    known_are(&house.open(), [true, true, false]);
}
