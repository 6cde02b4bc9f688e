//! The sink of a `[[pipe]]`: one line for each record, written to a FIFO without waiting for its reader.
//!
//! What the next start does, by how the last run ended:
//!
//! | how it ended | what is in the pipe | what the next start does |
//! |---|---|---|
//! | cleanly | nothing unread; the end of a half-read line at most | goes on after the last line that a reader began |
//! | `kill -9`, a reader held the FIFO | the unread lines | finds them in the journal, and goes on where they end |
//! | the same, and everything was read | nothing | goes on after the last line that the cursor knows of |
//! | `kill -9`, nobody held the FIFO | nothing: the kernel dropped it | writes again what was not read: same `seq`, same `id` |
//! | `kill -9`, and other settings since | octets that are no lines of ours | leaves them, and writes again what was not surely read |
//!
//! inotify(7) tells when a reader took something, so an idle pipe costs nothing. A shell's `read` takes one octet at a
//! time, and each is an event: events are looked at once in [`PAUSE`], and on a busy server when the cursor is written.

use super::fifo::{Fifo, Found};
use super::recovery::Recovery;
use super::subscriber::{Looked, Sink, Waits};
use super::unread::{Line, Unread};
use super::{Backlog, Format, PipeSettings};
use crate::journal::{self, Item, Kept, Place, Reader, Record};
use rustix::event::PollFlags;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// After an event of a reader, further ones are not read for so long.
const PAUSE: Duration = Duration::from_millis(1);

/// How often to ask what no event tells: whether a FIFO that could not be made can be made now; whether the reader of
/// lines that are too old by now is gone; and, when there is something else to do, whether the path still leads to the
/// FIFO.
const ASK: Duration = Duration::from_secs(1);

/// How many octets of lines after the last one that the cursor knows of are compared with what is in a pipe. A cursor is
/// not much older than a second.
const COMPARED: usize = 8 * 1024 * 1024;

/// When more octets than this wait to be accounted for, it is asked how many of them were read.
const UNSETTLED: u64 = 4 * 1024 * 1024;

/// A pipe that is served.
#[derive(Debug)]
pub(super) struct Pipe {
    settings: PipeSettings,
    journal: PathBuf,
    /// `None` while it cannot be opened or made.
    fifo: Option<Fifo>,
    unread: Unread,
    line: Vec<u8>,
    /// There are events of readers.
    has_events: bool,
    /// Until then they are not looked at.
    pause: Option<Instant>,
    /// The journal is to be read again after what is acknowledged.
    go_back: bool,
    /// When it was last seen that the path leads to this FIFO.
    seen_in_place: Instant,
}

impl Pipe {
    /// Opens the FIFO and finds out what is in it.
    ///
    /// # Errors
    ///
    /// When the FIFO cannot be opened or made, or the journal cannot be read.
    pub(super) fn open(
        journal: &Path,
        settings: &PipeSettings,
        kept: &Kept,
        last: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<Pipe> {
        let (fifo, found) = Fifo::open(&settings.path, settings.mode)?;
        let acknowledged = kept.place.acknowledged;
        let unread = match (found, settings.backlog) {
            (Found::New, Backlog::None) => Unread::new(last()?),
            (Found::New, _) => Unread::new(acknowledged),
            (Found::Old(content), _) => {
                let content = content.as_deref();
                let recovered = content.map(|content| recover(journal, settings, kept, content)).transpose()?.flatten();
                recovered.unwrap_or_else(|| {
                    let name = PipeSettings::name_of(&settings.path);
                    log::warn!("{name}: it holds octets that are not its lines; unread lines are written again");
                    let mut unread = Unread::new(acknowledged);
                    unread.push_begun(fifo.left().unwrap_or(0) as usize);
                    unread
                })
            }
        };
        Ok(Pipe {
            settings: settings.clone(),
            journal: journal.to_owned(),
            fifo: Some(fifo),
            unread,
            line: Vec::new(),
            has_events: true,
            pause: None,
            go_back: false,
            seen_in_place: Instant::now(),
        })
    }

    /// After which record the journal is to be read.
    pub(super) fn after(&self) -> u64 {
        self.unread.written()
    }

    /// What keeps its readers from seeing an end of file.
    pub(super) fn into_write_end(self) -> Option<File> {
        self.fifo.map(Fifo::into_write_end)
    }

    /// Whether a record that was stored then (seconds since 1970) is too old for a reader that comes later.
    fn is_expired(&self, stored: u32) -> bool {
        match self.settings.backlog {
            Backlog::All => false,
            Backlog::None => true,
            Backlog::Age(age) => (Duration::from_secs(stored.into()) + age).as_micros() < now().into(),
        }
    }

    /// Whether the oldest unread line is too old.
    fn has_expired_line(&self) -> bool {
        self.unread.oldest().is_some_and(|line| self.is_expired(line.stored))
    }

    /// After what time the oldest unread line will be too old.
    fn expiry(&self) -> Option<Duration> {
        let stored = Duration::from_secs(self.unread.oldest()?.stored.into());
        match self.settings.backlog {
            Backlog::All => None,
            Backlog::None => Some(Duration::ZERO),
            Backlog::Age(age) => Some((stored + age).saturating_sub(Duration::from_micros(now()))),
        }
    }

    fn has_reader(&mut self) -> bool {
        let Some(fifo) = &mut self.fifo else { return false };
        match fifo.has_reader() {
            Ok(yes) => {
                // The look closed and opened our own end, which made events like those of a reader.
                let seen = fifo.drain_events();
                if seen.moved && fifo.events().is_some() {
                    self.check_place();
                }
                self.settle();
                yes
            }
            Err(error) => {
                self.give_up_fifo(&error.to_string());
                false
            }
        }
    }

    /// Takes lines that no reader has begun out of the pipe again.
    fn take_back(&mut self, keep_rest: bool) {
        let Some(fifo) = &mut self.fifo else { return };
        // Lines that the journal dropped are left to a reader that holds the pipe. Without one the next start counts them.
        let first = if keep_rest { journal::first_seq(&self.journal).unwrap_or(0) } else { 0 };
        let is_needed = self.unread.oldest().is_some_and(|line| line.seq < first);
        let first = if is_needed && fifo.has_reader().unwrap_or(false) { first } else { 0 };
        let outcome = fifo.take_out().and_then(|octets| {
            let rest = self.unread.take_back(octets.len() as u64, first).min(octets.len());
            if keep_rest && rest > 0 {
                // A reader that has the beginning of a line gets its end, and a late one gets what only the pipe has.
                octets[..rest].chunks(crate::limits::PIPE_LINE).try_for_each(|part| fifo.write(part).map(|_| ()))?;
            }
            Ok(())
        });
        if let Err(error) = outcome {
            log::error!("{}: {error}", self.settings.path.display());
        }
    }

    /// Makes another FIFO when ours was removed or replaced.
    fn check_place(&mut self) {
        self.seen_in_place = Instant::now();
        if self.fifo.as_ref().is_some_and(|fifo| !fifo.is_in_place()) {
            self.take_back(true);
            self.give_up_fifo("the FIFO was taken away or replaced; making it again");
        }
    }

    fn give_up_fifo(&mut self, why: &str) {
        log::warn!("pipe {}: {why}", self.settings.path.display());
        self.fifo = None;
        self.unread = Unread::new(self.unread.acknowledged());
        self.go_back = true;
        if let Err(error) = self.make_again() {
            let path = self.settings.path.display();
            log::error!("pipe {path}: cannot be made again: {error}; trying every {} s", ASK.as_secs());
        }
    }

    fn make_again(&mut self) -> io::Result<()> {
        let (fifo, _) = Fifo::open(&self.settings.path, self.settings.mode)?;
        log::info!("pipe {}: made again", self.settings.path.display());
        self.unread.push_begun(fifo.left()? as usize);
        self.fifo = Some(fifo);
        Ok(())
    }

    /// Finds out which lines were read.
    fn settle(&mut self) {
        if let Some(left) = self.fifo.as_ref().and_then(|fifo| fifo.left().ok()) {
            self.unread.settle(left);
        }
    }
}

impl Sink for Pipe {
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
        let is_wanted = !self.is_expired(seconds(record.timestamp)) || self.has_reader();
        // The look at its reader may have found that the FIFO was removed.
        let Some(fifo) = self.fifo.as_mut().filter(|_| !self.go_back) else { return Err(record) };
        if !is_wanted {
            self.unread.pass(record.seq);
            return Ok(());
        }
        self.line.clear();
        let line = write_line(&self.settings.format, &record, &mut self.line);
        match fifo.write(&self.line) {
            Ok(true) => {
                self.unread.push(line);
                if self.unread.octets() > UNSETTLED {
                    self.settle();
                }
                Ok(())
            }
            Ok(false) => Err(record),
            Err(error) => {
                self.give_up_fifo(&error.to_string());
                Err(record)
            }
        }
    }

    fn pass(&mut self, seq: u64) {
        self.unread.pass(seq);
    }

    fn lost(&mut self, from: u64, to: u64) {
        let name = PipeSettings::name_of(&self.settings.path);
        log::error!("{name}: records {from} to {to} are gone from the journal and were not told");
        self.unread.pass(to);
    }

    fn report(&mut self, kept: &mut Kept) {
        // Without events, nothing else tells that a reader took something.
        if self.fifo.as_ref().is_none_or(|fifo| fifo.events().is_none()) {
            self.settle();
        }
        let unread = &self.unread;
        kept.place = Place { acknowledged: unread.acknowledged(), written: unread.written(), waiting: unread.count() };
        kept.rest = unread.rest();
    }

    fn is_ready(&mut self) {
        self.has_events = true;
    }

    fn look(&mut self, rest: Option<Instant>) -> Looked {
        if self.fifo.is_none() {
            // Why it failed was logged the first time.
            let _ = self.make_again();
        }
        let mut moved = false;
        if self.pause.is_none_or(|pause| Instant::now() >= pause) {
            let is_told = self.fifo.as_ref().is_some_and(|fifo| fifo.events().is_some());
            let is_due = std::mem::take(&mut self.has_events) || self.pause.is_some() || !is_told;
            let seen = self.fifo.as_ref().filter(|_| is_due).map(Fifo::drain_events).unwrap_or_default();
            // No event tells that a folder above it was moved, or that a link leads elsewhere.
            if seen.moved || self.seen_in_place.elapsed() >= ASK {
                self.check_place();
            }
            let before = self.unread.acknowledged();
            if seen.read {
                self.settle();
            }
            moved = self.unread.acknowledged() != before;
            let goes_on = is_told && seen.read && self.unread.oldest().is_some();
            let pause = (Instant::now() + PAUSE).max(rest.unwrap_or_else(Instant::now));
            self.pause = (goes_on || is_told && seen.read && rest.is_some()).then_some(pause);
        }
        if self.has_expired_line() && !self.has_reader() && !self.go_back {
            self.take_back(false);
            self.go_back = true;
            moved = true;
        }
        let go_back = std::mem::take(&mut self.go_back).then(|| self.unread.written());
        Looked { moved, go_back, is_urgent: false }
    }

    fn waits(&self, full: bool) -> Waits<'_> {
        let Some(fifo) = &self.fifo else { return Waits { fds: Vec::new(), timeout: Some(ASK) } };
        let mut waits = Waits::default();
        let mut at_most = |time: Duration| waits.timeout = Some(waits.timeout.map_or(time, |other| other.min(time)));
        if let Some(expiry) = self.expiry() {
            at_most(expiry.max(ASK));
        }
        match (self.pause, fifo.events()) {
            (Some(pause), _) => at_most(pause.saturating_duration_since(Instant::now())),
            (None, None) => at_most(ASK),
            (None, Some(events)) => waits.fds.push((events, PollFlags::IN)),
        }
        if full {
            waits.fds.push((fifo.write_end(), PollFlags::OUT));
        }
        waits
    }

    fn finish(&mut self) {
        self.take_back(true);
    }
}

/// The lines that are in a pipe that outlived a server. `None` when they are not what that server wrote.
fn recover(journal: &Path, settings: &PipeSettings, kept: &Kept, content: &[u8]) -> io::Result<Option<Unread>> {
    let Place { acknowledged, written, .. } = kept.place;
    let (mut reader, wanted) = (Reader::new(journal, acknowledged), settings.wanted());
    let mut recovery = Recovery::new(acknowledged, kept.rest, content);
    let mut beyond = 0;
    while beyond < COMPARED {
        let item = reader.next_item()?;
        let seq = match &item {
            None => u64::MAX,
            Some(Item::Record(record)) => record.seq,
            Some(Item::Lost { to, .. }) => *to,
        };
        // Lines after `written` may have been written just before the end.
        if seq > written
            && let Some(mut unread) = recovery.unread()
        {
            unread.pass(written.max(unread.written()));
            return Ok(Some(unread));
        }
        match item {
            None => break,
            Some(Item::Record(record)) if wanted.wants(&record) => recovery.add(|out| {
                let line = write_line(&settings.format, &record, out);
                beyond += if seq > written { line.octets as usize } else { 0 };
                line
            }),
            Some(_) => {}
        }
    }
    Ok(None)
}

fn write_line(format: &Format, record: &Record, out: &mut Vec<u8>) -> Line {
    let start = out.len();
    format.write_line(record, out);
    Line { seq: record.seq, stored: seconds(record.timestamp), octets: (out.len() - start) as u32 }
}

/// Of microseconds. The age of a line and that of its record must be the same number, or a line would be taken out of the
/// pipe and put in again.
fn seconds(timestamp: u64) -> u32 {
    (timestamp / 1_000_000).min(u32::MAX.into()) as u32
}

/// Microseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
