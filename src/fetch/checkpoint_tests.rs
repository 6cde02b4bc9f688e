use super::*;
use crate::fetch::maildrop::Known;
use crate::message::trace::{Origin, Via};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("mailbell-checkpoint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("journal")).unwrap();
        Scratch(path)
    }

    fn record(&self, folder: Option<&str>, uid: &str, seq: u64) {
        let record = Record {
            seq,
            user: "alice".into(),
            id: format!("id{seq}"),
            path: "/mail/x".into(),
            timestamp: 77_000_000,
            origin: Origin {
                remote: Some("work".into()),
                folder: folder.map(str::to_owned),
                uid: Some(uid.into()),
                ..Origin::unknown(Via::Poll)
            },
            ..Record::default()
        };
        let mut line = Vec::new();
        record.write_json(&mut line);
        line.push(b'\n');
        let path = self.0.join(format!("journal/{:020}.jsonl", 1));
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(&line).unwrap();
    }
}

impl std::ops::Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn filled() -> Checkpoint {
    let mut checkpoint = Checkpoint { host: "h".into(), login: "me, myself".into(), ..Checkpoint::default() };
    assert!(!checkpoint.has_folder("A b"));
    let folder = checkpoint.folder("A b");
    (folder.validity, folder.last, folder.first, folder.passed) = (7, 10, 1, 2);
    folder.failing.insert(3, Failing { tries: 9, since: 4, next: 5 });
    folder.pending.insert(9, 6);
    folder.done.insert(15);
    let maildrop = checkpoint.maildrop.get_or_insert_default();
    maildrop.is_begun = true;
    maildrop.known.insert(u64::MAX, Known { stored: 1, vanished: 2, deleted: true });
    maildrop.failing.insert(1, Failing { tries: 3, since: 2, next: 1 });
    checkpoint
}

#[test]
fn what_is_written_is_read_back() {
    let scratch = Scratch::new("write");
    let mut checkpoint = filled();
    checkpoint.path = scratch.0.join("remote/work");
    checkpoint.save(5).unwrap();
    let again = Checkpoint::open(&scratch.0, "work").unwrap();
    assert_eq!((again.seq, &again.host, &again.login), (5, &checkpoint.host, &checkpoint.login));
    assert_eq!((&again.folders, &again.maildrop), (&checkpoint.folders, &checkpoint.maildrop));
    assert!(again.has_folder("A b") && !again.has_folder("other"));
}

#[test]
fn the_journal_says_what_came_after() {
    let scratch = Scratch::new("replay");
    let mut checkpoint = filled();
    checkpoint.path = scratch.0.join("remote/work");
    scratch.record(Some("A b"), "7.11", 1);
    checkpoint.save(1).unwrap();
    scratch.record(Some("A b"), "7.12", 2);
    scratch.record(Some("other"), "7.13", 3);
    scratch.record(None, "unique", 4);
    let mut again = Checkpoint::open(&scratch.0, "work").unwrap();
    let folder = again.folder("A b");
    assert_eq!(folder.to_fetch(&[10, 11, 12, 13], 0), [11, 13]);
    assert_eq!(folder.pending.get(&12), Some(&77));
    assert!(again.maildrop.unwrap().is_known(super::super::maildrop::id(b"unique", 1), b"unique"));
}

#[test]
fn a_message_under_way_keeps_its_place_in_the_journal() {
    let scratch = Scratch::new("storing");
    let mut checkpoint = filled();
    checkpoint.path = scratch.0.join("remote/work");
    checkpoint.begin("A b", 3);
    checkpoint.save(9).unwrap();
    assert_eq!(checkpoint.seq, 3);
    checkpoint.end("A b");
    checkpoint.folder("A b").last = 11;
    checkpoint.save(9).unwrap();
    assert_eq!(checkpoint.seq, 9);
}

#[test]
fn a_damaged_file_makes_ids_worthless_and_nothing_new() {
    let scratch = Scratch::new("damaged");
    let mut checkpoint = filled();
    checkpoint.path = scratch.0.join("remote/work");
    checkpoint.save(5).unwrap();
    let whole = fs::read_to_string(&checkpoint.path).unwrap();
    for damaged in ["", "x", &whole[..whole.len() - 1], &whole.replace("folder 7", "folder x")] {
        fs::write(&checkpoint.path, damaged).unwrap();
        let mut again = Checkpoint::open(&scratch.0, "work").unwrap();
        assert!(again.has_folder("A b"));
        let folder = again.folder("A b");
        assert!(folder.needs_resync && folder.first > 0, "{damaged}");
        assert!(again.maildrop.unwrap().needs_resync);
    }
}
