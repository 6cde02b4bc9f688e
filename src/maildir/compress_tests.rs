//! A pass over messages of every kind, with other programs at work meanwhile.

use std::sync::Arc;

use super::*;
use crate::maildir::drop::Maildrop;
use crate::maildir::maildrops::Maildrops;
use crate::maildir::testing::{files, folder, maildir};
use crate::pop3::Maildrop as _;

const DAY: Duration = Duration::from_secs(86_400);

fn age(path: &Path, days: u32) -> SystemTime {
    let time = SystemTime::now() - DAY * days;
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    time
}

fn pass(maildir: &Path) -> Report {
    compress_pass(maildir, 7 * DAY, &AtomicBool::new(false), || {}).unwrap()
}

fn message() -> Vec<u8> {
    b"Subject: long\n\n".iter().copied().chain(b"the same line\n".repeat(100)).collect()
}

#[test]
fn only_what_the_rules_allow_is_compressed() {
    let text = message();
    let size = text.len();
    let old = format!("cur/1.h,S={size},W={}:2,FS", size + 102);
    let recent = format!("cur/2.h,S={size}:2,S");
    let unsized_ = "cur/3.h:2,S".to_owned();
    let flagged = format!("cur/4.h,S={size}:2,SZ");
    let wrong = format!("cur/5.h,S={}:2,S", size + 1);
    let new = format!("new/6.h,S={size}");
    let all = [&old, &recent, &unsized_, &flagged, &wrong, &new];
    let maildir = maildir("compress", &all.map(|name| (name.as_str(), text.as_slice())));
    let times = all.map(|name| age(&maildir.join(name), if *name == recent { 6 } else { 8 }));
    fs::set_permissions(maildir.join(&old), fs::Permissions::from_mode(0o640)).unwrap();

    let report = pass(&maildir);
    assert_eq!((report.compressed, report.moved, report.failed), (1, 0, 0));
    let compressed = old.replace(":2,FS", ":2,FSZ");
    let mut expected = all.map(String::clone).to_vec();
    expected[0] = compressed.clone();
    expected.sort();
    assert_eq!(files(&maildir), expected);
    assert_eq!(fs::read_dir(maildir.join("tmp")).unwrap().count(), 0);

    let path = maildir.join(&compressed);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(report.saved, size as u64 - metadata.len());
    assert_eq!(metadata.modified().unwrap(), times[0]);
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert!(fs::read(&path).unwrap().starts_with(&GZIP));
    assert_eq!(pass(&maildir), Report::default());
    fs::remove_dir_all(maildir).unwrap();
}

#[test]
fn a_session_reads_what_was_compressed_under_it() {
    let text = message();
    let name = format!("cur/1.h,S={},W={}:2,S", text.len(), text.len() + 102);
    let maildir = maildir("compress", &[(&name, &text)]);
    age(&maildir.join(&name), 8);
    let state = folder("compress-state");
    let maildrops = Arc::new(Maildrops::new(state.clone()));
    let mut drop = Maildrop::open(&maildir, "alice", &maildrops).unwrap();
    assert_eq!(pass(&maildir).compressed, 1);
    let mut content = Vec::new();
    drop.open_message(1).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, text);
    std::mem::drop(drop);
    let later = Maildrop::open(&maildir, "alice", &maildrops).unwrap();
    let mut id = Vec::new();
    later.unique_id(1, &mut id);
    assert_eq!((id, later.size(1)), (b"1.h".to_vec(), text.len() as u64 + 102));
    fs::remove_dir_all(maildir).unwrap();
    fs::remove_dir_all(state).unwrap();
}

#[test]
fn a_message_that_moves_meanwhile_is_never_there_twice() {
    let text = message();
    let name = format!("cur/1.h,S={}:2,", text.len());
    let maildir = maildir("compress", &[(&name, &text)]);
    age(&maildir.join(&name), 8);
    let moved = name.replace(":2,", ":2,S");
    let report = compress_pass(&maildir, 7 * DAY, &AtomicBool::new(false), || {
        fs::rename(maildir.join(&name), maildir.join(&moved)).unwrap();
    });
    assert_eq!(report.unwrap(), Report { moved: 1, ..Report::default() });
    assert_eq!(files(&maildir), std::slice::from_ref(&moved));
    // It moves at the last moment, between the writing and the exchange.
    fs::write(maildir.join("tmp/x"), b"gzip").unwrap();
    assert!(!Folders::open(&maildir).unwrap().exchange("x".as_ref(), name["cur/".len()..].as_ref()).unwrap());
    assert_eq!(fs::read(maildir.join(&moved)).unwrap(), text);
    fs::remove_dir_all(maildir).unwrap();
}

#[test]
fn what_a_kill_left_is_taken_up() {
    let text = message();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&text).unwrap();
    let name = format!("cur/1.h,S={}:2,S", text.len());
    let maildir = maildir("compress", &[(&name, &encoder.finish().unwrap())]);
    age(&maildir.join(&name), 8);
    assert_eq!(pass(&maildir), Report::default());
    assert_eq!(files(&maildir), [name.replace(":2,S", ":2,SZ")]);
    fs::remove_dir_all(maildir).unwrap();
}

#[test]
fn stops_when_told() {
    let text = message();
    let names: Vec<String> = (0..3).map(|n| format!("cur/{n}.h,S={}:2,", text.len())).collect();
    let maildir = maildir("compress", &names.iter().map(|name| (name.as_str(), text.as_slice())).collect::<Vec<_>>());
    for name in &names {
        age(&maildir.join(name), 8);
    }
    let stop = AtomicBool::new(false);
    let report = compress_pass(&maildir, 7 * DAY, &stop, || stop.store(true, Ordering::Relaxed)).unwrap();
    assert_eq!(report.compressed, 1);
    assert!(compress_pass(&maildir.join("nobody"), DAY, &AtomicBool::new(false), || {}).is_ok());
    fs::remove_dir_all(maildir).unwrap();
}

#[test]
fn another_message_that_has_the_compressed_one_s_name_is_not_lost() {
    let text = message();
    let (old, other) = (format!("cur/1.h,S={}:2,S", text.len()), format!("cur/1.h,S={}:2,SZ", text.len()));
    let maildir = maildir("compress-same-name", &[(&old, &text), (&other, b"another message")]);
    age(&maildir.join(&old), 8);
    pass(&maildir);
    assert_eq!(files(&maildir), [old.clone(), other.clone()]);
    assert_eq!(fs::read(maildir.join(&other)).unwrap(), b"another message");
    assert!(fs::read(maildir.join(&old)).unwrap().starts_with(&GZIP));
    fs::remove_dir_all(maildir).unwrap();
}
