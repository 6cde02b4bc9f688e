//! The input buffer of a connection, and the lines in it, with a bound on each.
//!
//! A line ends at LF; a CR before it belongs to the end. That is safe for commands, which carry nothing past their
//! line; message data has its own, stricter end (`dot::decode`). This room reads no socket: the driver fills it.

use std::ops::Range;

/// Octets that a peer sent and that were not consumed yet.
///
/// Octets move in through [`Buffer::space`] or [`Buffer::reserve`] and [`Buffer::filled`], out through [`Buffer::line`] or, for message data,
/// [`Buffer::bytes`] and [`Buffer::consume`].
#[derive(Debug, Default)]
pub struct Buffer {
    store: Vec<u8>,
    start: usize,
    end: usize,
    /// How far from `start` it is known that there is no LF.
    searched: usize,
    /// Within a line that was already reported as too long: drop everything up to its LF.
    skipping: bool,
}

/// What [`Buffer::line`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line: its place in [`Buffer::at`], without its end. It is consumed.
    Whole(Range<usize>),
    /// The line grew past the limit. Said once, at once; the rest of it will be dropped as it comes.
    TooLong,
    /// No whole line yet.
    Partial,
}

impl Buffer {
    /// Smallest block asked of the socket, octets: a few commands. An idle session keeps no more than this, and there may
    /// be thousands.
    pub const BLOCK: usize = 256;

    /// The octets not yet consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.store[self.start..self.end]
    }

    /// The octets at a place that [`Line::Whole`] gave; valid until the next [`Buffer::space`] or [`Buffer::reserve`].
    pub fn at(&self, place: Range<usize>) -> &[u8] {
        &self.store[place]
    }

    /// True when nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes `count` octets out at the front. `count` is at most `bytes().len()`.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        self.searched = 0;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Drops all that is waiting, as STARTTLS must (RFC 3207 section 4.2), and says how much it was.
    pub fn clear(&mut self) -> usize {
        let dropped = self.end - self.start;
        *self = Buffer { store: std::mem::take(&mut self.store), ..Buffer::default() };
        dropped
    }

    /// Room for at least `at_least` octets behind what is waiting.
    pub fn space(&mut self, at_least: usize) -> &mut [u8] {
        if self.start > 0 && self.store.len() - self.end < at_least {
            self.store.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.store.len() - self.end < at_least {
            self.store.resize(self.end + at_least, 0);
        }
        &mut self.store[self.end..]
    }

    /// The same for what appends to a vector: nothing is written to the room before.
    pub fn reserve(&mut self, at_least: usize) -> &mut Vec<u8> {
        self.store.truncate(self.end);
        if self.start > 0 && self.store.capacity() - self.end < at_least {
            self.store.drain(..self.start);
            (self.start, self.end) = (0, self.store.len());
        }
        self.store.reserve_exact(at_least);
        &mut self.store
    }

    /// Says that the first `count` octets of [`Buffer::space`] were filled, or that so many were appended.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.store.len());
    }

    /// Gives memory back that only a large message needed.
    pub fn shrink(&mut self) {
        if self.is_empty() && self.store.capacity() > Self::BLOCK {
            self.store = Vec::new();
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes the next line, of at most `limit` octets with its end.
    pub fn line(&mut self, limit: usize) -> Line {
        loop {
            let waiting = &self.store[self.start + self.searched..self.end];
            let Some(found) = memchr::memchr(b'\n', waiting) else {
                self.searched = self.end - self.start;
                if self.skipping {
                    self.consume(self.searched);
                } else if self.searched >= limit {
                    self.consume(self.searched);
                    self.skipping = true;
                    return Line::TooLong;
                }
                return Line::Partial;
            };
            let line = self.start..self.start + self.searched + found;
            // The octets stay where they are until the next `space`, so the place stays good after this.
            self.start = line.end + 1;
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() + 1 > limit {
                return Line::TooLong;
            }
            let cr = self.store[line.clone()].ends_with(b"\r");
            return Line::Whole(line.start..line.end - usize::from(cr));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the one way and in the other.
    fn fill(buffer: &mut Buffer, octets: &[u8]) {
        let (one, other) = octets.split_at(octets.len() / 2);
        buffer.space(one.len())[..one.len()].copy_from_slice(one);
        buffer.filled(one.len());
        buffer.reserve(other.len()).extend_from_slice(other);
        buffer.filled(other.len());
    }

    fn take(buffer: &mut Buffer, limit: usize) -> Option<Option<Vec<u8>>> {
        match buffer.line(limit) {
            Line::Whole(place) => Some(Some(buffer.at(place).to_vec())),
            Line::TooLong => Some(None),
            Line::Partial => None,
        }
    }

    /// The obviously right twin: all the input at once.
    fn naive(input: &[u8], limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Vec::new();
        let mut rest = input;
        while let Some(lf) = rest.iter().position(|&octet| octet == b'\n') {
            let line = &rest[..lf];
            lines.push((lf < limit).then(|| line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
            rest = &rest[lf + 1..];
        }
        if rest.len() >= limit {
            lines.push(None);
        }
        lines
    }

    #[test]
    fn agrees_with_the_naive_twin_on_every_short_input_and_split() {
        const LETTERS: [u8; 3] = [b'\r', b'\n', b'a'];
        for length in 0..=8_u32 {
            for number in 0..3_usize.pow(length) {
                let input: Vec<u8> = (0..length).map(|digit| LETTERS[number / 3_usize.pow(digit) % 3]).collect();
                for split in 0..=input.len() {
                    let mut buffer = Buffer::default();
                    let mut lines = Vec::new();
                    for part in [&input[..split], &input[split..]] {
                        fill(&mut buffer, part);
                        while let Some(line) = take(&mut buffer, 4) {
                            lines.push(line);
                        }
                    }
                    assert_eq!(lines, naive(&input, 4), "{} split at {split}", input.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn a_line_without_end_costs_constant_memory_and_is_reported_once() {
        let mut buffer = Buffer::default();
        let mut reports = 0;
        for _ in 0..10_000 {
            fill(&mut buffer, &[b'x'; 400]);
            reports += usize::from(buffer.line(512) == Line::TooLong);
            assert!(buffer.store.capacity() <= 2 * (512 + 400));
        }
        fill(&mut buffer, b"\r\nNOOP\r\n");
        assert_eq!((reports, take(&mut buffer, 512)), (1, Some(Some(b"NOOP".to_vec()))));
    }

    /// As the driver does it: lines out, memory back, then the next block in.
    #[test]
    fn what_was_taken_by_lines_can_be_given_back() {
        let mut buffer = Buffer::default();
        let commands = b"RETR 1\r\n".repeat(1000);
        for block in 1..3 * Buffer::BLOCK {
            let mut lines = 0;
            for octets in commands.chunks(block) {
                fill(&mut buffer, octets);
                while let Some(line) = take(&mut buffer, 512) {
                    assert_eq!(line.as_deref(), Some(&b"RETR 1"[..]));
                    lines += 1;
                }
                buffer.shrink();
            }
            assert_eq!(lines, 1000);
            assert!(buffer.is_empty() && buffer.store.capacity() <= Buffer::BLOCK);
        }
    }

    #[test]
    fn clear_forgets_a_line_half_skipped() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, b"xxxxxxxx");
        assert_eq!(buffer.line(4), Line::TooLong);
        buffer.clear();
        fill(&mut buffer, b"OK\n");
        assert_eq!(take(&mut buffer, 4), Some(Some(b"OK".to_vec())));
    }
}
