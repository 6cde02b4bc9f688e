//! What a `[[hook]]` does with a record: it runs a program. Exit 0 acknowledges; any other exit, a time-out, or a program
//! that is not there is a failure.

use super::command::{self, End, Source, Task};
use super::format::without_line_ends;
use super::message;
use super::work::{Outcome, Work};
use super::{HookInput, HookSettings};
use crate::journal::Record;
use crate::sys::Wake;
use std::ffi::OsString;
use std::io::Cursor;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// How long a clean stop waits for programs that run, before it ends them; they are run again then. A process group that
/// does not end by SIGTERM is killed in less time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A hook that is served.
pub(super) struct Hook {
    label: String,
    settings: HookSettings,
}

impl Hook {
    /// With these settings.
    pub(super) fn new(settings: &HookSettings) -> Hook {
        Hook { label: format!("hook {}", settings.name), settings: settings.clone() }
    }

    fn run(&self, record: &Record, cancel: &Wake) -> (End, Vec<u8>) {
        let settings = &self.settings;
        let input = match settings.stdin {
            HookInput::None => None,
            HookInput::Event => {
                let mut json = Vec::new();
                record.write_json(&mut json);
                json.push(b'\n');
                Some(Source::Octets(Box::new(Cursor::new(json))))
            }
            #[cfg(feature = "mime")]
            HookInput::Parsed => match message::parsed(record) {
                Ok(source) => Some(source),
                Err(error) => return (End::Failed(error), Vec::new()),
            },
            // No configuration gives `Parsed` without its feature.
            _ => match message::open(record) {
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
}

impl Work for Hook {
    fn label(&self) -> &str {
        &self.label
    }

    fn try_once(&self, record: &Record, cancel: &Wake) -> Outcome {
        let (end, output) = self.run(record, cancel);
        let level = if end.is_success() { log::Level::Info } else { log::Level::Warn };
        for line in String::from_utf8_lossy(&output).lines().filter(|line| !line.trim().is_empty()) {
            log::log!(level, "{}: seq {}: {}", self.label, record.seq, without_line_ends(line));
        }
        match end {
            End::Cancelled => Outcome::Cancelled,
            end if end.is_success() => Outcome::Done,
            end => Outcome::failed(end),
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
