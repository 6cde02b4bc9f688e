//! What delivery must know of a message's header while it comes in: how many `Received` fields there are, and whether
//! it has a Date and a Message-ID. Fed in blocks of any size; keeps a few octets of one line.

use memchr::memchr;

/// Octets of a line that are looked at: the longest name that counts, its colon, and some white space.
const NAME: usize = 24;

/// Reads along with the header of a message with LF line ends.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The beginning of the line that is being read.
    line: Vec<u8>,
    /// Where its first colon is, if there is one so far; what is beyond [`NAME`] is not told apart.
    colon: Option<usize>,
    received: usize,
    date: bool,
    message_id: bool,
    ended: bool,
}

impl Head {
    /// Takes the next octets. After the header's end that costs nothing.
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
        if !self.line.is_empty() {
            self.end_line();
        }
        self.ended = true;
    }

    fn add_to_line(&mut self, part: &[u8]) {
        let before = self.line.len();
        if self.colon.is_none() {
            self.colon = memchr(b':', part).map(|at| before + at);
        }
        self.line.extend_from_slice(&part[..part.len().min(NAME - before)]);
    }

    fn end_line(&mut self) {
        match (self.line.first(), self.colon) {
            // A lone CR is what is left of CR CR LF; readers of mail see an empty line there.
            (None, _) | (Some(b'\r'), None) => self.ended = true,
            (Some(b' ' | b'\t'), _) => {}
            (_, Some(colon)) => {
                let name = self.line[..colon.min(self.line.len())].trim_ascii_end();
                self.received += usize::from(name.eq_ignore_ascii_case(b"Received"));
                self.date |= name.eq_ignore_ascii_case(b"Date");
                self.message_id |= name.eq_ignore_ascii_case(b"Message-ID");
            }
            // Not a field, so the body begins without its empty line. A line that mbox left is no reason to stop.
            (_, None) => self.ended = !self.line.starts_with(b"From "),
        }
        self.line.clear();
        self.colon = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::Fields;
    use proptest::prelude::*;

    fn read(blocks: &[&[u8]]) -> Head {
        let mut head = Head::default();
        blocks.iter().for_each(|block| head.add(block));
        head.finish();
        head
    }

    #[test]
    fn the_header_ends_where_the_body_begins() {
        let head = read(&[b"Received: a\n\tb\nreceived : c\nDATE:\nX-Date: x\n\nReceived: d\nMessage-ID: <e>\n"]);
        assert_eq!((head.received(), head.has()), (2, Some((true, false))));
        let head = read(&[b"no header\nDate: x\n"]);
        assert_eq!(head.has(), Some((false, false)));
        let mut head = Head::default();
        head.add(b"Message-Id: x\nSubject: y\n");
        assert_eq!(head.has(), None);
        head.add(b"\r");
        head.add(b"\n");
        assert_eq!(head.has(), Some((false, true)));
    }

    #[test]
    fn long_lines_take_no_memory() {
        let mut head = Head::default();
        for _ in 0..1000 {
            head.add(&[b'x'; 1000]);
        }
        assert!(head.line.capacity() < 100);
    }

    proptest! {
        #[test]
        fn agrees_with_the_twin_however_it_is_cut(
            lines in proptest::collection::vec(proptest::sample::select(vec![
                "Received: x", "received:", "RECEIVED \t: y", "Date: z", "date :", "Message-ID: <a>", "message-id:b", "Subject: s",
                "X-Received: n", "Dates: n", "From me at noon", "", "text", "A-very-long-name-that-is-none-of-ours: Date: x",
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
            let head = read(&blocks);
            prop_assert_eq!(head.received(), count("Received"));
            prop_assert_eq!(head.has(), Some((count("Date") > 0, count("Message-ID") > 0)));
        }
    }
}
