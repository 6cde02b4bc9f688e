//! An answer of HTTP/1.1 (RFC 9112), without I/O: the driver reads what [`Answer::wants`] says, and gives it in.
//!
//! ```text
//! Status -> Fields -- no body --------------------------------------> Done
//!   ^         | |  '- Content-Length ------> Octets ----------------> Done
//!   '- 1xx ---' |---- chunked -> ChunkSize -> Chunk -> ChunkEnd -.
//!               |                  ^  '- 0 -> Trailer -> Done     |
//!               |                  '------------------------------'
//!               '---- neither ------> ToTheEnd (of the connection)
//! ```
//!
//! It is strict, because what a lenient reader makes of a connection is another answer than the one that the server gave:
//! two lengths, a length and chunks, a line that is folded are errors, or at least the end of the connection.

use std::time::Duration;

/// Longest line that an answer may have, octets.
pub const LINE: usize = 8 * 1024;

/// Most lines of a head or a trailer.
const LINES: usize = 128;

/// Most answers of the class 1xx before the true one.
const INTERIM: usize = 8;

/// What an answer may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage(pub &'static str);

/// What the driver reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A line; given in by [`Answer::line`].
    Line,
    /// Up to so many octets of the body; [`Answer::took`] says how many there were.
    Octets(u64),
    /// Octets of the body until the connection ends.
    ToTheEnd,
    /// Nothing: the answer is complete.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Status,
    Fields,
    Octets(u64),
    ToTheEnd,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Done,
}

/// One answer while it comes.
#[derive(Debug)]
pub struct Answer {
    state: State,
    /// 0 while it is not known.
    status: u16,
    /// HTTP/1.0 keeps a connection only where it says so.
    keeps: bool,
    has_no_body: bool,
    length: Option<u64>,
    is_chunked: bool,
    /// The server encoded the body in another way, or said so in one that is not clear.
    is_odd: bool,
    retry_after: Option<String>,
    lines: usize,
    interim: usize,
}

impl Answer {
    /// To a request that was just sent; `is_head`: its method was HEAD.
    pub fn new(is_head: bool) -> Answer {
        Answer {
            state: State::Status,
            status: 0,
            keeps: true,
            has_no_body: is_head,
            length: None,
            is_chunked: false,
            is_odd: false,
            retry_after: None,
            lines: 0,
            interim: 0,
        }
    }

    /// What comes next.
    pub fn wants(&self) -> Wants {
        match self.state {
            State::Octets(left) | State::Chunk(left) => Wants::Octets(left),
            State::ToTheEnd => Wants::ToTheEnd,
            State::Done => Wants::Nothing,
            _ => Wants::Line,
        }
    }

    /// The status code, once the head is complete.
    pub fn status(&self) -> Option<u16> {
        (!matches!(self.state, State::Status | State::Fields)).then_some(self.status)
    }

    /// Whether nothing of it has come yet.
    pub fn is_untouched(&self) -> bool {
        self.state == State::Status && self.interim == 0
    }

    /// Whether the connection may be used for another request, once the answer is complete.
    pub fn keeps(&self) -> bool {
        self.state == State::Done && self.keeps && !self.is_odd
    }

    /// The value of Retry-After.
    pub fn retry_after(&self) -> Option<&str> {
        self.retry_after.as_deref()
    }

    /// Takes a line without its end.
    ///
    /// # Errors
    ///
    /// What is wrong with it. The connection is of no use then.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Garbage> {
        self.state = match self.state {
            State::Status => self.status_line(line)?,
            State::Fields if line.is_empty() => self.end_of_head()?,
            State::Trailer if line.is_empty() => State::Done,
            State::Fields | State::Trailer => {
                self.lines += 1;
                if self.lines > LINES {
                    return Err(Garbage("more than 128 header fields"));
                }
                if self.state == State::Fields {
                    self.field(line)?;
                }
                self.state
            }
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(Garbage("a chunk that is longer than it says")),
            other => other,
        };
        Ok(())
    }

    /// So many octets of the body came.
    pub fn took(&mut self, count: u64) {
        self.state = match self.state {
            State::Octets(left) if left <= count => State::Done,
            State::Octets(left) => State::Octets(left - count),
            State::Chunk(left) if left <= count => State::ChunkEnd,
            State::Chunk(left) => State::Chunk(left - count),
            other => other,
        };
    }

    /// `HTTP/1.1 200 OK`; the words after the code are not looked at.
    fn status_line(&mut self, line: &[u8]) -> Result<State, Garbage> {
        let not_http = Garbage("no answer of HTTP/1.1");
        let (minor, rest) = match line.strip_prefix(b"HTTP/1.").and_then(<[u8]>::split_first) {
            Some((minor @ b'0'..=b'9', rest)) => (*minor, rest),
            _ => return Err(not_http),
        };
        let code = rest.strip_prefix(b" ").and_then(|rest| rest.split_at_checked(3));
        let Some((code @ [b'1'..=b'9', _, _], rest)) = code else { return Err(not_http) };
        if !code.iter().all(u8::is_ascii_digit) || !(rest.is_empty() || rest.starts_with(b" ")) {
            return Err(not_http);
        }
        self.status = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        self.keeps = minor != b'0';
        Ok(State::Fields)
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Garbage> {
        let Some(colon) = line.iter().position(|octet| *octet == b':') else {
            return Err(Garbage("a header field without a colon"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // A space before the colon, or at the begin of the line (obsolete folding), makes a field mean two things.
        if name.is_empty() || name.iter().any(|octet| octet.is_ascii_whitespace()) {
            return Err(Garbage("a header field without a name"));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value, 10).ok_or(Garbage("a Content-Length that is no number"))?;
            if self.length.is_some_and(|other| other != length) {
                return Err(Garbage("two lengths"));
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_odd |= self.is_chunked || !value.eq_ignore_ascii_case(b"chunked");
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            let has = |word: &str| value.split(|octet| *octet == b',').any(|each| is_word(each, word));
            self.keeps = !has("close") && (self.keeps || has("keep-alive"));
        } else if name.eq_ignore_ascii_case(b"retry-after") && value.len() <= 64 {
            self.retry_after = std::str::from_utf8(value).ok().map(str::to_owned);
        }
        Ok(())
    }

    /// How the body ends (RFC 9112 section 6.3).
    fn end_of_head(&mut self) -> Result<State, Garbage> {
        let (status, is_head) = (self.status, self.has_no_body);
        if status == 101 {
            return Err(Garbage("a change of the protocol that was not asked for"));
        }
        if status < 200 {
            let interim = self.interim + 1;
            if interim > INTERIM {
                return Err(Garbage("one 1xx answer after the other"));
            }
            *self = Answer { interim, ..Answer::new(is_head) };
            return Ok(State::Status);
        }
        // Both at once is how one answer is smuggled into another.
        self.is_odd |= self.is_chunked && self.length.is_some();
        self.lines = 0;
        Ok(match self.length {
            _ if is_head || matches!(status, 204 | 304) => State::Done,
            _ if self.is_odd => State::ToTheEnd,
            _ if self.is_chunked => State::ChunkSize,
            Some(0) => State::Done,
            Some(length) => State::Octets(length),
            None => State::ToTheEnd,
        })
    }
}

fn is_word(text: &[u8], word: &str) -> bool {
    text.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
}

/// The size of a chunk, in hexadecimal; what follows a `;` says nothing about it.
fn chunk_size(line: &[u8]) -> Result<u64, Garbage> {
    let digits = line.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii_end();
    number(digits, 16).ok_or(Garbage("a chunk without a size"))
}

/// Digits and nothing else, at most so many that no overflow is possible.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let is_digit = |octet: &u8| char::from(*octet).is_digit(radix);
    if !matches!(digits.len(), 1..=15) || !digits.iter().all(is_digit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// What Retry-After says (RFC 9110 section 10.2.3): seconds, or a date; `now` in seconds since 1970.
pub fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let seconds = match number(value.as_bytes(), 10) {
        Some(seconds) => seconds,
        None => crate::message::date::parse_mail(value)?.saturating_sub(now),
    };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads one answer from octets; gives the body and what is left over.
    fn read(mut octets: &[u8], is_head: bool) -> Result<(Answer, Vec<u8>, Vec<u8>), Garbage> {
        let (mut answer, mut body) = (Answer::new(is_head), Vec::new());
        loop {
            match answer.wants() {
                Wants::Line => {
                    let Some(end) = octets.iter().position(|octet| *octet == b'\n') else { break };
                    answer.line(octets[..end].strip_suffix(b"\r").unwrap_or(&octets[..end]))?;
                    octets = &octets[end + 1..];
                }
                Wants::Octets(_) | Wants::ToTheEnd if octets.is_empty() => break,
                wants => {
                    let most = if let Wants::Octets(most) = wants { most } else { u64::MAX };
                    let count = most.min(octets.len() as u64);
                    if wants == Wants::Nothing {
                        break;
                    }
                    body.extend_from_slice(&octets[..count as usize]);
                    octets = &octets[count as usize..];
                    answer.took(count);
                }
            }
        }
        Ok((answer, body, octets.to_vec()))
    }

    #[test]
    fn answers_end_where_they_say() {
        for (head, rest, status, body, keeps) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "okNEXT", 200, "ok", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", "NEXT", 204, "", true),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n",
                "2;x=y\r\nok\r\n0\r\nA: b\r\n\r\nNEXT",
                200,
                "ok",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nConnection: close, x\r\nContent-Length: 0\r\n\r\n", "NEXT", 200, "", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "NEXT", 200, "", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", "NEXT", 200, "", true),
            ("HTTP/1.1 500 Oh\r\n\r\n", "all of itNEXT", 500, "all of itNEXT", false),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nLink: x\r\n\r\nHTTP/1.1 201 C\nContent-Length: 1\n\n",
                "1NEXT",
                201,
                "1",
                true,
            ),
            // A length and chunks: the connection is of no further use.
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                "0\r\n\r\n",
                200,
                "0\r\n\r\n",
                false,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "x", 200, "x", false),
        ] {
            let (answer, found, left) = read(format!("{head}{rest}").as_bytes(), false).unwrap();
            assert_eq!((answer.status(), answer.keeps()), (Some(status), keeps), "{head}");
            assert_eq!(String::from_utf8_lossy(&found), body, "{head}");
            // What comes after the answer is not taken, unless the answer ends with the connection.
            assert_eq!(left == b"NEXT", rest.ends_with("NEXT") && !body.ends_with("NEXT"), "{head}");
        }
        let (answer, body, left) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nNEXT", true).unwrap();
        assert!(answer.keeps() && body.is_empty() && left == b"NEXT");
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "220 mail.example ESMTP\r\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 099 x\r\n",
            "HTTP/1.1  200 OK\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n Content-Length: 1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        ] {
            assert!(read(text.as_bytes(), false).is_err(), "{text:?}");
        }
        let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"A: b\r\n".repeat(200);
        assert!(read(endless.as_bytes(), false).is_err());
        assert!(read("HTTP/1.1 100 Continue\r\n\r\n".repeat(20).as_bytes(), false).is_err());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 784_111_770;
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1984 08:49:37 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_body_in_chunks_is_the_body(chunks in proptest::collection::vec("[a-z\r\n]{1,40}", 0..9)) {
            let mut text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
            for chunk in &chunks {
                text += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
            }
            let (answer, body, left) = read(format!("{text}0\r\n\r\nNEXT").as_bytes(), false).unwrap();
            prop_assert_eq!((answer.keeps(), left.as_slice()), (true, &b"NEXT"[..]));
            prop_assert_eq!(body, chunks.concat().into_bytes());
        }
    }
}
