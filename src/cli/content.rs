//! `mailbell cat ID --text`, `--html`, `--json`, `--attachments DIR`: what is in a message.

use super::{Failed, Outcome, exit};
use crate::config::Config;
use crate::content::{self, Object, Saver};
use crate::journal::{self, Record};
use crate::message::letter;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A message of this age may not have its record yet.
const NEW: Duration = Duration::from_secs(60);

/// How long a record is waited for, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// What is wanted of a message.
#[derive(Debug)]
pub(super) enum Wanted {
    Text,
    Html,
    Json,
    /// In this folder.
    Attachments(PathBuf),
}

/// Prints it. `path` is that of the message's file, `id` what its record is looked for by.
pub(super) fn show(wanted: &Wanted, config: &Config, path: &Path, id: &str, mut message: impl Read) -> Outcome {
    let unreadable = |error| Failed::at(path, &error, exit::IO);
    if let Wanted::Attachments(folder) = wanted {
        let mut print = |path: &Path| {
            let mut line = path.as_os_str().as_bytes().to_vec();
            line.push(b'\n');
            io::stdout().lock().write_all(&line)
        };
        let mut saver =
            Saver::new(folder, &mut print).map_err(|error| Failed::at(folder, &error, exit::CANT_CREATE))?;
        content::read(&mut message, Some(&mut saver)).map_err(unreadable)?;
        return match saver.finish() {
            Err((_, error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err((path, error)) => Err(Failed::at(&path, &error, exit::IO)),
            Ok(()) => Ok(ExitCode::SUCCESS),
        };
    }
    let parsed = content::read(&mut message, None).map_err(unreadable)?;
    let text = match wanted {
        Wanted::Json => {
            let record = record(config, path, id).map_err(|error| Failed::at(&config.journal(), &error, exit::IO))?;
            return super::print_all(path, &mut Object::new(record.as_ref(), parsed).chain(&b"\n"[..]));
        }
        Wanted::Html => parsed.html,
        _ => parsed.text,
    };
    let mut out = for_reader(text.unwrap_or_default());
    if out.last().is_some_and(|last| *last != b'\n') {
        out.push(b'\n');
    }
    super::print_all(path, &mut &out[..])
}

/// A terminal does what control characters say, and a stranger wrote them.
fn for_reader(text: String) -> Vec<u8> {
    if !io::stdout().is_terminal() {
        return text.into_bytes();
    }
    let harmless =
        |letter: char| if letter::is_unsafe(letter) && !matches!(letter, '\n' | '\t') { '\u{fffd}' } else { letter };
    text.chars().map(harmless).collect::<String>().into_bytes()
}

/// The record of this message; `None` when the journal does not have it any more. A record can be read when it is safe on
/// disk, a moment after its message: so it is waited for where the message is new, which the seconds in its id tell.
fn record(config: &Config, path: &Path, id: &str) -> io::Result<Option<Record>> {
    let is_new = || {
        let digits = id.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let then = UNIX_EPOCH + Duration::from_secs(u64::min(digits, u32::MAX.into()));
        then.elapsed().unwrap_or_default() < NEW
    };
    let end = Instant::now() + PATIENCE;
    loop {
        match recorded(config, path, id) {
            // No server has run here yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(None) if is_new() && Instant::now() < end => std::thread::sleep(PAUSE),
            record => return record,
        }
    }
}

/// The record of this message; one that is told of the Maildir with this file first.
fn recorded(config: &Config, path: &Path, id: &str) -> io::Result<Option<Record>> {
    let maildir = |path: &Path| path.parent().and_then(Path::parent).map(Path::to_owned);
    let wanted = maildir(path);
    journal::find(&config.journal(), id, &|record| maildir(Path::new(OsStr::new(&record.path))) == wanted)
}
