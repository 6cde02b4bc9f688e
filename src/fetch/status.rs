//! What people see of a remote: one entry for each folder, or for a POP3 maildrop.

use super::checkpoint::now;
use super::end::{End, Kind};
use crate::sys::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a remote does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Connected, and waits for news.
    Idle,
    /// Connects, looks or fetches.
    Fetching,
    /// Waits for its next try.
    #[default]
    Waiting,
    /// The login was refused.
    Refused,
}

impl Doing {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Idle => "idle",
            Doing::Fetching => "fetching",
            Doing::Waiting => "waiting",
            Doing::Refused => "refused",
        }
    }
}

/// One entry.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The remote's name.
    pub remote: String,
    /// `None` for POP3.
    pub folder: Option<String>,
    /// What it does now.
    pub doing: Doing,
    /// The last good pass, seconds since 1970.
    pub last_success: Option<u64>,
    /// Messages since the start.
    pub messages: u64,
    /// Messages since midnight UTC.
    pub new_today: u64,
    /// The day of `new_today`.
    today: u64,
    /// Messages that cannot be fetched for now.
    pub parked: u64,
    /// Messages that were given up since the start.
    pub given_up: u64,
    /// When the next session begins, seconds since 1970.
    pub next_try: Option<u64>,
    /// What failed last, while it still does.
    pub last_error: Option<String>,
    /// How often what failed, since the start.
    pub errors: BTreeMap<&'static str, u64>,
    /// The last session was good.
    is_up: bool,
}

/// Shared by the session that it describes and by all readers.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Entry>>);

impl Status {
    /// Before the first session.
    pub fn new(remote: &str, folder: Option<&str>) -> Status {
        let (remote, folder) = (remote.to_owned(), folder.map(str::to_owned));
        Status(Arc::new(Mutex::new(Entry { remote, folder, ..Entry::default() })))
    }

    /// As it is now.
    pub fn entry(&self) -> Entry {
        let mut entry = lock(&self.0).clone();
        if entry.today != now() / 86_400 {
            entry.new_today = 0;
        }
        entry
    }

    /// It does this now.
    pub fn enter(&self, doing: Doing) {
        let mut entry = lock(&self.0);
        if std::mem::replace(&mut entry.doing, doing) != doing {
            log::debug!("remote {}: {}", entry.remote, doing.name());
        }
        if matches!(doing, Doing::Idle | Doing::Fetching) {
            entry.next_try = None;
        }
    }

    /// A message was stored or recorded.
    pub fn count(&self) {
        let (mut entry, today) = (lock(&self.0), now() / 86_400);
        if std::mem::replace(&mut entry.today, today) != today {
            entry.new_today = 0;
        }
        entry.messages += 1;
        entry.new_today += 1;
    }

    /// A pass was good. Whether the one before was not.
    pub fn passed(&self, parked: u64, given_up: u64) -> bool {
        let mut entry = lock(&self.0);
        (entry.last_success, entry.parked, entry.given_up) = (Some(now()), parked, given_up);
        entry.last_error = None;
        !std::mem::replace(&mut entry.is_up, true)
    }

    /// A session ended, and the next begins at `next`.
    pub fn ended(&self, end: &End, next: u64) {
        let mut entry = lock(&self.0);
        entry.next_try = Some(next);
        entry.doing = if end.kind == Kind::Credentials { Doing::Refused } else { Doing::Waiting };
        if Kind::ERRORS.contains(&end.kind) {
            *entry.errors.entry(end.kind.name()).or_insert(0) += 1;
            entry.last_error = Some(end.why.clone());
            entry.is_up = false;
        }
    }
}
