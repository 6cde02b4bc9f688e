//! The ledger: it alone says whether a message has been recorded, and under which `seq`. It is the journal's one writer.
//!
//! ```text
//! expect(users, file name) -> Expected --- dropped: withdrawn, the message is unknown again
//!                                |
//!                              record -> Recorded --- dropped: the folder of the message is synced
//! found(...)  for a file that somebody else put there        gone(...)  for a file that left its Maildir
//! ```
//!
//! A record is told to subscribers when it is *safe*: the journal is synced behind it, the folder of its message is
//! synced, its number is reserved, and the same holds for every record before it. One thread syncs the journal for all
//! records that wait; whoever tells a record writes the mark for readers in other processes (`journal::mark`), and that
//! thread makes the mark safe. No delivery waits for a sync of the state's disk, so
//! a state's disk that fails or is full delays no mail: what the journal does not take waits here in order, and is tried
//! again. Subscribers in this process take the latest records from memory (`journal::Told`), others read the files.
//!
//! The way of a message, in system calls, from the last octet of its data to the line in the pipe (a small message for one
//! user; two of close(2), a futex(2), an fstat(2) that shows whether the journal was removed and, once a second, statfs(2)
//! come to that; when the line is on its way, the mark is written with pwrite(2)):
//!
//! ```text
//!  1  recvfrom   the data with its final dot                      worker
//!  2  openat     tmp/ID                                           worker
//!  3  write      the whole message                                worker
//!  4  fsync      the file                                         worker
//!  5  openat     new/                                             worker
//!  6  rename     tmp/ID to new/NAME                               worker
//!  7  write      the record                                       worker
//!  8  fsync      new/, and then the 250   worker  |  fdatasync  the journal, for all that wait   ledger
//!  9  write      wakes a subscriber that sleeps                   the one that is ready last
//! 10  read       the wake-up, behind ppoll                        subscriber
//! 11  write      the line                                         subscriber
//! ```

mod append;
#[cfg(test)]
mod damage_tests;
mod duplicates;
mod guard;
mod homes;
#[cfg(test)]
mod keep_tests;
mod known;
#[cfg(test)]
mod memory_tests;
mod recover;
mod safe;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

pub use guard::{Copy, Expected, Recorded};
pub use known::Identity;
#[cfg(test)]
pub use testing::Journal;
pub use upkeep::Keep;

use crate::journal::mark::{Mark, Reserved};
use crate::journal::{self, Record, Told};
use known::KnownIds;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use upkeep::Clock;
use writer::Writer;

/// Stack of the thread, octets.
const STACK: usize = 256 * 1024;

/// Callback; called from any thread, must not block.
pub type Callback = Box<dyn Fn() + Send + Sync>;

/// One for the process that holds the [`journal::Lock`].
pub struct Ledger {
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    known: KnownIds,
    dir: PathBuf,
    keep: Keep,
    /// Up to which `seq` records are told.
    told: Told,
    /// `None` where it cannot be made; to be tried again.
    mark: Mutex<Option<Mark>>,
    /// Held while the journal is synced.
    syncing: Mutex<()>,
    /// Held while old segments are looked after, or what is known is saved.
    keeping: Mutex<()>,
    clock: Mutex<Clock>,
    maildirs: Mutex<Vec<(String, PathBuf)>>,
    on_missed: OnceLock<Callback>,
}

#[derive(Debug)]
struct State {
    writer: Writer,
    /// Up to here the journal is synced.
    synced: u64,
    /// Numbers that may be told.
    reserved: Reserved,
    /// Up to here the mark says that records are told.
    marked: u64,
    /// One entry for each message while its folder is being synced, in the order of the records: a ticket, and `seq` of the
    /// message's first record.
    open: Vec<(u64, u64)>,
    /// The next ticket.
    ticket: u64,
    /// Records that the journal did not take.
    waiting: Vec<Record>,
    /// Memory that they take, about.
    octets: usize,
    /// Records were dropped from the waiting: their messages are unknown again.
    overflowed: bool,
    /// What fails now, and was logged.
    failing: Failing,
    unsettled: usize,
    /// The active segment when the journal's size was looked at.
    looked_at: u64,
    /// When the thread does [`Ledger::tick`].
    tick_at: Option<Instant>,
    /// The thread has nothing to do.
    is_idle: bool,
    stop: bool,
}

impl State {
    /// Up to which `seq` records may be told.
    fn safe(&self) -> u64 {
        self.synced.min(self.reserved.to).min(self.open.first().map_or(u64::MAX, |(_, first)| first - 1))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Failing {
    write: bool,
    sync: bool,
    mark: bool,
}

impl Ledger {
    /// Opens the journal of a state folder and what is known of its messages, and repairs what a crash left. The cursors
    /// are never ahead of it then. The caller holds the state's lock. Nothing is told before [`Ledger::start`] or
    /// [`Ledger::tick`].
    ///
    /// # Errors
    ///
    /// When a folder cannot be made or read. Damage is no reason.
    pub fn open(state: &Path, keep: Keep) -> io::Result<Arc<Ledger>> {
        Ledger::with(state, keep, true)
    }

    /// The same for one delivery. Its id is new, so what is known is not read.
    ///
    /// # Errors
    ///
    /// As [`Ledger::open`].
    pub fn for_delivery(state: &Path, keep: Keep) -> io::Result<Arc<Ledger>> {
        Ledger::with(state, keep, false)
    }

    fn with(state: &Path, keep: Keep, knows: bool) -> io::Result<Arc<Ledger>> {
        let dir = state.join("journal");
        let cursors = journal::cursors(state).unwrap_or_else(|error| {
            log::error!("{}: {error}", state.join("cursors").display());
            Vec::new()
        });
        let told = cursors.iter().map(|(_, kept)| kept.place.written);
        let mut writer = recover::open(&dir, told.chain([known::covered(state)]).max().unwrap_or(0))?;
        let known = if knows { KnownIds::load(state, &writer)? } else { KnownIds::none() };
        let unsynced = writer.take_unsynced();
        let mut told = writer.last();
        if let Err(error) = unsynced.sync(&dir) {
            log::error!("journal: {error}");
            told = told.min(journal::mark::read(&dir).unwrap_or(told));
            writer.give_back(unsynced);
        }
        let active = if writer.file.is_some() { writer.first } else { 0 };
        let there = journal::mark::reserved(&dir).filter(|it| it.active == active && it.to >= told + safe::AHEAD / 2);
        let reserved = there.unwrap_or(Reserved { to: writer.last().max(told) + safe::AHEAD, active });
        let mark = Mark::open(&dir, told, reserved).inspect_err(|error| log::error!("{}: {error}", dir.display())).ok();
        Ok(Arc::new(Ledger {
            state: Mutex::new(State {
                writer,
                synced: told,
                reserved,
                marked: told,
                open: Vec::new(),
                ticket: 0,
                waiting: Vec::new(),
                octets: 0,
                overflowed: false,
                failing: Failing::default(),
                unsettled: 0,
                looked_at: 0,
                tick_at: None,
                is_idle: false,
                stop: false,
            }),
            work: Condvar::new(),
            known,
            dir,
            keep,
            told: Told::new(told),
            mark: Mutex::new(mark),
            syncing: Mutex::default(),
            keeping: Mutex::default(),
            clock: Mutex::new(Clock::new()),
            maildirs: Mutex::default(),
            on_missed: OnceLock::new(),
        }))
    }

    /// Starts the thread that syncs the journal. It ends with [`Ledger::stop`].
    ///
    /// # Errors
    ///
    /// When the system has no thread left.
    pub fn start(self: &Arc<Ledger>) -> io::Result<()> {
        let ledger = self.clone();
        std::thread::Builder::new().name("ledger".into()).stack_size(STACK).spawn(move || ledger.run()).map(|_| ())
    }

    /// Records what waits, tells what is safe, and ends the thread.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.work.notify_all();
        self.tick();
        self.reserve_no_more();
    }

    /// Up to which `seq` records may be told.
    pub fn told(&self) -> Told {
        self.told.clone()
    }

    /// `callback` is called when Maildirs must be looked at again, because records were too many to wait. The first one
    /// counts.
    pub fn on_missed(&self, callback: Callback) {
        let _ = self.on_missed.set(callback);
    }

    /// `seq` of the latest record; 0 when there was none yet.
    pub fn last_seq(&self) -> u64 {
        self.lock().writer.last()
    }

    /// Whether the journal has a message of this user with this key.
    pub fn has_key(&self, user: &str, key: &str) -> bool {
        self.lock().writer.duplicates.has(user, key)
    }

    /// A message is about to be put into the Maildirs of these recipients under this file name. Nothing else
    /// records it as long as the expectation lives.
    pub fn expect(self: &Arc<Ledger>, copies: Vec<Copy>, file_name: &str) -> Expected {
        let identity = Identity::of(file_name.as_bytes());
        copies.iter().for_each(|copy| _ = self.known.insert(&copy.user, identity));
        Expected::new(self.clone(), copies, identity)
    }

    /// Whether the journal holds the record of a message that has this file name.
    pub fn has(&self, user: &str, file_name: &[u8]) -> bool {
        self.known.is_recorded(user, Identity::of(file_name))
    }

    /// A file was seen in a Maildir of this user. `None` when its message is recorded, or expected by somebody.
    pub fn claim(self: &Arc<Ledger>, user: &str, file_name: &[u8]) -> Option<Expected> {
        let identity = Identity::of(file_name);
        let is_new = self.known.insert(user, identity);
        let copy = || Copy { user: user.to_owned(), path: String::new(), rcpt_to: None };
        is_new.then(|| Expected::new(self.clone(), vec![copy()], identity))
    }

    /// Records messages that somebody else put into Maildirs. Their folders are synced first, so that what is told is
    /// there after a power cut, too.
    pub fn found(&self, found: Vec<(Expected, Record)>) {
        if found.is_empty() {
            return;
        }
        let folders: BTreeSet<&Path> =
            found.iter().filter_map(|(_, record)| Path::new(&record.path).parent()).collect();
        for folder in folders {
            if let Err(error) = open_folder(folder).and_then(|folder| folder.sync_all()) {
                log::debug!("{}: {error}", folder.display());
            }
        }
        let mut state = self.lock();
        for (expected, record) in found {
            let identity = expected.keep();
            self.push(&mut state, record, identity);
        }
        self.write(&mut state);
        self.wake(state);
    }

    /// A file left the Maildir: another message may come by its name.
    pub fn gone(&self, user: &str, file_name: &[u8]) {
        self.known.forget(user, Identity::of(file_name));
    }

    /// Messages in these Maildirs are recorded; each Maildir with its user.
    pub fn watch(&self, maildirs: Vec<(String, PathBuf)>) {
        if let Err(error) = self.known.watched(&maildirs, today()) {
            log::error!("which Maildirs are watched cannot be saved: {error}");
        }
        *lock(&self.maildirs) = maildirs;
    }

    /// Those Maildirs.
    pub fn watched(&self) -> Vec<(String, PathBuf)> {
        lock(&self.maildirs).clone()
    }

    /// Puts another file in the place of the active segment, such as /dev/full, and gives the one before.
    #[cfg(test)]
    pub(crate) fn swap_file(&self, file: File) -> File {
        let mut state = self.lock();
        state.writer.end = file.metadata().unwrap().len();
        let before = state.writer.file.replace(Arc::new(file)).map(|file| file.try_clone().unwrap());
        state.writer.begin_reserve();
        before.unwrap_or_else(|| {
            let path = journal::segment::Segment::plain(&self.dir, state.writer.first).path;
            File::options().append(true).create(true).open(path).unwrap()
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("state", &self.state).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a folder that another user may have replaced: a link is not followed, and a FIFO keeps nothing waiting.
fn open_folder(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(folder, flags, Mode::empty())?))
}

/// Days since 1970.
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}
