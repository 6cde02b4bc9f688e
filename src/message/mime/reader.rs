//! From a message's octets to its parts: lines, boundaries (RFC 2046 section 5.1.1), headers, transfer encodings.
//!
//! ```text
//!            end of a header, of a multipart      boundary
//!  Head ------------------------------------> Skip ------> Head
//!    |  end of a header, of any other part   boundary         close delimiter
//!    '--------------------------------> Body ------> Head     any ------> Skip
//! ```
//!
//! A boundary of an outer multipart ends the inner ones, too. The line end before a boundary belongs to the boundary.

use super::boundaries::Boundaries;
use super::part::Part;
use super::transfer::Decoder;
use super::{DEPTH, PARTS};
use crate::limits;
use crate::message::header::Line;
use memchr::memchr;

/// A line that is longer is no boundary, octets.
const LINE: usize = 1_024;

/// Decoded octets that are handed on at a time.
const BLOCK: usize = 32 * 1024;

/// Takes the parts of a message in their order.
pub trait Sink {
    /// The message's own header, with its line ends, comes first.
    fn head(&mut self, head: &[u8]);
    /// A multipart begins, in the one that began last.
    fn enter(&mut self, part: &Part);
    /// The multipart that began last has ended.
    fn leave(&mut self);
    /// A part that is no multipart begins.
    fn begin(&mut self, part: Part);
    /// Octets of that part, decoded.
    fn octets(&mut self, octets: &[u8]);
    /// That part has ended.
    fn end(&mut self);
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In the header of the message or of a part.
    Head,
    /// Before the first part of a multipart, or behind its last one.
    Skip,
    /// In a part that is no multipart.
    Body,
}

/// Reads one message.
#[derive(Debug)]
pub struct Reader {
    state: State,
    boundaries: Boundaries,
    /// Of each multipart that has begun, whether it is a digest.
    digests: Vec<bool>,
    parts: usize,
    /// The beginning of a line that has not ended.
    line: Vec<u8>,
    /// The line that comes next is the rest of one that is too long.
    continues: bool,
    head: Vec<u8>,
    decoder: Decoder,
    /// The line end that may belong to a boundary.
    line_end: &'static [u8],
    out: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            state: State::Head,
            boundaries: Boundaries::default(),
            digests: Vec::new(),
            parts: 0,
            line: Vec::new(),
            continues: false,
            head: Vec::new(),
            decoder: Decoder::Identity,
            line_end: b"",
            out: Vec::new(),
        }
    }
}

impl Reader {
    /// Takes the next octets of the message.
    pub fn add(&mut self, mut block: &[u8], sink: &mut dyn Sink) {
        while !block.is_empty() {
            let end = memchr(b'\n', block).map(|at| at + 1);
            let (part, rest) = block.split_at(end.unwrap_or(block.len()));
            block = rest;
            if self.line.is_empty() && (end.is_some() || part.len() > LINE) {
                self.add_line(part, sink);
                continue;
            }
            self.line.extend_from_slice(part);
            if end.is_some() || self.line.len() > LINE {
                let line = std::mem::take(&mut self.line);
                self.add_line(&line, sink);
                self.line = line;
                self.line.clear();
            }
        }
    }

    /// The message has ended.
    pub fn finish(mut self, sink: &mut dyn Sink) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.add_line(&line, sink);
        }
        if self.state == State::Head && !self.head.is_empty() {
            self.end_head(sink);
        }
        if self.state == State::Body {
            self.decoder.decode(self.line_end, &mut self.out);
            self.end_part(sink);
        }
        (0..self.boundaries.len()).for_each(|_| sink.leave());
    }

    /// Takes a line with its line end, or a piece of one that is too long.
    fn add_line(&mut self, line: &[u8], sink: &mut dyn Sink) {
        let begins = !std::mem::replace(&mut self.continues, !line.ends_with(b"\n"));
        if begins && let Some((level, closes)) = self.boundary(line) {
            return self.on_boundary(level, closes, sink);
        }
        match self.state {
            State::Skip => {}
            State::Body => self.add_to_part(line, sink),
            State::Head => {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                if !begins || Line::of(text, memchr(b':', text)) != Line::End {
                    let room = limits::HEADER_OCTETS - self.head.len();
                    self.head.extend_from_slice(&line[..line.len().min(room)]);
                    return;
                }
                self.end_head(sink);
                // A line that belongs to no header is the first one of the body.
                let is_empty = text.iter().all(|octet| *octet == b'\r');
                if !is_empty && self.state == State::Body {
                    self.add_to_part(line, sink);
                }
            }
        }
    }

    /// The multipart of which this line is a boundary, and whether it is its close delimiter.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        if !line.starts_with(b"--") || line.len() > LINE || self.boundaries.len() == 0 || self.parts >= PARTS {
            return None;
        }
        self.boundaries.find(line[2..].trim_ascii_end())
    }

    fn on_boundary(&mut self, level: usize, closes: bool, sink: &mut dyn Sink) {
        // Two boundaries in a row have no part between them.
        if self.state == State::Head && !self.head.is_empty() {
            self.end_head(sink);
        }
        if self.state == State::Body {
            self.end_part(sink);
        }
        let stays = if closes { level } else { level + 1 };
        while self.boundaries.len() > stays {
            self.boundaries.pop();
            self.digests.pop();
            sink.leave();
        }
        self.state = if closes { State::Skip } else { State::Head };
    }

    /// A header has ended: what begins is known.
    fn end_head(&mut self, sink: &mut dyn Sink) {
        let mut head = std::mem::take(&mut self.head);
        if self.parts == 0 {
            sink.head(&head);
        }
        self.parts += 1;
        let default =
            if self.digests.last().is_some_and(|is_digest| *is_digest) { "message/rfc822" } else { "text/plain" };
        let mut part = Part::parse(&head, default);
        head.clear();
        self.head = head;
        if part.is_multipart()
            && self.boundaries.len() < DEPTH
            && self.parts < PARTS
            && let Some(boundary) = part.boundary.take()
        {
            sink.enter(&part);
            self.boundaries.push(boundary);
            self.digests.push(part.kind == "multipart/digest");
            self.state = State::Skip;
            return;
        }
        self.decoder = std::mem::replace(&mut part.decoder, Decoder::Identity);
        self.line_end = b"";
        sink.begin(part);
        self.state = State::Body;
    }

    fn add_to_part(&mut self, line: &[u8], sink: &mut dyn Sink) {
        self.decoder.decode(self.line_end, &mut self.out);
        let (text, line_end): (_, &'static [u8]) = match line {
            [text @ .., b'\r', b'\n'] => (text, b"\r\n"),
            [text @ .., b'\n'] => (text, b"\n"),
            text => (text, b""),
        };
        self.decoder.decode(text, &mut self.out);
        self.line_end = line_end;
        if self.out.len() >= BLOCK {
            sink.octets(&self.out);
            self.out.clear();
        }
    }

    fn end_part(&mut self, sink: &mut dyn Sink) {
        self.decoder.finish(&mut self.out);
        if !self.out.is_empty() {
            sink.octets(&self.out);
            self.out.clear();
        }
        sink.end();
    }
}
