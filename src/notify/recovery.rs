//! Finds what is unread in a pipe that outlived its writer: the server was killed, and readers held the pipe.

use super::unread::{Line, Unread};
use std::collections::VecDeque;

/// Finds the first unread line of a pipe that outlived its writer, by comparing what is in it with the lines that the
/// writer wrote, or would have written next: how many it wrote is not known exactly.
///
/// A line is added with [`Recovery::add`], oldest first; after each, [`Recovery::unread`] tells whether the lines so far
/// may be what was written. The first answer is the right one: a later one could pass over a line that was never written.
#[derive(Debug)]
pub(super) struct Recovery<'a> {
    content: &'a [u8],
    /// At most so many octets at the front of `content` are of lines before those that are added.
    rest: u64,
    /// The lines that reach into the last `content.len()` octets of all that were added, and their octets.
    lines: VecDeque<Line>,
    octets: Vec<u8>,
    /// Where in `octets` they begin.
    start: usize,
    /// Every record up to this one has its line before `lines`.
    done: u64,
}

impl<'a> Recovery<'a> {
    /// `content` is in the pipe, and every line up to `acknowledged` was read but for `rest` octets at most.
    pub(super) fn new(acknowledged: u64, rest: u64, content: &'a [u8]) -> Recovery<'a> {
        Recovery { content, rest, lines: VecDeque::new(), octets: Vec::new(), start: 0, done: acknowledged }
    }

    /// The next line; `write` appends its octets.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Line) {
        let line = write(&mut self.octets);
        self.lines.push_back(line);
        while let Some(front) = self.lines.front()
            && self.octets.len() - self.start - front.octets as usize >= self.content.len()
        {
            self.start += front.octets as usize;
            self.done = front.seq;
            self.lines.pop_front();
        }
        if self.start > self.octets.len() / 2 {
            self.octets.drain(..self.start);
            self.start = 0;
        }
    }

    /// What is unread if the lines so far were written, and no more. `None` when the content says that it was not so.
    pub(super) fn unread(&self) -> Option<Unread> {
        let octets = &self.octets[self.start..];
        let mut unread = Unread::new(self.done);
        match self.content.len().checked_sub(octets.len()) {
            None | Some(0) if octets.ends_with(self.content) => {}
            Some(rest) if rest as u64 <= self.rest && self.content.ends_with(octets) => unread.push_begun(rest),
            _ => return None,
        }
        self.lines.iter().for_each(|line| unread.push(*line));
        unread.settle(self.content.len() as u64);
        Some(unread)
    }
}
