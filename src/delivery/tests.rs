use super::*;
use crate::journal::{Item, Reader, Record};
use crate::ledger::Keep;
use crate::maildir::testing::{files, folder};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A store of its own below a scratch folder.
pub(crate) struct House {
    pub(crate) folder: PathBuf,
    pub(crate) config: Config,
}

impl House {
    pub(crate) fn new(name: &str) -> House {
        let folder = folder(name);
        let mut config = Config::embedded(&folder, "alice");
        config.hostname = "mail.example.org".into();
        config.mail.min_free = 0;
        House { folder, config }
    }

    pub(crate) fn open(&self) -> Delivery {
        Delivery::new(&self.config, Some(self.ledger()))
    }

    /// Its thread does not run: `tick` does what it would do.
    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Ledger::open(&self.config.state, Keep { age: self.config.journal_keep, size: 1 << 30 }).unwrap()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        let mut reader = Reader::of_all(&self.config.journal());
        let mut records = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Record(record) => records.push(Arc::unwrap_or_clone(record)),
                Item::Lost { from, to } => panic!("lost {from} to {to}"),
            }
        }
        records
    }

    pub(super) fn files(&self, user: &str) -> Vec<String> {
        let maildir = self.config.maildir(user);
        if maildir.exists() { files(&maildir) } else { Vec::new() }
    }

    fn litter(&self, user: &str) -> usize {
        fs::read_dir(self.config.maildir(user).join("tmp")).map_or(0, |entries| entries.count())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn envelope(users: &[&str]) -> Envelope {
    Envelope {
        origin: Origin { mail_from: Some("a@example.com".into()), ..Origin::unknown(Via::Smtp) },
        facts: Facts::default(),
        recipients: users
            .iter()
            .map(|user| Recipient { user: (*user).into(), typed: format!("{user}@Example.org") })
            .collect(),
        max_size: 1 << 20,
        complete_header: false,
    }
}

pub(super) fn store(delivery: &Delivery, envelope: Envelope, message: &[u8]) -> Result<Stored, Failure> {
    let mut incoming = delivery.begin(envelope);
    message.chunks(1000).for_each(|block| incoming.write(block));
    incoming.commit()
}

#[test]
fn a_message_is_a_file_and_a_record() {
    let house = House::new("one");
    let delivery = house.open();
    let stored = store(&delivery, envelope(&["alice"]), b"Subject: one\n\nbody\n").unwrap();
    let [file] = &house.files("alice")[..] else { panic!("{:?}", house.files("alice")) };
    let path = house.config.maildir("alice").join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("Return-Path: <a@example.com>\nDelivered-To: alice@Example.org\nReceived: by "), "{text}");
    assert!(
        text.contains(&format!("id {}\n", stored.id)) && text.ends_with(" +0000\nSubject: one\n\nbody\n"),
        "{text}"
    );
    let wire = text.len() + text.matches('\n').count();
    assert_eq!(file, &format!("new/{},S={},W={wire}", stored.id, text.len()));
    assert_eq!((stored.size, &stored.over_quota[..]), (wire as u64, &[][..]));
    let [record] = &house.records()[..] else { panic!("{:?}", house.records()) };
    assert_eq!((record.seq, record.user.as_str(), record.size), (1, "alice", wire as u64));
    assert_eq!((record.path.as_str(), record.id.as_str()), (path.to_str().unwrap(), stored.id.as_str()));
    assert_eq!((record.origin.via, record.rcpt_to.as_deref()), (Via::Smtp, Some("alice@Example.org")));
    assert_eq!(record.summary.subject.as_deref(), Some("one"));
    assert!(delivery.ledger().unwrap().claim("alice", stored.id.as_bytes()).is_none(), "it is known");
}

#[test]
fn recipients_share_a_file_and_each_has_a_record() {
    let house = House::new("three");
    let users = ["carol", "alice", "bob"];
    let stored = store(&house.open(), envelope(&users), b"x\n").unwrap();
    let records = house.records();
    assert_eq!(records.iter().map(|record| record.user.as_str()).collect::<Vec<_>>(), users);
    for record in &records {
        assert_eq!(record.id, stored.id);
        assert_eq!(fs::metadata(&record.path).unwrap().nlink(), 3);
    }
    assert!(!fs::read_to_string(&records[0].path).unwrap().contains("Delivered-To"));
}

#[test]
fn without_a_journal_it_only_stores() {
    let house = House::new("no-journal");
    store(&Delivery::new(&house.config, None), envelope(&["alice"]), b"x\n").unwrap();
    assert_eq!((house.files("alice").len(), house.config.journal().exists()), (1, false));
}

#[test]
fn the_size_limit_is_exact_in_crlf_octets() {
    let house = House::new("size");
    let delivery = house.open();
    let message = b"Subject: x\n\n12345\n";
    let size = message.len() as u64 + 3;
    store(&delivery, Envelope { max_size: size, ..envelope(&["alice"]) }, message).unwrap();
    let outcome = store(&delivery, Envelope { max_size: size - 1, ..envelope(&["alice"]) }, message);
    assert!(matches!(outcome, Err(Failure::TooLarge)), "{outcome:?}");
    // One that was being written to the disk already.
    let large = vec![b'x'; 3 << 20];
    let outcome = store(&delivery, Envelope { max_size: 2 << 20, ..envelope(&["alice"]) }, &large);
    assert!(matches!(outcome, Err(Failure::TooLarge)), "{outcome:?}");
    assert_eq!((house.files("alice").len(), house.litter("alice"), house.records().len()), (1, 0, 1));
}

#[test]
fn a_hundred_received_fields_are_no_loop_and_one_more_is() {
    let house = House::new("loop");
    let delivery = house.open();
    for (count, fine) in [(100, true), (101, false)] {
        let message = "Received: x\n\ty\n".repeat(count) + "\nReceived: in the body\n";
        let outcome = store(&delivery, envelope(&["alice"]), message.as_bytes());
        assert_eq!(outcome.is_ok(), fine, "{count}: {outcome:?}");
        assert!(fine || matches!(outcome, Err(Failure::Loop)));
    }
    assert_eq!(house.files("alice").len(), 1);
}

#[test]
fn large_messages_are_what_they_were_and_leave_nothing_when_dropped() {
    let house = House::new("large");
    let delivery = house.open();
    let mut message = b"Subject: large\n\n".to_vec();
    (0..60_000).for_each(|n: u32| message.extend_from_slice(format!("line {n}\n").as_bytes()));
    let mut incoming = delivery.begin(envelope(&["alice", "bob"]));
    incoming.write(&message);
    assert_eq!((house.litter("alice"), house.litter("bob")), (1, 0), "it is on the disk, not in memory");
    drop(incoming);
    assert_eq!((house.litter("alice"), house.records().len()), (0, 0));
    let stored = store(&delivery, envelope(&["alice", "bob"]), &message).unwrap();
    for record in house.records() {
        let stored_octets = fs::read(&record.path).unwrap();
        assert!(stored_octets.ends_with(&message));
        let lines = stored_octets.iter().filter(|octet| **octet == b'\n').count();
        assert_eq!(record.size, (stored_octets.len() + lines) as u64);
        assert_eq!((record.size, record.summary.subject.as_deref()), (stored.size, Some("large")));
        assert!(record.path.ends_with(&format!(",S={},W={}", stored_octets.len(), record.size)));
    }
}

#[test]
fn a_last_line_without_its_end_gets_one_and_nothing_is_nothing() {
    let house = House::new("last-line");
    let delivery = house.open();
    let mut large = vec![b'x'; 256 * 1024];
    for message in [&b""[..], b"x", b"x\r", &std::mem::take(&mut large)] {
        let stored = store(&delivery, envelope(&["alice"]), message).unwrap();
        let record = house.records().pop().unwrap();
        let file = fs::read(&record.path).unwrap();
        let mut whole = message.to_vec();
        if !message.is_empty() {
            whole.push(b'\n');
        }
        assert!(file.ends_with(&[b" +0000\n", &whole[..]].concat()));
        assert_eq!(stored.size, crate::message::dot::encode::wire_size(&file));
    }
}

#[test]
fn submission_completes_the_header_below_the_trace_fields() {
    let house = House::new("complete");
    let delivery = house.open();
    let complete = || Envelope { complete_header: true, ..envelope(&["alice"]) };
    let stored = store(&delivery, complete(), b"Subject: x\n\nDate: in the body\n").unwrap();
    let (unique, _) = stored.id.split_once(".mail.example.org").unwrap();
    let text = fs::read_to_string(&house.records()[0].path).unwrap();
    let (trace, own) = text.split_at(crate::message::trace::length(text.as_bytes()));
    assert!(trace.starts_with("Return-Path: "));
    let (date, rest) = own.split_once('\n').unwrap();
    assert!(date.starts_with("Date: ") && trace.contains(date.strip_prefix("Date: ").unwrap()), "{own}");
    let rest_is = format!("Message-ID: <{unique}@mail.example.org>\nSubject: x\n\nDate: in the body\n");
    assert_eq!(rest, rest_is);
    assert_eq!(house.records()[0].summary.message_id, Some(format!("<{unique}@mail.example.org>")));
    for whole in ["date: x\nmessage-id: <y>\n\n", "Message-ID: <y>\nX: z\nDATE : x\n"] {
        store(&delivery, complete(), whole.as_bytes()).unwrap();
        assert!(
            fs::read_to_string(&house.records().pop().unwrap().path).unwrap().ends_with(&format!("+0000\n{whole}"))
        );
    }
    // A header so long that nobody can know yet.
    let long = format!("X: {}\nDate: x\n\n", "x".repeat(300 * 1024));
    store(&delivery, complete(), long.as_bytes()).unwrap();
    let text = fs::read_to_string(&house.records().pop().unwrap().path).unwrap();
    assert_eq!(text.matches("\nDate: ").count(), 1);
}

#[test]
fn who_is_over_quota_is_left_out_where_each_gets_an_answer() {
    let mut house = House::new("quota");
    house.config.mail.quota = Some(2000);
    let delivery = house.open();
    let large = [b'x'; 1500];
    store(&delivery, envelope(&["alice"]), &large).unwrap();
    assert!(delivery.over_quota("alice", 600) && !delivery.over_quota("alice", 1) && !delivery.over_quota("bob", 600));
    // One answer for both: both or none.
    let outcome = store(&delivery, envelope(&["alice", "bob"]), &large);
    assert!(matches!(outcome, Err(Failure::OverQuota)), "{outcome:?}");
    assert_eq!((house.files("bob").len(), house.litter("alice")), (0, 0));
    let lmtp = |users: &[&str]| {
        let envelope = envelope(users);
        Envelope { origin: Origin { via: Via::Lmtp, ..envelope.origin.clone() }, ..envelope }
    };
    let stored = store(&delivery, lmtp(&["alice", "bob", "carol"]), &large).unwrap();
    assert_eq!(stored.over_quota, ["alice"]);
    let lens = ["alice", "bob", "carol"].map(|user| (house.files(user).len(), house.litter(user)));
    assert_eq!((lens, house.records().len()), ([(1, 0); 3], 3));
    let outcome = store(&delivery, lmtp(&["alice", "bob"]), &large);
    assert!(matches!(outcome, Err(Failure::OverQuota)), "{outcome:?}");
    // Behind one address there is one answer again.
    let mut team = lmtp(&["alice", "dave", "erin"]);
    team.recipients[1].typed = team.recipients[0].typed.clone();
    let stored = store(&delivery, team, &large).unwrap();
    assert_eq!(stored.over_quota, ["alice", "dave"]);
    assert_eq!((house.files("dave").len(), house.files("erin").len()), (0, 1));
    // What failed took no room.
    store(&delivery, envelope(&["bob"]), b"x").unwrap();
}

#[test]
fn a_disk_as_full_as_it_may_be_takes_nothing() {
    let mut house = House::new("min-free");
    let delivery = house.open();
    assert!(delivery.has_room(1000) && !delivery.has_room(u64::MAX));
    house.config.mail.min_free = u64::MAX;
    let delivery = house.open();
    assert!(!delivery.has_room(0));
    let outcome = store(&delivery, envelope(&["alice"]), b"x\n");
    assert!(matches!(outcome, Err(Failure::DiskFull(_))), "{outcome:?}");
    assert!(!house.config.maildir("alice").exists());
}

#[test]
fn system_errors_have_their_names() {
    let full = [(libc::ENOSPC, "disk full"), (libc::EDQUOT, "disk quota"), (libc::EFBIG, "file size limit")];
    for (errno, why) in full {
        let failure = Failure::from(io::Error::from_raw_os_error(errno));
        assert!(matches!(failure, Failure::DiskFull(_)) && failure.to_string().starts_with(why), "{failure}");
    }
    for errno in [libc::EIO, libc::EROFS] {
        assert!(matches!(Failure::from(io::Error::from_raw_os_error(errno)), Failure::System(_)), "{errno}");
    }
    let house = House::new("error");
    fs::create_dir_all(&house.config.mail.root).unwrap();
    fs::write(house.config.maildir("alice"), "not a folder").unwrap();
    match store(&house.open(), envelope(&["alice"]), b"x\n") {
        Err(Failure::System(error)) => assert!(error.to_string().contains("/mail/alice"), "{error}"),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is in the way of one recipient, all have the message and its record, or nobody has.
    #[test]
    fn all_or_nothing(recipients in 1..6_usize, broken in proptest::option::of((0..6_usize, 0..4_u8)), large in any::<bool>()) {
        let house = House::new("property");
        let delivery = house.open();
        let users: Vec<String> = (0..recipients).map(|number| format!("u{number}")).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        store(&delivery, envelope(&users), b"before\n").unwrap();
        if let Some((victim, step)) = broken {
            let maildir = house.config.maildir(users[victim % recipients]);
            let in_the_way = match step {
                0 => maildir.clone(),
                1 => maildir.join("tmp"),
                _ => maildir.join("new"),
            };
            fs::rename(&in_the_way, house.folder.join("away")).unwrap();
            // Where nothing is in the way, the folder is made again.
            if step < 3 {
                fs::write(&in_the_way, "not a folder").unwrap();
            }
        }
        let message = vec![b'x'; if large { 600_000 } else { 10 }];
        let outcome = store(&delivery, envelope(&users), &message);
        prop_assert_eq!(outcome.is_err(), broken.is_some_and(|(_, step)| step < 3));
        if let Ok(stored) = &outcome {
            let everywhere = users.iter().all(|user| house.files(user).iter().any(|file| file.contains(&stored.id)));
            prop_assert!(everywhere);
        }
        let stored = if outcome.is_ok() { 2 } else { 1 };
        prop_assert_eq!(house.records().len(), stored * recipients);
        for user in users {
            let maildir = house.config.maildir(user);
            if maildir.join("new").is_dir() && maildir.join("cur").is_dir() {
                prop_assert!(house.files(user).len() <= stored);
            }
            prop_assert_eq!(house.litter(user), 0);
        }
    }
}
