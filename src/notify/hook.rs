//! The way of a `[[hook]]`: a program run once per record. Exit 0 acknowledges; anything else, a time-out, or a program
//! that is not there means that it is run again, after waits that grow from `retry`'s first to its last, until `give_up`
//! has passed since the first try (time without a server does not count).
//!
//! With one job at a time the order is kept: while a record fails, later ones wait. With more, a failing record is passed
//! by; the cursor stands before the oldest that is not done, and the tally beside it knows which of the later ones are
//! not, so that a restart runs none again that was done. At most [`OPEN`] may be under way or wait to be tried again.
//! Over `kill -9` a record may be run twice, never not at all.
//!
//! The message on standard input is uncompressed. One that was moved from `new/` to `cur/` meanwhile is found by its name.
//! For one that is gone, because somebody read and deleted it before its turn came, standard input is empty: the event
//! happened all the same.

use super::command::{self, End, Source, Task};
use super::subscriber::{Waits, Way};
use super::tally::{Begun, OPEN, Tally, TallyFile};
use super::wake::Wake;
use super::{HookInput, HookSettings};
use crate::journal::{Place, Record};
use crate::maildir::moved;
use crate::maildir::reader::MessageReader;
use rustix::event::PollFlags;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long a clean stop waits for programs that run, before it ends them; they are run again then.
const PATIENCE: Duration = Duration::from_secs(5);

/// A hook that is served.
#[derive(Debug)]
pub(super) struct Hook {
    settings: Arc<HookSettings>,
    tally: TallyFile,
    counts: Tally,
    /// Records that were begun and are not done.
    open: BTreeMap<u64, Open>,
    /// From before the start: records up to `before.written` are done, but for these.
    before: Place,
    begun_before: BTreeMap<u64, Begun>,
    /// Every record up to this one has been offered.
    offered: u64,
    running: usize,
    results: Receiver<(u64, End, Vec<u8>)>,
    sender: Sender<(u64, End, Vec<u8>)>,
    /// Rung when there is a result.
    bell: Arc<Wake>,
    /// Rung when programs that run are to be ended.
    cancel: Arc<Wake>,
}

#[derive(Debug)]
struct Open {
    record: Arc<Record>,
    tries: u32,
    /// How long it had been failing when this server started.
    failing: Duration,
    /// Its first try since.
    since: Instant,
    /// When it is to be tried again; `None` while it runs.
    again: Option<Instant>,
}

impl Hook {
    /// Gets ready, for a cursor at `place`.
    ///
    /// # Errors
    ///
    /// When the tally cannot be had.
    pub(super) fn open(state: &Path, name: &str, settings: &HookSettings, place: Place) -> io::Result<Hook> {
        let tally = TallyFile::open(state, name)?;
        let counts = tally.kept().cloned().unwrap_or_default();
        // What the tally does not tell of, beyond the cursor, is not known to be done.
        let written = place.written.min(counts.offered).max(place.acknowledged);
        let before = Place { written, ..place };
        // After a power cut the cursor may have been set back, and other records may have taken these numbers.
        let is_ours = |begun: &&Begun| begun.seq > before.acknowledged && begun.seq <= before.written;
        let begun_before = counts.begun.iter().filter(is_ours).map(|begun| (begun.seq, *begun));
        let (sender, results) = channel();
        Ok(Hook {
            settings: Arc::new(settings.clone()),
            begun_before: begun_before.collect(),
            counts,
            tally,
            open: BTreeMap::new(),
            before,
            offered: before.acknowledged,
            running: 0,
            results,
            sender,
            bell: Arc::new(Wake::new()?),
            cancel: Arc::new(Wake::new()?),
        })
    }

    /// After which record the journal is to be read.
    pub(super) fn after(&self) -> u64 {
        self.before.acknowledged
    }

    fn has_room(&self) -> bool {
        match self.jobs() {
            1 => self.open.is_empty(),
            jobs => self.running < jobs && self.open.len() < OPEN,
        }
    }

    fn jobs(&self) -> usize {
        self.settings.jobs.clamp(1, OPEN)
    }

    /// Runs the program for a record that is in `open`.
    fn start(&mut self, seq: u64) {
        let Some(open) = self.open.get_mut(&seq) else { return };
        open.again = None;
        self.running += 1;
        let (settings, record) = (self.settings.clone(), open.record.clone());
        let (sender, bell, cancel) = (self.sender.clone(), self.bell.clone(), self.cancel.clone());
        let job = move || {
            let (end, output) = run(&settings, &record, &cancel);
            // The receiver is gone when nobody waits for it any more.
            let _ = sender.send((seq, end, output));
            bell.ring();
        };
        let builder = std::thread::Builder::new().name("hook-job".into()).stack_size(128 * 1024);
        if let Err(error) = builder.spawn(job) {
            let _ = self.sender.send((seq, End::Failed(error), Vec::new()));
            self.bell.ring();
        }
    }

    fn on_result(&mut self, seq: u64, end: &End, output: &[u8]) {
        self.running -= 1;
        let name = &self.settings.name;
        let level = if end.is_success() { log::Level::Info } else { log::Level::Warn };
        for line in String::from_utf8_lossy(output).lines().filter(|line| !line.trim().is_empty()) {
            log::log!(level, "hook {name}: seq {seq}: {}", without_controls(line));
        }
        let Some(open) = self.open.get_mut(&seq) else { return };
        if end.is_success() {
            self.open.remove(&seq);
            return;
        }
        if matches!(end, End::Cancelled) {
            open.again = Some(Instant::now());
            return;
        }
        open.tries = open.tries.saturating_add(1);
        self.counts.retries += 1;
        let failing = open.failing + open.since.elapsed();
        let left = self.settings.give_up.saturating_sub(failing);
        if left.is_zero() {
            log::error!("hook {name}: seq {seq} id {}: {end}; given up after {} tries", open.record.id, open.tries);
            self.counts.given_up += 1;
            self.open.remove(&seq);
            return;
        }
        let (from, to) = self.settings.retry;
        let pause = from.saturating_mul(1_u32.checked_shl(open.tries - 1).unwrap_or(u32::MAX)).min(to).min(left);
        log::warn!("hook {name}: seq {seq} id {}: {end}; again in {pause:.0?}", open.record.id);
        open.again = Some(Instant::now() + pause);
    }

    /// Keeps what a restart needs to know.
    fn keep(&mut self) {
        let begun = self.open.iter().map(|(seq, open)| Begun {
            seq: *seq,
            tries: open.tries,
            failing: (open.failing + open.since.elapsed()).as_secs(),
        });
        let later = self.begun_before.values().copied();
        self.counts.begun = begun.chain(later).collect();
        self.counts.offered = self.before.written.max(self.offered);
        self.tally.keep(&self.counts);
    }

    /// When the next try is due.
    fn next_try(&self) -> Option<(Instant, u64)> {
        self.open.iter().filter_map(|(seq, open)| Some((open.again?, *seq))).min()
    }
}

impl Way for Hook {
    fn offer(&mut self, record: Box<Record>) -> Result<(), Box<Record>> {
        let seq = record.seq;
        let begun = self.begun_before.get(&seq).copied();
        if seq <= self.before.written && begun.is_none() {
            self.offered = seq;
            return Ok(());
        }
        if !self.has_room() {
            return Err(record);
        }
        self.begun_before.remove(&seq);
        let Begun { tries, failing, .. } = begun.unwrap_or_default();
        let failing = Duration::from_secs(failing);
        let open = Open { record: Arc::new(*record), tries, failing, since: Instant::now(), again: None };
        self.open.insert(seq, open);
        self.offered = seq;
        // Before it runs: else a crash could take it for done.
        self.keep();
        self.start(seq);
        Ok(())
    }

    fn pass(&mut self, seq: u64) {
        self.offered = seq;
    }

    fn lost(&mut self, from: u64, to: u64) {
        self.counts.lose(&format!("hook:{}", self.settings.name), from, to);
        self.begun_before.retain(|seq, _| *seq > to);
        self.offered = to;
        self.keep();
    }

    fn place(&mut self) -> Place {
        let acknowledged = self.open.keys().next().map_or(self.offered, |oldest| oldest - 1);
        // What the tally could not be told must not be taken for done.
        let is_kept = self.tally.kept() == Some(&self.counts);
        let written = if is_kept { self.before.written.max(self.offered) } else { acknowledged };
        let waiting = (self.open.len() + self.begun_before.len()) as u64;
        Place { acknowledged, written, waiting: waiting.min(written - acknowledged) }
    }

    fn look(&mut self) -> Option<u64> {
        self.bell.silence();
        let mut changed = false;
        while let Ok((seq, end, output)) = self.results.try_recv() {
            self.on_result(seq, &end, &output);
            changed = true;
        }
        if changed {
            self.keep();
        }
        while self.running < self.jobs()
            && let Some((due, seq)) = self.next_try()
            && due <= Instant::now()
        {
            self.start(seq);
        }
        None
    }

    fn waits(&self, _full: bool) -> Waits<'_> {
        let due = self.next_try().filter(|_| self.running < self.jobs());
        let timeout = due.map(|(due, _)| due.saturating_duration_since(Instant::now()));
        Waits { fds: vec![(self.bell.as_fd(), PollFlags::IN)], timeout }
    }

    fn finish(&mut self) {
        let (mut end, mut cancelled) = (Instant::now() + PATIENCE, false);
        while self.running > 0 {
            match self.results.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((seq, end, output)) => self.on_result(seq, &end, &output),
                Err(_) if !std::mem::replace(&mut cancelled, true) => {
                    log::warn!("hook {}: ending what still runs; it will be run again", self.settings.name);
                    self.cancel.ring();
                    // A group that does not listen is killed in less.
                    end = Instant::now() + PATIENCE;
                }
                Err(_) => break,
            }
        }
        self.keep();
    }
}

fn run(settings: &HookSettings, record: &Record, cancel: &Wake) -> (End, Vec<u8>) {
    let input = match settings.stdin {
        HookInput::None => None,
        HookInput::Event => {
            let mut json = Vec::new();
            record.write_json(&mut json);
            json.push(b'\n');
            Some(Source::Octets(Box::new(Cursor::new(json))))
        }
        HookInput::Message => match message(record).and_then(|reader| reader.map(source).transpose()) {
            Ok(Some(source)) => Some(source),
            Ok(None) => Some(Source::Octets(Box::new(io::empty()))),
            Err(error) => return (End::Failed(error), Vec::new()),
        },
    };
    let command: Vec<OsString> = settings.command.iter().map(Into::into).collect();
    command::run(Task {
        command: &command,
        record,
        input,
        keep_output: true,
        folder: Some(Path::new("/")),
        timeout: Some(settings.timeout),
        cancel: cancel.as_fd(),
    })
}

/// The stored message, wherever it is by now; `None` when it is gone.
fn message(record: &Record) -> io::Result<Option<MessageReader>> {
    let path = Path::new(&record.path);
    match (path.parent().and_then(Path::parent), path.file_name()) {
        (Some(maildir), Some(file_name)) => moved::open(maildir, file_name),
        _ => Ok(None),
    }
}

/// The message's file, or where it is compressed what comes out of it.
fn source(reader: MessageReader) -> io::Result<Source<'static>> {
    Ok(match reader.into_plain()? {
        Ok(file) => Source::File(file),
        Err(reader) => Source::Octets(Box::new(reader)),
    })
}

fn without_controls(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
