//! The remotes in `mailbell status` and in the metrics.

use super::time;
use crate::fetch::{self, Entry, Remotes};
use crate::service::Service;
use crate::service::counters;
use serde_json::{Value, json};

/// Each remote's folders for `mailbell status`.
pub fn status(service: &Service) -> Value {
    entries(service).iter().map(entry).collect()
}

fn entries(service: &Service) -> Vec<Entry> {
    service.remotes().as_ref().map(Remotes::status).unwrap_or_default()
}

fn entry(entry: &Entry) -> Value {
    json!({
        "remote": entry.remote,
        "folder": entry.folder,
        "state": entry.doing.name(),
        "last_success": time(entry.last_success),
        "new_today": entry.new_today,
        "messages": entry.messages,
        "parked": entry.parked,
        "given_up": entry.given_up,
        "next_try": time(entry.next_try),
        "last_error": entry.last_error,
    })
}

/// Appends the metrics.
pub fn metrics(service: &Service, text: &mut String) {
    let entries = entries(service);
    if entries.is_empty() {
        return;
    }
    let labels = |entry: &Entry, more: &str| {
        let remote = counters::label("remote", &entry.remote);
        let folder = counters::label("folder", entry.folder.as_deref().unwrap_or_default());
        format!("{},{}{more}}}", remote.trim_end_matches('}'), folder.trim_matches(['{', '}']))
    };
    counters::families(
        text,
        &entries,
        |entry| labels(entry, ""),
        &[
            ("remote_up", "Whether the last session with a remote is or was good.", "gauge", |entry| {
                u64::from(entry.last_success.is_some() && entry.last_error.is_none())
            }),
            (
                "remote_last_success_timestamp_seconds",
                "When a remote was last looked at with success.",
                "gauge",
                |entry| entry.last_success.unwrap_or(0),
            ),
            ("remote_messages_total", "Messages of a remote since the start.", "counter", |entry| entry.messages),
            ("remote_parked", "Messages that cannot be fetched for now.", "gauge", |entry| entry.parked),
        ],
    );
    let mut samples = Vec::new();
    for entry in &entries {
        for kind in fetch::Kind::ERRORS {
            let count = entry.errors.get(kind.name()).copied().unwrap_or(0);
            samples.push((labels(entry, &format!(",kind=\"{}\"", kind.name())), count));
        }
    }
    counters::prometheus(text, "remote_errors_total", "Sessions with a remote that failed.", "counter", &samples);
}
