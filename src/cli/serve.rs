//! `mailbell serve`: the server in the foreground.

use super::{Failed, Outcome, exit};
use crate::accounts;
use crate::config::Config;
use crate::server;
use lexopt::prelude::*;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: mailbell serve [-c FILE]

Runs the server in the foreground. When it listens, it prints one line `mailbell: ready ...` with its addresses on
standard error, and tells systemd. SIGTERM and SIGINT end it cleanly; a second one ends it at once. SIGHUP reloads
users, aliases, certificates, pipes, hooks, webhooks, brokers, remotes and watched Maildirs.

Started by root, the server binds its ports and then becomes `user` of the configuration. Without `user` it stays root.

Without a configuration file it runs the embedded default: SMTP on 127.0.0.1:2525, POP3 on 127.0.0.1:1110, a page for
your browser on http://127.0.0.1:9180/, all files in ./mailbell-data, and one account with the name in $USER.

  -c, --config FILE   configuration (else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml, else the default above)
  -h, --help          this text

Environment: MAILBELL_LOG filters the log: error, warn, info (default), debug, trace, or mail=info,warn.
";

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut file = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            other => return Err(other.unexpected().into()),
        }
    }
    let config = match super::configuration_file(file) {
        Some(file) => super::load(&file)?,
        None => embedded()?,
    };
    super::log::start();
    server::run(config)?;
    Ok(ExitCode::SUCCESS)
}

/// The embedded default. The first start makes its account and prints the password, once.
fn embedded() -> Result<Config, Failed> {
    let (folder, account) = super::embedded_place()?;
    let config = Config::embedded(&folder, &account);
    if !config.users.file.exists() {
        first_account(&config.users.file, &account)?;
    }
    Ok(config)
}

fn first_account(users: &Path, account: &str) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed::new(exit::CANT_CREATE, format!("{}: {error}", users.display()));
    let password = accounts::random_password().map_err(failed)?;
    accounts::Passwd::add(users, account, password.as_bytes())
        .map_err(|error| Failed::new(exit::CANT_CREATE, error))?;
    eprintln!("mailbell: first start: account {account}, password {password}");
    Ok(())
}
