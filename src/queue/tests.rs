use super::*;
use std::io::Read;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("mailbell-queue-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Place(folder)
    }

    fn queue(&self) -> Queue {
        Queue::open(&self.0).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn envelope(user: &str) -> Envelope {
    Envelope {
        reverse_path: "alice@here.example".into(),
        recipients: vec![Recipient::new("bob@there.example"), Recipient::new("carol@there.example")],
        user: Some(user.into()),
        ..Envelope::default()
    }
}

fn put(queue: &Queue, user: &str, message: &[u8]) -> QueueId {
    let mut writer = queue.begin(envelope(user)).unwrap();
    for block in message.chunks(10_000) {
        writer.write_all(block).unwrap();
    }
    writer.commit().unwrap()
}

fn octets(entry: &Entry) -> Vec<u8> {
    let mut octets = Vec::new();
    entry.message().unwrap().read_to_end(&mut octets).unwrap();
    octets
}

fn in_folder(place: &Place, folder: &str) -> usize {
    fs::read_dir(place.0.join("queue").join(folder)).unwrap().count()
}

#[test]
fn what_was_committed_is_read_back_by_another_process() {
    let place = Place::new("back");
    let queue = place.queue();
    let large = "Subject: x\n\né 0123456789\n".repeat(10_000);
    for (message, stored) in
        [("", ""), ("a\n", "a\n"), ("a", "a\n"), (&large, &large), (".\n..\r\n\0\n", ".\n..\r\n\0\n")]
    {
        let id = put(&queue, "alice", message.as_bytes());
        let entry = place.queue().entry(&id).unwrap().unwrap();
        assert_eq!(octets(&entry), stored.as_bytes());
        assert_eq!(octets(&entry), stored.as_bytes(), "a second time");
        assert_eq!(entry.size(), (stored.len() + stored.matches('\n').count()) as u64);
        assert_eq!(entry.head.eight_bit, !stored.is_ascii());
        assert!(entry.envelope.arrived > 0 && entry.progress == Progress::new(2));
        let expected = Envelope { arrived: entry.envelope.arrived, ..envelope("alice") };
        assert_eq!(entry.envelope, expected);
    }
    let long = format!("X: {}\n", "x".repeat(5_000));
    for (message, header) in
        [("a: b\n\nc\n", "a: b\n"), ("\nx\n", ""), ("a: b\n", "a: b\n"), (&format!("{long}\ny\n"), &long)]
    {
        let id = put(&queue, "alice", message.as_bytes());
        let found = queue.entry(&id).unwrap().unwrap().header().unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), header, "{message}");
        queue.remove(&id).unwrap();
    }
    let ids = place.queue().ids().unwrap();
    assert!(ids.len() == 5 && ids.is_sorted());
    assert_eq!(in_folder(&place, "tmp"), 0);
}

#[test]
fn what_is_dropped_before_its_commit_leaves_nothing() {
    let place = Place::new("dropped");
    let queue = place.queue();
    let mut writer = queue.begin(envelope("alice")).unwrap();
    writer.write_all(&[b'x'; 100_000]).unwrap();
    drop(writer);
    let mut writer = queue.begin(envelope("alice")).unwrap();
    writer.write_all(b"x").unwrap();
    drop(writer.stage().unwrap());
    assert_eq!((in_folder(&place, "tmp"), in_folder(&place, "waiting")), (0, 0));
    assert_eq!(queue.waiting("alice"), 0);
}

#[test]
fn messages_are_counted_by_user() {
    let place = Place::new("counted");
    let queue = place.queue();
    let first = put(&queue, "alice", b"1\n");
    put(&queue, "alice", b"2\n");
    put(&queue, "bob", b"3\n");
    assert_eq!((queue.waiting("alice"), queue.waiting("bob"), queue.waiting("carol")), (2, 1, 0));
    assert_eq!(queue.size(), (3, Some(first.seconds())));
    queue.learn(&first, Some("alice".into()));
    assert_eq!(queue.waiting("alice"), 2, "known before");
    assert!(queue.remove(&first).unwrap());
    assert!(!queue.drop_entry(&first).unwrap());
    assert_eq!((queue.waiting("alice"), queue.size().0), (1, 2));
    assert!(queue.entry(&first).unwrap().is_none());
}

#[test]
fn progress_is_kept_and_goes_with_the_message() {
    let place = Place::new("progress");
    let queue = place.queue();
    let id = put(&queue, "alice", b"1\n");
    let mut progress = Progress::new(2);
    progress.attempts = 3;
    progress.outcomes[0].state = State::Sent;
    queue.note(&id, &progress).unwrap();
    progress.attempts = 4;
    queue.note(&id, &progress).unwrap();
    let entry = place.queue().entry(&id).unwrap().unwrap();
    assert_eq!(entry.progress, progress);
    assert_eq!(entry.waiting().collect::<Vec<_>>(), ["carol@there.example"]);
    fs::write(place.0.join("queue/tries").join(id.as_str()), "{").unwrap();
    assert_eq!(queue.entry(&id).unwrap().unwrap().progress, Progress::new(2), "what is garbled counts as none");
    queue.remove(&id).unwrap();
    assert_eq!((in_folder(&place, "tries"), in_folder(&place, "tmp")), (0, 0));
}

#[test]
fn a_note_that_cannot_be_read_just_now_sends_nothing_again() {
    let place = Place::new("no-note");
    let queue = place.queue();
    let id = put(&queue, "alice", b"1\n");
    let mut progress = Progress::new(2);
    progress.outcomes[0].state = State::Sent;
    queue.note(&id, &progress).unwrap();
    // As when the process has no descriptor left, or the disk fails: nothing says what the note holds.
    let (tries, elsewhere) = (place.0.join("queue/tries"), place.0.join("queue/elsewhere"));
    fs::rename(&tries, &elsewhere).unwrap();
    fs::write(&tries, "").unwrap();
    assert!(queue.entry(&id).is_err(), "bob would get it twice");
    fs::remove_file(&tries).unwrap();
    fs::rename(&elsewhere, &tries).unwrap();
    assert_eq!(queue.entry(&id).unwrap().unwrap().progress, progress);
}

#[test]
fn what_cannot_be_read_is_put_aside() {
    let place = Place::new("garbled");
    let queue = place.queue();
    let path = |id: &QueueId| place.0.join("queue/waiting").join(id.as_str());
    let whole = fs::read(path(&put(&queue, "alice", b"Subject: x\n\nhello\n"))).unwrap();
    let mut wrong: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
    wrong.push([&whole[..], b"more"].concat());
    wrong.push([b"x", &whole[1..]].concat());
    wrong.push(whole.iter().map(|octet| if *octet == b'"' { b'\'' } else { *octet }).collect());
    wrong.push(vec![b'9'; 100_000]);
    let count = wrong.len();
    for (number, octets) in wrong.into_iter().enumerate() {
        let id = QueueId::parse(&format!("{number}.x")).unwrap();
        fs::write(path(&id), octets).unwrap();
        assert!(queue.entry(&id).unwrap().is_none(), "{number}");
    }
    let id = QueueId::parse("9.link").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path(&id)).unwrap();
    assert!(!matches!(queue.entry(&id), Ok(Some(_))), "a link is not followed");
    assert_eq!(in_folder(&place, "damaged"), count);
    let left = queue.ids().unwrap();
    assert_eq!(left.iter().filter(|id| matches!(queue.entry(id), Ok(Some(_)))).count(), 1);
}

#[test]
fn who_asks_for_a_try_is_heard_once() {
    let place = Place::new("retry");
    let queue = place.queue();
    let id = put(&queue, "alice", b"1\n");
    queue.retry(&[]).unwrap();
    queue.retry(std::slice::from_ref(&id)).unwrap();
    let mut asked = place.queue().take_retries().unwrap();
    asked.sort();
    assert_eq!(asked, [None, Some(id)]);
    assert!(queue.take_retries().unwrap().is_empty());
}

#[test]
fn litter_goes_and_nothing_else() {
    let place = Place::new("litter");
    let queue = place.queue();
    let id = put(&queue, "alice", b"1\n");
    queue.note(&id, &Progress::new(2)).unwrap();
    let folder = place.0.join("queue");
    fs::write(folder.join("tries/1.orphan"), "x").unwrap();
    fs::write(folder.join("tmp/1.young"), "x").unwrap();
    let old = File::create(folder.join("tmp/1.old")).unwrap();
    old.set_modified(SystemTime::now() - LITTER * 2).unwrap();
    queue.clean().unwrap();
    assert_eq!((in_folder(&place, "tmp"), in_folder(&place, "tries"), in_folder(&place, "waiting")), (1, 1, 1));
    assert!(folder.join("tmp/1.young").exists());
}

#[test]
fn a_full_disk_has_its_own_error() {
    for (kind, is_full) in [
        (io::ErrorKind::StorageFull, true),
        (io::ErrorKind::QuotaExceeded, true),
        (io::ErrorKind::FileTooLarge, true),
        (io::ErrorKind::PermissionDenied, false),
    ] {
        assert_eq!(matches!(Error::from(io::Error::from(kind)), Error::Full(_)), is_full, "{kind}");
    }
}
