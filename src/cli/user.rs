//! `mailbell user`: adds, changes, removes and lists accounts.

mod prompt;

use super::{Failed, Outcome, exit};
use crate::accounts::{Accounts, Passwd, PasswdError};
use crate::config::{Config, user_name};
use crate::server::owner;
use lexopt::prelude::*;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

const HELP: &str = "\
Manages the accounts of mailbell, in the file that `users.file` of the configuration names.

Usage: mailbell user add    [-c FILE] [--stdin] NAME
       mailbell user passwd [-c FILE] [--stdin] NAME
       mailbell user del    [-c FILE] NAME
       mailbell user list   [-c FILE]

  add     add an account
  passwd  set a new password for an account
  del     remove an account; its mail stays where it is
  list    print the names, one in each line

  --stdin             read the password from standard input, one line
  -c, --config FILE   the configuration file
  -h, --help          this text

A name is 1 to 64 of a-z 0-9 . _ - and does not begin with a dot or dash.
Passwords are kept as argon2id hashes. A running server uses the changes after
a SIGHUP (systemctl reload mailbell).

Run by root in a folder of another user, it becomes that user first. A new file
belongs to the user that the server runs as.

Exit codes: 0 done; 64 wrong usage or a bad name; 65 a bad password; 67 no such
user; 73 the name is taken; 75 the file is locked; 77 no permission; 78 the
configuration is wrong.
";

/// Longest line that is read as a password, in octets. It is longer than a password may be, so that the error can say so.
const LINE: u64 = 64 * 1024;

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut file: Option<PathBuf> = None;
    let mut from_stdin = false;
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => file = Some(arguments.value()?.into()),
            Long("stdin") => from_stdin = true,
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let configuration = || configuration(file);
    let said = match words[..] {
        ["list"] => list(&configuration()?)?,
        ["add", name] => {
            let name = user_name(name).map_err(PasswdError::Name)?;
            add(&name, &configuration()?, from_stdin)?
        }
        ["passwd", name] => passwd(name, &configuration()?, from_stdin)?,
        ["del", name] => del(name, &configuration()?)?,
        ["add" | "passwd" | "del"] => return Err(usage("a name is missing")),
        [] => return Err(usage("one of add, passwd, del and list is missing")),
        _ => return Err(usage(format!("{:?} is not understood", words.join(" ")))),
    };
    super::print(&said)
}

/// The configuration. In another user's folder the users file is changed with the rights of that user.
fn configuration(file: Option<PathBuf>) -> Result<Config, Failed> {
    let config = super::configuration(file)?;
    owner::become_owner_of_file(&config.users.file)?;
    Ok(config)
}

fn usage(what: impl std::fmt::Display) -> Failed {
    Failed::new(exit::USAGE, format!("user: {what}; see mailbell user --help"))
}

fn list(config: &Config) -> Result<String, Failed> {
    let names = Passwd::names(&config.users.file)?;
    Ok(names.into_iter().map(|name| name + "\n").collect())
}

fn add(name: &str, config: &Config, from_stdin: bool) -> Result<String, Failed> {
    // A name that is taken is reported before a password is asked for.
    if is_there(name, config)? {
        return Err(PasswdError::Exists(name.to_owned()).into());
    }
    let file = &config.users.file;
    Passwd::add_for(file, name, &password(name, from_stdin)?, owner::of_state(config)?)?;
    Ok(done(config, &format!("{name} is in {} now", file.display())))
}

fn passwd(name: &str, config: &Config, from_stdin: bool) -> Result<String, Failed> {
    if !is_there(name, config)? {
        return Err(PasswdError::Unknown(name.to_owned()).into());
    }
    Passwd::set_password(&config.users.file, name, &password(name, from_stdin)?)?;
    Ok(done(config, &format!("{name} has a new password")))
}

fn del(name: &str, config: &Config) -> Result<String, Failed> {
    if !is_there(name, config)? {
        return Err(PasswdError::Unknown(name.to_owned()).into());
    }
    Passwd::remove(&config.users.file, name)?;
    let maildir = config.maildir(name);
    let mail = if maildir.exists() { format!("; the mail stays in {}", maildir.display()) } else { String::new() };
    Ok(done(config, &format!("the account {name} is removed{mail}")))
}

fn is_there(name: &str, config: &Config) -> Result<bool, Failed> {
    Ok(Passwd::names(&config.users.file)?.iter().any(|known| known == name))
}

/// What is printed after a change. What would keep a server from using it is a warning.
fn done(config: &Config, what: &str) -> String {
    match Accounts::load(config) {
        Ok(_) => format!("{what}. A running server uses it after SIGHUP (systemctl reload mailbell).\n"),
        Err(problems) => {
            eprintln!("mailbell: warning: the change is made, but no server can use it before this is mended:");
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            format!("{what}.\n")
        }
    }
}

fn password(name: &str, from_stdin: bool) -> Result<Vec<u8>, Failed> {
    if !from_stdin {
        return prompt::password(name);
    }
    let mut line = Vec::new();
    let read = io::stdin().lock().take(LINE).read_until(b'\n', &mut line);
    read.map_err(|error| Failed::new(exit::IO, format!("standard input: {error}")))?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

impl From<PasswdError> for Failed {
    fn from(error: PasswdError) -> Failed {
        let code = match &error {
            PasswdError::Name(_) => exit::USAGE,
            PasswdError::Password(_) => exit::DATA,
            PasswdError::Exists(_) => exit::CANT_CREATE,
            PasswdError::Unknown(_) => exit::NO_USER,
            PasswdError::Locked(_) => exit::TEMPORARY,
            PasswdError::Io(_, error) => super::code_of(error, exit::IO),
        };
        Failed::new(code, error)
    }
}
