//! What the tests share: a folder that is removed at the end, and a journal in it.

use crate::journal::{Record, record::tests::sample};
use crate::ledger::Journal;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mailbell-notify-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::open(&self.0.join("journal")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Appends a record and gives its `seq`.
pub(crate) fn add(journal: &Journal, user: &str, change: impl FnOnce(&mut Record)) -> u64 {
    let mut record = sample(0, user, &format!("1.M{}", journal.last_seq() + 1));
    change(&mut record);
    let mut records = [record];
    journal.append(&mut records).unwrap();
    records[0].seq
}

/// Asks until the answer is yes.
pub(crate) fn wait_for(what: &str, mut ask: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !ask() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
