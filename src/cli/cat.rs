//! `mailbell cat`: prints a stored message, from `new/` or `cur/`, compressed or not.

use super::{Failed, Outcome, exit};
use crate::config::Config;
use crate::maildir::listing::Listing;
use crate::maildir::moved::find_in;
use crate::maildir::name::{self, Name};
use crate::maildir::reader::MessageReader;
use crate::server::owner;
use lexopt::prelude::*;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: mailbell cat [-c FILE] ID

Prints the stored message with this id, uncompressed, from `new/` or `cur/` of any Maildir in the configuration. An id is
the `id` of an event, a POP3 unique-id, or a file's name or path.

  -c, --config FILE   configuration (else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml)
  -h, --help          this text

Exit codes: 0 printed, 64 usage, 66 no such message, 74 cannot be read, 77 permission, 78 configuration.
";

/// Octets that are read and written at a time.
const BLOCK: usize = 64 * 1024;

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut file, mut id) = (None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            Value(value) if id.is_none() => id = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let id = id.ok_or_else(|| Failed::new(exit::USAGE, "no id; see --help"))?;
    let config = super::configuration(file)?;
    owner::become_owner_of_state(&config)?;
    let given = Path::new(&id).file_name().unwrap_or(&id).as_bytes();
    let mut path = find(&config, given)?;
    // The message may be moved or flagged while it is looked for.
    let mut message = MessageReader::open(&path);
    if matches!(&message, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        path = find(&config, given)?;
        message = MessageReader::open(&path);
    }
    let mut message = message.map_err(|error| unreadable(&path, &error))?;
    let mut block = vec![0; BLOCK];
    loop {
        let octets = message.read(&mut block).map_err(|error| unreadable(&path, &error))?;
        match io::stdout().lock().write_all(&block[..octets]) {
            // The reader wants no more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written.map_err(|error| Failed::new(exit::IO, error))?,
        }
        if octets == 0 {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The message with this name, whatever flags it has by now, or else the first one with this id.
fn find(config: &Config, given: &[u8]) -> Result<PathBuf, Failed> {
    let (mut denied, id) = (None, Name::parse(given).id);
    let maildirs = maildirs(config)?;
    for folder in maildirs.iter().flat_map(|maildir| [maildir.join("new"), maildir.join("cur")]) {
        let path = folder.join(OsStr::from_bytes(given));
        if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Ok(path);
        }
        // Several messages may share an id that is cut out of such a name.
        if name::known_as(given) != id
            && let Ok(Some(path)) = find_in(&folder, OsStr::from_bytes(given))
        {
            return Ok(path);
        }
    }
    for maildir in maildirs {
        match Listing::read(&maildir) {
            Ok(listing) => {
                if let Some(index) = listing.position(id) {
                    return Ok(listing.path(&maildir, index));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => drop(denied.get_or_insert((maildir, error))),
        }
    }
    Err(match denied {
        Some((maildir, error)) => unreadable(&maildir, &error),
        None => Failed::new(exit::NO_INPUT, format!("no message {}", id.escape_ascii())),
    })
}

/// Everything that may be a Maildir: each folder in the root, also those of former users, and the watched ones.
fn maildirs(config: &Config) -> Result<BTreeSet<PathBuf>, Failed> {
    let mut all: BTreeSet<PathBuf> = config.watches.iter().map(|watch| watch.maildir.clone()).collect();
    match fs::read_dir(&config.mail.root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&config.mail.root, &error)),
        Ok(entries) => all.extend(entries.flatten().map(|entry| entry.path())),
    }
    Ok(all)
}

fn unreadable(path: &Path, error: &io::Error) -> Failed {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
        _ => exit::IO,
    };
    Failed::new(code, format!("{}: {error}", path.display()))
}
