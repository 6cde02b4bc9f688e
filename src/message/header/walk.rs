//! Where the fields of a header begin and end: the one walker, over a header in memory ([`Fields`]) and over one that
//! comes in blocks of any size ([`Scan`]).

use memchr::memchr;

/// What a line of a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// It begins a field of this name; the name has no white space at its end and no byte order mark before it.
    Field(&'a [u8]),
    /// It continues the field above (RFC 5322 section 2.2.3).
    Fold,
    /// The `From ` line of an mbox file, which a program left at the top.
    Separator,
    /// The empty line behind the header, or the first line of a body that has none before it.
    End,
}

impl<'a> Line<'a> {
    /// Reads a line, or its beginning, without its LF. `colon` is where its first colon is, also if that is farther away
    /// than `line` reaches.
    pub fn of(line: &'a [u8], colon: Option<usize>) -> Line<'a> {
        match (line.first(), colon) {
            // A CR is what is left of CRLF, or of CR CR LF; readers of mail see an empty line there.
            (None, _) | (Some(b'\r'), None) => Line::End,
            (Some(b' ' | b'\t'), _) => Line::Fold,
            (_, Some(colon)) => {
                let name = line[..colon.min(line.len())].trim_ascii_end();
                Line::Field(name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name))
            }
            (_, None) if line.starts_with(b"From ") => Line::Separator,
            (_, None) => Line::End,
        }
    }
}

/// Walks over the fields of a header: name and raw body, folds and line ends still in it.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Over the header at the beginning of `message`.
    pub fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    /// Octets behind the field that `next` gave last.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (first, mut end) = match memchr(b'\n', self.rest) {
                Some(at) => (&self.rest[..at], at + 1),
                None => (self.rest, self.rest.len()),
            };
            let colon = memchr(b':', first);
            let line = Line::of(first, colon);
            if line != Line::End {
                while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                    end += memchr(b'\n', &self.rest[end..]).map_or(self.rest.len() - end, |at| at + 1);
                }
            }
            let (field, rest) = self.rest.split_at(end);
            match (line, colon) {
                (Line::End, _) => return None,
                (Line::Field(name), Some(colon)) => {
                    self.rest = rest;
                    return Some((name, &field[colon + 1..]));
                }
                // Above the first field; nothing that it continues.
                _ => self.rest = rest,
            }
        }
    }
}

/// Octets of a line that are looked at: the longest name that counts, a byte order mark, the colon, some white space.
const NAME: usize = 24;

/// Reads along with the header of a message with LF line ends: how many `Received` fields there are, and whether there is
/// a Date and a Message-ID. Keeps some octets of the current line.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The beginning of the line that is being read.
    line: Vec<u8>,
    /// How long that line is so far.
    length: usize,
    /// Where its first colon is, if there is one so far.
    colon: Option<usize>,
    received: usize,
    date: bool,
    message_id: bool,
    ended: bool,
}

impl Scan {
    /// Takes the next octets. Behind the header's end that costs nothing.
    pub fn add(&mut self, mut block: &[u8]) {
        while !self.ended && !block.is_empty() {
            let length = memchr(b'\n', block).unwrap_or(block.len());
            let (part, rest) = block.split_at(length);
            self.add_to_line(part);
            block = match rest.split_first() {
                Some((_, after)) => {
                    self.end_line();
                    after
                }
                None => rest,
            };
        }
    }

    /// `Received` fields so far.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Whether it has a `Date`, and whether it has a `Message-ID`; `None` while the header has not ended.
    pub fn has(&self) -> Option<(bool, bool)> {
        self.ended.then_some((self.date, self.message_id))
    }

    /// The message has ended, and so has its header.
    pub fn finish(&mut self) {
        if self.length > 0 {
            self.end_line();
        }
        self.ended = true;
    }

    fn add_to_line(&mut self, part: &[u8]) {
        if self.colon.is_none() {
            self.colon = memchr(b':', part).map(|at| self.length + at);
        }
        self.length += part.len();
        self.line.extend_from_slice(&part[..part.len().min(NAME - self.line.len())]);
    }

    fn end_line(&mut self) {
        match Line::of(&self.line, self.colon) {
            Line::Field(name) => {
                self.received += usize::from(name.eq_ignore_ascii_case(b"Received"));
                self.date |= name.eq_ignore_ascii_case(b"Date");
                self.message_id |= name.eq_ignore_ascii_case(b"Message-ID");
            }
            Line::Fold | Line::Separator => {}
            Line::End => self.ended = true,
        }
        self.line.clear();
        self.length = 0;
        self.colon = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(blocks: &[&[u8]]) -> Scan {
        let mut scan = Scan::default();
        blocks.iter().for_each(|block| scan.add(block));
        scan.finish();
        scan
    }

    fn names(message: &str) -> Vec<String> {
        Fields::new(message.as_bytes()).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn the_header_ends_where_the_body_begins() {
        for (message, expected) in [
            ("A: 1\r\n\tb: 2\r\nC : 3\r\n\r\nD: 4\r\n", &["A", "C"][..]),
            ("A: 1\nno field\nB: 2\n", &["A"]),
            ("From me  Mon Nov 23\nA: 1\n", &["A"]),
            (" continues nothing: x\nA: 1\n", &["A"]),
            ("\u{feff}A: 1\nB: 2\n", &["A", "B"]),
            ("A: 1\r\r\nB: 2\n", &["A", "B"]),
            ("A: 1\n\r\r\nB: 2\n", &["A"]),
            ("A: 1\n\rB: 2\n", &["A", "\rB"]),
            (": no name\n", &[""]),
            ("", &[]),
        ] {
            assert_eq!(names(message), expected, "{message:?}");
        }
        let read = scan(&[b"Received: a\n\tb\nreceived : c\nDATE:\nX-Date: x\n\nReceived: d\nMessage-ID: <e>\n"]);
        assert_eq!((read.received(), read.has()), (2, Some((true, false))));
        assert_eq!(scan(&[b"no header\nDate: x\n"]).has(), Some((false, false)));
        assert_eq!(scan(&[b"\xef\xbb\xbfDate: x\n"]).has(), Some((true, false)));
        let mut read = Scan::default();
        read.add(b"Message-Id: x\nSubject: y\n");
        assert_eq!(read.has(), None);
        read.add(b"\r");
        read.add(b"\n");
        assert_eq!(read.has(), Some((false, true)));
    }

    #[test]
    fn long_lines_take_no_memory() {
        let mut read = Scan::default();
        for _ in 0..1000 {
            read.add(&[b'x'; 1000]);
        }
        assert!(read.line.capacity() < 100);
    }

    proptest! {
        #[test]
        fn both_agree_however_the_blocks_are_cut(
            lines in proptest::collection::vec(proptest::sample::select(vec![
                "Received: x", "received:", "RECEIVED \t: y", "Date: z", "date :", "Message-ID: <a>", "message-id:b", "Subject: s",
                "X-Received: n", "Dates: n", "From me at noon", "", "text", "A-very-long-name-that-is-none-of-ours: Date: x",
                " folded: x", "\u{feff}Date: x", "\r",
            ]), 0..12),
            cuts in proptest::collection::vec(0..200_usize, 0..6),
            ends in any::<bool>(),
        ) {
            let mut text = lines.join("\n").into_bytes();
            if ends {
                text.push(b'\n');
            }
            let count = |wanted: &str| Fields::new(&text).filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())).count();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let blocks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let read = scan(&blocks);
            prop_assert_eq!(read.received(), count("Received"));
            prop_assert_eq!(read.has(), Some((count("Date") > 0, count("Message-ID") > 0)));
        }
    }
}
