//! The sink of `watch -- COMMAND`: a program run for each record, one at a time.

use super::Progress;
use crate::cli::{Failed, Outcome};
use crate::journal::{Kept, Record};
use crate::notify::{End, Sink, Source, Task, Waits, run};
use std::ffi::OsString;
use std::io::Cursor;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest and longest wait before a command that failed is run again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs the program.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    command: Vec<OsString>,
    progress: Progress,
    /// Whether a command that failed is run again, or ends everything.
    retry: bool,
    tries: u32,
    again: Option<Instant>,
    /// The exit code that a failure without `retry` gave.
    failed: Option<u8>,
    stop: BorrowedFd<'a>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(command: Vec<OsString>, progress: Progress, retry: bool, stop: BorrowedFd<'a>) -> Runner<'a> {
        Runner { command, progress, retry, tries: 0, again: None, failed: None, stop }
    }

    pub(super) fn outcome(self) -> Outcome {
        match self.failed {
            // The reason was printed when it failed.
            Some(code) => Err(Failed::new(code, "")),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    fn on_failure(&mut self, seq: u64, end: &End) {
        let program = self.command[0].display();
        if !self.retry {
            eprintln!("mailbell: {program}: event {seq}: {end}");
            self.failed = Some(code(end));
            return;
        }
        self.progress.retries += 1;
        let pause = RETRY.0.saturating_mul(1 << self.tries.min(16)).min(RETRY.1);
        self.tries += 1;
        eprintln!("mailbell: {program}: event {seq}: {end}; again in {pause:?}");
        self.again = Some(Instant::now() + pause);
    }
}

/// The exit code that a shell would give.
fn code(end: &End) -> u8 {
    match end {
        End::Exited(status) => match (status.code(), status.signal()) {
            (Some(code), _) => code as u8,
            (None, signal) => 128_u8.saturating_add(signal.unwrap_or(0) as u8),
        },
        End::Failed(error) if error.kind() == std::io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

impl Sink for Runner<'_> {
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
        if self.again.is_some_and(|again| Instant::now() < again) {
            return Err(record);
        }
        if self.progress.leaves_out(&record) {
            (self.tries, self.again) = (0, None);
            return Ok(());
        }
        let mut json = Vec::new();
        record.write_json(&mut json);
        json.push(b'\n');
        let (end, _) = run(Task {
            command: &self.command,
            record: &record,
            input: Some(Source::Octets(Box::new(Cursor::new(json)))),
            keep_output: false,
            folder: None,
            timeout: None,
            cancel: self.stop,
        });
        if end.is_success() {
            self.progress.handed(record.seq);
            (self.tries, self.again) = (0, None);
            return Ok(());
        }
        if !matches!(end, End::Cancelled) {
            self.on_failure(record.seq, &end);
        }
        Err(record)
    }

    fn pass(&mut self, seq: u64) {
        self.progress.done = seq;
    }

    fn lost(&mut self, from: u64, to: u64) {
        self.progress.lost(from, to);
    }

    fn report(&mut self, kept: &mut Kept) {
        self.progress.report(kept);
    }

    fn waits(&self, _full: bool) -> Waits<'_> {
        let timeout = self.again.map(|again| again.saturating_duration_since(Instant::now()));
        Waits { fds: Vec::new(), timeout }
    }

    fn is_done(&self) -> bool {
        self.failed.is_some() || self.progress.left == 0
    }
}
