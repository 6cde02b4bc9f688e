//! Maildrops at their edges: sizes, order, ids, and other programs at work in the Maildir under a session.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::maildir::testing::{files, folder, maildir};
use crate::message::dot::encode::Encoder;
use crate::pop3::Maildrop as _;

/// A Maildir and what the sessions in it share.
struct Place {
    maildir: PathBuf,
    state: PathBuf,
    maildrops: Arc<Maildrops>,
}

impl Place {
    fn with(files: &[(&str, &[u8])]) -> Place {
        let state = folder("drop-state");
        let maildrops = Arc::new(Maildrops::new(state.join("sizes")));
        Place { maildir: maildir("drop", files), state, maildrops }
    }

    fn open(&self) -> Maildrop {
        Maildrop::open(&self.maildir, "alice", &self.maildrops).unwrap()
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.maildir.join(from), self.maildir.join(to)).unwrap();
    }

    /// Gives both directories a time in the past, as if nothing had happened for long.
    fn settle(&self, minutes: u64) {
        for part in ["new", "cur"] {
            let past = SystemTime::now() - Duration::from_secs(60 * minutes);
            File::open(self.maildir.join(part)).unwrap().set_modified(past).unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.maildir).unwrap();
        fs::remove_dir_all(&self.state).unwrap();
    }
}

fn ids(drop: &Maildrop) -> Vec<String> {
    let id = |message_number| {
        let mut id = Vec::new();
        drop.unique_id(message_number, &mut id);
        String::from_utf8(id).unwrap()
    };
    (1..=drop.count()).map(id).collect()
}

fn sizes(drop: &Maildrop) -> Vec<u64> {
    (1..=drop.count()).map(|message_number| drop.size(message_number)).collect()
}

fn content(drop: &mut Maildrop, message_number: u32) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    drop.open_message(message_number)?.read_to_end(&mut content).unwrap();
    Ok(content)
}

fn marks(message_numbers: &[u32]) -> Marks {
    let mut marks = Marks::new();
    message_numbers.iter().for_each(|&message_number| marks.insert(message_number));
    marks
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lists_both_folders_in_the_order_of_arrival() {
    let place = Place::with(&[
        ("cur/20.M5P1Q2.h,S=2,W=3:2,S", b"a\n"),
        ("new/20.M5P1Q1.h,S=2,W=4", b"a\n"),
        ("new/9.M7P1.h,S=2,W=5", b"a\n"),
        ("cur/odd:2,", b"a\n"),
        ("new/.hidden", b"a\n"),
        ("new/.notify,W=1", b"a\n"),
    ]);
    fs::create_dir(place.maildir.join("cur/folder")).unwrap();
    let drop = place.open();
    assert_eq!(ids(&drop), ["odd", "9.M7P1.h", "20.M5P1Q1.h", "20.M5P1Q2.h"]);
    // W= is taken as it is, without a look into the file; what has none is measured.
    assert_eq!(sizes(&drop), [3, 5, 4, 3]);
}

#[test]
fn a_maildir_that_does_not_exist_is_empty() {
    let place = Place::with(&[]);
    let absent = place.maildir.join("nobody");
    assert_eq!(Maildrop::open(&absent, "nobody", &place.maildrops).unwrap().count(), 0);
}

#[test]
fn one_session_at_a_time_and_the_lock_dies_with_it() {
    let place = Place::with(&[]);
    let first = place.open();
    assert!(matches!(Maildrop::open(&place.maildir, "alice", &place.maildrops), Err(Error::InUse)));
    let other = folder("drop-other");
    assert!(Maildrop::open(&other, "bob", &place.maildrops).is_ok());
    // A session that begins while another one is about to end waits for it.
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(first);
    });
    drop(place.open());
    leaving.join().unwrap();
    let maildrops = Arc::clone(&place.maildrops);
    let maildir = place.maildir.clone();
    let crashed = std::thread::spawn(move || {
        let _held = Maildrop::open(&maildir, "alice", &maildrops).unwrap();
        std::panic::resume_unwind(Box::new("a worker that panics"));
    });
    assert!(crashed.join().is_err());
    assert_eq!(place.maildrops.open_count(), 0);
    place.open();
    fs::remove_dir_all(other).unwrap();
}

#[test]
fn ids_that_clients_cannot_take_get_a_substitute_that_stays() {
    let long = format!("new/{}", "x".repeat(71));
    let place = Place::with(&[
        ("new/1 a", b"a\n"),
        (&long, b"a\n"),
        ("cur/5.same,S=1:2,", b"a"),
        ("cur/5.same,S=2:2,S", b"ab"),
        ("new/7.once,S=1", b"a"),
    ]);
    let first = ids(&place.open());
    assert!(first.iter().all(|id| crate::maildir::name::is_unique_id(id.as_bytes())), "{first:?}");
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 5, "{first:?}");
    assert_eq!(first.iter().filter(|id| id.starts_with("mb-")).count(), 4, "{first:?}");
    place.rename("new/1 a", "cur/1 a:2,RS");
    place.rename("cur/5.same,S=1:2,", "cur/5.same,S=1:2,F");
    assert_eq!(ids(&place.open()), first);
    // Each of the two is found by its own name, not by the id that they share.
    let mut drop = place.open();
    place.rename("cur/5.same,S=1:2,F", "cur/5.same,S=1:2,FT");
    place.rename("cur/5.same,S=2:2,S", "cur/5.same,S=2:2,ST");
    let both: Vec<_> = (1..=5).filter_map(|n| content(&mut drop, n).ok()).filter(|text| text.len() < 3).collect();
    assert!(both.contains(&b"a".to_vec()) && both.contains(&b"ab".to_vec()), "{both:?}");
}

#[test]
fn a_file_seen_in_both_folders_is_one_message() {
    // With a link it looks as if one folder was read before a rename and the other one after it.
    let place = Place::with(&[("new/5.M1P1Q1.h,S=2", b"a\n")]);
    for other in ["cur/5.M1P1Q1.h,S=2:2,S", "cur/5.M1P1Q1.h:2,S"] {
        std::fs::hard_link(place.maildir.join("new/5.M1P1Q1.h,S=2"), place.maildir.join(other)).unwrap();
    }
    assert_eq!(ids(&place.open()), ["5.M1P1Q1.h"]);
}

#[test]
fn list_is_what_retr_sends_for_every_kind_of_file() {
    let cases: [&[u8]; 10] =
        [b"", b"\n", b"a", b"a\n", b".\n..\n.", b"a\r\nb\r\n", b"a\r\nb", b"a\nb\r\n", b"\0\xff\n\r", b"a\n\n\n.b\r"];
    let names: Vec<String> = (0..cases.len() * 2).map(|n| format!("cur/{n}.M1.h:2,S")).collect();
    let zipped: Vec<Vec<u8>> = cases.iter().map(|case| gzip(case)).collect();
    let all = cases.iter().copied().chain(zipped.iter().map(Vec::as_slice));
    let place = Place::with(&names.iter().map(String::as_str).zip(all).collect::<Vec<_>>());
    let mut drop = place.open();
    assert_eq!(drop.count() as usize, names.len());
    for message_number in 1..=drop.count() {
        let index = message_number as usize - 1;
        let text = content(&mut drop, message_number).unwrap();
        assert_eq!(text, cases[index % cases.len()]);
        let mut sent = Vec::new();
        let mut encoder = Encoder::whole(drop.line_ends(message_number, &text));
        encoder.encode(&text, &mut sent);
        encoder.finish(&mut sent);
        let stuffed = sent.windows(3).filter(|three| three == b"\n..").count() + usize::from(sent.starts_with(b".."));
        assert_eq!(drop.size(message_number), (sent.len() - stuffed - 3) as u64, "{}", text.escape_ascii());
    }
}

#[test]
fn small_blocks_read_the_same() {
    let text = b"Subject: x\n\nbody\n";
    let zipped = gzip(text);
    let place = Place::with(&[("new/1.h", text), ("cur/2.h:2,", &zipped), ("cur/3.h:2,", b"\x1f\x8b")]);
    let mut drop = place.open();
    for (message_number, expected) in [(1, &text[..]), (2, text), (3, b"\x1f\x8b")] {
        let mut reader = drop.open_message(message_number).unwrap();
        let octets: Vec<u8> = std::iter::from_fn(|| {
            let mut block = [0];
            (reader.read(&mut block).unwrap() == 1).then_some(block[0])
        })
        .collect();
        assert_eq!(octets, expected);
    }
}

#[test]
fn foreign_files_are_measured_once_and_never_renamed() {
    let place = Place::with(&[("new/1.h", b"a\n"), ("cur/2.h,S=9:2,S", b"b\nc"), ("cur/3.h,W=7:2,S", b"b\n")]);
    assert_eq!(sizes(&place.open()), [3, 6, 7]);
    assert_eq!(files(&place.maildir), ["cur/2.h,S=9:2,S", "cur/3.h,W=7:2,S", "new/1.h"]);
    // The file is believed, so it was not read again; lost, it is made anew; of what is gone nothing is kept.
    let remembered = place.state.join("sizes/alice");
    let text = fs::read_to_string(&remembered).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    fs::write(&remembered, text.replace("2.h 6 ", "2.h 60 ")).unwrap();
    place.rename("new/1.h", "cur/1.h:2,F");
    assert_eq!(sizes(&place.open()), [3, 60, 7]);
    // Another file that took a name is measured again.
    fs::write(place.maildir.join("new/9.h"), b"b\nc").unwrap();
    place.rename("new/9.h", "cur/2.h,S=9:2,S");
    assert_eq!(sizes(&place.open()), [3, 6, 7]);
    fs::remove_file(&remembered).unwrap();
    assert_eq!(sizes(&place.open()), [3, 6, 7]);
    fs::remove_file(place.maildir.join("cur/1.h:2,F")).unwrap();
    place.open();
    let text = fs::read_to_string(&remembered).unwrap();
    assert!(text.starts_with("mailbell sizes 3\n2.h 6 3 ") && text.lines().count() == 2, "{text}");
}

#[test]
fn what_other_programs_do_under_a_session() {
    let place = Place::with(&[
        ("new/1.h,W=3", b"1\n"),
        ("new/2.h,W=3", b"2\n"),
        ("cur/3.h,W=3:2,", b"3\n"),
        ("cur/4.h,W=3:2,S", b"4\n"),
    ]);
    let mut drop = place.open();
    place.rename("new/1.h,W=3", "cur/1.h,W=3:2,S");
    place.rename("cur/3.h,W=3:2,", "cur/3.h,S=2,W=3:2,FS");
    fs::remove_file(place.maildir.join("new/2.h,W=3")).unwrap();
    fs::write(place.maildir.join("new/0.h,W=3"), b"0\n").unwrap();
    assert_eq!(content(&mut drop, 1).unwrap(), b"1\n");
    assert!(matches!(content(&mut drop, 2), Err(Error::Gone)));
    assert_eq!(content(&mut drop, 3).unwrap(), b"3\n");
    assert_eq!(content(&mut drop, 4).unwrap(), b"4\n");
    // Moved once more after it was found.
    place.rename("cur/1.h,W=3:2,S", "cur/1.h,W=3:2,RS");
    assert_eq!(content(&mut drop, 1).unwrap(), b"1\n");
    // What came meanwhile is in the next session, and no number has moved in this one.
    assert_eq!(ids(&drop), ["1.h", "2.h", "3.h", "4.h"]);
    place.rename("cur/4.h,W=3:2,S", "cur/4.h,W=3:2,RS");
    let report = drop.update(&marks(&[1, 2, 4]), &marks(&[3]));
    assert_eq!(report, UpdateReport { removed: 2, gone: 1, failed: 0 });
    assert_eq!(files(&place.maildir), ["cur/3.h,S=2,W=3:2,FS", "new/0.h,W=3"]);
    std::mem::drop(drop);
    assert_eq!(ids(&place.open()), ["0.h", "3.h"]);
}

#[test]
fn an_update_marks_what_was_seen() {
    let place =
        Place::with(&[("new/1.h,W=3", b"1\n"), ("cur/2.h:2,F", b"2\n"), ("cur/3.h:2,S", b"3\n"), ("new/4.h", b"4\n")]);
    place.open().update(&marks(&[]), &marks(&[1, 2, 3]));
    assert_eq!(files(&place.maildir), ["cur/1.h,W=3:2,S", "cur/2.h:2,FS", "cur/3.h:2,S", "new/4.h"]);
    place.open().update(&marks(&[4, 3]), &marks(&[3, 4]));
    assert_eq!(files(&place.maildir), ["cur/1.h,W=3:2,S", "cur/2.h:2,FS"]);
    // Another program moved it without the flag; one that is gone is no harm.
    fs::write(place.maildir.join("new/5.h,W=3"), b"5\n").unwrap();
    let mut drop = place.open();
    place.rename("new/5.h,W=3", "cur/5.h,W=3:2,F");
    fs::remove_file(place.maildir.join("cur/2.h:2,FS")).unwrap();
    assert_eq!(drop.update(&marks(&[]), &marks(&[1, 2, 3])), UpdateReport::default());
    assert_eq!(files(&place.maildir), ["cur/1.h,W=3:2,S", "cur/5.h,W=3:2,FS"]);
}

#[test]
fn what_cannot_be_removed_is_counted() {
    let place = Place::with(&[("cur/1.h,W=3:2,S", b"1\n"), ("cur/2.h,W=3:2,S", b"2\n")]);
    let mut drop = place.open();
    // A folder under the message's name stands for whatever unlink(2) refuses, for root too.
    fs::remove_file(place.maildir.join("cur/1.h,W=3:2,S")).unwrap();
    fs::create_dir(place.maildir.join("cur/1.h,W=3:2,S")).unwrap();
    let report = drop.update(&marks(&[1, 2]), &marks(&[]));
    assert_eq!(report, UpdateReport { removed: 1, gone: 0, failed: 1 });
}

#[test]
fn a_session_that_ends_without_an_update_changes_nothing() {
    let place = Place::with(&[("new/1.h,W=3", b"1\n")]);
    let mut drop = place.open();
    content(&mut drop, 1).unwrap();
    std::mem::drop(drop);
    assert_eq!(files(&place.maildir), ["new/1.h,W=3"]);
}

#[test]
fn a_listing_is_used_again_only_while_nothing_changed() {
    let place = Place::with(&[("new/1.h,W=3", b"1\n")]);
    let address = |drop: &Maildrop| Arc::as_ptr(&drop.listing) as usize;
    // The directories changed just now: the listing is not kept.
    place.open();
    assert!(place.maildrops.kept(&place.maildir).is_none());
    place.settle(10);
    let first = address(&place.open());
    assert_eq!(address(&place.open()), first);
    fs::write(place.maildir.join("cur/2.h,W=3:2,"), b"2\n").unwrap();
    assert_eq!(place.open().count(), 2);
    place.settle(9);
    assert_eq!(place.open().count(), 2);
    // The time alone may not tell a directory from another that took its place.
    fs::rename(place.maildir.join("cur"), place.maildir.join("old")).unwrap();
    fs::create_dir(place.maildir.join("cur")).unwrap();
    let time = fs::metadata(place.maildir.join("old")).unwrap().modified().unwrap();
    File::open(place.maildir.join("cur")).unwrap().set_modified(time).unwrap();
    assert_eq!(place.open().count(), 1);
}

#[test]
fn a_maildir_that_is_none_is_a_permanent_failure() {
    let place = Place::with(&[]);
    fs::remove_dir(place.maildir.join("cur")).unwrap();
    fs::write(place.maildir.join("cur"), b"a file").unwrap();
    fs::set_permissions(place.maildir.join("cur"), Permissions::from_mode(0o600)).unwrap();
    let error = Maildrop::open(&place.maildir, "alice", &place.maildrops).unwrap_err();
    assert!(!error.is_temporary(), "{error}");
    assert_eq!(place.maildrops.open_count(), 0);
    assert!(error.to_string().contains(Path::new("drop").to_str().unwrap()));
}

#[test]
fn a_size_that_could_not_be_had_is_asked_for_again() {
    let place = Place::with(&[("cur/1.h:2,", b"\x1F\x8B\x08 damaged")]);
    place.settle(10);
    assert_eq!(sizes(&place.open()), [0]);
    fs::write(place.maildir.join("cur/1.h:2,"), "Subject: mended\n\n").unwrap();
    assert_eq!(sizes(&place.open()), [19]);
}

#[test]
fn links_and_fifos_are_no_messages_and_hold_nobody_up() {
    let place = Place::with(&[("cur/1.h:2,", b"x\n")]);
    let fifo = place.maildir.join("tmp/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    std::os::unix::fs::symlink(&fifo, place.maildir.join("new/2.h")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.maildir.join("cur/3.h:2,S")).unwrap();
    let mut drop = place.open();
    assert_eq!(ids(&drop), ["1.h"]);
    // Nor if a message is replaced during a session.
    fs::rename(&fifo, place.maildir.join("cur/1.h:2,")).unwrap();
    assert!(drop.open_message(1).unwrap().read(&mut [0; 8]).is_ok_and(|octets| octets == 0));
    fs::remove_file(place.maildir.join("cur/1.h:2,")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.maildir.join("cur/1.h:2,")).unwrap();
    assert!(matches!(drop.open_message(1), Err(Error::Io(..))));
}

#[test]
fn nothing_is_read_or_removed_behind_a_link_in_place_of_a_folder() {
    let other = Place::with(&[("new/1.h", b"another user's\n")]);
    let place = Place::with(&[("new/1.h", b"x\n")]);
    let mut drop = place.open();
    place.rename("new", "old");
    std::os::unix::fs::symlink(other.maildir.join("new"), place.maildir.join("new")).unwrap();
    assert!(matches!(drop.open_message(1), Err(Error::Io(..))));
    assert_eq!(drop.update(&marks(&[1]), &Marks::new()), UpdateReport { failed: 1, ..UpdateReport::default() });
    assert_eq!(files(&other.maildir), ["new/1.h"]);
    std::mem::drop(drop);
    let opened = Maildrop::open(&place.maildir, "alice", &place.maildrops);
    assert!(opened.is_err_and(|error| !error.is_temporary()));
}
