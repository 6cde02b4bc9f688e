//! The sink of `watch` without a command: a line on standard output.
//!
//! It never blocks in write(2) on a pipe, so that a signal ends it while its reader sleeps: a pipe that is writable by
//! poll(2) has room for a line.

use super::Progress;
use super::human::Human;
use crate::cli::{Failed, Outcome, exit};
use crate::journal::{Kept, Record};
use crate::notify::{Format, Looked, Sink, Waits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// How a record is printed.
#[derive(Debug)]
pub(super) enum View {
    Line(Format),
    Human(Human),
    /// With the first lines of each message.
    #[cfg(feature = "mime")]
    Text(Human),
}

/// Prints lines.
#[derive(Debug)]
pub(super) struct Printer {
    view: View,
    progress: Progress,
    /// Without the buffer of [`io::stdout`], so that a line is one write(2).
    out: File,
    line: Vec<u8>,
    ended: Option<io::Result<()>>,
}

impl Printer {
    pub(super) fn new(view: View, progress: Progress) -> Result<Printer, Failed> {
        let out = io::stdout().as_fd().try_clone_to_owned().map_err(|error| Failed::new(exit::IO, error))?.into();
        Ok(Printer { view, progress, out, line: Vec::new(), ended: None })
    }

    /// A reader that closes the pipe is no error.
    pub(super) fn outcome(self) -> Outcome {
        match self.ended {
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failed::new(exit::IO, error)),
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn poll(&self, events: PollFlags) -> PollFlags {
        let mut fds = [PollFd::new(&self.out, events)];
        // It is asked again after the next wait.
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        fds[0].revents()
    }
}

/// The text of a record's message; empty where it cannot be read, is gone, or was never stored here.
#[cfg(feature = "mime")]
fn text_of(record: &Record) -> String {
    use std::path::Path;
    let path = Path::new(&record.path);
    let (Some(maildir), Some(file_name)) = (path.parent().and_then(Path::parent), path.file_name()) else {
        return String::new();
    };
    let message = crate::maildir::moved::open(maildir, file_name).ok().flatten();
    let parsed = message.and_then(|mut message| crate::content::read(&mut message, None).ok());
    parsed.and_then(|parsed| parsed.text).unwrap_or_default()
}

impl Sink for Printer {
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
        if self.progress.leaves_out(&record) {
            return Ok(());
        }
        if self.poll(PollFlags::OUT).is_empty() {
            return Err(record);
        }
        self.line.clear();
        match &mut self.view {
            View::Line(format) => format.write_line(&record, &mut self.line),
            View::Human(human) => human.write_line(&record, &mut self.line),
            #[cfg(feature = "mime")]
            View::Text(human) => {
                human.write_line(&record, &mut self.line);
                human.write_text(&text_of(&record), &mut self.line);
            }
        }
        match self.out.write_all(&self.line) {
            Ok(()) => {
                self.progress.handed(record.seq);
                Ok(())
            }
            Err(error) => {
                self.ended = Some(Err(error));
                Err(record)
            }
        }
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

    fn look(&mut self, _rest: Option<Instant>) -> Looked {
        // The reader may leave while nothing is written.
        if self.poll(PollFlags::empty()).intersects(PollFlags::ERR | PollFlags::HUP) {
            self.ended = Some(Ok(()));
        }
        Looked::default()
    }

    fn waits(&self, full: bool) -> Waits<'_> {
        let events = if full { PollFlags::OUT } else { PollFlags::empty() };
        Waits { fds: vec![(self.out.as_fd(), events)], timeout: None }
    }

    fn is_done(&self) -> bool {
        self.ended.is_some() || self.progress.left == 0
    }
}
