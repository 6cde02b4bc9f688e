//! Replies of a server (RFC 5321 section 4.2), read line by line within strict bounds.

use crate::message::letter::is_unsafe;
use std::fmt;

/// Most lines of one reply: EHLO has some 20.
const LINES: usize = 128;

/// How much of one line is kept, characters. RFC 5321 section 4.5.3.1.5 allows 512 octets.
const KEPT: usize = 512;

/// How much of a reply's text is kept for the log and for notices, characters.
const TEXT: usize = 800;

/// One whole reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Three digits; 0 for a decision of this side, without the server.
    pub code: u16,
    /// The text of all lines, without control characters.
    pub text: String,
}

impl Reply {
    /// A decision of this side: `text` begins with an enhanced status code.
    pub fn own(text: &str) -> Reply {
        Reply { code: 0, text: text.to_owned() }
    }

    /// 2yz.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 5yz.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced status code (RFC 3463): that of the text where it has one of the reply's class, else one that only says
    /// the class.
    pub fn status(&self) -> String {
        let word = self.text.split([' ', '\t']).next().unwrap_or_default();
        let class = if self.code == 0 {
            word.chars().next().unwrap_or('5')
        } else {
            char::from(b'0' + (self.code / 100) as u8)
        };
        let mut parts = word.split('.');
        let is_number = |part: Option<&str>, longest: usize| {
            part.is_some_and(|part| {
                (1..=longest).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
            })
        };
        let fits = parts.next().is_some_and(|first| first.len() == 1 && first.starts_with(class))
            && is_number(parts.next(), 3)
            && is_number(parts.next(), 3)
            && parts.next().is_none();
        if fits { word.to_owned() } else { format!("{class}.0.0") }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.text.as_str()) {
            (0, text) => f.write_str(text),
            (code, "") => write!(f, "{code}"),
            (code, text) => write!(f, "{code} {text}"),
        }
    }
}

/// What a line of a reply led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The reply goes on.
    More,
    /// The reply is whole: its code, and the text of each line.
    Whole(u16, Vec<String>),
    /// This is no reply.
    Wrong(&'static str),
}

/// The reply that is being read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    code: Option<u16>,
    lines: Vec<String>,
}

impl Reader {
    /// Takes a line without its end.
    pub(super) fn line(&mut self, line: &[u8]) -> Read {
        let Some((code, goes_on, text)) = parse(line) else {
            return Read::Wrong("a line that is no reply");
        };
        if self.code.is_some_and(|first| first != code) {
            return Read::Wrong("a reply with two codes");
        }
        if self.lines.len() >= LINES {
            return Read::Wrong("a reply of more than 128 lines");
        }
        self.lines.push(text);
        if goes_on {
            self.code = Some(code);
            return Read::More;
        }
        self.code = None;
        Read::Whole(code, std::mem::take(&mut self.lines))
    }

    /// A reply has begun and not ended.
    pub(super) fn has_begun(&self) -> bool {
        self.code.is_some()
    }

    /// What came before TLS is forgotten.
    pub(super) fn clear(&mut self) {
        *self = Reader::default();
    }
}

/// Code, whether more lines follow, and the text.
fn parse(line: &[u8]) -> Option<(u16, bool, String)> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !matches!(digits[0], b'2'..=b'5') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (goes_on, text) = match rest.split_first() {
        None => (false, &[][..]),
        Some((b' ' | b'\t', text)) => (false, text),
        Some((b'-', text)) => (true, text),
        Some(_) => return None,
    };
    let text: String = String::from_utf8_lossy(text).trim().chars().take(KEPT).collect();
    Some((code, goes_on, text.replace(is_unsafe, "?")))
}

/// One text of the lines. The enhanced code that each line begins with is kept once.
pub(super) fn joined(code: u16, lines: &[String]) -> Reply {
    let first = Reply { code, text: lines.first().cloned().unwrap_or_default() };
    let status = first.status();
    let mut text = first.text;
    for line in lines.iter().skip(1) {
        let line = line.strip_prefix(&status).unwrap_or(line).trim_start();
        if !line.is_empty() {
            text.push(' ');
            text.push_str(line);
        }
    }
    if let Some((end, _)) = text.char_indices().nth(TEXT) {
        text.truncate(end);
    }
    Reply { code, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_make_a_reply() {
        let mut reader = Reader::default();
        assert_eq!(reader.line(b"250-one"), Read::More);
        assert_eq!(reader.line(b"250 two"), Read::Whole(250, vec!["one".into(), "two".into()]));
        assert_eq!(reader.line(b"354"), Read::Whole(354, vec![String::new()]));
        assert_eq!(reader.line(b"550-5.1.1 a"), Read::More);
        assert_eq!(reader.line(b"551 5.1.1 b"), Read::Wrong("a reply with two codes"));
        for wrong in
            [&b""[..], b"25", b"2500", b"250x", b"150 a", b"650 a", b"2a0 b", b" 250 a", b"HTTP/1.1 400", b"+OK"]
        {
            assert_eq!(
                Reader::default().line(wrong),
                Read::Wrong("a line that is no reply"),
                "{}",
                wrong.escape_ascii()
            );
        }
        let mut reader = Reader::default();
        for _ in 0..LINES {
            assert_eq!(reader.line(b"250-x"), Read::More);
        }
        assert!(matches!(reader.line(b"250-x"), Read::Wrong(_)));
    }

    #[test]
    fn the_status_is_that_of_the_text_or_of_the_class() {
        for (code, text, status) in [
            (550, "5.1.1 nobody", "5.1.1"),
            (550, "nobody", "5.0.0"),
            (450, "5.1.1 nobody", "4.0.0"),
            (250, "2.0.0", "2.0.0"),
            (550, "5.1.1.1 x", "5.0.0"),
            (550, "5.1000.1 x", "5.0.0"),
            (550, "5..1 x", "5.0.0"),
            (0, "5.6.7 x", "5.6.7"),
            (0, "x", "x.0.0"),
        ] {
            assert_eq!(Reply { code, text: text.into() }.status(), status, "{code} {text}");
        }
    }

    #[test]
    fn the_text_of_many_lines_is_one_and_bounded() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(joined(550, &lines(&["5.1.1 no such", "5.1.1 user", ""])).to_string(), "550 5.1.1 no such user");
        assert_eq!(joined(250, &lines(&[""])).to_string(), "250");
        assert!(
            joined(250, &lines(&["é"; 128]).iter().map(|text| text.repeat(512)).collect::<Vec<_>>())
                .text
                .chars()
                .count()
                <= TEXT
        );
        let Read::Whole(_, lines) = Reader::default().line(b"550 a\x1b[31m\0b\xff") else { panic!() };
        assert_eq!(lines, ["a?[31m?b\u{fffd}"]);
    }
}
