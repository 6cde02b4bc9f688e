//! The command line: one file a command. What is typed becomes a call of a room below, and its outcome a sysexits(3) code.

mod cat;
mod check;
mod deliver;
mod log;
mod serve;
mod status;
mod user;
mod watch;

use crate::config::{Config, Users};
use lexopt::prelude::*;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// sysexits(3), as far as we use it.
pub mod exit {
    #![allow(missing_docs)]
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const NO_INPUT: u8 = 66;
    pub const NO_USER: u8 = 67;
    pub const CANT_CREATE: u8 = 73;
    pub const IO: u8 = 74;
    pub const TEMPORARY: u8 = 75;
    pub const NO_PERMISSION: u8 = 77;
    pub const CONFIG: u8 = 78;
}

const HELP: &str = "\
mailbell: the mail server that tells your programs.

Usage: mailbell COMMAND [OPTION...]

  serve     run the server in the foreground
  check     read the configuration and say all that is wrong
  user      add, passwd, del, list: accounts
  watch     follow the events of new mail, or run a command for each
  cat       print a stored message
  deliver   store the message on standard input
  status    sessions, messages, and what waits for whom
  sendmail  deliver, with sendmail's options

  -h, --help      this text; `mailbell COMMAND --help` says more
  -V, --version   version

The configuration is -c FILE, else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml; without any, `serve` runs an
embedded default below ./mailbell-data. Exit codes are those of sysexits(3).
";

const VERSION: &str = concat!("mailbell ", env!("CARGO_PKG_VERSION"), "\n");

const SYSTEM_FILE: &str = "/etc/mailbell/mailbell.toml";

/// The folder of the embedded default, below the working directory.
const EMBEDDED_FOLDER: &str = "mailbell-data";

/// Why a command failed: its exit code, and what is printed after `mailbell: ` on standard error.
#[derive(Debug)]
pub struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    /// A failure with its code. An empty message prints nothing: all was said before.
    pub fn new(code: u8, message: impl Display) -> Failed {
        Failed { code, message: message.to_string() }
    }
}

impl From<lexopt::Error> for Failed {
    fn from(error: lexopt::Error) -> Failed {
        Failed::new(exit::USAGE, format!("{error}; see --help"))
    }
}

/// Every command has this form: it gets the arguments after its name.
type Outcome = Result<ExitCode, Failed>;

/// Runs the command line and gives its sysexits(3) code.
pub fn main() -> ExitCode {
    run().unwrap_or_else(|failed| {
        if !failed.message.is_empty() {
            // Whoever listened may be gone; the code tells all the same.
            let _ = writeln!(std::io::stderr(), "mailbell: {}", failed.message);
        }
        ExitCode::from(failed.code)
    })
}

fn run() -> Outcome {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("sendmail") => return deliver::sendmail(lexopt::Parser::from_env()),
        Some("mailq") => return deliver::sendmail(lexopt::Parser::from_args(["-bp"])),
        Some("newaliases") => return deliver::sendmail(lexopt::Parser::from_args(["-bi"])),
        _ => {}
    }
    let mut arguments = lexopt::Parser::from_env();
    let command = match arguments.next()? {
        None => return Err(Failed::new(exit::USAGE, format!("no command\n\n{HELP}"))),
        Some(Short('h') | Long("help")) => return print(HELP),
        Some(Short('V') | Long("version")) => return print(VERSION),
        Some(Value(command)) => command,
        Some(other) => return Err(other.unexpected().into()),
    };
    match command.to_str() {
        Some("serve") => serve::run(arguments),
        Some("check") => check::run(arguments),
        Some("user") => user::run(arguments),
        Some("watch") => watch::run(arguments),
        Some("cat") => cat::run(arguments),
        Some("deliver") => deliver::run(arguments),
        Some("status") => status::run(arguments),
        Some("sendmail") => deliver::sendmail(arguments),
        Some("help") => print(HELP),
        _ => Err(Failed::new(exit::USAGE, format!("no command {command:?}; see mailbell --help"))),
    }
}

/// Prints on standard output; a reader that has gone is no failure.
fn print(text: &str) -> Outcome {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failed::new(exit::IO, error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The configuration file: `-c FILE`, else `$MAILBELL_CONFIG`, else the system's if it exists.
fn configuration_file(given: Option<PathBuf>) -> Option<PathBuf> {
    let from_environment = || std::env::var_os("MAILBELL_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from);
    given.or_else(from_environment).or_else(|| {
        let system = PathBuf::from(SYSTEM_FILE);
        system.exists().then_some(system)
    })
}

/// Loads a configuration file. Everything that is wrong with it is printed, a line each.
fn load(file: &Path) -> Result<Config, Failed> {
    Config::load(file).map_err(|problems| {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        Failed::new(exit::CONFIG, "")
    })
}

/// The configuration of a command other than `serve`: the file, else, where one was started here, the embedded default.
fn configuration(given: Option<PathBuf>) -> Result<Config, Failed> {
    if let Some(file) = configuration_file(given) {
        return load(&file);
    }
    let (folder, account) = embedded_place()?;
    if !folder.is_dir() {
        let message = format!("no configuration: neither -c FILE, nor $MAILBELL_CONFIG, nor {SYSTEM_FILE}");
        return Err(Failed::new(exit::CONFIG, message));
    }
    Ok(Config::embedded(&folder, &account))
}

/// Folder and account of the embedded default: `$USER`, else `me`.
fn embedded_place() -> Result<(PathBuf, String), Failed> {
    let folder = std::path::absolute(EMBEDDED_FOLDER).map_err(|error| Failed::new(exit::IO, error))?;
    let user = std::env::var("USER").unwrap_or_default().to_ascii_lowercase();
    let account = if Users::is_name(&user) { user } else { "me".to_owned() };
    Ok((folder, account))
}
