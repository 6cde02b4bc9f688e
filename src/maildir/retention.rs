//! Deletes old messages, in `new/` and `cur/`, compressed or not. The caller decides when it runs.
//!
//! A message is as old as its name says, from its arrival (`SECONDS.`); a file without a time in its name is as old as its last
//! change. A few messages are deleted at a time, and only while no POP3 session has the maildrop open: a session never loses a
//! message that it has listed. A crash may bring deleted files back; the next pass deletes them again.

use super::folder::Folder;
use super::name::{self, Arrival, Name, Place};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most messages that are deleted while the maildrop is locked. A log-in waits longer than that takes.
const BATCH: usize = 64;

/// And the longest time.
const BATCH_TIME: Duration = Duration::from_millis(20);

/// How long to wait before a maildrop that a POP3 session has is asked for again.
const AGAIN: Duration = Duration::from_millis(10);

/// 2000-01-01, seconds since 1970: a smaller number at the beginning of a name is no time.
const EARLIEST: u64 = 946_684_800;

/// What is deleted.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Messages of this age.
    pub older_than: Duration,
    /// Seconds since 1970.
    pub now: u64,
    /// How long it waits for a POP3 session to end, each time.
    pub patience: Duration,
}

/// The result of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages deleted.
    pub deleted: u64,
    /// Octets that they had on disk.
    pub octets: u64,
    /// Messages that are old enough, and that a program still needs.
    pub needed: u64,
    /// A POP3 session had the maildrop open; the rest is left to the next pass.
    pub was_busy: bool,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    GoesUnlessNeeded,
    Goes,
}

impl Policy {
    /// Of a message that arrived then, seconds since 1970.
    fn verdict(&self, arrived: u64) -> Verdict {
        let older_than = self.older_than.as_secs();
        match self.now.checked_sub(arrived) {
            Some(age) if age >= older_than.saturating_mul(2) => Verdict::Goes,
            Some(age) if age >= older_than => Verdict::GoesUnlessNeeded,
            _ => Verdict::Stays,
        }
    }
}

/// One pass over a Maildir. It ends soon after `stop` is set. `is_needed` says whether a program still needs a message: then it
/// stays for twice the age at most. `lock` gives the lock of the maildrop, or `None` while a POP3 session has it.
///
/// # Errors
///
/// When a folder cannot be read, or nothing in it may be deleted.
pub fn pass<L>(
    maildir: &Path,
    policy: &Policy,
    stop: &AtomicBool,
    mut is_needed: impl FnMut(Place, &OsStr) -> bool,
    mut lock: impl FnMut() -> Option<L>,
) -> io::Result<Report> {
    let mut report = Report::default();
    for place in [Place::New, Place::Cur] {
        let folder = match Folder::of_ours(maildir, place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            folder => folder?,
        };
        let mut old = old(&folder, policy)?;
        let found = old.len();
        old.retain(|(verdict, name)| *verdict == Verdict::Goes || !is_needed(place, name));
        report.needed += (found - old.len()) as u64;
        let mut left = old.as_slice();
        let before = report.deleted;
        let mut free = Instant::now();
        while !left.is_empty() && !stop.load(Ordering::Relaxed) {
            let Some(lock) = lock() else {
                if free.elapsed() >= policy.patience {
                    report.was_busy = true;
                    break;
                }
                // A client that logs in again and again does not put it off.
                std::thread::sleep(AGAIN);
                continue;
            };
            let began = Instant::now();
            let count = delete(&folder, left, &mut report)?;
            drop(lock);
            free = Instant::now();
            left = &left[count..];
            // Half of the time is left to others.
            std::thread::sleep(began.elapsed().min(BATCH_TIME));
        }
        if report.deleted > before {
            rustix::fs::fsync(&folder)?;
        }
    }
    Ok(report)
}

/// The messages that are old enough.
fn old(folder: &Folder, policy: &Policy) -> io::Result<Vec<(Verdict, OsString)>> {
    let verdict = |name: &OsString| arrived(folder, name).map_or(Verdict::Stays, |arrived| policy.verdict(arrived));
    let names = folder.names()?.into_iter().map(|name| (verdict(&name), name));
    Ok(names.filter(|(verdict, _)| *verdict != Verdict::Stays).collect())
}

/// When a message arrived, seconds since 1970; `None` for what is no message.
fn arrived(folder: &Folder, file_name: &OsStr) -> Option<u64> {
    if !name::is_message(file_name.as_bytes()) {
        return None;
    }
    let named = Arrival::of(Name::parse(file_name.as_bytes()).id).seconds();
    if named >= EARLIEST {
        return Some(named);
    }
    u64::try_from(folder.stat(file_name).ok()?.st_mtime).ok()
}

/// Deletes some of the messages. Returns how many of `names` are done with.
fn delete(folder: &Folder, names: &[(Verdict, OsString)], report: &mut Report) -> io::Result<usize> {
    let began = Instant::now();
    for (index, (_, file_name)) in names.iter().enumerate().take(BATCH) {
        if index > 0 && began.elapsed() > BATCH_TIME {
            return Ok(index);
        }
        // Another program may have moved it: the next pass finds it.
        let Some(stat) = folder.stat_file(file_name) else { continue };
        match rustix::fs::unlinkat(folder, file_name, AtFlags::empty()) {
            Ok(()) => {
                report.deleted += 1;
                report.octets += u64::try_from(stat.st_size).unwrap_or(0);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names.len().min(BATCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::testing::{files, maildir};
    use std::fs;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    fn policy(days: u64) -> Policy {
        Policy { older_than: Duration::from_secs(days * DAY), now: NOW, patience: Duration::ZERO }
    }

    fn run(maildir: &Path, policy: &Policy) -> Report {
        pass(maildir, policy, &AtomicBool::new(false), |_, _| false, || Some(())).unwrap()
    }

    fn named(days: u64, rest: &str) -> String {
        format!("{}.M1P1Q1.h{rest}", NOW - days * DAY)
    }

    #[test]
    fn what_arrived_long_ago_goes_in_both_folders_compressed_or_not() {
        let names = [
            format!("new/{}", named(8, ",S=3,W=4")),
            format!("cur/{}", named(7, ",S=3:2,S")),
            format!("cur/{}", named(9, ",S=3:2,SZ")),
            format!("new/{}", named(6, ",S=3")),
            format!("cur/{}", named(0, ":2,")),
            // Of the future: a clock was wrong.
            format!("cur/{}.M1P1Q1.h", NOW + DAY),
            format!("new/.{}", named(30, "")),
        ];
        let maildir = maildir("retention", &names.each_ref().map(|name| (name.as_str(), b"abc".as_slice())));
        let report = run(&maildir, &policy(7));
        assert_eq!(report, Report { deleted: 3, octets: 9, ..Report::default() });
        let mut stay: Vec<String> = names[3..].to_vec();
        stay.sort();
        assert_eq!(files(&maildir), stay);
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn a_name_without_a_time_has_the_time_of_its_file() {
        let maildir = maildir("retention", &[("new/mail-1", b"x"), ("new/7.a.b", b"x"), ("cur/mail-2", b"x")]);
        for name in ["new/mail-1", "new/7.a.b"] {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(NOW - 40 * DAY);
            fs::File::options().append(true).open(maildir.join(name)).unwrap().set_modified(time).unwrap();
        }
        let time = std::time::UNIX_EPOCH + Duration::from_secs(NOW);
        fs::File::options().append(true).open(maildir.join("cur/mail-2")).unwrap().set_modified(time).unwrap();
        assert_eq!(run(&maildir, &policy(30)).deleted, 2);
        assert_eq!(files(&maildir), ["cur/mail-2"]);
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn what_a_program_needs_stays_for_twice_the_age_at_most() {
        let names = [8, 11, 13, 14, 20].map(|days| format!("new/{}", named(days, "")));
        let maildir = maildir("retention", &names.each_ref().map(|name| (name.as_str(), b"x".as_slice())));
        let is_needed = |_: Place, name: &OsStr| name != named(11, "").as_str();
        let report = pass(&maildir, &policy(7), &AtomicBool::new(false), is_needed, || Some(())).unwrap();
        assert_eq!((report.deleted, report.needed), (3, 2));
        assert_eq!(files(&maildir).len(), 2);
        fs::remove_dir_all(maildir).unwrap();
    }

    /// Old messages, three times as many as are deleted at once.
    fn three_batches() -> std::path::PathBuf {
        let names: Vec<String> = (0..3 * BATCH).map(|n| format!("new/{}", named(9, &format!("{n}")))).collect();
        maildir("retention", &names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect::<Vec<_>>())
    }

    #[test]
    fn an_open_maildrop_is_left_alone() {
        let maildir = three_batches();
        let mut calls = 0;
        let lock = || {
            calls += 1;
            (calls <= 2).then_some(())
        };
        let report = pass(&maildir, &policy(7), &AtomicBool::new(false), |_, _| false, lock).unwrap();
        assert!(report.was_busy && report.deleted <= 2 * BATCH as u64 && report.deleted > 0, "{report:?}");
        assert_eq!(files(&maildir).len() as u64, 3 * BATCH as u64 - report.deleted);
        // A stop ends it, too.
        assert_eq!(pass(&maildir, &policy(7), &AtomicBool::new(true), |_, _| false, || Some(())).unwrap().deleted, 0);
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn a_client_that_logs_in_again_and_again_does_not_put_it_off() {
        let maildir = three_batches();
        let mut calls = 0;
        let lock = || {
            calls += 1;
            (calls % 3 == 0).then_some(())
        };
        let policy = Policy { patience: Duration::MAX, ..policy(7) };
        let report = pass(&maildir, &policy, &AtomicBool::new(false), |_, _| false, lock).unwrap();
        assert!(!report.was_busy && files(&maildir).is_empty(), "{report:?}");
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn no_link_is_followed_and_no_folder_is_deleted() {
        let maildir = maildir("retention", &[]);
        let (link, folder) = (maildir.join("new").join(named(9, "l")), maildir.join("new").join(named(9, "d")));
        fs::write(maildir.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../kept", &link).unwrap();
        fs::create_dir(&folder).unwrap();
        assert_eq!(run(&maildir, &policy(7)).deleted, 0);
        assert!(maildir.join("kept").exists() && link.is_symlink() && folder.is_dir());
        // A link in the place of a folder of the Maildir.
        fs::rename(maildir.join("new"), maildir.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", maildir.join("new")).unwrap();
        assert!(pass(&maildir, &policy(7), &AtomicBool::new(false), |_, _| false, || Some(())).is_err());
        fs::remove_dir_all(maildir).unwrap();
    }
}
