//! The bell: subscribers of the journal. A subscriber is a cursor, a filter and a way to hand over.

mod filter;
mod format;
mod nearest;

pub use filter::Filter;
pub use format::{Format, Piece};
pub use nearest::nearest;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[[pipe]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PipeSettings {
    /// The FIFO.
    pub path: PathBuf,
    /// How a record becomes a line.
    pub format: Format,
    /// Mode of a FIFO that we make.
    pub mode: u32,
    /// Which records (`users` and `match`).
    pub filter: Filter,
    /// What a reader that comes late gets.
    pub backlog: Backlog,
}

/// `pipe.backlog`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Everything.
    All,
    /// What comes while a reader has the pipe open.
    None,
    /// What is not older than this.
    Age(Duration),
}

/// `hook.stdin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookInput {
    /// The stored message, uncompressed.
    Message,
    /// The JSON record.
    Event,
    /// Nothing.
    None,
}

/// `[[hook]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct HookSettings {
    /// Its name: of its cursor, and in the log.
    pub name: String,
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// What it reads.
    pub stdin: HookInput,
    /// After this its process group is killed.
    pub timeout: Duration,
    /// How many at once.
    pub jobs: usize,
    /// Shortest and longest wait between tries.
    pub retry: (Duration, Duration),
    /// After this, counted from the event's first try, it is given up.
    pub give_up: Duration,
    /// Which records.
    pub filter: Filter,
}

/// One subscriber, for `mailbell status` and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberStatus {
    /// `pipe:/run/mail/notify`, `hook:archive`, `watch:NAME`: also the name of its cursor.
    pub name: String,
    /// `seq` up to which everything is done with.
    pub last_seq: u64,
    /// Records that it has not got yet (those that its filter passes over included).
    pub backlog: u64,
    /// When the oldest of these was stored, microseconds since 1970.
    pub oldest_unread: Option<u64>,
    /// Failed tries of a hook.
    pub retries: u64,
    /// Records that a hook gave up.
    pub given_up: u64,
    /// Records that the journal dropped before they were read.
    pub lost: u64,
}

/// The running pipes and hooks, each with a thread of its own.
#[derive(Debug)]
pub struct Subscribers {}

impl Subscribers {
    /// Starts one thread for every pipe and hook. `state` holds `cursors/` and `journal/`. The journal is open already,
    /// and `cursor::clamp_all` was called.
    ///
    /// # Errors
    ///
    /// Says which pipe or hook cannot be had, and why.
    pub fn start(_state: &Path, _pipes: &[PipeSettings], _hooks: &[HookSettings]) -> Result<Subscribers, String> {
        unimplemented!("notify")
    }

    /// Goes over to new settings: subscribers that are as they were go on undisturbed. Gives what could not be had.
    pub fn reload(&mut self, _pipes: &[PipeSettings], _hooks: &[HookSettings]) -> Vec<String> {
        unimplemented!("notify")
    }

    /// Every subscriber's state, running ones and cursors of `watch` alike.
    pub fn status(&self) -> Vec<SubscriberStatus> {
        unimplemented!("notify")
    }

    /// A clean stop: unread lines are taken back out of the pipes, hooks that run are waited for (bounded), cursors saved.
    pub fn stop(self) {
        unimplemented!("notify")
    }
}

/// What `mailbell status` says of subscribers when no server runs: from the files in `state` alone.
pub fn status_of_files(_state: &Path) -> Vec<SubscriberStatus> {
    unimplemented!("notify")
}
