//! The log: lines on standard error, in the form that journald or a person reads.
//!
//! Under journald (`JOURNAL_STREAM`, systemd.exec(5)) lines carry an sd-daemon(3) priority and no time; elsewhere they
//! carry the time. `MAILBELL_LOG` filters as env_logger does: `debug`, `warn`, `mail=info,warn`; the default is `info`.

use crate::message::date;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Starts logging; to be called once.
pub fn start() {
    let under_journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let filter = std::env::var("MAILBELL_LOG").unwrap_or_else(|_| "info".into());
    let _ = env_logger::Builder::new()
        .parse_filters(&filter)
        .format(move |out, record| {
            if under_journald {
                writeln!(out, "<{}>{}", priority(record.level()), record.args())
            } else {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let time = date::rfc3339_micros(now.as_micros() as u64);
                writeln!(out, "{time} {:5} {}", record.level(), record.args())
            }
        })
        .try_init();
}

/// The syslog priority of a level, as sd-daemon(3) numbers them.
fn priority(level: log::Level) -> u8 {
    match level {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    }
}
