//! `mailbell watch`: the events of new mail on standard output, or a command for each, from any place in the journal.
//!
//! It reads the journal's files itself, so it needs no server and no right but to read the state folder; a cursor needs
//! the right to write in it. A journal that is not there yet is waited for.

mod follow;
mod human;
mod printer;
mod runner;

use super::{Failed, Outcome, exit};
use crate::accounts::Accounts;
use crate::config::Config;
use crate::journal::{self, Cursor, CursorError, Follower, Kept, Place, Record};
use crate::notify::{Filter, Format, Sink, Subscriber, unknown_header};
use crate::server::owner;
use crate::sys;
use follow::Follow;
use human::Human;
pub(super) use human::terminal_columns;
use lexopt::prelude::*;
use printer::Printer;
use runner::Runner;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: mailbell watch [OPTION...] [-- COMMAND [ARG...]]

Prints an event for each message that is stored, as a line; or runs COMMAND for each. It reads the journal itself and
needs no running server. A line is written whole, at once, and has at most 4096 bytes.

      --from SEQ|now|all   begin with event SEQ, with the next one that comes (the default), or with the oldest there is
      --cursor NAME        remember the place under this name, and go on from there the next time; a new cursor begins
                           where --from says. One process at a time uses a cursor; the second one ends with code 75
      --user NAME          only this user's mail; may be repeated
      --follow-user        only your own mail: of the account with your name on this system, and of the accounts that an
                           alias of your name leads to, also when they change while it runs; under sudo, of your own name
      --match FIELD=GLOB   only where the field matches, without regard to case: --match 'subject=*invoice*'; may be
                           repeated, and all must match; header.NAME is one of event.headers
      --format F           inotify (`DIR/ MOVED_TO FILE`), path, tsv, json, or a template: '{user} {subject} {path}'.
                           The default is inotify, and on a terminal a view for people
      --text               the view for people, with the first lines of each message
      --count N            end after N events
  -c, --config FILE        configuration
  -h, --help               this text

COMMAND is run once per event, without a shell, one at a time: the event's fields are in its environment as MAILBELL_SEQ,
MAILBELL_USER, MAILBELL_PATH, MAILBELL_SUBJECT and so on, and the JSON record is its standard input. Exit 0 acknowledges.
When it fails, it is run again for the same event if there is a cursor, after 1 second, then 2, 4 ... up to 60; without a
cursor, watch ends with its exit code.

SIGTERM, SIGINT and a reader that closes the pipe end it with code 0; a COMMAND that runs is ended too, and its event
comes again with the cursor.
";

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Now,
    All,
    Seq(u64),
}

/// What was typed.
#[derive(Debug)]
struct Wanted {
    file: Option<PathBuf>,
    from: From,
    cursor: Option<String>,
    users: Vec<String>,
    fields: Vec<(String, String)>,
    format: Option<Format>,
    count: Option<u64>,
    text: bool,
    follow_user: bool,
    command: Vec<OsString>,
}

/// Runs the command with the arguments after its name.
pub fn run(arguments: lexopt::Parser) -> Outcome {
    let wanted = match parse(arguments)? {
        Ok(wanted) => wanted,
        Err(text) => return super::print(text),
    };
    super::log::start();
    let filter = Filter::new(wanted.users.clone(), wanted.fields.clone()).map_err(|(_, error)| usage(error))?;
    let config = super::configuration(wanted.file.clone())?;
    let unknown = wanted.fields.iter().find_map(|(key, _)| unknown_header(key, &config.event.headers));
    if let Some(why) = unknown {
        return Err(usage(format!("--match {why}")));
    }
    if let Some(why) = wanted.format.as_ref().and_then(|format| format.unknown_header(&config.event.headers)) {
        return Err(usage(format!("--format {why}")));
    }
    let follow_user = wanted.follow_user.then(system_user).transpose()?;
    owner::become_owner_of_state(&config)?;
    warn_of_strangers(&config, &wanted.users);
    let state = config.state.clone();
    let follow = follow_user.map(|name| Follow::new(config, &name));
    let stop = sys::signals().map_err(|error| Failed::new(exit::TEMPORARY, error))?;
    let stop = stop.as_fd();

    let journal = state.join("journal");
    let Some(was_there) = wait_for(&journal, stop)? else { return Ok(ExitCode::SUCCESS) };
    // Records that came while it waited are new.
    let end = if was_there {
        journal::last_seq(&journal).map_err(|error| Failed::at(&journal, &error, exit::TEMPORARY))?
    } else {
        0
    };
    let begin = match wanted.from {
        From::Now => end,
        // `all` means all that there is: what the journal dropped is not lost.
        From::All => journal::first_seq(&journal).map_err(|error| Failed::at(&journal, &error, exit::TEMPORARY))? - 1,
        From::Seq(seq) => seq.saturating_sub(1),
    };
    let name = wanted.cursor.as_ref().map(|name| format!("watch:{name}"));
    let cursor = name.as_ref().map(|name| Cursor::open(&state, name, || begin));
    let cursor = cursor.transpose().map_err(|error| cursor_failed(&error))?;
    let after = cursor.as_ref().map_or(begin, |cursor| cursor.kept().place.acknowledged);

    let left = wanted.count.unwrap_or(u64::MAX);
    let progress = Progress { done: after, left, retries: 0, follow };
    let filter = match (&wanted.format, wanted.command.is_empty()) {
        (Some(format), true) => filter.for_format(format),
        (None, true) if !wanted.text && !io::stdout().is_terminal() => filter.for_format(&Format::Inotify),
        _ => filter,
    };
    let ready = Ready { journal, after, filter, cursor, stop };
    if wanted.command.is_empty() {
        let view = match wanted.format {
            #[cfg(feature = "mime")]
            None if wanted.text => printer::View::Text(Human::for_terminal()),
            None if io::stdout().is_terminal() => printer::View::Human(Human::for_terminal()),
            format => printer::View::Line(format.unwrap_or(Format::Inotify)),
        };
        ready.run(Printer::new(view, progress)?)?.outcome()
    } else {
        let retry = ready.cursor.is_some();
        ready.run(Runner::new(wanted.command, progress, retry, stop))?.outcome()
    }
}

/// Everything that the loop needs but the sink.
struct Ready<'a> {
    journal: PathBuf,
    after: u64,
    filter: Filter,
    cursor: Option<Cursor>,
    stop: BorrowedFd<'a>,
}

impl Ready<'_> {
    fn run<W: Sink>(self, sink: W) -> Result<W, Failed> {
        let follower = Follower::open(&self.journal, self.after)
            .map_err(|error| Failed::at(&self.journal, &error, exit::TEMPORARY))?;
        Ok(Subscriber::new(follower, self.filter, self.cursor, sink).run(self.stop))
    }
}

/// What is wanted, or the text that was asked for.
fn parse(mut arguments: lexopt::Parser) -> Result<Result<Wanted, &'static str>, Failed> {
    let (mut file, mut from, mut cursor, mut format, mut count) = (None, From::Now, None, None, None);
    let (mut users, mut fields, mut command) = (Vec::new(), Vec::new(), Vec::new());
    let (mut text, mut follow_user) = (false, false);
    loop {
        if let Some(mut rest) = arguments.try_raw_args()
            && rest.next_if(|argument| argument == "--").is_some()
        {
            // All of the command, with its options.
            command.extend(rest);
            break;
        }
        let Some(argument) = arguments.next()? else { break };
        match argument {
            Long("from") => from = parse_from(&arguments.value()?.string()?)?,
            Long("cursor") => {
                let name = arguments.value()?.string()?;
                if name.is_empty() || name.len() > 64 {
                    return Err(usage("a cursor's name has 1 to 64 octets"));
                }
                cursor = Some(name);
            }
            Long("user") => users.push(arguments.value()?.string()?),
            Long("follow-user") => follow_user = true,
            Long("match") => {
                let text = arguments.value()?.string()?;
                let (field, glob) = text.split_once('=').ok_or_else(|| usage("--match wants FIELD=GLOB"))?;
                fields.push((field.to_owned(), glob.to_owned()));
            }
            Long("format") => format = Some(Format::parse(&arguments.value()?.string()?).map_err(usage)?),
            Long("count") => {
                let text = arguments.value()?.string()?;
                let number = text.parse().ok().filter(|count| *count > 0);
                count = Some(number.ok_or_else(|| usage(format!("--count {text:?}: not a number from 1 on")))?);
            }
            Long("text") if cfg!(feature = "mime") => text = true,
            Long("text") => return Err(usage("--text: this mailbell was built without it (cargo feature `mime`)")),
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return Ok(Err(HELP)),
            Short('V') | Long("version") => return Ok(Err(super::VERSION)),
            Value(word) => return Err(usage(format!("unexpected argument {word:?}; a COMMAND comes after `--`"))),
            other => return Err(other.unexpected().into()),
        }
    }
    if format.is_some() && !command.is_empty() {
        return Err(usage("--format says how events are printed; a COMMAND gets them as JSON and in its environment"));
    }
    if text && (format.is_some() || !command.is_empty()) {
        return Err(usage("--text is for people: give it without --format and without a COMMAND"));
    }
    if follow_user && !users.is_empty() {
        return Err(usage("--follow-user shows your own mail: give it without --user"));
    }
    Ok(Ok(Wanted { file, from, cursor, users, fields, format, count, text, follow_user, command }))
}

/// The system's name of the user that runs this command.
fn system_user() -> Result<String, Failed> {
    follow::system_user().ok_or_else(|| {
        let uid = rustix::process::getuid().as_raw();
        Failed::new(
            exit::NO_USER,
            format!("--follow-user: the system has no name for the user {uid}; give --user NAME"),
        )
    })
}

/// Warns of a name without an account: it may be misspelt. It is no error, for the account may have existed once.
fn warn_of_strangers(config: &Config, users: &[String]) {
    let Ok(accounts) = Accounts::load(config) else { return };
    let is_watched = |user: &str| config.watches.iter().any(|watch| watch.user == user);
    for user in users.iter().filter(|user| !accounts.names().any(|name| name == *user) && !is_watched(user)) {
        eprintln!("mailbell: warning: no account and no [[watch]] has the user {user:?}");
    }
}

fn parse_from(text: &str) -> Result<From, Failed> {
    match text {
        "now" => Ok(From::Now),
        "all" => Ok(From::All),
        digits if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
            digits.parse().map(From::Seq).map_err(|_| usage(format!("--from {text:?}: not a sequence number")))
        }
        _ => Err(usage(format!("--from {text:?}: it is a sequence number, now, or all"))),
    }
}

/// Waits until the folder is there; says whether it was from the beginning. `None` when told to stop.
fn wait_for(folder: &Path, stop: BorrowedFd<'_>) -> Result<Option<bool>, Failed> {
    let mut was_there = true;
    loop {
        match folder.metadata() {
            Ok(_) => return Ok(Some(was_there)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failed::at(folder, &error, exit::TEMPORARY)),
        }
        if std::mem::replace(&mut was_there, false) {
            eprintln!("mailbell: {} is not there yet; waiting for a server to begin", folder.display());
        }
        let mut fds = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        // A signal ends the wait too, and is then in the pipe.
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 200_000_000 }));
        if !fds[0].revents().is_empty() {
            return Ok(None);
        }
    }
}

fn usage(message: impl std::fmt::Display) -> Failed {
    Failed::new(exit::USAGE, message)
}

fn cursor_failed(error: &CursorError) -> Failed {
    match error {
        CursorError::InUse(_) => Failed::new(exit::TEMPORARY, error),
        CursorError::Io(path, error) => Failed::at(path, error, exit::TEMPORARY),
    }
}

/// How far a sink of this command has come; the two sinks share it.
#[derive(Debug)]
struct Progress {
    done: u64,
    /// Records that are still to be handed over.
    left: u64,
    /// Tries that failed since [`Progress::report`].
    retries: u64,
    /// With `--follow-user`.
    follow: Option<Follow>,
}

impl Progress {
    /// Whether the record is not of the user that is followed; then it is passed over.
    fn leaves_out(&mut self, record: &Record) -> bool {
        let leaves_out = self.follow.as_mut().is_some_and(|follow| !follow.wants(&record.user));
        if leaves_out {
            self.done = record.seq;
        }
        leaves_out
    }

    /// A record was handed over.
    fn handed(&mut self, seq: u64) {
        self.done = seq;
        self.left -= 1;
    }

    /// Records are gone.
    fn lost(&mut self, from: u64, to: u64) {
        eprintln!("mailbell: events {from} to {to} are not in the journal any more");
        self.done = to;
    }

    fn report(&mut self, kept: &mut Kept) {
        kept.place = Place::at(self.done);
        kept.retries += std::mem::take(&mut self.retries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(arguments: &[&str]) -> Result<Result<Wanted, &'static str>, String> {
        let arguments = std::iter::once("watch").chain(arguments.iter().copied());
        parse(lexopt::Parser::from_iter(arguments)).map_err(|failed| failed.message)
    }

    #[test]
    fn everything_after_the_options_is_the_command() {
        let wanted =
            wanted(&["--from", "7", "--match", "to=a=b", "--", "run", "--count", "x", "--", "-h"]).unwrap().unwrap();
        assert_eq!(wanted.from, From::Seq(7));
        assert_eq!(wanted.fields, [("to".to_owned(), "a=b".to_owned())]);
        assert_eq!(wanted.command, ["run", "--count", "x", "--", "-h"]);
        assert_eq!(wanted.count, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (arguments, what) in [
            (&["--from", "yesterday"][..], "sequence number, now, or all"),
            (&["--from", "-1"], "sequence number"),
            (&["--from", "99999999999999999999999"], "not a sequence number"),
            (&["--from"], "--from"),
            (&["--count", "0"], "from 1 on"),
            (&["--cursor", ""], "1 to 64"),
            (&["--match", "subject"], "FIELD=GLOB"),
            (&["--format", "jsno"], "did you mean `json`"),
            (&["--format", "json", "--", "true"], "COMMAND gets them as JSON"),
            (&["--text", "--format", "json"], "without --format"),
            (&["--follow-user", "--user", "alice"], "without --user"),
            (&["--color"], "--color"),
            (&["alice"], "a COMMAND comes after `--`"),
        ] {
            let error = wanted(arguments).unwrap_err();
            assert!(error.contains(what), "{arguments:?}: {error}");
        }
        assert_eq!(wanted(&["--help"]).unwrap().err(), Some(HELP));
    }
}
