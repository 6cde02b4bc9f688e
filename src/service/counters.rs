//! What the server counts, for `mailbell status` and for Prometheus: one list of numbers, each named once.
//!
//! Counting is one relaxed atomic addition. `server::monitor` serves the numbers.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// Counts since the start of the process.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $name: Counter,)+
        }

        impl Counters {
            /// Every counter: name, help, value.
            pub fn list(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($help),+).trim_ascii(), self.$name.value()),)+]
            }
        }
    };
}

counters! {
    /// Connections let in.
    connections_accepted,
    /// Connections refused because a limit was reached.
    connections_refused,
    /// SMTP, submission and LMTP sessions begun.
    smtp_sessions,
    /// POP3 sessions begun.
    pop3_sessions,
    /// Requests over HTTP, for metrics, status, events and the page.
    http_requests,
    /// Messages acknowledged, counted once for any number of recipients.
    messages_accepted,
    /// Octets of acknowledged messages, as stored.
    octets_accepted,
    /// Messages refused or failed after their sender was accepted.
    messages_refused,
    /// Recipients refused.
    recipients_refused,
    /// Successful logins, SMTP and POP3.
    logins,
    /// Failed logins, SMTP and POP3.
    login_failures,
    /// Messages handed out by POP3 RETR.
    messages_retrieved,
    /// Messages deleted by POP3.
    messages_deleted,
    /// Messages deleted because of their age.
    messages_expired,
    /// TLS handshakes completed.
    tls_handshakes,
    /// TLS handshakes failed.
    tls_failures,
    /// Sessions lost to a failure of the program.
    session_panics,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One line of Prometheus' text format, version 0.0.4, with its HELP and TYPE.
///
/// `labels` is empty or of the form `{name="value"}`, built with [`label`].
pub fn prometheus(text: &mut String, name: &str, help: &str, kind: &str, samples: &[(String, u64)]) {
    let _ = write!(text, "# HELP mailbell_{name} {help}\n# TYPE mailbell_{name} {kind}\n");
    for (labels, value) in samples {
        let _ = writeln!(text, "mailbell_{name}{labels} {value}");
    }
}

/// A metric of several things: name, help, type, and its value for one of them.
pub type Metric<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

/// Appends metrics of several things, each with its labels; nothing where there is none.
pub fn families<T>(text: &mut String, things: &[T], labels: impl Fn(&T) -> String, metrics: &[Metric<T>]) {
    for (name, help, kind, value) in metrics.iter().filter(|_| !things.is_empty()) {
        let samples: Vec<_> = things.iter().map(|thing| (labels(thing), value(thing))).collect();
        prometheus(text, name, help, kind, &samples);
    }
}

/// A label set of one label, its value escaped.
pub fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{}\"}}", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_listed_with_their_help() {
        let counters = Counters::default();
        counters.logins.one();
        counters.octets_accepted.add(41);
        let list = counters.list();
        assert!(list.contains(&("logins", "Successful logins, SMTP and POP3.", 1)));
        assert!(list.iter().any(|&(name, _, value)| name == "octets_accepted" && value == 41));
    }

    #[test]
    fn labels_cannot_break_the_line() {
        let mut text = String::new();
        prometheus(&mut text, "backlog", "Lines.", "gauge", &[(label("pipe", "a\"b\\c\nd"), 7)]);
        assert_eq!(text.lines().last(), Some(r#"mailbell_backlog{pipe="a\"b\\c\nd"} 7"#));
    }
}
