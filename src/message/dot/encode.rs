//! Dot-stuffing on the way out (RFC 1939 section 3): the octets of a stored message become CRLF lines, a line that
//! begins with a dot gets a second dot, and `.CRLF` ends the reply. `WireSize` counts what will be sent without sending it.
//! This file reads no file and knows no reply; the caller feeds blocks of any size.
//!
//! # Line ends
//!
//! Octets pass unchanged, so a stored message must come out as it came in. The files that this server writes end their
//! lines with LF, so a `CR LF` inside one of them is what is left of a `CR CR LF` that was received, and is sent as
//! `CR CR LF` again. Other programs write LF lines, CRLF lines, or both in one file; there, each line end is sent as one
//! CR LF, as Dovecot does:
//!
//! | file | LF | CR LF |
//! |---|---|---|
//! | ours (`LineEnds::Lf`) | sent as CR LF | sent as CR CR LF |
//! | another program's (`LineEnds::Mixed`) | sent as CR LF | sent as it is |
//!
//! For our own files the size on the wire is therefore always octets + number of LF, which is what `,W=` says.

use memchr::memchr_iter;

/// What ends a line of a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnds {
    /// LF; a CR before it is part of the line.
    Lf,
    /// LF, or CR LF.
    Mixed,
}

/// Where in its line the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The next octet is the first of its line.
    Start,
    /// The line so far is one CR and nothing else.
    LoneCr,
    /// The last octet was a CR, and others were before it.
    AfterCr,
    /// Anywhere else.
    Inside,
}

impl Place {
    /// Where the line stands after `rest`, which holds no LF.
    fn after(self, rest: &[u8]) -> Place {
        match (rest, self) {
            ([], place) => place,
            ([b'\r'], Place::Start) => Place::LoneCr,
            ([.., b'\r'], _) => Place::AfterCr,
            _ => Place::Inside,
        }
    }

    fn cr_before(self) -> bool {
        matches!(self, Place::LoneCr | Place::AfterCr)
    }
}

/// How much of a message is still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All of it (RETR).
    Whole,
    /// The header and so many lines of the body (TOP); the header's end was not seen yet.
    Header(u64),
    /// So many lines of the body.
    Body(u64),
    /// Nothing more.
    Done,
}

/// Turns a stored message into the lines of a multi-line reply, block by block.
#[derive(Clone, Debug)]
pub struct Encoder {
    line_ends: LineEnds,
    place: Place,
    part: Part,
}

impl Encoder {
    /// For all of a message (RETR).
    pub fn whole(line_ends: LineEnds) -> Encoder {
        Encoder { line_ends, place: Place::Start, part: Part::Whole }
    }

    /// For the header, the blank line, and `lines` lines of the body (TOP, RFC 1939 section 7). A message without a
    /// blank line is all header.
    pub fn top(line_ends: LineEnds, lines: u64) -> Encoder {
        Encoder { line_ends, place: Place::Start, part: Part::Header(lines) }
    }

    /// Appends what the next octets of the file become. At most 2 octets are written for 1, as a lone LF may become
    /// CR LF and a lone dot two. False: no more is needed, go on with `finish`.
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        out.reserve(input.len() + input.len() / 32 + 64);
        match self.part {
            Part::Done => {}
            Part::Whole => self.encode_whole(input, out),
            _ => self.encode_top(input, out),
        }
        self.part != Part::Done
    }

    /// RETR: one copy for each line.
    fn encode_whole(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for lf in memchr_iter(b'\n', input) {
            if self.place == Place::Start && input[from] == b'.' {
                out.push(b'.');
            }
            let cr_before = if lf == from { self.place.cr_before() } else { input[lf - 1] == b'\r' };
            out.extend_from_slice(&input[from..lf]);
            out.extend_from_slice(self.line_end(cr_before));
            self.place = Place::Start;
            from = lf + 1;
        }
        self.rest_of_block(&input[from..], out);
    }

    /// TOP: each line may be the last.
    fn encode_top(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for lf in memchr_iter(b'\n', input) {
            self.rest_of_block(&input[from..lf], out);
            let blank = self.end_line(out);
            from = lf + 1;
            self.part = match self.part {
                Part::Header(0) if blank => Part::Done,
                Part::Header(lines) if blank => Part::Body(lines),
                Part::Body(1) => Part::Done,
                Part::Body(lines) => Part::Body(lines - 1),
                part => part,
            };
            if self.part == Part::Done {
                return;
            }
        }
        self.rest_of_block(&input[from..], out);
    }

    /// What is written for an LF.
    fn line_end(&self, cr_before: bool) -> &'static [u8] {
        if cr_before && self.line_ends == LineEnds::Mixed { b"\n" } else { b"\r\n" }
    }

    /// Writes the LF of a line. The other octets of the line are written already. True if the line was blank.
    fn end_line(&mut self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.line_end(self.place.cr_before()));
        let is_lone_cr = self.line_ends == LineEnds::Mixed && self.place == Place::LoneCr;
        let blank = self.place == Place::Start || is_lone_cr;
        self.place = Place::Start;
        blank
    }

    /// Writes octets without LF.
    fn rest_of_block(&mut self, rest: &[u8], out: &mut Vec<u8>) {
        if self.place == Place::Start && rest.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(rest);
        self.place = self.place.after(rest);
    }

    /// Appends the final CRLF where the file had none, and the line `.` that ends the reply.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.place != Place::Start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// Counts the octets of a message as RETR sends them, before dot-stuffing (RFC 1939 section 11: CRLF counts two).
#[derive(Clone, Debug)]
pub struct WireSize {
    octets: u64,
    line_ends: LineEnds,
    last: Option<u8>,
}

impl WireSize {
    /// Of nothing yet.
    pub fn new(line_ends: LineEnds) -> WireSize {
        WireSize { octets: 0, line_ends, last: None }
    }

    /// Counts the next octets of the file.
    pub fn add(&mut self, block: &[u8]) {
        let is_sent_as_it_is = |&lf: &usize| self.before(block, lf) == Some(b'\r');
        let lines = match self.line_ends {
            LineEnds::Lf => memchr_iter(b'\n', block).count(),
            LineEnds::Mixed => memchr_iter(b'\n', block).filter(|lf| !is_sent_as_it_is(lf)).count(),
        };
        self.octets += (block.len() + lines) as u64;
        self.last = block.last().copied().or(self.last);
    }

    fn before(&self, block: &[u8], at: usize) -> Option<u8> {
        if at == 0 { self.last } else { Some(block[at - 1]) }
    }

    /// The count as `,W=` has it: without a final CRLF that the file does not have.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The count as LIST has it: with the final CRLF that RETR adds where the file does not end with a line end.
    pub fn octets_sent(&self) -> u64 {
        let ends_with_line = matches!(self.last, None | Some(b'\n'));
        self.octets + if ends_with_line { 0 } else { 2 }
    }
}

/// The octets of a whole file as `,W=` counts them; see `WireSize`.
#[cfg(test)]
pub fn wire_size(file: &[u8]) -> u64 {
    let mut size = WireSize::new(LineEnds::Lf);
    size.add(file);
    size.octets()
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
