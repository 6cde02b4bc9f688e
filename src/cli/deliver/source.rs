//! The message on standard input: LF or CRLF lines, perhaps after an mbox `From ` line, until the end of the file or,
//! as sendmail has it, a line with a single dot. Long lines come in parts, so that no input is too long for memory.

use std::io::{self, BufRead, BufReader, Read, Take};

/// Longest part of a line that is handed on, octets.
const PART: u64 = 64 * 1024;

/// Reads a message part by part, with LF line ends.
#[derive(Debug)]
pub struct Source<R> {
    reader: BufReader<R>,
    /// Lines end with CRLF, as the first one does. A message with LF lines keeps its CRs.
    crlf: Option<bool>,
    /// A single dot is the end.
    dot_ends: bool,
    at_line_start: bool,
    ended: bool,
    /// The first part, read ahead.
    first: Option<Vec<u8>>,
    mbox_line: Option<Vec<u8>>,
}

impl<R: Read> Source<R> {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// Of read(2).
    pub fn open(reader: R, dot_ends: bool) -> io::Result<Source<R>> {
        let mut source = Source {
            reader: BufReader::with_capacity(PART as usize, reader),
            crlf: None,
            dot_ends,
            at_line_start: true,
            ended: false,
            first: None,
            mbox_line: None,
        };
        let mut part = Vec::new();
        if source.next(&mut part)? {
            if part.starts_with(b"From ") && part.ends_with(b"\n") {
                source.mbox_line = Some(part);
            } else {
                source.first = Some(part);
            }
        }
        Ok(source)
    }

    /// The sender in the `From ` line that was at the top.
    pub fn mbox_sender(&self) -> Option<&str> {
        std::str::from_utf8(self.mbox_line.as_deref()?).ok()?.split(' ').nth(1)
    }

    /// Reads the next line, or a part of a long one, into `part`; false at the end.
    ///
    /// # Errors
    ///
    /// Of read(2).
    pub fn next(&mut self, part: &mut Vec<u8>) -> io::Result<bool> {
        part.clear();
        if let Some(first) = self.first.take() {
            *part = first;
            return Ok(true);
        }
        if self.ended || self.read(PART, part)? == 0 {
            self.ended = true;
            return Ok(false);
        }
        // A CR and the LF after it are looked at together.
        if part.ends_with(b"\r") {
            self.read(1, part)?;
        }
        if part.ends_with(b"\n") && *self.crlf.get_or_insert(part.ends_with(b"\r\n")) && part.ends_with(b"\r\n") {
            part.truncate(part.len() - 2);
            part.push(b'\n');
        }
        self.ended = self.dot_ends && self.at_line_start && matches!(part.as_slice(), b".\n" | b".");
        self.at_line_start = part.ends_with(b"\n");
        Ok(!self.ended)
    }

    /// Appends the rest of the message; one that is larger than `most` is not read to its end.
    ///
    /// # Errors
    ///
    /// Of read(2).
    pub fn read_all(&mut self, most: u64, message: &mut Vec<u8>) -> io::Result<()> {
        let mut part = Vec::new();
        while message.len() as u64 <= most && self.next(&mut part)? {
            message.extend_from_slice(&part);
        }
        Ok(())
    }

    fn read(&mut self, most: u64, part: &mut Vec<u8>) -> io::Result<usize> {
        let mut limited: Take<_> = self.reader.by_ref().take(most);
        limited.read_until(b'\n', part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(input: &[u8], dot_ends: bool) -> (Vec<u8>, Option<String>) {
        let mut source = Source::open(input, dot_ends).unwrap();
        let (mut whole, mut part) = (Vec::new(), Vec::new());
        while source.next(&mut part).unwrap() {
            whole.extend_from_slice(&part);
        }
        assert!(!source.next(&mut part).unwrap());
        (whole, source.mbox_sender().map(str::to_owned))
    }

    #[test]
    fn line_ends_are_those_of_the_first_line() {
        for (input, output) in [
            (&b"a\r\nb\r\n\r\nc"[..], &b"a\nb\n\nc"[..]),
            (b"a\r\nb\nc\r\n", b"a\nb\nc\n"),
            (b"a\nb\r\nc\r\n", b"a\nb\r\nc\r\n"),
            (b"a\rb\r\r\n", b"a\rb\r\n"),
            (b"a\r", b"a\r"),
            (b"", b""),
        ] {
            assert_eq!(all(input, false).0, output, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn long_lines_come_in_parts_and_lose_nothing() {
        for length in [PART - 2, PART - 1, PART, PART + 1, 3 * PART] {
            let long = [b"x\r\n".to_vec(), vec![b'y'; length as usize], b"\r\nz\r\n".to_vec()].concat();
            let whole = [b"x\n".to_vec(), vec![b'y'; length as usize], b"\nz\n".to_vec()].concat();
            assert_eq!(all(&long, false).0, whole);
        }
    }

    #[test]
    fn an_mbox_line_is_taken_off_and_tells_the_sender() {
        let (rest, sender) = all(b"From a@example.com  Mon Nov 23 08:44:59 2026\r\nSubject: x\r\n", false);
        assert_eq!((&rest[..], sender.as_deref()), (&b"Subject: x\n"[..], Some("a@example.com")));
        let (rest, sender) = all(b"From MAILER-DAEMON Mon Nov 23 08:44:59 2026\nFrom x\n", false);
        assert_eq!((&rest[..], sender.as_deref()), (&b"From x\n"[..], Some("MAILER-DAEMON")));
        assert_eq!(all(b"From: a\n", false), (b"From: a\n".to_vec(), None));
    }

    #[test]
    fn a_dot_ends_where_it_may() {
        let input = b"a\n.b\n..\n.\nc\n";
        assert_eq!(all(input, false).0, input);
        assert_eq!(all(input, true).0, b"a\n.b\n..\n");
        assert_eq!(all(b"a\r\n.\r\nb\r\n", true).0, b"a\n");
        assert_eq!(all(b".", true).0, b"");
        let long = [vec![b'x'; PART as usize], b".\nb\n".to_vec()].concat();
        assert_eq!(all(&long, true).0, long, "the dot was not at the beginning of its line");
    }

    proptest! {
        #[test]
        fn crlf_input_and_lf_input_are_the_same_message(lines in proptest::collection::vec("[a-z.: \r]{0,6}[a-z.: ]?", 1..20)) {
            let lf = lines.join("\n") + "\n";
            prop_assume!(!lines[0].ends_with('\r') && !lf.starts_with("From "));
            let crlf = lines.join("\r\n") + "\r\n";
            prop_assert_eq!(all(lf.as_bytes(), false).0, lf.as_bytes());
            prop_assert_eq!(all(crlf.as_bytes(), false).0, lf.as_bytes());
        }
    }
}
