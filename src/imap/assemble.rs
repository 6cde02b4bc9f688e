//! From lines and literals to whole responses (RFC 3501 section 4.3), with a bound on each.

use super::response::{Response, parse};
use crate::sasl::client::Failure;

/// Longest line, octets without its end, and most octets of one response outside of a message's literal.
pub const LINE: usize = 64 * 1024;

/// Largest number that a literal's count can be: more is no message.
const LITERAL: u64 = 1 << 40;

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub enum Fed {
    /// The end of a response.
    Response(Response),
    /// So many octets follow. `is_body`: they are a message's, and this room does not keep them.
    Literal {
        /// How many; the next line begins after them.
        octets: u64,
        /// A section of a message in a FETCH.
        is_body: bool,
    },
}

/// A response that is not whole yet. A literal that is kept follows its `{n}` and a LF; one that is not kept leaves a
/// NUL behind its `{n}`.
#[derive(Debug, Default)]
pub struct Assembler {
    text: Vec<u8>,
    /// The literal that follows is kept.
    keeps: bool,
}

impl Assembler {
    /// Takes a line without its end.
    ///
    /// # Errors
    ///
    /// When the response is longer than [`LINE`], or a literal larger than any message.
    pub fn line(&mut self, line: &[u8]) -> Result<Fed, Failure> {
        if self.text.len() + line.len() > LINE {
            return Err(Failure::Flood("a line of more than 64 KiB"));
        }
        // A stray NUL must not be taken for our own mark.
        self.text.extend(line.iter().map(|&octet| if octet == 0 { b' ' } else { octet }));
        let Some((start, octets)) = self.literal_at_end()? else {
            let text = std::mem::take(&mut self.text);
            return Ok(Fed::Response(parse(&text)));
        };
        let is_body = is_section(&self.text[..start]);
        self.keeps = !is_body;
        if self.keeps && self.text.len() as u64 + octets > LINE as u64 {
            return Err(Failure::Flood("a literal of more than 64 KiB that is no message"));
        }
        self.text.push(if is_body { 0 } else { b'\n' });
        Ok(Fed::Literal { octets, is_body })
    }

    /// Takes octets of a literal that is no message's.
    pub fn octets(&mut self, octets: &[u8]) {
        if self.keeps {
            self.text.extend_from_slice(octets);
        }
    }

    /// The literal that the text ends with: where its brace is, and how many octets follow. Status lines and
    /// continuations are free text and have none.
    fn literal_at_end(&self) -> Result<Option<(usize, u64)>, Failure> {
        if is_free_text(&self.text) {
            return Ok(None);
        }
        let Some(inner) = self.text.strip_suffix(b"}") else { return Ok(None) };
        let Some(start) = inner.iter().rposition(|&octet| octet == b'{') else { return Ok(None) };
        let digits = &inner[start + 1..];
        let digits = digits.strip_suffix(b"+").unwrap_or(digits);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Ok(None);
        }
        let octets = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        match octets {
            Some(octets) if octets <= LITERAL => Ok(Some((start, octets))),
            _ => Err(Failure::Flood("a literal larger than any message")),
        }
    }
}

fn is_free_text(text: &[u8]) -> bool {
    let mut words = text.split(|&octet| octet == b' ');
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_status =
        ["OK", "NO", "BAD", "BYE", "PREAUTH"].iter().any(|word| second.eq_ignore_ascii_case(word.as_bytes()));
    first != b"*" || is_status
}

/// Whether a literal after this text is a section of a message: `* 3 FETCH (UID 5 BODY[] `.
fn is_section(text: &[u8]) -> bool {
    let before = text.trim_ascii_end();
    let last = before.rsplit(|octet| matches!(octet, b' ' | b'(')).next().unwrap_or_default();
    let mut words = text.split(|&octet| octet == b' ').skip(2);
    let is_fetch = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"FETCH"));
    is_fetch && (before.ends_with(b"]") || before.ends_with(b">") || last.to_ascii_uppercase().starts_with(b"RFC822"))
}

#[cfg(test)]
mod tests {
    use super::super::response::{Body, Fetched, Untagged};
    use super::*;

    #[test]
    fn literals_of_messages_are_told_from_others() {
        for (line, literal) in [
            ("* 1 FETCH (UID 5 BODY[] {10}", Some((10, true))),
            ("* 1 fetch (body[header] {0}", Some((0, true))),
            ("* 1 FETCH (BODY[HEADER.FIELDS (DATE FROM)] {7}", Some((7, true))),
            ("* 1 FETCH (BODY[]<0> {7+}", Some((7, true))),
            ("* 1 FETCH (RFC822 {7}", Some((7, true))),
            ("* 1 FETCH (ENVELOPE (NIL {3}", Some((3, false))),
            ("* LIST () \"/\" {5}", Some((5, false))),
            ("* OK done {5}", None),
            ("a1 OK done {5}", None),
            ("+ go {5}", None),
            ("* 1 FETCH (FLAGS ({}", None),
            ("* 1 FETCH (FLAGS ({x}", None),
        ] {
            let fed = Assembler::default().line(line.as_bytes()).unwrap();
            match (fed, literal) {
                (Fed::Literal { octets, is_body }, expected) => assert_eq!(Some((octets, is_body)), expected, "{line}"),
                (Fed::Response(_), expected) => assert_eq!(None, expected, "{line}"),
            }
        }
    }

    #[test]
    fn a_response_goes_on_after_its_literals() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.line(b"* 1 FETCH (X {3}"), Ok(Fed::Literal { octets: 3, is_body: false }));
        assembler.octets(b"a)\"");
        assert_eq!(assembler.line(b" BODY[] {900}"), Ok(Fed::Literal { octets: 900, is_body: true }));
        let fetched = Fetched { uid: Some(7), body: Body::Streamed, ..Fetched::default() };
        assert_eq!(assembler.line(b" UID 7)"), Ok(Fed::Response(Response::Untagged(Untagged::Fetch(fetched)))));
    }

    #[test]
    fn everything_is_bounded() {
        let flood = |line: &[u8]| Assembler::default().line(line).is_err();
        assert!(flood(&[b'x'; LINE + 1]) && !flood(&[b'x'; LINE]));
        assert!(flood(b"* 1 FETCH (BODY[] {99999999999999999999}"));
        assert!(flood(b"* 1 FETCH (BODY[] {2000000000000}"));
        assert!(flood(b"* LIST () {70000}"));
        let mut assembler = Assembler::default();
        for _ in 0..30_000 {
            match assembler.line(b"* X {1}") {
                Ok(Fed::Literal { octets: 1, .. }) => assembler.octets(b"y"),
                other => return assert!(other.is_err()),
            }
        }
        panic!("a response without end");
    }
}
