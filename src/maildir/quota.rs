//! How much a user's Maildir holds, and whether one more message fits: the sum of the sizes in the names (`,S=`, as
//! Dovecot counts), and of the files' own where a name has none.
//!
//! A sum is trusted for some time, and what is delivered here is added to it. That time is so long that counting takes a
//! twentieth of it at most. When it is over, the sum is counted again before mail is refused.

use super::name::{self, Name};
use crate::sys::lock;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A sum is trusted for so many times what counting it took.
const TRUST: u32 = 20;

/// And for this long at least while there is room.
const SHORTEST_TRUST: Duration = Duration::from_secs(1);

/// The quota of every user.
#[derive(Debug)]
pub struct Quota {
    /// Octets for each; `None`: as much as there is.
    limit: Option<u64>,
    maildirs: Mutex<HashMap<PathBuf, Arc<Mutex<Usage>>>>,
}

#[derive(Debug, Default)]
struct Usage {
    /// As it was counted, and what was delivered since.
    octets: u64,
    /// Claims of messages that are on their way.
    claimed: u64,
    counted: Option<Instant>,
    /// How long counting took.
    cost: Duration,
}

/// Room for a message. Dropping it gives the room back.
#[derive(Debug)]
pub struct Claim {
    usage: Option<Arc<Mutex<Usage>>>,
    octets: u64,
}

impl Claim {
    /// The message is there.
    pub fn keep(self) {
        if let Some(usage) = &self.usage {
            let mut usage = lock(usage);
            usage.octets = usage.octets.saturating_add(self.octets);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(usage) = &self.usage {
            lock(usage).claimed -= self.octets;
        }
    }
}

impl Quota {
    /// Of octets on disk for each Maildir.
    pub fn new(limit: Option<u64>) -> Quota {
        Quota { limit, maildirs: Mutex::default() }
    }

    /// Whether so many octets more fit.
    pub fn has_room(&self, maildir: &Path, octets: u64) -> bool {
        self.limit.is_none_or(|limit| lock(&self.usage(maildir)).fits(maildir, octets, limit))
    }

    /// Room for so many octets, if they fit.
    pub fn claim(&self, maildir: &Path, octets: u64) -> Option<Claim> {
        let Some(limit) = self.limit else { return Some(Claim { usage: None, octets }) };
        let usage = self.usage(maildir);
        {
            let mut usage = lock(&usage);
            if !usage.fits(maildir, octets, limit) {
                return None;
            }
            usage.claimed += octets;
        }
        Some(Claim { usage: Some(usage), octets })
    }

    /// The lock on all is not held while a Maildir is read.
    fn usage(&self, maildir: &Path) -> Arc<Mutex<Usage>> {
        let mut maildirs = lock(&self.maildirs);
        match maildirs.get(maildir) {
            Some(usage) => usage.clone(),
            None => maildirs.entry(maildir.to_owned()).or_default().clone(),
        }
    }
}

impl Usage {
    fn fits(&mut self, maildir: &Path, octets: u64, limit: u64) -> bool {
        let fits = |usage: &Usage| usage.octets.saturating_add(usage.claimed).saturating_add(octets) <= limit;
        self.recount(maildir, SHORTEST_TRUST);
        if !fits(self) {
            self.recount(maildir, Duration::ZERO);
        }
        fits(self)
    }

    /// Counts again unless the sum is younger than `trust`, or than its cost allows.
    fn recount(&mut self, maildir: &Path, trust: Duration) {
        let begin = Instant::now();
        if self.counted.is_some_and(|counted| begin - counted < trust.max(self.cost * TRUST)) {
            return;
        }
        // A Maildir that cannot be read holds up no mail: delivery will say what is wrong with it.
        match count(maildir) {
            Ok(octets) => self.octets = octets,
            Err(error) => log::warn!("{}: cannot be counted for its quota: {error}", maildir.display()),
        }
        let end = Instant::now();
        (self.counted, self.cost) = (Some(end), end - begin);
    }
}

/// Octets on disk of all messages of a Maildir.
fn count(maildir: &Path) -> io::Result<u64> {
    let mut octets = 0_u64;
    for place in ["new", "cur"] {
        let entries = match fs::read_dir(maildir.join(place)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let file_name = entry.file_name();
            if !name::is_message(file_name.as_bytes()) {
                continue;
            }
            // One that went away meanwhile counts nothing.
            let own_size = || entry.metadata().map_or(0, |metadata| metadata.len());
            octets = octets.saturating_add(Name::parse(file_name.as_bytes()).size.unwrap_or_else(own_size));
        }
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::testing::maildir;

    #[test]
    fn names_count_and_files_where_names_are_silent() {
        let maildir = maildir(
            "quota",
            &[("new/1.h,S=1000,W=1010", b"x"), ("cur/2.h:2,S", b"12345"), ("cur/.hidden", b"1234567")],
        );
        assert_eq!(count(&maildir).unwrap(), 1005);
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn exactly_full_is_not_over_and_what_is_taken_counts() {
        let maildir = maildir("quota", &[("new/1.h,S=60", b"")]);
        let quota = Quota::new(Some(100));
        assert!(quota.has_room(&maildir, 40) && !quota.has_room(&maildir, 41));
        let claim = quota.claim(&maildir, 30).unwrap();
        assert!(quota.claim(&maildir, 11).is_none() && quota.claim(&maildir, 10).is_some());
        assert!(quota.claim(&maildir, 10).is_some(), "the claim before was given back");
        fs::write(maildir.join("new/2.h,S=30"), "").unwrap();
        claim.keep();
        assert!(!quota.has_room(&maildir, 11) && quota.has_room(&maildir, 10));
        assert!(Quota::new(None).claim(&maildir, u64::MAX).is_some());
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn who_made_room_is_not_refused_for_long() {
        let maildir = maildir("quota", &[("cur/1.h,S=100:2,S", b"")]);
        let quota = Quota::new(Some(100));
        assert!(!quota.has_room(&maildir, 1));
        fs::remove_file(maildir.join("cur/1.h,S=100:2,S")).unwrap();
        let end = Instant::now() + std::time::Duration::from_secs(60);
        while !quota.has_room(&maildir, 100) {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(1));
        }
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn no_maildir_is_an_empty_one() {
        let (quota, nowhere) = (Quota::new(Some(1)), Path::new("/nonexistent/mailbell"));
        let claim = quota.claim(nowhere, 1);
        assert!(claim.is_some() && quota.claim(nowhere, 1).is_none());
    }
}
