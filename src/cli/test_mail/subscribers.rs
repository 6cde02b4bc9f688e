//! Which subscribers are done with the test message, as the server says itself.

use super::timeline::Timeline;
use crate::cli::exit;
use crate::cli::status::ask;
use crate::config::Config;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a pipe may have no reader, when the user names no time. Everything else may take longer.
const READER: Duration = Duration::from_millis(400);

/// A subscriber that is waited for.
struct Waiting {
    name: String,
    /// Failed tries before.
    retries: u64,
    /// Events that wait before the test message.
    before: u64,
}

/// Waits for all subscribers of `before`, the status before the message, until they are done with `seq`.
pub fn wait(timeline: &mut Timeline, config: &Config, before: &Value, seq: u64, patience: Option<Duration>) {
    let mut waiting: Vec<Waiting> = list(before)
        .map(|(name, each)| Waiting { name, retries: number(&each["retries"]), before: number(&each["backlog"]) })
        .collect();
    let began = Instant::now();
    loop {
        let status = match ask(&config.state) {
            Ok(status) => status,
            Err(error) => {
                return timeline.fail("subscribers", &error.to_string(), exit::TEMPORARY, "the server has stopped");
            }
        };
        waiting.retain(|each| {
            let Some((_, now)) = list(&status).find(|(name, _)| *name == each.name) else { return false };
            let is_over = |least: Duration| began.elapsed() >= patience.unwrap_or(least);
            let name = each.name.as_str();
            if number(&now["last_seq"]) >= seq {
                timeline.ok(name, done(name));
            } else if name.starts_with("watch:") {
                timeline.wait(name, "its cursor has not come to this event; no `mailbell watch` may run with it");
            } else if name.starts_with("pipe:") && is_over(READER) {
                let path = name.trim_start_matches("pipe:");
                timeline.wait(name, &format!("the line waits, and no reader has taken it; try: cat {path}"));
            } else if number(&now["retries"]) > each.retries || is_over(super::PATIENCE) {
                let what = match now["last_error"].as_str() {
                    Some(error) => format!("failed: {error}"),
                    None if number(&now["retries"]) > each.retries => "failed; it is tried again".to_owned(),
                    None if each.before > 0 => format!("not done; {} earlier events wait before this one", each.before),
                    None => "not done".to_owned(),
                };
                timeline.fail(name, &what, exit::TEMPORARY, "the server's log says why; run its command by hand");
            } else {
                return true;
            }
            false
        });
        if waiting.is_empty() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

fn done(name: &str) -> &'static str {
    match name.split_once(':').map_or("", |(kind, _)| kind) {
        "pipe" => "taken by a reader, or filtered out",
        "hook" => "acknowledged, or filtered out",
        _ => "done",
    }
}

fn list(status: &Value) -> impl Iterator<Item = (String, &Value)> {
    let all = status["subscribers"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|each| Some((each["name"].as_str()?.to_owned(), each)))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
