//! `mailbell test`: a message to ourselves, and what became of it, step by step: accepted, stored, recorded, told, fetched.

mod mailbox;
mod subscribers;
mod talk;
mod timeline;

use super::{Failed, Outcome, exit};
use crate::accounts::Accounts;
use crate::config::Config;
use crate::journal::{self, Follower, Item, Record};
use crate::message::address::{self, Mailbox};
use crate::message::date;
use crate::server::owner;
use lexopt::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value as Json;
use std::io::{self, BufRead, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use talk::Talk;
use timeline::Timeline;

const HELP: &str = "\
Usage: mailbell test [--deliver | --remote NAME] [--stdin] [--timeout SECONDS] [-c FILE] [ADDRESS]

Sends a message to ADDRESS (the first account, if there is none) through the SMTP listener of the running server, and
prints what became of it, a line for each step with its time in milliseconds: accepted, stored, recorded, and told to each
subscriber. Then it removes the message. Hooks and readers see it as any other message; its subject is `mailbell test`.

      --deliver       hand the message over by `mailbell deliver` instead of SMTP
      --remote NAME   send nothing, but look at this [[remote]]
      --stdin         fetch it by POP3 too: the first line of standard input is the password of ADDRESS's user
      --timeout SECONDS   how long each step may take (default: 10; a pipe without a reader: 0.4)
  -c, --config FILE   configuration
  -h, --help          this text

The exit code is that of the first step that failed: 0 none did; 67 no such user; 75 a temporary failure, a subscriber, or
no server; 77 a login or a right; 78 the configuration.
";

/// How long a step may take, when the user names no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest password that is read, octets.
const PASSWORD: u64 = 1_024;

/// How the message comes in.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Smtp,
    Deliver,
    Remote(String),
}

/// The message.
struct Letter {
    to: String,
    message_id: String,
    text: String,
}

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut file, mut to, mut way, mut from_stdin, mut patience) = (None, None, Way::Smtp, false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("deliver") => way = Way::Deliver,
            Long("remote") => way = Way::Remote(arguments.value()?.string()?),
            Long("stdin") => from_stdin = true,
            Long("timeout") => patience = Some(seconds(&arguments.value()?.string()?)?),
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            Value(value) if to.is_none() => to = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let config = super::configuration(file)?;
    let password = from_stdin.then(password).transpose()?;
    owner::become_owner_of_state(&config)?;
    let accounts = accounts(&config)?;
    let mut timeline = Timeline::new();
    steps(&mut timeline, &config, &accounts, to, &way, password.as_deref(), patience)?;
    Ok(ExitCode::from(timeline.end()))
}

/// All steps, until one fails without which the others mean nothing.
fn steps(
    timeline: &mut Timeline,
    config: &Config,
    accounts: &Accounts,
    to: Option<String>,
    way: &Way,
    password: Option<&str>,
    patience: Option<Duration>,
) -> Result<(), Failed> {
    let status = match super::status::ask(&config.state) {
        Ok(status) => status,
        Err(error) => {
            let code = super::code_of(&error, exit::TEMPORARY);
            timeline.fail("server", &error.to_string(), code, "is `mailbell serve` running with this configuration?");
            return Ok(());
        }
    };
    timeline.ok("server", &format!("pid {}, version {}", status["pid"], status["version"].as_str().unwrap_or("?")));
    if let Way::Remote(name) = way {
        remote(timeline, config, name);
        return Ok(());
    }
    let letter = letter(config, accounts, to)?;
    let Some(users) = users(accounts, &letter.to) else {
        let hint = "add the user (`mailbell user add`) or an alias; `mailbell check` says what is configured";
        timeline.fail("address", &format!("{}: no such user", letter.to), exit::NO_USER, hint);
        return Ok(());
    };
    let journal = config.journal();
    let failed = |error: io::Error| Failed::at(&journal, &error, exit::TEMPORARY);
    let after = journal::last_seq(&journal).map_err(failed)?;
    let is_sent = match way {
        Way::Deliver => deliver(timeline, config, &letter)?,
        _ => send(timeline, config, &status, &letter, patience.unwrap_or(PATIENCE)),
    };
    if !is_sent {
        return Ok(());
    }
    let end = Instant::now() + patience.unwrap_or(PATIENCE);
    let records = recorded(config, after, &letter.message_id, users.len(), end).map_err(failed)?;
    mailbox::stored(timeline, &records, users.len(), &letter.message_id);
    for record in &records {
        timeline.ok("recorded", &format!("seq {}, id {}, user {}", record.seq, record.id, record.user));
    }
    if records.len() < users.len() {
        let hint = "is the disk of `state` full or read-only? The event follows when it can be written";
        let what = format!("{} events of {}", records.len(), users.len());
        timeline.fail("recorded", &what, exit::TEMPORARY, hint);
    }
    if let Some(last) = records.last() {
        subscribers::wait(timeline, config, &status, last.seq, patience);
    }
    match (password, records.first()) {
        (Some(password), Some(record)) => {
            mailbox::fetch(
                timeline,
                config,
                &status,
                record,
                password,
                &letter.message_id,
                patience.unwrap_or(PATIENCE),
            );
        }
        (None, _) => timeline.skip("pop3", "not tried; --stdin takes the password of the user"),
        (Some(_), None) => {}
    }
    mailbox::remove(timeline, &records);
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, Failed> {
    let seconds =
        text.strip_suffix('s').unwrap_or(text).parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| Failed::new(exit::USAGE, format!("--timeout {text:?}: no number of seconds")));
    seconds.map(Duration::from_secs_f64)
}

fn password() -> Result<String, Failed> {
    let mut line = String::new();
    let read = io::stdin().lock().take(PASSWORD).read_line(&mut line);
    read.map_err(|error| Failed::new(exit::IO, format!("standard input: {error}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn accounts(config: &Config) -> Result<Accounts, Failed> {
    Accounts::load(config).map_err(|problems| {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        Failed::new(exit::CONFIG, "")
    })
}

fn letter(config: &Config, accounts: &Accounts, to: Option<String>) -> Result<Letter, Failed> {
    let to = to.or_else(|| accounts.names().next().map(str::to_owned));
    let to = to.ok_or_else(|| Failed::new(exit::NO_USER, "there is no account; add one: mailbell user add NAME"))?;
    let to = if to.contains('@') { to } else { format!("{to}@{}", config.home_domain()) };
    let mut random = [0; 8];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    filled.map_err(|error| Failed::new(exit::TEMPORARY, error))?;
    let message_id = format!("<mailbell-test.{:016x}@{}>", u64::from_ne_bytes(random), config.hostname);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let text = format!(
        "From: mailbell <postmaster@{}>\r\nTo: <{to}>\r\nSubject: mailbell test\r\nDate: {}\r\nMessage-ID: {message_id}\r\n\
         Auto-Submitted: auto-generated\r\n\r\nThis message was sent by `mailbell test`, which removes it again.\r\n",
        config.hostname,
        date::rfc5322(now)
    );
    Ok(Letter { to, message_id, text })
}

fn users(accounts: &Accounts, to: &str) -> Option<Vec<String>> {
    let mailbox: Mailbox = address::mailbox(to).ok()?;
    accounts.resolve(&mailbox).ok()
}

/// Sends it by SMTP to the first listener. Where that one wants a login, the socket for local users takes it.
fn send(timeline: &mut Timeline, config: &Config, status: &Json, letter: &Letter, patience: Duration) -> bool {
    let address = listener(status, "smtp");
    let talk = match address {
        Some(address) => Talk::tcp(address, config, patience),
        None => Talk::local(config, patience),
    };
    let place = address.map_or_else(|| "the socket for local users".to_owned(), |address| address.to_string());
    let mut talk = match talk {
        Ok(talk) => talk,
        Err(error) => {
            timeline.fail(
                "smtp",
                &format!("{place}: {error}"),
                exit::TEMPORARY,
                "does a firewall keep this machine out?",
            );
            return false;
        }
    };
    let mut said = conversation(&mut talk, config, letter);
    if let Ok(Err((_, reply))) = &said
        && reply.starts_with("530")
    {
        timeline.skip("smtp", &format!("{place} wants a login: {reply}; the socket for local users takes the message"));
        said = Talk::local(config, patience).and_then(|mut talk| conversation(&mut talk, config, letter));
    }
    match said {
        Ok(Ok(reply)) => {
            timeline.ok("smtp", &format!("{place} took it: {reply}"));
            true
        }
        Ok(Err((command, reply))) => {
            let (code, hint) = meaning(&reply);
            timeline.fail("smtp", &format!("{place} refused {command}: {reply}"), code, hint);
            false
        }
        Err(error) => {
            timeline.fail("smtp", &format!("{place}: {error}"), exit::TEMPORARY, "the server's log may say more");
            false
        }
    }
}

/// What is said until the message is accepted; else the command that was refused, and the reply.
fn conversation(talk: &mut Talk, config: &Config, letter: &Letter) -> io::Result<Result<String, (String, String)>> {
    let greeting = talk.reply()?;
    if !greeting.starts_with("220") {
        return Ok(Err(("the connection".into(), greeting)));
    }
    let utf8 = if letter.to.is_ascii() { "" } else { " SMTPUTF8" };
    for command in [
        format!("EHLO {}", config.hostname),
        format!("MAIL FROM:<>{utf8}"),
        format!("RCPT TO:<{}>", letter.to),
        "DATA".into(),
    ] {
        let reply = talk.smtp(&command)?;
        if !reply.starts_with(['2', '3']) {
            return Ok(Err((command, reply)));
        }
    }
    talk.send(letter.text.as_bytes())?;
    let reply = talk.smtp(".")?;
    let _ = talk.smtp("QUIT");
    Ok(if reply.starts_with('2') { Ok(reply) } else { Err(("the message".into(), reply)) })
}

/// The exit code for a refusal, and a hint.
fn meaning(reply: &str) -> (u8, &'static str) {
    match reply.get(4..9) {
        Some("4.3.1") => (exit::TEMPORARY, "the disk of `mail.root` has less room than `mail.min_free` keeps: df -h"),
        Some("4.2.2" | "5.2.2") => (exit::TEMPORARY, "the user's quota is used up (`mail.quota`)"),
        Some("5.1.1") => (exit::NO_USER, "add the user (`mailbell user add`) or an alias, and send SIGHUP"),
        Some("4.3.0" | "4.3.2") => (exit::TEMPORARY, "the server's log says why it cannot store the message"),
        _ if reply.starts_with('4') => (exit::TEMPORARY, "the server's log may say more"),
        _ => (exit::NO_PERMISSION, "the server's log may say more"),
    }
}

/// The first listener of a protocol, as the server says.
fn listener(status: &Json, protocol: &str) -> Option<SocketAddr> {
    let all = status["listeners"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|each| each["protocol"] == protocol).find_map(|each| each["address"].as_str()?.parse().ok())
}

/// Hands it over by `mailbell deliver`.
fn deliver(timeline: &mut Timeline, config: &Config, letter: &Letter) -> Result<bool, Failed> {
    let io = |error| Failed::new(exit::TEMPORARY, error);
    let mut command = Command::new(std::env::current_exe().map_err(io)?);
    command.args(["deliver", "-f", ""]);
    if let Some(file) = &config.file {
        command.arg("-c").arg(file);
    }
    let mut child = command.arg(&letter.to).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io)?;
    if let Some(mut input) = child.stdin.take() {
        // What it does not read it refuses with its exit code.
        let _ = io::Write::write_all(&mut input, letter.text.replace("\r\n", "\n").as_bytes());
    }
    let output = child.wait_with_output().map_err(io)?;
    if output.status.success() {
        timeline.ok("deliver", "took it");
        return Ok(true);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::TEMPORARY);
    timeline.fail("deliver", &format!("{}: {why}", output.status), code, "");
    Ok(false)
}

/// The message's records, in the order of their `seq`: `count` of them, or those that are there at `end`.
fn recorded(config: &Config, after: u64, message_id: &str, count: usize, end: Instant) -> io::Result<Vec<Record>> {
    let mut follower = Follower::open(&config.journal(), after)?;
    let mut records = Vec::new();
    loop {
        follower.drain_events();
        while let Some(item) = follower.next_item()? {
            if let Item::Record(record) = item
                && record.summary.message_id.as_deref() == Some(message_id)
            {
                records.push(Arc::unwrap_or_clone(record));
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if records.len() >= count || left.is_zero() {
            return Ok(records);
        }
        let wait = left.min(Duration::from_millis(250));
        match follower.fd() {
            Some(fd) => {
                let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
                let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout));
            }
            None => std::thread::sleep(wait.min(Duration::from_millis(20))),
        }
    }
}

#[cfg(feature = "remote")]
fn remote(timeline: &mut Timeline, config: &Config, name: &str) {
    use crate::fetch::Answer;
    let step = format!("remote:{name}");
    let hint = "`mailbell check --online` tries each step of the login; `mailbell status` shows the last error";
    match Answer::ask(&config.state, name) {
        Ok(Answer::Done) => timeline.ok(&step, "everything was looked at"),
        Ok(Answer::Failed(why)) => timeline.fail(&step, &why, exit::TEMPORARY, hint),
        Ok(Answer::Refused(why)) => timeline.fail(&step, &why, exit::NO_PERMISSION, hint),
        Ok(Answer::Unknown) => timeline.fail(&step, "there is no [[remote]] of this name", exit::USAGE, ""),
        Err(error) => timeline.fail(&step, &error.to_string(), exit::TEMPORARY, hint),
    }
}

#[cfg(not(feature = "remote"))]
fn remote(timeline: &mut Timeline, _config: &Config, name: &str) {
    let what = "this mailbell was built without remotes (cargo feature `remote`)";
    timeline.fail(&format!("remote:{name}"), what, exit::CONFIG, "");
}
