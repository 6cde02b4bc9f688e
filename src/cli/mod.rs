//! The command line: one file a command. What is typed becomes a call of a room below, and its outcome a sysexits(3) code.

mod cat;
mod check;
mod deliver;
pub mod log;
mod status;
mod user;
mod watch;

use crate::config::Config;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

/// sysexits(3), as far as we use it.
pub mod exit {
    #![allow(missing_docs)]
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const NO_INPUT: u8 = 66;
    pub const NO_USER: u8 = 67;
    pub const SOFTWARE: u8 = 70;
    pub const OS: u8 = 71;
    pub const CANT_CREATE: u8 = 73;
    pub const IO: u8 = 74;
    pub const TEMPORARY: u8 = 75;
    pub const NO_PERMISSION: u8 = 77;
    pub const CONFIG: u8 = 78;
}

/// Why a command failed: its exit code, and what is printed after `mailbell: ` on standard error.
#[derive(Debug)]
pub struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    /// A failure with its code.
    pub fn new(code: u8, message: impl Display) -> Failed {
        Failed { code, message: message.to_string() }
    }
}

impl From<lexopt::Error> for Failed {
    fn from(error: lexopt::Error) -> Failed {
        Failed::new(exit::USAGE, error)
    }
}

/// Every command has this form: it gets the arguments after its name.
type Outcome = Result<ExitCode, Failed>;

/// The configuration of a command other than `serve`: `-c FILE`, else `$MAILBELL_CONFIG`, else the system's, else, where
/// that exists, the embedded default's folder here.
fn configuration(_given: Option<PathBuf>) -> Result<Config, Failed> {
    unimplemented!("cli")
}

/// Runs the command line and gives its sysexits(3) code.
pub fn main() -> ExitCode {
    let mut arguments = lexopt::Parser::from_env();
    let outcome = match arguments.value().ok().and_then(|word| word.into_string().ok()).as_deref() {
        Some("cat") => cat::run(arguments),
        Some("check") => check::run(arguments),
        Some("deliver") => deliver::run(arguments),
        Some("status") => status::run(arguments),
        Some("user") => user::run(arguments),
        Some("watch") => watch::run(arguments),
        _ => Err(Failed::new(exit::USAGE, "see mailbell --help")),
    };
    outcome.unwrap_or_else(|failed| {
        eprintln!("mailbell: {}", failed.message);
        ExitCode::from(failed.code)
    })
}
