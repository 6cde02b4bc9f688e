//! The queue in `mailbell status` and in the metrics.

use super::time;
use crate::config::Config;
use crate::queue::{Doing, Queue};
use crate::service::Service;
use crate::service::counters::prometheus;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The queue for `mailbell status`.
pub fn status(service: &Service) -> Value {
    let (status, (messages, oldest)) = (service.queue.status(), service.queue.size());
    json!({
        "state": status.doing.name(),
        "messages": messages,
        "oldest": time(oldest),
        "last_success": time(status.last_success),
        "next_try": time(status.next_try),
        "last_error": status.last_error,
        "sent": status.sent,
        "deferred": status.deferred,
        "bounced": status.bounced,
    })
}

/// The queue as far as files tell it, when no server runs; null where it cannot be read.
pub fn status_of_files(config: &Config) -> Value {
    if !config.state.join("queue").exists() {
        return Value::Null;
    }
    match Queue::open(&config.state).and_then(|queue| queue.ids()) {
        Ok(ids) => {
            let oldest = time(ids.first().map(|id| id.seconds()));
            json!({ "state": "off", "messages": ids.len(), "oldest": oldest })
        }
        Err(_) => Value::Null,
    }
}

/// Appends the metrics.
pub fn metrics(service: &Service, text: &mut String) {
    let (status, (messages, oldest)) = (service.queue.status(), service.queue.size());
    if status.doing == Doing::Off && messages == 0 {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut one = |name: &str, help: &str, kind: &str, value: u64| {
        prometheus(text, name, help, kind, &[(String::new(), value)]);
    };
    let is_up = status.last_success.is_some() && status.last_error.is_none();
    one("queue_messages", "Messages that wait to be sent elsewhere.", "gauge", messages as u64);
    let age = oldest.map_or(0, |oldest| now.saturating_sub(oldest));
    one("queue_oldest_age_seconds", "Age of the oldest of these.", "gauge", age);
    one("queue_up", "Whether the last session with the smarthost was good.", "gauge", u64::from(is_up));
    one("queue_sent_total", "Recipients that the smarthost took.", "counter", status.sent);
    one("queue_deferred_total", "Tries for a recipient that are repeated later.", "counter", status.deferred);
    one("queue_bounced_total", "Recipients that failed.", "counter", status.bounced);
}
