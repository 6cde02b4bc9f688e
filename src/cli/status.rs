//! `mailbell status`: the state of the server, as text for people or as JSON for programs.

mod check;
mod narrow;

use super::{Failed, Outcome, exit};
use crate::config::{Config, duration};
use crate::server::{monitor, owner};
use lexopt::prelude::*;
use serde_json::Value;
use std::fmt::Write;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HELP: &str = "\
Usage: mailbell status [--json] [-c FILE]
       mailbell status --check [--max-backlog N] [--max-age TIME] [-c FILE]

Shows sessions, messages and the free space of the disk; and for each pipe, hook, webhook, broker and watch cursor the last
event that it got, how many events wait for it, and the time of the oldest of them. Without a running server it shows what the files
of the state folder tell. It needs only the right to read that folder.

      --json          print one JSON object
      --check         print one line for Nagios: it begins with OK, WARNING or CRITICAL, and the exit code is 0, 1 or 2
      --max-backlog   a warning when more events than N wait for one subscriber
      --max-age       a warning when an event waits for longer, such as 1h
  -c, --config FILE   configuration
  -h, --help          this text
";

/// How long a server may take for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut file, mut as_json) = (None, false);
    let (mut is_check, mut limits) = (false, check::Limits::default());
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("json") => as_json = true,
            Long("check") => is_check = true,
            Long("max-backlog") => {
                let text = arguments.value()?.string()?;
                let why = || Failed::new(exit::USAGE, format!("--max-backlog {text:?} is not a number of events"));
                limits.backlog = Some(text.parse().map_err(|_| why())?);
            }
            Long("max-age") => {
                let text = arguments.value()?.string()?;
                let why = |why| Failed::new(exit::USAGE, format!("--max-age: {why}"));
                limits.age = Some(duration(&text).map_err(why)?);
            }
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            other => return Err(other.unexpected().into()),
        }
    }
    let has_limits = limits.backlog.is_some() || limits.age.is_some();
    if is_check && as_json || !is_check && has_limits {
        let why = "--check goes with --max-backlog and --max-age, and not with --json";
        return Err(Failed::new(exit::USAGE, why));
    }
    let config = super::configuration(file)?;
    owner::become_owner_of_state(&config)?;
    if is_check {
        return checked(&config, &check::Limits { min_free: config.mail.min_free, ..limits });
    }
    let status = match ask(&config.state) {
        Ok(status) => status,
        Err(error) => {
            let is_known = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => true,
                io::ErrorKind::PermissionDenied => false,
                _ => return Err(Failed::at(&monitor::control_socket(&config.state), &error, exit::TEMPORARY)),
            };
            // Without the right to ask the server, the files tell what they can.
            let status = monitor::status_without_server(&config);
            let mut status = status.map_err(|error| Failed::at(&config.state, &error, exit::TEMPORARY))?;
            if !is_known {
                status["running"] = Value::Null;
            }
            status
        }
    };
    if as_json {
        return super::print(&format!("{status}\n"));
    }
    match super::watch::terminal_columns() {
        width if width < narrow::WIDE => super::print(&narrow::text(&status, width, human)),
        _ => super::print(&human(&status)),
    }
}

/// `--check`: the line and the exit code.
fn checked(config: &Config, limits: &check::Limits) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (level, line) = match ask(&config.state) {
        Ok(status) => check::of(&status, limits, now),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            check::no_server("this user has no right to ask the server")
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            check::no_server("no server is running")
        }
        Err(error) => check::no_server(&format!("the server does not answer: {error}")),
    };
    super::print(&line)?;
    Ok(ExitCode::from(level as u8))
}

/// Asks a running server.
pub(super) fn ask(state: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(monitor::control_socket(state))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // It asks for nothing else.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The status as text for people.
fn human(status: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut text = String::new();
    // write! to a String cannot fail.
    if status["running"] == true {
        let counters = &status["counters"];
        let _ = writeln!(
            text,
            "running   {} ago, pid {}, version {}",
            span(number(&status["uptime_seconds"])),
            status["pid"],
            status["version"].as_str().unwrap_or("?")
        );
        let _ = writeln!(text, "sessions  {} of {}", status["sessions"], status["sessions_limit"]);
        let _ = writeln!(
            text,
            "messages  {} accepted, {} refused, {} fetched, {} deleted",
            counters["messages_accepted"],
            counters["messages_refused"],
            counters["messages_retrieved"],
            counters["messages_deleted"]
        );
        let _ = writeln!(text, "logins    {} good, {} failed", counters["logins"], counters["login_failures"]);
    } else {
        let running = if status["running"].is_null() { "unknown: no right to ask the server" } else { "no" };
        let _ = writeln!(text, "running   {running}");
    }
    if let Some(free) = status["disk_free_octets"].as_u64() {
        let _ = writeln!(text, "disk      {} MiB free", free >> 20);
    }
    let _ = writeln!(text, "events    {}", status["last_seq"]);
    queue(&mut text, &status["queue"]);
    if let Some(expires) = status["certificates"][0]["expires"].as_str() {
        let _ = writeln!(text, "TLS       the certificate ends at {}", expires.split('.').next().unwrap_or(expires));
    }
    let subscribers = status["subscribers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let width = subscribers.iter().filter_map(|each| each["name"].as_str()).map(|name| name.chars().count()).max();
    if let Some(width) = width {
        let width = width.max("subscriber".len());
        let _ = writeln!(text, "\n{:width$}  {:>9}  {:>8}  oldest unread", "subscriber", "last seq", "waiting");
        for each in subscribers {
            let name: String =
                each["name"].as_str().unwrap_or("?").chars().filter(|letter| !letter.is_control()).collect();
            let _ = write!(
                text,
                "{name:width$}  {:>9}  {:>8}  {}",
                number(&each["last_seq"]),
                number(&each["backlog"]),
                each["oldest_unread"].as_str().unwrap_or("-")
            );
            for (key, words) in [("retries", "retries"), ("given_up", "given up"), ("lost", "lost")] {
                if number(&each[key]) > 0 {
                    let _ = write!(text, "  {} {words}", each[key]);
                }
            }
            if each["paused"] == true {
                text.push_str("  paused");
            }
            if let Some(error) = each["last_error"].as_str() {
                let _ = write!(text, "  {}", error.escape_debug());
            }
            text.push('\n');
        }
    }
    given_up(&mut text, subscribers);
    brokers(&mut text, status["brokers"].as_array().map(Vec::as_slice).unwrap_or_default());
    remotes(&mut text, status["remotes"].as_array().map(Vec::as_slice).unwrap_or_default());
    text
}

/// One line, where mail is sent to others or waits for that.
fn queue(text: &mut String, queue: &Value) {
    let number = |key: &str| queue[key].as_u64().unwrap_or(0);
    if queue["state"].is_null() || queue["state"] == "off" && number("messages") == 0 {
        return;
    }
    // write! to a String cannot fail.
    let _ = write!(
        text,
        "queue     {}: {} waiting; recipients: {} sent, {} deferred, {} bounced",
        queue["state"].as_str().unwrap_or("?"),
        number("messages"),
        number("sent"),
        number("deferred"),
        number("bounced")
    );
    for (key, words) in [("oldest", "oldest"), ("next_try", "next try")] {
        if let Some(time) = queue[key].as_str() {
            let _ = write!(text, "; {words} {time}");
        }
    }
    if let Some(error) = queue["last_error"].as_str() {
        let _ = write!(text, "; {}", error.escape_debug());
    }
    text.push('\n');
}

/// One line for each broker.
fn brokers(text: &mut String, brokers: &[Value]) {
    for (index, each) in brokers.iter().enumerate() {
        let state = if each["connected"] == true { "connected" } else { "not connected" };
        // write! to a String cannot fail.
        let word = |key: &str| each[key].as_str().unwrap_or("?").escape_debug().to_string();
        let _ = write!(text, "{}{}  {}  {state}", if index == 0 { "\n" } else { "" }, word("name"), word("broker"));
        if let Some(next) = each["next_try"].as_str() {
            let _ = write!(text, "  next try {next}");
        }
        if let Some(error) = each["last_error"].as_str() {
            let _ = write!(text, "  {}", error.escape_debug());
        }
        text.push('\n');
    }
}

/// One line for each event that was given up.
fn given_up(text: &mut String, subscribers: &[Value]) {
    let mut is_first = true;
    for each in subscribers {
        for event in each["given_up_events"].as_array().into_iter().flatten() {
            if std::mem::take(&mut is_first) {
                text.push_str("\ngiven up; `mailbell replay SUBSCRIBER --given-up` hands these over again\n");
            }
            let word = |key: &str| event[key].as_str().unwrap_or("?").escape_debug().to_string();
            // write! to a String cannot fail.
            let _ = writeln!(
                text,
                "{}  seq {}  {}  {}  {} tries  {}",
                each["name"].as_str().unwrap_or("?").escape_debug(),
                event["seq"],
                word("user"),
                word("time"),
                event["tries"],
                word("why")
            );
        }
    }
}

/// One line for each folder of a remote.
fn remotes(text: &mut String, remotes: &[Value]) {
    let name = |each: &Value| {
        let folder = each["folder"].as_str().map(|folder| format!("/{folder}")).unwrap_or_default();
        let name = format!("{}{folder}", each["remote"].as_str().unwrap_or("?"));
        name.chars().filter(|letter| !letter.is_control()).collect::<String>()
    };
    let Some(width) = remotes.iter().map(|each| name(each).chars().count()).max() else { return };
    let width = width.max("remote".len());
    // write! to a String cannot fail.
    let _ = writeln!(text, "\n{:width$}  {:<8}  {:>9}  {:>6}  last success", "remote", "state", "new today", "parked");
    for each in remotes {
        let number = |key: &str| each[key].as_u64().unwrap_or(0);
        let _ = write!(
            text,
            "{:width$}  {:<8}  {:>9}  {:>6}  {}",
            name(each),
            each["state"].as_str().unwrap_or("?"),
            number("new_today"),
            number("parked"),
            each["last_success"].as_str().unwrap_or("-")
        );
        if let Some(next) = each["next_try"].as_str() {
            let _ = write!(text, "  next try {next}");
        }
        if let Some(error) = each["last_error"].as_str() {
            let _ = write!(text, "  {}", error.escape_debug());
        }
        text.push('\n');
    }
}

/// A number of seconds in the two largest units, such as `3 h 20 m`.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let at = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(units.len() - 1);
    let (length, unit) = units[at];
    match units.get(at + 1) {
        Some((smaller, small_unit)) if seconds % length >= *smaller => {
            format!("{} {unit} {} {small_unit}", seconds / length, seconds % length / smaller)
        }
        _ => format!("{} {unit}", seconds / length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (61, "1 m 1 s"), (3_600, "1 h"), (90_061, "1 d 1 h")] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn one_glance_shows_each_subscriber() {
        let status = json!({"running": false, "last_seq": 9, "subscribers": [
            {"name": "pipe:/run/mail/notify", "last_seq": 7, "backlog": 2, "oldest_unread": "2026-11-23T08:44:59.000007Z"},
            {"name": "hook:a\u{1b}", "last_seq": 9, "backlog": 0, "oldest_unread": null, "given_up": 1},
        ]});
        let text = human(&status);
        assert!(text.contains("pipe:/run/mail/notify          7         2  2026-11-23T08:44:59.000007Z\n"), "{text}");
        assert!(text.contains("1 given up") && !text.contains('\u{1b}'), "{text}");
    }
}
