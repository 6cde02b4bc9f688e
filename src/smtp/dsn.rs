//! What a sender asks for about notices (RFC 3461): NOTIFY of a recipient, RET of a message. ENVID and ORCPT stay as they
//! were written, in xtext.

use std::fmt;

/// NOTIFY of one recipient (RFC 3461 section 4.1). Without the parameter, failures are told and delays may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify(u8);

const GIVEN: u8 = 1;
const SUCCESS: u8 = 2;
const FAILURE: u8 = 4;
const DELAY: u8 = 8;

impl Notify {
    /// The parameter is not there.
    pub const UNSET: Notify = Notify(0);
    /// `NOTIFY=NEVER`.
    pub const NEVER: Notify = Notify(GIVEN);

    /// Reads the parameter's value: `NEVER`, or a list of the others. `None` for anything else.
    pub fn parse(value: &str) -> Option<Notify> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Notify::NEVER);
        }
        let mut flags = GIVEN;
        for word in value.split(',') {
            flags |= match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => SUCCESS,
                "FAILURE" => FAILURE,
                "DELAY" => DELAY,
                _ => return None,
            };
        }
        Some(Notify(flags))
    }

    /// The sender wrote the parameter.
    pub fn is_given(self) -> bool {
        self.0 & GIVEN != 0
    }

    /// A notice when the message was delivered, or handed to a server without DSN.
    pub fn on_success(self) -> bool {
        self.0 & SUCCESS != 0
    }

    /// A notice when it was not delivered.
    pub fn on_failure(self) -> bool {
        !self.is_given() || self.0 & FAILURE != 0
    }

    /// A notice when it waits for long.
    pub fn on_delay(self) -> bool {
        !self.is_given() || self.0 & DELAY != 0
    }
}

/// The parameter's value; empty where it is not there.
impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Notify::NEVER {
            return f.write_str("NEVER");
        }
        let mut separator = "";
        for (flag, word) in [(SUCCESS, "SUCCESS"), (FAILURE, "FAILURE"), (DELAY, "DELAY")] {
            if self.0 & flag != 0 {
                write!(f, "{separator}{word}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// RET (RFC 3461 section 4.3): how much of the message a notice of failure repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

impl Ret {
    /// Reads the parameter's value.
    pub fn parse(value: &str) -> Option<Ret> {
        [Ret::Full, Ret::Headers].into_iter().find(|ret| ret.name().eq_ignore_ascii_case(value))
    }

    /// The parameter's value.
    pub fn name(self) -> &'static str {
        match self {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        }
    }
}

/// Encodes text as xtext (RFC 3461 section 4).
pub fn to_xtext(text: &str) -> String {
    let mut xtext = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' => xtext.push_str(&format!("+{octet:02X}")),
            octet if octet.is_ascii_graphic() => xtext.push(octet.into()),
            octet => xtext.push_str(&format!("+{octet:02X}")),
        }
    }
    xtext
}

/// Decodes xtext (RFC 3461 section 4): `+` and two hexadecimal digits stand for an octet. What is no xtext stays as it is.
pub fn from_xtext(text: &str) -> String {
    let (mut octets, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        let code = tail.get(..2).filter(|_| *first == b'+').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                rest = &tail[2..];
            }
            None => octets.push(*first),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_is_read_and_written() {
        let of = |text: &str| Notify::parse(text).map(|notify| notify.to_string());
        for (text, expected) in [
            ("NEVER", Some("NEVER")),
            ("never", Some("NEVER")),
            ("delay,Success", Some("SUCCESS,DELAY")),
            ("FAILURE", Some("FAILURE")),
            ("", None),
            ("NEVER,DELAY", None),
            ("SUCCESS,", None),
        ] {
            assert_eq!(of(text).as_deref(), expected, "{text}");
        }
        assert!(Notify::UNSET.on_failure() && Notify::UNSET.on_delay() && !Notify::UNSET.on_success());
        assert!(!Notify::NEVER.on_failure() && !Notify::NEVER.on_delay() && !Notify::NEVER.on_success());
        let success = Notify::parse("SUCCESS").unwrap();
        assert!(success.on_success() && !success.on_failure() && !success.on_delay());
        assert_eq!(Notify::UNSET.to_string(), "");
        assert_eq!(
            (Ret::parse("full"), Ret::parse("hdrs"), Ret::parse("x")),
            (Some(Ret::Full), Some(Ret::Headers), None)
        );
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["", "a b=c+d", "\u{e9}@x", "+40"] {
            assert_eq!(from_xtext(&to_xtext(text)), text);
        }
        assert_eq!(to_xtext("a b=+"), "a+20b+3D+2B");
    }

    #[test]
    fn xtext_is_decoded() {
        for (text, expected) in
            [("a+40b", "a@b"), ("a+2Bb", "a+b"), ("a+", "a+"), ("+zz", "+zz"), ("+C3+A9", "é"), ("+é", "+é")]
        {
            assert_eq!(from_xtext(text), expected, "{text}");
        }
    }
}
