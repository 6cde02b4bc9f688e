//! The mail log: one line for each thing that happened to a message or a login, in `event key=value ...` form.
//!
//! Values that hold anything but harmless characters are quoted and escaped, so that a peer can neither break a line nor
//! forge a field; empty values are `""`. Passwords and message content never come here. The logger (`cli`)
//! decides where the lines go; their target is [`TARGET`], apart from the debug log.

use std::fmt::{self, Display, Write};

/// The `log` target of the mail log.
pub const TARGET: &str = "mail";

/// One line being written: `Line::new("accepted").field("id", id)`, then [`Line::info`] or [`Line::warn`].
#[derive(Debug)]
pub struct Line(String);

impl Line {
    /// Begins with the event's name: `accepted`, `refused`, `login`, `login-failed`, `retrieved`, `deleted`, ...
    pub fn new(event: &str) -> Line {
        // Most lines fit, so that the fields that follow allocate nothing.
        let mut line = String::with_capacity(256);
        line.push_str(event);
        Line(line)
    }

    /// Adds `key=value`.
    pub fn field(mut self, key: &str, value: impl Display) -> Line {
        let start = self.0.len() + key.len() + 2;
        // unwrap: writing to a String cannot fail.
        write!(self.0, " {key}={value}").unwrap();
        let harmless = |octet: u8| octet.is_ascii_alphanumeric() || b"@._:/+<>,-".contains(&octet);
        if start == self.0.len() || !self.0.as_bytes()[start..].iter().copied().all(harmless) {
            let quoted = format!("\"{}\"", self.0[start..].escape_debug());
            self.0.truncate(start);
            self.0.push_str(&quoted);
        }
        self
    }

    /// Adds `key=value` where there is a value.
    pub fn maybe(self, key: &str, value: Option<impl Display>) -> Line {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    /// Logs it as a thing that happens every day.
    pub fn info(self) {
        log::info!(target: TARGET, "{self}");
    }

    /// Logs it as a thing that an administrator wants to find.
    pub fn warn(self) {
        log::warn!(target: TARGET, "{self}");
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::letter::is_unsafe;

    #[test]
    fn no_letter_of_a_peer_ends_the_line_for_any_reader() {
        for letter in (0..=0x2FFF).filter_map(char::from_u32) {
            let line = Line::new("accepted").field("helo", format!("x{letter}y")).to_string();
            assert!(!line.chars().any(is_unsafe), "{line:?}");
        }
    }

    #[test]
    fn a_peer_can_neither_break_a_line_nor_forge_a_field() {
        let line = Line::new("login-failed")
            .field("user", "x client=127.0.0.1\r\nlogin user=\"root\" \u{1b}[2J")
            .field("client", "192.0.2.1")
            .field("note", "")
            .maybe("tls", None::<&str>);
        assert_eq!(
            line.to_string(),
            "login-failed user=\"x client=127.0.0.1\\r\\nlogin user=\\\"root\\\" \\u{1b}[2J\" client=192.0.2.1 note=\"\""
        );
    }
}
