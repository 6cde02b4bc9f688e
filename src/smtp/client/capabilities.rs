//! What a server says that it can, in its reply to EHLO.

use super::RECIPIENTS;

/// The extensions that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) starttls: bool,
    pub(super) pipelining: bool,
    pub(super) eight_bit: bool,
    pub(super) smtputf8: bool,
    pub(super) chunking: bool,
    pub(super) dsn: bool,
    /// SIZE: `None` without it, 0 without a limit.
    pub(super) size: Option<u64>,
    /// Names of mechanisms, in capitals.
    pub(super) auth: Vec<String>,
    /// Recipients of one transaction (RFC 9422).
    pub(super) recipients: usize,
    /// Messages of one connection (RFC 9422).
    pub(super) messages: Option<u32>,
}

impl Capabilities {
    /// Of the lines after the first.
    pub(super) fn of(lines: &[String]) -> Capabilities {
        let mut all = Capabilities { recipients: RECIPIENTS, ..Capabilities::default() };
        for line in lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            // Old servers write `AUTH=LOGIN`.
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            match words.next().unwrap_or_default() {
                "STARTTLS" => all.starttls = true,
                "PIPELINING" => all.pipelining = true,
                "8BITMIME" => all.eight_bit = true,
                "SMTPUTF8" => all.smtputf8 = true,
                "CHUNKING" => all.chunking = true,
                "DSN" => all.dsn = true,
                "SIZE" => all.size = Some(words.next().and_then(|digits| digits.parse().ok()).unwrap_or(0)),
                "AUTH" => all.auth.extend(words.map(str::to_owned)),
                "LIMITS" => all.limits(&line),
                _ => {}
            }
        }
        all
    }

    fn limits(&mut self, line: &str) {
        for word in line.split_ascii_whitespace().skip(1) {
            match word.split_once('=').and_then(|(name, value)| Some((name, value.parse::<u32>().ok()?))) {
                Some(("RCPTMAX", most)) => self.recipients = (most as usize).clamp(1, RECIPIENTS),
                Some(("MAILMAX", most)) => self.messages = Some(most.max(1)),
                _ => {}
            }
        }
    }

    pub(super) fn has_mechanism(&self, name: &str) -> bool {
        self.auth.iter().any(|known| known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_found_in_any_case() {
        let lines =
            "host\nsize 100\nAuth PLAIN login\nAUTH=LOGIN\n8bitmime\nLIMITS RCPTMAX=20 MAILMAX=5 X=1\nFOO DSN\nDSN";
        let found = Capabilities::of(&lines.lines().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!((found.size, found.recipients, found.messages), (Some(100), 20, Some(5)));
        assert!(found.eight_bit && found.dsn && found.has_mechanism("LOGIN") && found.has_mechanism("PLAIN"));
        assert!(!found.chunking && !found.pipelining && !found.has_mechanism("XOAUTH2"));
        let sizes = |line: &str| Capabilities::of(&["h".into(), line.into()]).size;
        assert_eq!((sizes("SIZE"), sizes("SIZE 99999999999999999999"), sizes("SIZE x")), (Some(0), Some(0), Some(0)));
    }
}
