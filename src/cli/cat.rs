//! `mailbell cat`: prints a stored message, from `new/` or `cur/`, compressed or not; or what is in it.

#[cfg(feature = "mime")]
use super::content;
use super::{Failed, Outcome, exit};
use crate::config::Config;
use crate::maildir::folder::{Folder, Refused};
use crate::maildir::listing::Listing;
use crate::maildir::moved::find_in;
use crate::maildir::name::{self, Name, Place};
use crate::maildir::reader::MessageReader;
use crate::server::owner;
use lexopt::prelude::*;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const HELP: &str = "\
Usage: mailbell cat [-c FILE] ID [--text | --html | --json | --attachments DIR]

Prints the stored message with this id, uncompressed, from `new/` or `cur/` of any Maildir in the configuration. An id is
the `id` of an event, a POP3 unique-id, or a file's name or path.

      --text              only its text, in UTF-8; where it has only HTML, the text of that
      --html              only its HTML text, in UTF-8
      --json              event, texts, attachments and header fields as one JSON object; see mailbell-event(5)
      --attachments DIR   save its attachments in this folder, and print their paths. A name is made safe, and is another
                          one where the folder has a file of that name: no file is overwritten
  -c, --config FILE       configuration (else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml)
  -h, --help              this text

A message of a [[remote]] with `store = false` is fetched from its server.

Exit codes: 0 printed, 64 usage, 66 no such message, 73 no such folder, 75 its server does not give it, 74 cannot be read or
saved, 77 permission, 78 configuration.
";

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut file, mut id, mut wanted) = (None, None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            Long(name @ ("text" | "html" | "json" | "attachments")) => {
                let name = name.to_owned();
                let folder = if name == "attachments" { PathBuf::from(arguments.value()?) } else { PathBuf::new() };
                if wanted.replace(content_of(&name, folder)?).is_some() {
                    return Err(Failed::new(
                        exit::USAGE,
                        format!("--{name}: one of these options at a time; see --help"),
                    ));
                }
            }
            Value(value) if id.is_none() => id = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let id = id.ok_or_else(|| Failed::new(exit::USAGE, "no id; see --help"))?;
    let config = super::configuration(file)?;
    owner::become_owner_of_state(&config)?;
    let given = Path::new(&id).file_name().unwrap_or(&id).as_bytes();
    // It may be moved or flagged while it is looked for.
    let found = find(&config, given)?.map_or_else(|| find(&config, given), |found| Ok(Some(found)))?;
    let no_message = || Failed::new(exit::NO_INPUT, format!("no message {}", Name::parse(given).id.escape_ascii()));
    let (path, mut message): (PathBuf, Box<dyn Read>) = match found {
        Some((path, message)) => (path, Box::new(message)),
        None => {
            let id = String::from_utf8_lossy(given).into_owned();
            let message = fetched(&config, &id)?.ok_or_else(no_message)?;
            (PathBuf::from(id), Box::new(message))
        }
    };
    match wanted {
        None => super::print_all(&path, &mut message),
        #[cfg(feature = "mime")]
        Some(wanted) => content::show(&wanted, &config, &path, &name::text(Name::parse(given).id), message),
        #[cfg(not(feature = "mime"))]
        Some(never) => match never {},
    }
}

#[cfg(feature = "mime")]
fn content_of(option: &str, folder: PathBuf) -> Result<content::Wanted, Failed> {
    Ok(match option {
        "text" => content::Wanted::Text,
        "html" => content::Wanted::Html,
        "json" => content::Wanted::Json,
        _ => content::Wanted::Attachments(folder),
    })
}

#[cfg(not(feature = "mime"))]
fn content_of(option: &str, _folder: PathBuf) -> Result<std::convert::Infallible, Failed> {
    let message = format!("--{option}: this mailbell was built without it (cargo feature `mime`)");
    Err(Failed::new(exit::USAGE, message))
}

/// A message that stays on its server: `None` where no record has this id.
#[cfg(feature = "remote")]
fn fetched(config: &Config, id: &str) -> Result<Option<fs::File>, Failed> {
    use crate::delivery::Delivery;
    use crate::server::remotes;
    let record = remotes::record_of(config, id).map_err(|error| Failed::at(&config.journal(), &error, exit::IO))?;
    let Some(record) = record else { return Ok(None) };
    let name = record.origin.remote.as_deref().unwrap_or_default();
    let remote = config.remotes.iter().find(|remote| remote.name == name);
    let gone =
        || Failed::new(exit::TEMPORARY, format!("{id}: the configuration has no [[remote]] named {name:?} any more"));
    let delivery = std::sync::Arc::new(Delivery::new(config, None));
    remotes::message(config, remote.ok_or_else(gone)?, &delivery, &record)
        .map(Some)
        .map_err(|end| Failed::new(exit::TEMPORARY, format!("{id}: {}", end.why)))
}

#[cfg(not(feature = "remote"))]
fn fetched(_config: &Config, _id: &str) -> Result<Option<fs::File>, Failed> {
    Ok(None)
}

/// The message with this name, whatever flags it has by now, or else the first one with this id.
fn find(config: &Config, given: &[u8]) -> Result<Option<(PathBuf, MessageReader)>, Failed> {
    let (mut denied, id) = (None, Name::parse(given).id);
    let maildirs = maildirs(config)?;
    let open = |folder: &Folder, path: PathBuf| {
        match folder.message(path.file_name().unwrap_or_default()) {
            Ok((file, _)) => Ok(Some(MessageReader::of(file, path.file_name().unwrap_or_default().as_bytes()))),
            Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(refused) => Err(Failed::at(&path, &refused.into(), exit::IO)),
        }
        .map(|reader| reader.map(|reader| (path, reader)))
    };
    // Several messages may share an id that is cut out of their names, and a name that is not UTF-8 is given as a text.
    let must_search = name::known_as(given) != id || given.contains(&b'%');
    for (maildir, place) in maildirs.iter().flat_map(|maildir| [(maildir, Place::New), (maildir, Place::Cur)]) {
        let Ok(folder) = Folder::of_others(maildir, place) else { continue };
        let given = OsStr::from_bytes(given);
        let there = if name::is_message(given.as_bytes()) && folder.stat(given).is_ok() {
            Some(given.to_owned())
        } else if must_search {
            find_in(&folder, given).unwrap_or_default()
        } else {
            None
        };
        if let Some(there) = there
            && let Some(found) = open(&folder, maildir.join(place.folder()).join(there))?
        {
            return Ok(Some(found));
        }
    }
    for maildir in maildirs {
        let listing = match Listing::read(&maildir) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
            Err(error) => {
                denied.get_or_insert((maildir, error));
                continue;
            }
            Ok(listing) => listing,
        };
        if let Some(index) = listing.position(id) {
            let folder =
                Folder::of_others(&maildir, listing.place(index)).map_err(|e| Failed::at(&maildir, &e, exit::IO))?;
            return open(&folder, listing.path(&maildir, index));
        }
    }
    match denied {
        Some((maildir, error)) => Err(Failed::at(&maildir, &error, exit::IO)),
        None => Ok(None),
    }
}

/// Everything that may be a Maildir: each folder in the root, also those of former users, and the watched ones.
fn maildirs(config: &Config) -> Result<BTreeSet<PathBuf>, Failed> {
    let mut all: BTreeSet<PathBuf> = config.watches.iter().map(|watch| watch.maildir.clone()).collect();
    match fs::read_dir(&config.mail.root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failed::at(&config.mail.root, &error, exit::IO)),
        Ok(entries) => all.extend(entries.flatten().map(|entry| entry.path())),
    }
    Ok(all)
}
