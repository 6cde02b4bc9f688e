//! The command line, one file for each command. The exit codes are those of sysexits(3).

mod cat;
mod check;
#[cfg(feature = "mime")]
mod content;
mod deliver;
mod fetch;
mod log;
mod queue;
mod replay;
mod serve;
mod status;
mod test_mail;
mod user;
mod watch;

use crate::config::{Config, user_name};
use crate::server::StartError;
use crate::sys;
use lexopt::prelude::*;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The codes of sysexits(3) that are used here.
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
  check     read the configuration and report everything that is wrong
  user      add, passwd, del, list: accounts
  watch     follow the events of new mail, or run a command for each
  cat       print a stored message, its text, or save its attachments
  deliver   store the message on standard input
  fetch     look at a [[remote]] now
  replay    hand events over again, to a hook or webhook
  queue     list, retry, drop: messages that wait to be sent to other servers
  test      send a message to yourself and show what became of it
  status    sessions, messages, and how many events wait for each subscriber
  sendmail  store the message on standard input, with the options of sendmail

  -h, --help      print this text; `mailbell COMMAND --help` prints more about a command
  -V, --version   print the version

The configuration is -c FILE, else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml. Without a configuration, `serve`
runs an embedded default in ./mailbell-data. Exit codes are those of sysexits(3).

When root runs a command on the mail or the state, the command becomes `user` of the configuration, or else the owner
of the state folder.
";

const VERSION: &str = concat!("mailbell ", env!("CARGO_PKG_VERSION"), "\n");

const SYSTEM_FILE: &str = "/etc/mailbell/mailbell.toml";

/// The folder of the embedded default, in the working directory.
const EMBEDDED_FOLDER: &str = "mailbell-data";

/// Why a command failed: its exit code, and what is printed after `mailbell: ` on standard error.
#[derive(Debug)]
pub struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    /// A failure with its exit code. An empty message prints nothing, for a failure that has been reported before.
    pub fn new(code: u8, message: impl Display) -> Failed {
        Failed { code, message: message.to_string() }
    }

    /// A failure of the system at a file or folder. Where it is no missing right, it has this code.
    fn at(path: &Path, error: &io::Error, code: u8) -> Failed {
        Failed::new(code_of(error, code), format!("{}: {error}", path.display()))
    }
}

/// The exit code of a missing right, or else this one.
fn code_of(error: &io::Error, code: u8) -> u8 {
    if error.kind() == io::ErrorKind::PermissionDenied { exit::NO_PERMISSION } else { code }
}

impl From<lexopt::Error> for Failed {
    fn from(error: lexopt::Error) -> Failed {
        Failed::new(exit::USAGE, format!("{error}; see --help"))
    }
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Failed {
        let code = match &error {
            StartError::Configuration(_) => exit::CONFIG,
            StartError::Temporary(_) => exit::TEMPORARY,
            StartError::Permission(_) => exit::NO_PERMISSION,
        };
        Failed::new(code, error)
    }
}

/// What every command returns. It gets the arguments after its name.
type Outcome = Result<ExitCode, Failed>;

/// Runs the command line.
pub fn main() -> ExitCode {
    if let Err(error) = sys::survive_file_size_limit() {
        eprintln!("mailbell: warning: SIGXFSZ: {error}");
    }
    run().unwrap_or_else(|failed| {
        if !failed.message.is_empty() {
            // Standard error may be closed; the exit code says enough.
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
        None => return Err(Failed::new(exit::USAGE, format!("a command is missing\n\n{HELP}"))),
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
        Some("fetch") => fetch::run(arguments),
        Some("replay") => replay::run(arguments),
        Some("queue") => queue::run(arguments),
        Some("status") => status::run(arguments),
        Some("test") => test_mail::run(arguments),
        Some("sendmail") => deliver::sendmail(arguments),
        Some("help") => print(HELP),
        _ => Err(Failed::new(exit::USAGE, format!("there is no command {command:?}; see mailbell --help"))),
    }
}

/// Prints on standard output. That the reader has closed it is no failure.
fn print(text: &str) -> Outcome {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failed::new(exit::IO, error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Prints all that is read from `source`; a reader that wants no more is no error. `path` is for the message of an error.
fn print_all(path: &Path, source: &mut dyn Read) -> Outcome {
    let mut block = vec![0; 64 * 1024];
    loop {
        let octets = source.read(&mut block).map_err(|error| Failed::at(path, &error, exit::IO))?;
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

/// The configuration file: `-c FILE`, else `$MAILBELL_CONFIG`, else the one in /etc if it exists.
fn configuration_file(given: Option<PathBuf>) -> Option<PathBuf> {
    let from_environment = || std::env::var_os("MAILBELL_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from);
    given.or_else(from_environment).or_else(|| {
        let system = PathBuf::from(SYSTEM_FILE);
        system.exists().then_some(system)
    })
}

/// Loads a configuration file, and prints everything that is wrong with it, one line each.
fn load(file: &Path) -> Result<Config, Failed> {
    Config::load(file).map_err(|problems| {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        Failed::new(exit::CONFIG, "")
    })
}

/// The configuration of a command other than `serve`: the file, else the embedded default, if it was started here before.
fn configuration(given: Option<PathBuf>) -> Result<Config, Failed> {
    if let Some(file) = configuration_file(given) {
        return load(&file);
    }
    let (folder, account) = embedded_place()?;
    if !folder.is_dir() {
        let message = format!("there is no configuration: give -c FILE, set $MAILBELL_CONFIG, or write {SYSTEM_FILE}");
        return Err(Failed::new(exit::CONFIG, message));
    }
    Ok(Config::embedded(&folder, &account))
}

/// Folder and account of the embedded default: `$USER`, else `me`.
fn embedded_place() -> Result<(PathBuf, String), Failed> {
    let folder = std::path::absolute(EMBEDDED_FOLDER).map_err(|error| Failed::new(exit::IO, error))?;
    let user = std::env::var("USER").unwrap_or_default().to_ascii_lowercase();
    let account = if user_name(&user).is_ok() { user } else { "me".to_owned() };
    Ok((folder, account))
}
