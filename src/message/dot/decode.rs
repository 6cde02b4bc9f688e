//! Message data on the way in: CRLF lines with dots stuffed become LF lines; the end is CRLF . CRLF and nothing else.
//! It reads no socket and knows no limit; the caller feeds blocks of any size.
//!
//! # Bare CR and bare LF
//!
//! Both are stored as they came, and neither ends a line here, so a peer that reads line ends in another way cannot
//! smuggle a second message into a first. A dot after a bare LF is part of the message and is kept. (Postfix's
//! `smtpd_forbid_bare_newline = normalize` removes that dot, or the whole line where it holds nothing else. A client
//! that sends a bare LF, such as curl with a file of LF lines, has not stuffed a dot behind it, so the dot is part of the
//! message; and it does no harm, because POP3 stuffs it again.)

use memchr::{memchr, memchr_iter};

/// Where the next octet stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// After CRLF. The start of the data counts as that (RFC 5321 section 4.1.1.4: an empty message is `. CRLF` alone).
    #[default]
    Start,
    /// After the dot that began a line and that is dropped whatever follows.
    Dot,
    /// After that dot and a CR that is held back.
    DotCr,
    /// After a CR that is held back.
    Cr,
    /// Anywhere else.
    Inside,
}

/// A strict state machine over the octets of message data.
///
/// A message that ends has nothing held back, and the number of LF stored is the number of CRLF and bare LF that came.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    place: Place,
}

impl Decoder {
    /// Before the first octet.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Decodes `input` and appends what is to be stored to `out`, at most one octet more than came in. Gives how many
    /// octets of `input` belong to the message, and whether it ended there; the rest is the next command's. After the
    /// end the decoder is as new.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        out.reserve(input.len() + 1);
        let mut at = 0;
        while at < input.len() {
            self.place = match (self.place, input[at]) {
                (Place::Start, b'.') => Place::Dot,
                (Place::Dot, b'\r') => Place::DotCr,
                (Place::DotCr, b'\n') => {
                    self.place = Place::Start;
                    return (at + 1, true);
                }
                (Place::Cr, b'\n') => {
                    out.push(b'\n');
                    Place::Start
                }
                (Place::Cr | Place::DotCr, b'\r') => {
                    out.push(b'\r');
                    Place::Cr
                }
                (Place::Start | Place::Inside, b'\r') => Place::Cr,
                (place, _) => {
                    if matches!(place, Place::Cr | Place::DotCr) {
                        out.push(b'\r');
                    }
                    at += self.decode_lines(&input[at..], out);
                    continue;
                }
            };
            at += 1;
        }
        (at, false)
    }

    /// The fast path, one copy for each line: goes as far as there are lines that end with CRLF and begin
    /// with no dot, and gives how far that was. `input` begins in a line, with something else than CR.
    fn decode_lines(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut from = 0;
        for cr in memchr_iter(b'\r', input) {
            out.extend_from_slice(&input[from..cr]);
            self.place = Place::Inside;
            let [b'\n', next @ ..] = &input[cr + 1..] else { return cr };
            // The LF is copied with the line that follows.
            from = cr + 1;
            if next.first() == Some(&b'.') {
                out.push(b'\n');
                self.place = Place::Start;
                return cr + 2;
            }
        }
        out.extend_from_slice(&input[from..]);
        let is_line_end = from > 0 && from + 1 == input.len();
        self.place = if is_line_end { Place::Start } else { Place::Inside };
        input.len()
    }
}

/// The same for BDAT (RFC 3030): no dots, no end of data; CRLF becomes LF, across chunks too.
#[derive(Clone, Debug, Default)]
pub struct LineEnds {
    /// A CR is held back, since an LF may follow.
    cr: bool,
}

impl LineEnds {
    /// Before the first octet.
    pub fn new() -> LineEnds {
        LineEnds::default()
    }

    /// Appends what is to be stored of `input` to `out`.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.reserve(input.len() + 1);
        let Some(&first) = input.first() else { return };
        if self.cr && first != b'\n' {
            out.push(b'\r');
        }
        let mut rest = input;
        while let Some(cr) = memchr(b'\r', rest) {
            out.extend_from_slice(&rest[..cr]);
            rest = &rest[cr + 1..];
            if rest.first().is_some_and(|&next| next != b'\n') {
                out.push(b'\r');
            }
        }
        out.extend_from_slice(rest);
        self.cr = input.last() == Some(&b'\r');
    }

    /// The end of the last chunk: what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.cr) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
