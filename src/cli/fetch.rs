//! `mailbell fetch NAME`: one look at a remote, through the running server or without one.

use super::{Failed, Outcome, exit};
use lexopt::prelude::*;
use std::path::PathBuf;

const HELP: &str = "\
Usage: mailbell fetch [--once] [-c FILE] NAME

Looks at the [[remote]] of this name now, and returns when that is over. A running server does the work; where none runs,
this command does it itself, once, and waits for nothing. So it can be run from cron.

      --once          accepted for cron's sake: this is what the command does
  -c, --config FILE   configuration
  -h, --help          this text

Exit codes: 0 everything was looked at; 64 wrong usage, or no such remote; 75 it failed for now; 77 the login was refused;
78 the configuration is wrong.
";

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut file, mut name) = (None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("once") => {}
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.ok_or_else(|| Failed::new(exit::USAGE, "the name of a [[remote]] is missing; see --help"))?;
    let config = super::configuration(file)?;
    look(config, &name)
}

#[cfg(not(feature = "remote"))]
fn look(_config: crate::config::Config, _name: &str) -> Outcome {
    Err(Failed::new(exit::CONFIG, "this mailbell was built without remotes (cargo feature `remote`)"))
}

#[cfg(feature = "remote")]
fn look(config: crate::config::Config, name: &str) -> Outcome {
    use crate::fetch::{Answer, Kind};
    use crate::server::{look_once, owner};
    use std::io;
    use std::process::ExitCode;

    let unknown = || Failed::new(exit::USAGE, format!("there is no [[remote]] named {name:?}"));
    let Some(remote) = config.remotes.iter().find(|remote| remote.name == name) else { return Err(unknown()) };
    owner::become_owner_of_state(&config)?;
    match Answer::ask(&config.state, name) {
        Ok(Answer::Done) => return Ok(ExitCode::SUCCESS),
        Ok(Answer::Failed(why)) => return Err(Failed::new(exit::TEMPORARY, format!("{name}: {why}"))),
        Ok(Answer::Refused(why)) => return Err(Failed::new(exit::NO_PERMISSION, format!("{name}: {why}"))),
        Ok(Answer::Unknown) => {
            let message = format!("the running server has no [[remote]] named {name:?}; send it SIGHUP");
            return Err(Failed::new(exit::TEMPORARY, message));
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
                _ => exit::TEMPORARY,
            };
            return Err(Failed::new(code, format!("the server cannot be asked: {error}")));
        }
    }
    if std::env::var_os("MAILBELL_LOG").is_some() {
        super::log::start();
    }
    let ends = look_once::look_once(&config, remote.clone())?;
    let mut code = 0;
    for (label, end) in ends {
        match end.kind {
            Kind::Passed => continue,
            Kind::Credentials => code = exit::NO_PERMISSION,
            _ if code == 0 => code = exit::TEMPORARY,
            _ => {}
        }
        eprintln!("mailbell: {label}: {}", end.why);
    }
    Ok(ExitCode::from(code))
}
