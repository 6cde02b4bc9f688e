//! Which lines in a pipe nobody has read yet: pure accounting over what was written and how much of it is still there.
//!
//! A pipe is a queue of octets, so what has been read is what was written less what is left, from the oldest on. A
//! line counts as read when its last octet was taken.

use std::collections::VecDeque;

/// One line in the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The record that it tells of.
    pub(super) seq: u64,
    /// When that was stored, seconds since 1970.
    pub(super) stored: u32,
    /// Octets with the newline.
    pub(super) octets: u32,
}

/// The lines that were written and not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    lines: VecDeque<Line>,
    /// The sum of their octets, read ones of the oldest line included.
    octets: u64,
    /// The latest record whose line was written, or that needed no line.
    written: u64,
}

impl Unread {
    /// An empty pipe; everything up to `seq` is done with.
    pub(super) fn new(seq: u64) -> Unread {
        Unread { lines: VecDeque::new(), octets: 0, written: seq }
    }

    /// Everything up to here was read, or needed no line.
    pub(super) fn acknowledged(&self) -> u64 {
        self.lines.front().map_or(self.written, |oldest| oldest.seq.saturating_sub(1))
    }

    /// How many lines are not read.
    pub(super) fn count(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Everything up to here was written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The oldest line that is not read.
    pub(super) fn oldest(&self) -> Option<&Line> {
        self.lines.front()
    }

    /// A line was written.
    pub(super) fn push(&mut self, line: Line) {
        self.octets += u64::from(line.octets);
        self.written = line.seq;
        self.lines.push_back(line);
    }

    /// A record needed no line.
    pub(super) fn pass(&mut self, seq: u64) {
        self.written = seq;
    }

    /// `left` octets are in the pipe now. More than were written are a stranger's, and tell nothing.
    pub(super) fn settle(&mut self, left: u64) {
        while let Some(line) = self.lines.front()
            && left + u64::from(line.octets) <= self.octets
        {
            self.octets -= u64::from(line.octets);
            self.lines.pop_front();
        }
    }

    /// `taken` octets were in the pipe and were taken out again: the lines that nobody began to read are as if they had
    /// never been written. Gives how many of the octets belong back all the same, since nobody could write them again: the
    /// end of a line whose beginning was read, and lines of records before `first`, which the journal has no more. These
    /// lines count as read.
    pub(super) fn take_back(&mut self, taken: u64, first: u64) -> usize {
        self.settle(taken);
        let begun = self.octets.saturating_sub(taken);
        let (mut seq, mut octets) = (self.acknowledged(), 0);
        for (index, line) in self.lines.iter().enumerate() {
            let read = if index == 0 { begun } else { 0 };
            if read == 0 && line.seq >= first {
                break;
            }
            seq = line.seq;
            octets += u64::from(line.octets) - read;
        }
        *self = Unread::new(seq);
        octets as usize
    }

    /// What a pipe holds that outlived its writer: `content` is in it; `lines` were written since the last line that was
    /// surely read, `octets` all of theirs. `None` when the one is not the end of the other.
    pub(super) fn recover(acknowledged: u64, lines: &[Line], octets: &[u8], content: &[u8]) -> Option<Unread> {
        let mut unread = Unread::new(acknowledged);
        if let Some(front) = content.strip_suffix(octets) {
            unread.push_begun(front.len());
        } else if !octets.ends_with(content) {
            return None;
        }
        lines.iter().for_each(|line| unread.push(*line));
        unread.settle(content.len() as u64);
        Some(unread)
    }

    /// The end of a line that was done with before is in the pipe, `left` octets.
    pub(super) fn push_begun(&mut self, left: usize) {
        if left > 0 {
            // How long it was does not matter, only that it was begun.
            self.push(Line { seq: self.written, stored: u32::MAX, octets: left as u32 + 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(seq: u64, octets: usize) -> Line {
        Line { seq, stored: 0, octets: octets as u32 }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize),
        Pass,
        Read(usize),
        TakeBack,
        Crash,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_usize..6).prop_map(Step::Write),
            1 => Just(Step::Pass),
            4 => (1_usize..9).prop_map(Step::Read),
            1 => Just(Step::TakeBack),
            1 => Just(Step::Crash),
        ]
    }

    fn octets_of(&(seq, count): &(u64, usize)) -> Vec<u8> {
        let mut octets = vec![b'a' + (seq % 26) as u8; count - 1];
        octets.push(b'\n');
        octets
    }

    proptest! {
        /// The twin is the pipe itself, in which every octet says which line it belongs to.
        #[test]
        fn agrees_with_a_pipe_of_octets(steps in proptest::collection::vec(step(), 0..60)) {
            let mut pipe: VecDeque<u64> = VecDeque::new();
            let mut unread = Unread::new(0);
            let mut written: Vec<(u64, usize)> = Vec::new();
            let (mut seq, mut durable) = (0, 0);
            for step in steps {
                match step {
                    Step::Write(count) => {
                        seq += 1;
                        unread.push(line(seq, count));
                        written.push((seq, count));
                        pipe.extend(std::iter::repeat_n(seq, count));
                    }
                    Step::Pass => {
                        seq += 1;
                        unread.pass(seq);
                    }
                    Step::Read(count) => {
                        pipe.drain(..count.min(pipe.len()));
                    }
                    Step::TakeBack => {
                        let rest = unread.take_back(pipe.len() as u64, 0);
                        let begun = pipe.front().copied().filter(|&front| {
                            let length = written.iter().find(|line| line.0 == front).unwrap().1;
                            pipe.iter().filter(|&&seq| seq == front).count() < length
                        });
                        prop_assert_eq!(rest, pipe.iter().filter(|&&seq| Some(seq) == begun).count());
                        seq = begun.unwrap_or(pipe.front().map_or(seq, |front| front - 1));
                        prop_assert_eq!(unread.acknowledged(), seq);
                        // The end of the line that was begun is put back, and its reader takes it.
                        pipe.clear();
                        written.retain(|line| line.0 <= seq);
                    }
                    Step::Crash => {
                        // Only the cursor is left, which may be behind, and the pipe, because a reader holds it.
                        let since: Vec<_> = written.iter().filter(|line| line.0 > durable).collect();
                        let lines: Vec<_> = since.iter().map(|&&(seq, count)| line(seq, count)).collect();
                        let octets: Vec<_> = since.into_iter().flat_map(octets_of).collect();
                        let all: Vec<_> = written.iter().flat_map(octets_of).collect();
                        let content = &all[all.len() - pipe.len()..];
                        unread = Unread::recover(durable, &lines, &octets, content).unwrap();
                        unread.pass(seq);
                    }
                }
                // The cursor is not written each time.
                if seq % 3 == 0 {
                    durable = unread.acknowledged();
                }
                unread.settle(pipe.len() as u64);
                prop_assert_eq!(unread.written(), seq);
                prop_assert_eq!(unread.oldest().map(|line| line.seq), pipe.front().copied());
                prop_assert_eq!(unread.acknowledged(), pipe.front().map_or(seq, |front| front - 1));
                durable = durable.min(seq);
            }
        }
    }

    #[test]
    fn what_outlived_its_writer_is_recognised_or_not() {
        let lines = [line(5, 3), line(7, 4)];
        let recover = |content: &[u8]| {
            Unread::recover(4, &lines, b"ab\nxyz\n", content)
                .map(|unread| (unread.acknowledged(), unread.lines.iter().map(|line| line.octets).collect::<Vec<_>>()))
        };
        assert_eq!(recover(b""), Some((7, vec![])));
        assert_eq!(recover(b"xyz\n"), Some((6, vec![4])));
        assert_eq!(recover(b"z\n"), Some((6, vec![4])));
        assert_eq!(recover(b"b\nxyz\n"), Some((4, vec![3, 4])));
        assert_eq!(recover(b"ab\nxyz\n"), Some((4, vec![3, 4])));
        assert_eq!(recover(b"old\nab\nxyz\n"), Some((3, vec![5, 3, 4])));
        assert_eq!(recover(b"ab\n"), None);
        assert_eq!(recover(b"stranger"), None);
    }

    #[test]
    fn what_the_journal_has_no_more_stays_in_the_pipe() {
        for (taken, first, kept, acknowledged) in
            [(16, 0, 0, 0), (16, 3, 7, 2), (15, 0, 2, 1), (15, 3, 6, 2), (16, 4, 16, 3), (9, 9, 9, 3), (0, 9, 0, 3)]
        {
            let mut unread = Unread::new(0);
            [line(1, 3), line(2, 4), line(3, 9)].into_iter().for_each(|line| unread.push(line));
            let told = (unread.take_back(taken, first), unread.acknowledged(), unread.count());
            assert_eq!(told, (kept, acknowledged, 0), "{taken} {first}");
        }
    }

    #[test]
    fn a_stranger_s_octets_confuse_nothing() {
        let mut unread = Unread::new(0);
        unread.push(line(1, 10));
        unread.settle(500);
        assert_eq!(unread.acknowledged(), 0);
        unread.settle(0);
        assert_eq!(unread.acknowledged(), 1);
    }
}
