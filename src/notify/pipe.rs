//! The way of a `[[pipe]]`: one line a record into a FIFO, never waiting for its reader.
//!
//! Where the place is after a stop, of whatever kind:
//!
//! | how it ended | what the next start finds | what it does |
//! |---|---|---|
//! | cleanly | nothing unread; the end of a half-read line at most | goes on after the last line that a reader began |
//! | `kill -9`, a reader held the FIFO | the unread lines, still in the pipe | compares them with the journal, and goes on where they end: no line twice |
//! | `kill -9`, nobody held the FIFO | an empty pipe: the kernel dropped what was in it | writes again what was not read: same `seq`, same `id` |
//! | `kill -9`, and other settings since | octets that are no lines of ours | leaves them, and writes again what was not surely read |
//!
//! That a reader took something is told by inotify(7), so that nothing has to be asked while nothing happens; the durable
//! cursor follows within [`PAUSE`]. A shell's `read` takes one octet at a time, and is not to wake us for each.

use super::fifo::{Fifo, Found};
use super::subscriber::{Waits, Way};
use super::tally::TallyFile;
use super::unread::{Line, Unread};
use super::{Backlog, Format, PipeSettings};
use crate::journal::{self, Item, Place, Reader, Record};
use rustix::event::PollFlags;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a reader's doings are left alone once they were seen.
const PAUSE: Duration = Duration::from_millis(1);

/// How often at most things are asked that no event tells of: whether a FIFO that could not be made can be made now,
/// whether the reader of lines that are too old by now is gone (neither happens while all is well), and, when there is
/// something to do anyway, whether the path still leads to the FIFO.
const ASK: Duration = Duration::from_secs(1);

/// Lines that are compared with what is in a pipe, octets: more than a pipe holds and was read since the cursor was set.
const COMPARED: usize = 8 * 1024 * 1024;

/// A pipe that is served.
#[derive(Debug)]
pub(super) struct Pipe {
    settings: PipeSettings,
    journal: PathBuf,
    /// `None` while it cannot be had.
    fifo: Option<Fifo>,
    unread: Unread,
    tally: TallyFile,
    line: Vec<u8>,
    /// Until then, the events of readers wait.
    pause: Option<Instant>,
    /// The journal is to be read again after what is acknowledged.
    go_back: bool,
    /// When it was last seen that the path leads to this FIFO.
    seen_in_place: Instant,
}

impl Pipe {
    /// Opens the FIFO and finds out what is in it, for a cursor at `place`.
    ///
    /// # Errors
    ///
    /// When the FIFO cannot be had, or the journal cannot be read.
    pub(super) fn open(
        state: &Path,
        name: &str,
        settings: &PipeSettings,
        place: Place,
        last: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<Pipe> {
        let journal = state.join("journal");
        let (fifo, found) = Fifo::open(&settings.path, settings.mode)?;
        let unread = match (found, settings.backlog) {
            (Found::New, Backlog::None) => Unread::new(last()?),
            (Found::New, _) => Unread::new(place.acknowledged),
            (Found::Old(content), _) => {
                let recovered = recover(&journal, settings, place, content.as_deref())?;
                recovered.unwrap_or_else(|| {
                    log::warn!("{name}: something else is in the pipe; unread lines are written again");
                    let mut unread = Unread::new(place.acknowledged);
                    unread.push_begun(fifo.left().unwrap_or(0) as usize);
                    unread
                })
            }
        };
        let tally = TallyFile::open(state, name)?;
        Ok(Pipe {
            settings: settings.clone(),
            journal,
            fifo: Some(fifo),
            unread,
            tally,
            line: Vec::new(),
            pause: None,
            go_back: false,
            seen_in_place: Instant::now(),
        })
    }

    /// After which record the journal is to be read.
    pub(super) fn after(&self) -> u64 {
        self.unread.written()
    }

    /// Whether what was stored then, in seconds since 1970, is older than `backlog` lets a reader that comes have it.
    fn is_expired(&self, stored: u32) -> bool {
        match self.settings.backlog {
            Backlog::All => false,
            Backlog::None => true,
            Backlog::Age(age) => (Duration::from_secs(stored.into()) + age).as_micros() < now().into(),
        }
    }

    /// Whether the oldest unread line is.
    fn has_expired_line(&self) -> bool {
        self.unread.oldest().is_some_and(|line| self.is_expired(line.stored))
    }

    /// After what time the oldest unread line will be.
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
                // Our own coming and going is not to be taken for a reader's.
                let seen = fifo.drain_events();
                if seen.moved && fifo.events().is_some() {
                    self.check_place();
                }
                yes
            }
            Err(error) => {
                self.give_up_fifo(&error.to_string());
                false
            }
        }
    }

    /// Takes what nobody began to read out of the pipe again.
    fn take_back(&mut self, keep_rest: bool) {
        let Some(fifo) = &mut self.fifo else { return };
        // Only a reader who holds it has more of a line in the pipe than the next start, which counts what is lost.
        let first = if keep_rest { journal::first_seq(&self.journal).unwrap_or(0) } else { 0 };
        let is_needed = self.unread.oldest().is_some_and(|line| line.seq < first);
        let first = if is_needed && fifo.has_reader().unwrap_or(false) { first } else { 0 };
        let outcome = fifo.take_out().and_then(|octets| {
            let rest = self.unread.take_back(octets.len() as u64, first).min(octets.len());
            if keep_rest && rest > 0 {
                // A reader that has the beginning of a line gets its end, and one that is late what only the pipe has.
                octets[..rest].chunks(crate::limits::PIPE_LINE).try_for_each(|part| fifo.write(part).map(|_| ()))?;
            }
            Ok(())
        });
        if let Err(error) = outcome {
            log::error!("{}: {error}", self.settings.path.display());
        }
    }

    /// Goes on with another FIFO where ours was taken away.
    fn check_place(&mut self) {
        self.seen_in_place = Instant::now();
        if self.fifo.as_ref().is_some_and(|fifo| !fifo.is_in_place()) {
            self.take_back(true);
            self.give_up_fifo("it was taken away or replaced");
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
        log::info!("pipe {}: here again", self.settings.path.display());
        self.unread.push_begun(fifo.left()? as usize);
        self.fifo = Some(fifo);
        Ok(())
    }
}

impl Way for Pipe {
    fn offer(&mut self, record: Box<Record>) -> Result<(), Box<Record>> {
        let is_wanted = !self.is_expired(seconds(record.timestamp)) || self.has_reader();
        // That look may have shown that the FIFO was taken away.
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
        let mut tally = self.tally.kept().cloned().unwrap_or_default();
        tally.lose(&PipeSettings::name_of(&self.settings.path), from, to);
        self.tally.keep(&tally);
        self.unread.pass(to);
    }

    fn place(&mut self) -> Place {
        if let Some(left) = self.fifo.as_ref().and_then(|fifo| fifo.left().ok()) {
            self.unread.settle(left);
        }
        Place { acknowledged: self.unread.acknowledged(), written: self.unread.written(), waiting: self.unread.count() }
    }

    fn look(&mut self) -> Option<u64> {
        if self.fifo.is_none() {
            // Why not was said the first time.
            let _ = self.make_again();
        }
        if self.pause.is_none_or(|pause| Instant::now() >= pause) {
            let seen = self.fifo.as_ref().map(Fifo::drain_events).unwrap_or_default();
            // That a folder above it was moved, or a link turned, nothing tells.
            if seen.moved || self.seen_in_place.elapsed() >= ASK {
                self.check_place();
            }
            self.place();
            // Who has read everything has no more to do.
            let is_told = self.fifo.as_ref().is_some_and(|fifo| fifo.events().is_some());
            let goes_on = is_told && seen.read && self.unread.oldest().is_some();
            self.pause = goes_on.then(|| Instant::now() + PAUSE);
        }
        if self.has_expired_line() && !self.has_reader() && !self.go_back {
            self.take_back(false);
            self.go_back = true;
        }
        std::mem::take(&mut self.go_back).then(|| self.unread.written())
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
fn recover(
    journal: &Path,
    settings: &PipeSettings,
    place: Place,
    content: Option<&[u8]>,
) -> io::Result<Option<Unread>> {
    let Some(content) = content else { return Ok(None) };
    let mut reader = Reader::new(journal, place.acknowledged);
    let (mut lines, mut octets, mut beyond) = (Vec::new(), Vec::new(), false);
    while octets.len() < COMPARED {
        let item = reader.next_item()?;
        let seq = match &item {
            None => u64::MAX,
            Some(Item::Record(record)) => record.seq,
            Some(Item::Lost { to, .. }) => *to,
        };
        if seq > place.written
            && !std::mem::replace(&mut beyond, true)
            && let Some(mut unread) = Unread::recover(place.acknowledged, &lines, &octets, content)
        {
            unread.pass(place.written);
            return Ok(Some(unread));
        }
        match item {
            None => break,
            Some(Item::Record(record)) if settings.filter.wants(&record) => {
                lines.push(write_line(&settings.format, &record, &mut octets));
                // One more line may have been written just before the end, and the cursor not.
                if beyond {
                    return Ok(Unread::recover(place.acknowledged, &lines, &octets, content));
                }
            }
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

/// Of microseconds. A line and its record are as old as each other, or one would be taken out and the other put in.
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
