//! The sink of a `[[hook]]`: a program is run for each record. Exit 0 acknowledges. After any other exit, a time-out, or
//! when there is no such program, it is run again. The waits between the tries grow from the first value of `retry` to the
//! last one, until `give_up` has passed since the first try (time without a server does not count).
//!
//! ```text
//! a record comes -> Running -- exit 0, or given up ----> done
//!                    |   ^
//!             failed v   | its time has come
//!                   Waits
//! ```
//!
//! With one job at a time the order is kept: while a record fails, later ones wait. With more, later records do not wait
//! for a failing one: the cursor stands before the oldest record that is not done, and lists the later ones that are not
//! done either, so that a restart repeats nothing that is done. After `kill -9` some records may be run again; none is
//! left out.

use super::command::{self, End, Source, Task};
use super::format::without_line_ends;
use super::message;
use super::subscriber::{Looked, Sink, Waits};
use super::{HookInput, HookSettings};
use crate::journal::record::FIELDS;
use crate::journal::{Begun, Kept, Place, Record};
use crate::sys::Wake;
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

/// Records that may run or wait at a time.
const OPEN: usize = 64;

/// Octets that these may take together in memory; a record that is larger is run alone.
const OCTETS: usize = 1024 * 1024;

/// A hook that is served.
#[derive(Debug)]
pub(super) struct Hook {
    settings: Arc<HookSettings>,
    /// Records that are not done, of those up to `written`.
    jobs: BTreeMap<u64, Job>,
    /// Every record up to this one is done, or in `jobs`.
    written: u64,
    /// Every record up to this one has come from the journal since the start.
    offered: u64,
    /// Tries that failed and records that were given up, since [`Sink::report`].
    failed: u64,
    given_up: u64,
    results: Receiver<(u64, End, Vec<u8>)>,
    sender: Sender<(u64, End, Vec<u8>)>,
    /// Woken when there is a result.
    wake: Arc<Wake>,
    /// Woken when programs that run must end.
    cancel: Arc<Wake>,
}

#[derive(Debug)]
enum Job {
    /// It was begun before the start; its record has not come from the journal again.
    Begun(Begun),
    /// Its program runs.
    Running(Try),
    /// It failed, and is run again at that time.
    Waits(Try, Instant),
}

#[derive(Debug)]
struct Try {
    record: Arc<Record>,
    /// Tries that failed.
    tries: u32,
    /// How long it had been failing when this server started.
    failing: Duration,
    /// Its first try since.
    since: Instant,
}

impl Try {
    fn failing(&self) -> Duration {
        self.failing + self.since.elapsed()
    }
}

impl Job {
    fn of(&self) -> Option<&Try> {
        match self {
            Job::Begun(_) => None,
            Job::Running(job) | Job::Waits(job, _) => Some(job),
        }
    }

    fn begun(&self, seq: u64) -> Begun {
        match self {
            Job::Begun(begun) => *begun,
            Job::Running(job) | Job::Waits(job, _) => Begun { seq, tries: job.tries, failing: job.failing().as_secs() },
        }
    }
}

impl Hook {
    /// Gets ready to go on where `kept` says.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub(super) fn open(settings: &HookSettings, kept: &Kept) -> io::Result<Hook> {
        let (sender, results) = channel();
        Ok(Hook {
            settings: Arc::new(settings.clone()),
            jobs: kept.begun.iter().map(|begun| (begun.seq, Job::Begun(*begun))).collect(),
            written: kept.place.written,
            offered: kept.place.acknowledged,
            failed: 0,
            given_up: 0,
            results,
            sender,
            wake: Arc::new(Wake::new()?),
            cancel: Arc::new(Wake::new()?),
        })
    }

    /// Whether a record may be begun.
    fn has_room(&self, record: &Record) -> bool {
        let open = || self.jobs.values().filter_map(Job::of);
        let octets = || open().map(|job| octets(&job.record)).sum::<usize>();
        match self.settings.jobs {
            0 | 1 => open().next().is_none(),
            jobs => {
                let count = open().count();
                count == 0 || self.running() < jobs && count < OPEN && octets() + self::octets(record) <= OCTETS
            }
        }
    }

    fn running(&self) -> usize {
        self.jobs.values().filter(|job| matches!(job, Job::Running(_))).count()
    }

    /// Runs the program for a record.
    fn start(&mut self, seq: u64, job: Try) {
        let (settings, record) = (self.settings.clone(), job.record.clone());
        let (sender, wake, cancel) = (self.sender.clone(), self.wake.clone(), self.cancel.clone());
        self.jobs.insert(seq, Job::Running(job));
        let work = move || {
            let (end, output) = run(&settings, &record, &cancel);
            // After a stop that took too long there is no receiver any more.
            let _ = sender.send((seq, end, output));
            wake.wake();
        };
        let builder = std::thread::Builder::new().name("hook-job".into()).stack_size(128 * 1024);
        if let Err(error) = builder.spawn(work) {
            let _ = self.sender.send((seq, End::Failed(error), Vec::new()));
            self.wake.wake();
        }
    }

    fn on_result(&mut self, seq: u64, end: &End, output: &[u8]) {
        let name = &self.settings.name;
        let level = if end.is_success() { log::Level::Info } else { log::Level::Warn };
        for line in String::from_utf8_lossy(output).lines().filter(|line| !line.trim().is_empty()) {
            log::log!(level, "hook {name}: seq {seq}: {}", without_line_ends(line));
        }
        let Some(Job::Running(mut job)) = self.jobs.remove(&seq) else { return };
        if end.is_success() {
            return;
        }
        if matches!(end, End::Cancelled) {
            self.jobs.insert(seq, Job::Waits(job, Instant::now()));
            return;
        }
        job.tries = job.tries.saturating_add(1);
        self.failed += 1;
        let left = self.settings.give_up.saturating_sub(job.failing());
        if left.is_zero() {
            log::error!("hook {name}: seq {seq} id {}: {end}; given up after {} tries", job.record.id, job.tries);
            self.given_up += 1;
            return;
        }
        let (from, to) = self.settings.retry;
        let pause = from.saturating_mul(1_u32.checked_shl(job.tries - 1).unwrap_or(u32::MAX)).min(to).min(left);
        log::warn!("hook {name}: seq {seq} id {}: {end}; again in {pause:.0?}", job.record.id);
        self.jobs.insert(seq, Job::Waits(job, Instant::now() + pause));
    }

    /// When the next try is due, if one more may run then.
    fn next_try(&self) -> Option<(Instant, u64)> {
        let due = |(seq, job): (&u64, &Job)| match job {
            Job::Waits(_, due) => Some((*due, *seq)),
            _ => None,
        };
        self.jobs.iter().filter_map(due).min().filter(|_| self.running() < self.settings.jobs.max(1))
    }
}

impl Sink for Hook {
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
        let seq = record.seq;
        let begun = match self.jobs.get(&seq) {
            Some(Job::Begun(begun)) => *begun,
            // Done before the start.
            None if seq <= self.written => {
                self.offered = seq;
                return Ok(());
            }
            _ => Begun::default(),
        };
        if !self.has_room(&record) {
            return Err(record);
        }
        let failing = Duration::from_secs(begun.failing);
        let job = Try { record, tries: begun.tries, failing, since: Instant::now() };
        self.offered = seq;
        self.written = self.written.max(seq);
        self.start(seq, job);
        Ok(())
    }

    fn pass(&mut self, seq: u64) {
        self.lost(seq, seq);
    }

    /// One that was begun before the start may be among them: the journal dropped it, or the filter has changed.
    fn lost(&mut self, from: u64, to: u64) {
        self.jobs.retain(|seq, job| !((from..=to).contains(seq) && matches!(job, Job::Begun(_))));
        self.offered = to;
        self.written = self.written.max(to);
    }

    fn report(&mut self, kept: &mut Kept) {
        let acknowledged = self.jobs.keys().next().map_or(self.written, |oldest| oldest - 1);
        kept.place = Place { acknowledged, written: self.written, waiting: self.jobs.len() as u64 };
        kept.begun = self.jobs.iter().map(|(seq, job)| job.begun(*seq)).collect();
        kept.retries += std::mem::take(&mut self.failed);
        kept.given_up += std::mem::take(&mut self.given_up);
    }

    fn look(&mut self, _rest: Option<Instant>) -> Looked {
        self.wake.clear();
        let mut moved = false;
        while let Ok((seq, end, output)) = self.results.try_recv() {
            self.on_result(seq, &end, &output);
            moved = true;
        }
        while let Some((due, seq)) = self.next_try()
            && due <= Instant::now()
            && let Some(Job::Waits(job, _)) = self.jobs.remove(&seq)
        {
            self.start(seq, job);
        }
        Looked { moved, go_back: None }
    }

    fn waits(&self, _full: bool) -> Waits<'_> {
        let timeout = self.next_try().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        Waits { fds: vec![(self.wake.as_fd(), PollFlags::IN)], timeout }
    }

    fn finish(&mut self) {
        let (mut end, mut cancelled) = (Instant::now() + PATIENCE, false);
        while self.running() > 0 {
            match self.results.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((seq, end, output)) => self.on_result(seq, &end, &output),
                Err(_) if !std::mem::replace(&mut cancelled, true) => {
                    log::warn!(
                        "hook {}: ending the programs that still run; they will be run again",
                        self.settings.name
                    );
                    self.cancel.wake();
                    // A process group that does not end by SIGTERM is killed in less time.
                    end = Instant::now() + PATIENCE;
                }
                Err(_) => break,
            }
        }
    }
}

/// What a record takes in memory, roughly.
fn octets(record: &Record) -> usize {
    FIELDS.iter().filter_map(|name| record.field(name)).map(|value| value.len() + 32).sum()
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
        HookInput::Message => match message::open(record) {
            Ok(source) => Some(source),
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

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
