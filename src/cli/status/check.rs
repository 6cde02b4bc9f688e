//! `mailbell status --check`: one line and an exit code for Nagios, for Docker, and for cron.

use crate::message::date;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// A hook, webhook or broker that has not got an event for so long fails.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Longest line, octets.
const LINE: usize = 1_000;

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Ok = 0,
    /// Somebody should look at it.
    Warning = 1,
    /// Mail does not come in, or cannot be read.
    Critical = 2,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
        })
    }
}

/// What may be waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Events that may wait for each subscriber.
    pub backlog: Option<u64>,
    /// How old the oldest of them may be.
    pub age: Option<Duration>,
    /// Octets that `mail.min_free` keeps free.
    pub min_free: u64,
}

/// What was found.
#[derive(Debug, Default)]
struct Findings(Vec<(Level, String)>);

impl Findings {
    fn add(&mut self, level: Level, what: impl Into<String>) {
        self.0.push((level, what.into()));
    }

    fn warn(&mut self, what: impl Into<String>) {
        self.add(Level::Warning, what);
    }
}

/// The line about a server that does not answer.
pub fn no_server(why: &str) -> (Level, String) {
    (Level::Critical, line(Level::Critical, &[why.to_owned()], ""))
}

/// The line about a server with this status. `now`: seconds since 1970.
pub fn of(status: &Value, limits: &Limits, now: u64) -> (Level, String) {
    let mut findings = Findings::default();
    disk(status, limits, &mut findings);
    certificates(status, now, &mut findings);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (sessions, most) = (number(&status["sessions"]), number(&status["sessions_limit"]));
    if most > 0 && sessions >= most {
        findings.warn(format!("{sessions} sessions are open, which is the most"));
    }
    let (backlog, oldest) = subscribers(status, limits, now, &mut findings);
    for each in list(&status["brokers"]) {
        if let (false, Some(error)) = (each["connected"] == true, each["last_error"].as_str()) {
            findings.warn(format!("{}: {error}", text(&each["name"])));
        }
    }
    for each in list(&status["remotes"]) {
        if let Some(error) = each["last_error"].as_str() {
            findings.warn(format!("remote {}: {error}", text(&each["remote"])));
        }
    }
    if let Some(error) = status["queue"]["last_error"].as_str() {
        findings.warn(format!("queue: {} wait: {error}", number(&status["queue"]["messages"])));
    }
    let level = findings.0.iter().map(|(level, _)| *level).max().unwrap_or(Level::Ok);
    // What is worst comes first.
    findings.0.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let mut said: Vec<String> = findings.0.into_iter().map(|(_, what)| what).collect();
    if said.is_empty() {
        said.push(format!("{} events, {backlog} waiting, {sessions} sessions", number(&status["last_seq"])));
    }
    let free = number(&status["disk_free_octets"]);
    let numbers = format!(" | backlog={backlog} oldest={oldest}s sessions={sessions} disk_free={free}B");
    (level, line(level, &said, &numbers))
}

fn disk(status: &Value, limits: &Limits, findings: &mut Findings) {
    let Some(free) = status["disk_free_octets"].as_u64() else { return };
    let mib = free >> 20;
    if free < limits.min_free {
        findings.add(Level::Critical, format!("the disk has {mib} MiB free, less than mail.min_free: mail is refused"));
    } else if free / 2 < limits.min_free {
        findings.warn(format!("the disk has {mib} MiB free, less than twice mail.min_free"));
    }
}

fn certificates(status: &Value, now: u64, findings: &mut Findings) {
    for each in list(&status["certificates"]) {
        let seconds = |key: &str| each[key].as_str().and_then(seconds);
        let day = text(&each["expires"]).chars().take(10).collect::<String>();
        if seconds("expires").is_some_and(|expires| expires <= now) {
            findings.add(Level::Critical, format!("the certificate expired on {day}: clients refuse it"));
        } else if seconds("renew_by").is_some_and(|by| by <= now) {
            findings.warn(format!("the certificate ends on {day}, and was not renewed"));
        }
    }
}

/// What waits for subscribers. Gives the largest backlog and the age of the oldest event, seconds.
fn subscribers(status: &Value, limits: &Limits, now: u64, findings: &mut Findings) -> (u64, u64) {
    let (mut most, mut oldest) = (0, 0);
    for each in list(&status["subscribers"]) {
        let (name, backlog) = (text(&each["name"]), each["backlog"].as_u64().unwrap_or(0));
        let age = each["oldest_unread"].as_str().and_then(seconds).map_or(0, |then| now.saturating_sub(then));
        (most, oldest) = (most.max(backlog), oldest.max(age));
        if limits.backlog.is_some_and(|limit| backlog > limit) {
            findings.warn(format!("{name}: {backlog} events wait"));
        }
        // Lines that nobody reads are no fault of the server's.
        let acknowledges = !name.starts_with("pipe:") && !name.starts_with("watch:") && each["paused"] != true;
        let limit = limits.age.or(acknowledges.then_some(LONGEST_WAIT));
        if limit.is_some_and(|limit| age > limit.as_secs()) {
            findings.warn(format!("{name}: an event waits for {}", super::span(age)));
        }
    }
    (most, oldest)
}

fn line(level: Level, said: &[String], numbers: &str) -> String {
    // The numbers begin after `|`.
    let mut text: String = said.join("; ").chars().map(|letter| if letter == '|' { '/' } else { letter }).collect();
    text = text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
    if text.len() > LINE {
        text.truncate(text.floor_char_boundary(LINE));
        text += "...";
    }
    format!("{level}: {text}{numbers}\n")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn seconds(text: &str) -> Option<u64> {
    date::parse_rfc3339(text).map(|micros| micros / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_795_423_499;

    fn at(seconds: u64) -> String {
        date::rfc3339_micros(seconds * 1_000_000)
    }

    fn status() -> Value {
        json!({
            "running": true, "sessions": 1, "sessions_limit": 512, "disk_free_octets": 1_u64 << 30, "last_seq": 9,
            "subscribers": [
                {"name": "hook:a", "last_seq": 9, "backlog": 0, "oldest_unread": null},
                {"name": "pipe:/run/mail/notify", "last_seq": 0, "backlog": 9, "oldest_unread": at(NOW - 90 * 86_400)},
            ],
            "brokers": [], "remotes": [], "queue": null, "certificates": [],
        })
    }

    const LIMITS: Limits = Limits { backlog: None, age: None, min_free: 100 << 20 };

    fn check(change: impl FnOnce(&mut Value), limits: Limits) -> (Level, String) {
        let mut status = status();
        change(&mut status);
        of(&status, &limits, NOW)
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_no_fault_unless_a_limit_says_so() {
        let (level, line) = check(|_| {}, LIMITS);
        assert_eq!(level, Level::Ok);
        assert_eq!(
            line,
            "OK: 9 events, 9 waiting, 1 sessions | backlog=9 oldest=7776000s sessions=1 disk_free=1073741824B\n"
        );
        assert_eq!(check(|_| {}, Limits { backlog: Some(9), ..LIMITS }).0, Level::Ok, "exactly the limit passes");
        let (level, line) = check(|_| {}, Limits { backlog: Some(8), ..LIMITS });
        assert_eq!(level, Level::Warning);
        assert!(line.starts_with("WARNING: pipe:/run/mail/notify: 9 events wait |"), "{line}");
        let hour = Duration::from_secs(3600);
        assert_eq!(check(|_| {}, Limits { age: Some(hour), ..LIMITS }).0, Level::Warning);
        assert_eq!(check(|_| {}, Limits { age: Some(hour * 24 * 90), ..LIMITS }).0, Level::Ok);
    }

    #[test]
    fn each_fault_has_its_level() {
        for (level, words, change) in [
            (Level::Critical, "mail is refused", json!({"disk_free_octets": 99 << 20})),
            (Level::Warning, "twice mail.min_free", json!({"disk_free_octets": 150 << 20})),
            (
                Level::Critical,
                "expired on 2026",
                json!({"certificates": [{"expires": at(NOW), "renew_by": at(NOW - 9)}]}),
            ),
            (
                Level::Warning,
                "was not renewed",
                json!({"certificates": [{"expires": at(NOW + 9), "renew_by": at(NOW)}]}),
            ),
            (Level::Ok, "9 events", json!({"certificates": [{"expires": at(NOW + 9), "renew_by": at(NOW + 1)}]})),
            (Level::Warning, "the most", json!({"sessions": 512})),
            (
                Level::Warning,
                "hook:a: an event waits for 1 d",
                json!({"subscribers": [{"name": "hook:a", "backlog": 1, "oldest_unread": at(NOW - 86_401)}]}),
            ),
            (
                Level::Ok,
                "1 waiting",
                json!({"subscribers": [{"name": "hook:a", "backlog": 1, "oldest_unread": at(NOW - 86_401), "paused": true}]}),
            ),
            (
                Level::Warning,
                "mqtt:home: no",
                json!({"brokers": [{"name": "mqtt:home", "connected": false, "last_error": "no"}]}),
            ),
            (Level::Warning, "remote work: no", json!({"remotes": [{"remote": "work", "last_error": "no"}]})),
            (Level::Warning, "queue: 3 wait: no", json!({"queue": {"messages": 3, "last_error": "no"}})),
        ] {
            let change = |status: &mut Value| {
                for (key, value) in change.as_object().unwrap() {
                    status[key] = value.clone();
                }
            };
            let (came, line) = check(change, LIMITS);
            assert_eq!(came, level, "{line}");
            assert!(line.starts_with(&level.to_string()) && line.contains(words), "{line}");
        }
    }

    #[test]
    fn the_line_is_one_line_with_what_is_worst_first() {
        let change = |status: &mut Value| {
            status["remotes"] = json!([{"remote": "work", "last_error": "a\nb|c \u{1b}[31m"}]);
            status["disk_free_octets"] = json!(0);
        };
        let (_, line) = check(change, LIMITS);
        assert!(line.starts_with("CRITICAL: the disk has 0 MiB free"), "{line}");
        assert!(line.ends_with("B\n") && line.matches('\n').count() == 1 && line.matches('|').count() == 1, "{line}");
        assert!(!line.contains('\u{1b}'));
        assert_eq!(no_server("no server answers"), (Level::Critical, "CRITICAL: no server answers\n".into()));
    }
}
