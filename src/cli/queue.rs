//! `mailbell queue`: the messages that wait to be sent to other servers. It works on the files, with or without a server; a
//! server that runs sees what changes.

#[cfg(not(feature = "relay"))]
use super::Failed;
use super::{Outcome, exit};

const HELP: &str = "\
Shows the messages that wait to be sent to other servers, asks for a try now, or takes messages out.

Usage: mailbell queue [list] [-c FILE] [ID...]
       mailbell queue retry [-c FILE] [ID...]
       mailbell queue drop [-c FILE] ID...

The first line of an entry has its ID, its size in octets, the time of its arrival and its sender; then follow why it
waits, and the recipients that it waits for.

  list                all messages, or these; the default
  retry               the server tries all messages now, or these
  drop                take these messages out; the sender is not told
  -c, --config FILE   configuration
  -h, --help          this text

Exit codes: 0 done; 64 wrong usage; 66 no such message; 75 failed for now.
";

/// What is printed when nothing waits, as by other mail servers.
const EMPTY: &str = "Mail queue is empty\n";

/// Shows all messages: without a relay there are none.
///
/// # Errors
///
/// When standard output cannot be written.
#[cfg(not(feature = "relay"))]
pub fn list(_config: &crate::config::Config) -> Outcome {
    super::print(EMPTY)
}

/// Runs the command with the arguments after its name.
#[cfg(not(feature = "relay"))]
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    match arguments.next()? {
        Some(lexopt::Arg::Short('h') | lexopt::Arg::Long("help")) => super::print(HELP),
        _ => Err(Failed::new(exit::CONFIG, "this mailbell was built without a relay (cargo feature `relay`)")),
    }
}

#[cfg(feature = "relay")]
pub use with_queue::{list, run};

#[cfg(feature = "relay")]
mod with_queue {
    use super::{EMPTY, HELP, Outcome, exit};
    use crate::cli::{self, Failed, VERSION};
    use crate::config::Config;
    use crate::message::date;
    use crate::message::letter::is_unsafe;
    use crate::queue::{Entry, Queue, QueueId};
    use crate::server::owner;
    use lexopt::prelude::*;
    use std::fmt::Write;
    use std::io;
    use std::path::PathBuf;
    use std::process::ExitCode;

    /// Runs the command with the arguments after its name.
    pub fn run(mut arguments: lexopt::Parser) -> Outcome {
        let (mut file, mut words) = (None, Vec::new());
        while let Some(argument) = arguments.next()? {
            match argument {
                Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
                Short('h') | Long("help") => return cli::print(HELP),
                Short('V') | Long("version") => return cli::print(VERSION),
                Value(word) => words.push(word.to_string_lossy().into_owned()),
                other => return Err(other.unexpected().into()),
            }
        }
        let action = match words.first().map(String::as_str) {
            Some("list" | "retry" | "drop") => words.remove(0),
            Some(word) if !word.starts_with(|letter: char| letter.is_ascii_digit()) => {
                return Err(Failed::new(exit::USAGE, format!("{word:?} is neither list, retry or drop, nor an ID")));
            }
            _ => "list".to_owned(),
        };
        if action == "drop" && words.is_empty() {
            return Err(Failed::new(exit::USAGE, "drop needs the ID of each message; `mailbell queue` shows them"));
        }
        let config = cli::configuration(file)?;
        if words.is_empty() && action == "list" {
            return list(&config);
        }
        let queue = open(&config)?;
        let ids = words.iter().map(|word| find(&config, &queue, word)).collect::<Result<Vec<QueueId>, Failed>>()?;
        let failed = |error: io::Error| Failed::at(&config.state.join("queue"), &error, exit::TEMPORARY);
        match action.as_str() {
            "retry" => queue.retry(&ids).map_err(failed)?,
            "drop" => ids.iter().try_for_each(|id| queue.drop_entry(id).map(drop)).map_err(failed)?,
            _ => return Found::read(&queue, &ids).print(),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The messages that were read. Of each only the text is kept: a queue may have more messages than a process may have
    /// open files.
    #[derive(Default)]
    struct Found {
        text: String,
        messages: usize,
        octets: u64,
        failed: bool,
    }

    impl Found {
        fn read(queue: &Queue, ids: &[QueueId]) -> Found {
            let mut found = Found::default();
            for id in ids {
                match queue.entry(id) {
                    Ok(Some(entry)) => {
                        found.text += &shown(&entry);
                        found.messages += 1;
                        found.octets += entry.size();
                    }
                    // It was sent meanwhile, or put aside.
                    Ok(None) => {}
                    Err(error) => {
                        eprintln!("mailbell queue: {id}: {error}");
                        found.failed = true;
                    }
                }
            }
            found
        }

        fn print(&self) -> Outcome {
            let printed = cli::print(&self.text)?;
            if self.failed { Err(Failed::new(exit::TEMPORARY, "")) } else { Ok(printed) }
        }
    }

    /// Shows all messages, as `mailq` does.
    ///
    /// # Errors
    ///
    /// When the queue cannot be read.
    pub fn list(config: &Config) -> Outcome {
        let failed = |error: io::Error| Failed::at(&config.state.join("queue"), &error, exit::TEMPORARY);
        if !config.state.join("queue").exists() {
            return cli::print(EMPTY);
        }
        let queue = open(config)?;
        let mut found = Found::read(&queue, &queue.ids().map_err(failed)?);
        if found.messages == 0 && !found.failed {
            return cli::print(EMPTY);
        }
        let messages = if found.messages == 1 { "message" } else { "messages" };
        // write! to a String cannot fail.
        let _ = writeln!(found.text, "{} {messages}, {} KiB.", found.messages, found.octets.div_ceil(1024));
        // What holds up all of them is known to the server alone.
        let status = cli::status::ask(&config.state).unwrap_or_default();
        if let Some(error) = status["queue"]["last_error"].as_str() {
            let next = status["queue"]["next_try"].as_str().unwrap_or("-").replace(".000000", "");
            let _ =
                writeln!(found.text, "The smarthost cannot be used, and all wait: {}; next try {next}", plain(error));
        }
        found.print()
    }

    fn open(config: &Config) -> Result<Queue, Failed> {
        owner::become_owner_of_state(config)?;
        Queue::open(&config.state).map_err(|error| Failed::at(&config.state.join("queue"), &error, exit::TEMPORARY))
    }

    fn find(config: &Config, queue: &Queue, word: &str) -> Result<QueueId, Failed> {
        let failed = |error: io::Error| Failed::at(&config.state.join("queue"), &error, exit::TEMPORARY);
        let unknown =
            || Failed::new(exit::NO_INPUT, format!("{word:?}: no such message waits; `mailbell queue` shows all"));
        let id = QueueId::parse(word).ok_or_else(unknown)?;
        // Another process may have taken it since.
        if queue.waiting_folder().join(id.as_str()).try_exists().map_err(failed)? { Ok(id) } else { Err(unknown()) }
    }

    /// One message for people. Text of strangers cannot break a line.
    fn shown(entry: &Entry) -> String {
        let (envelope, progress) = (&entry.envelope, &entry.progress);
        let sender = match envelope.reverse_path.as_str() {
            "" => "<>",
            sender => sender,
        };
        let arrived = date::rfc3339_micros(envelope.arrived * 1_000_000).replace(".000000", "");
        let mut text = format!("{}  {}  {arrived}  {}\n", entry.id, entry.size(), plain(sender));
        // write! to a String cannot fail.
        if !progress.error.is_empty() {
            let _ = writeln!(text, "    ({})", plain(&progress.error));
        }
        if progress.next > 0 {
            let next = date::rfc3339_micros(progress.next * 1_000_000).replace(".000000", "");
            let _ = writeln!(text, "    next try {next}, after {} tries", progress.attempts);
        }
        for address in entry.waiting() {
            let _ = writeln!(text, "    {}", plain(address));
        }
        text
    }

    fn plain(text: &str) -> String {
        text.replace(is_unsafe, "?")
    }
}
