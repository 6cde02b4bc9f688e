//! `mailbell check`: reports everything that is wrong for a server at once, each with its file and line, as a compiler does.

mod address;
mod dns;
mod files;
#[cfg(feature = "http")]
mod http;
mod lines;
#[cfg(feature = "mqtt")]
mod mqtt;
mod online;
mod ports;
mod relay;
#[cfg(feature = "remote")]
mod remotes;
#[cfg(any(feature = "remote", feature = "relay"))]
mod secrets;
#[cfg(feature = "relay")]
mod smarthost;
#[cfg(feature = "webhook")]
mod webhooks;

use super::{Outcome, exit, print};
use crate::config::{Config, Problem};
use crate::sys::{self, Ids};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Reads the configuration, the users, the aliases and the certificate, looks at
files and folders, and reports everything that is wrong as FILE:LINE: message.

Usage: mailbell check [-c FILE] [--online]
       mailbell check [-c FILE] --address ADDRESS...

  -c, --config FILE   the configuration file
  --address ADDRESS   say where mail for this address goes, and by which rule; nothing
                      else is looked at
  --online            also try the ports, and look at the free space of the disk and
                      at the MX records of the domains; log in to each [[remote]],
                      [[mqtt]] broker and the smarthost of [relay], and send a
                      HEAD to each [[webhook]]; no mail is sent
  -h, --help          this text

Warnings are marked, and do not change the exit code.
Exit codes: 0 nothing is wrong; 64 wrong usage; 67 mail for an address is refused;
78 something is wrong.
";

/// What was found.
struct Findings<'c> {
    config: &'c Config,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    notes: Vec<String>,
}

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut file: Option<PathBuf> = None;
    let mut go_online = false;
    let mut addresses = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => file = Some(arguments.value()?.into()),
            Long("online") => go_online = true,
            Long("address") => addresses.push(arguments.value()?.string()?),
            Short('h') | Long("help") => return print(HELP),
            Short('V') | Long("version") => return print(super::VERSION),
            other => return Err(other.unexpected().into()),
        }
    }
    let config = super::configuration(file)?;
    if !addresses.is_empty() {
        return address::explain(&config, &addresses);
    }
    let mut findings = Findings { config: &config, problems: Vec::new(), warnings: Vec::new(), notes: Vec::new() };
    files::check(&mut findings);
    lines::check(&mut findings);
    if go_online {
        online::check(&mut findings);
    }
    findings.tell()
}

impl Findings<'_> {
    /// Adds a fault that keeps a server from working, at the key that it is about.
    fn wrong(&mut self, key: &str, message: impl std::fmt::Display) {
        self.problems.push(self.config.problem(key, format!("`{}`: {message}", name(key))));
    }

    /// Adds a warning: something that an administrator may want to change.
    fn doubtful(&mut self, key: &str, message: impl std::fmt::Display) {
        self.warnings.push(self.config.problem(key, format!("warning: `{}`: {message}", name(key))));
    }

    /// Does the work with the rights that the server will have.
    fn as_server<T: Send>(&mut self, server: Option<Ids>, work: impl FnOnce() -> T + Send) -> Option<T> {
        let Some(ids) = server else { return Some(work()) };
        let done = sys::as_user(ids, work);
        done.map_err(|error| self.wrong("user", format!("root cannot become this user: {error}"))).ok()
    }

    fn tell(mut self) -> Outcome {
        let (wrong, doubtful) = (self.problems.len(), self.warnings.len());
        self.problems.append(&mut self.warnings);
        // Sorted by file, in the order in which the files were read, then by line.
        let mut files: Vec<PathBuf> = Vec::new();
        for problem in &self.problems {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
        }
        let place = |problem: &Problem| (files.iter().position(|file| *file == problem.file), problem.line);
        self.problems.sort_by_key(place);
        self.problems.iter().for_each(|problem| eprintln!("{problem}"));
        let mut said: String = self.notes.iter().map(|note| format!("{note}\n")).collect();
        if wrong == 0 {
            let file =
                self.config.file.as_ref().map_or("the built-in defaults".into(), |file| file.display().to_string());
            said += &format!("{file}: ok{}\n", if doubtful == 0 { "" } else { ", with warnings" });
        }
        print(&said)?;
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::CONFIG) })
    }
}

/// A key as it is written in the file: `pipe[0].path` is `pipe.path`.
fn name(key: &str) -> String {
    match key.split_once('[').and_then(|(section, rest)| Some((section, rest.split_once(']')?.1))) {
        Some((section, rest)) => format!("{section}{rest}"),
        None => key.to_owned(),
    }
}
