//! The log: lines on standard error, in the form that journald or a person reads.
//!
//! Under journald (`JOURNAL_STREAM`, systemd.exec(5)) lines carry an sd-daemon(3) priority and no time; elsewhere they
//! carry the time. `MAILBELL_LOG` filters as env_logger does: `debug`, `warn`, `mail=info,warn`; the default is `info`.

use crate::message::date;
use crate::message::letter::is_unsafe;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Starts logging; to be called once.
pub fn start() {
    let under_journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let filter = std::env::var("MAILBELL_LOG").unwrap_or_else(|_| "info".into());
    let _ = env_logger::Builder::new()
        .parse_filters(&filter)
        .format(move |out, record| {
            // Texts of peers are quoted where they are logged; an error of the system or a path may hold a line end, too.
            let message = one_line(record.args().to_string());
            if under_journald {
                writeln!(out, "<{}>{message}", priority(record.level()))
            } else {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let time = date::rfc3339_micros(now.as_micros() as u64);
                writeln!(out, "{time} {:5} {message}", record.level())
            }
        })
        .try_init();
}

/// A text as one line for every reader of lines.
fn one_line(text: String) -> String {
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return text;
    }
    text.chars().fold(String::with_capacity(text.len()), |mut line, letter| {
        if is_unsafe(letter) {
            line.extend(letter.escape_default())
        } else {
            line.push(letter)
        }
        line
    })
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

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_of_the_log_is_one_line() {
        assert_eq!(one_line("a \n\u{1b}\u{2028}ä\u{202e}z".into()), "a \\n\\u{1b}\\u{2028}ä\\u{202e}z");
    }
}
