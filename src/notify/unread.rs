//! The lines in a pipe that no reader has taken yet, computed from what was written and how much of it is still there.
//!
//! A pipe is a queue of octets, so what has been read is what was written less what is left, from the oldest on. A
//! line counts as read when its last octet was taken.

use std::collections::VecDeque;

/// One line in the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The number of its record.
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
    /// The latest record that was written, or that needed no line.
    written: u64,
    /// At most so many octets at the front of the pipe are not of `lines`, or of a first one that stands for them.
    rest: u64,
}

impl Unread {
    /// An empty pipe; everything up to `seq` is done.
    pub(super) fn new(seq: u64) -> Unread {
        Unread { lines: VecDeque::new(), octets: 0, written: seq, rest: 0 }
    }

    /// Everything up to here was read, or needed no line.
    pub(super) fn acknowledged(&self) -> u64 {
        self.lines.front().map_or(self.written, |oldest| oldest.seq.saturating_sub(1))
    }

    /// How many lines are not read.
    pub(super) fn count(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Octets of these, read ones of the oldest line included.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Everything up to here was written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// How many octets at the front of the pipe may be of lines that are done.
    pub(super) fn rest(&self) -> u64 {
        self.rest
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

    /// `left` octets are in the pipe now. More than were written are another program's, and tell nothing.
    pub(super) fn settle(&mut self, left: u64) {
        while let Some(line) = self.lines.front()
            && left + u64::from(line.octets) <= self.octets
        {
            self.octets -= u64::from(line.octets);
            self.lines.pop_front();
            self.rest = 0;
        }
    }

    /// `taken` octets were in the pipe and were taken out again: the lines that nobody began to read are as if they had
    /// never been written. Returns how many of the octets must be put back, because they cannot be written again: the end
    /// of a line that a reader began, and lines of records before `first`, which the journal has no more. These lines
    /// count as read.
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
        *self = Unread { rest: octets, ..Unread::new(seq) };
        octets as usize
    }

    /// The end of a line that is done is in the pipe, `left` octets.
    pub(super) fn push_begun(&mut self, left: usize) {
        if left > 0 {
            // How long the line was does not matter, only that it was begun.
            self.push(Line { seq: self.written, stored: u32::MAX, octets: left as u32 + 1 });
            self.rest = left as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::recovery::Recovery;
    use proptest::prelude::*;

    fn line(seq: u64, octets: usize) -> Line {
        Line { seq, stored: 0, octets: octets as u32 }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize),
        Pass,
        Read(usize),
        Save,
        Restart,
        Crash,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_usize..6).prop_map(Step::Write),
            1 => Just(Step::Pass),
            4 => (1_usize..9).prop_map(Step::Read),
            2 => Just(Step::Save),
            1 => Just(Step::Restart),
            1 => Just(Step::Crash),
        ]
    }

    /// Short lines are all alike, so that it is not always clear which is which.
    fn octets_of(&(seq, count): &(u64, usize)) -> Vec<u8> {
        let mut octets = vec![b'a' + (seq % 26) as u8; count - 1];
        octets.push(b'\n');
        octets
    }

    /// A server and its pipe. The twin of the accounting is the pipe itself, in which every octet says of which line it
    /// is.
    struct Model {
        pipe: VecDeque<u64>,
        unread: Unread,
        /// The journal: the length of the line of each record, 0 where it needs none.
        journal: Vec<usize>,
        /// What the cursor says: acknowledged, written, rest.
        cursor: (u64, u64, u64),
    }

    impl Model {
        fn write(&mut self, count: usize) {
            let seq = self.unread.written() + 1;
            // After a restart, records that were written before come again.
            if seq as usize > self.journal.len() {
                self.journal.push(count);
            }
            match self.journal[seq as usize - 1] {
                0 => self.unread.pass(seq),
                count => {
                    self.unread.push(line(seq, count));
                    self.pipe.extend(std::iter::repeat_n(seq, count));
                }
            }
        }

        fn save(&mut self) {
            self.unread.settle(self.pipe.len() as u64);
            self.cursor = (self.unread.acknowledged(), self.unread.written(), self.unread.rest());
        }

        /// The octets that are in the pipe.
        fn content(&self) -> Vec<u8> {
            let mut content = Vec::new();
            let mut at = 0;
            while at < self.pipe.len() {
                let seq = self.pipe[at];
                let run = self.pipe.iter().skip(at).take_while(|&&other| other == seq).count();
                let whole = octets_of(&(seq, self.journal[seq as usize - 1]));
                content.extend_from_slice(&whole[whole.len() - run..]);
                at += run;
            }
            content
        }

        /// What the next start makes of the pipe.
        fn recover(&self) -> Unread {
            let (acknowledged, written, rest) = self.cursor;
            let content = self.content();
            let mut recovery = Recovery::new(acknowledged, rest, &content);
            for seq in acknowledged + 1.. {
                if seq > written
                    && let Some(mut unread) = recovery.unread()
                {
                    unread.pass(written.max(unread.written()));
                    return unread;
                }
                let count = self.journal[seq as usize - 1];
                if count > 0 {
                    recovery.add(|out| {
                        out.extend(octets_of(&(seq, count)));
                        line(seq, count)
                    });
                }
            }
            unreachable!("what is in the pipe was written")
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_pipe_of_octets(steps in proptest::collection::vec(step(), 0..60), alike in any::<bool>()) {
            let mut model =
                Model { pipe: VecDeque::new(), unread: Unread::new(0), journal: Vec::new(), cursor: (0, 0, 0) };
            for step in steps {
                match step {
                    Step::Write(count) => model.write(if alike { count } else { count + 1 }),
                    Step::Pass => model.write(0),
                    Step::Read(count) => drop(model.pipe.drain(..count.min(model.pipe.len()))),
                    Step::Save => model.save(),
                    Step::Restart => {
                        let left = model.pipe.len();
                        let front = model.pipe.front().copied();
                        let of_front = model.pipe.iter().take_while(|&&seq| Some(seq) == front).count();
                        let is_begun = front.is_some_and(|seq| of_front < model.journal[seq as usize - 1]);
                        let rest = model.unread.take_back(left as u64, 0);
                        prop_assert_eq!(rest, if is_begun { of_front } else { 0 });
                        // The end of the line that was begun is put back; its reader takes it.
                        model.pipe.truncate(rest);
                        model.save();
                        model.unread = model.recover();
                    }
                    Step::Crash => {
                        let before = model.unread.clone();
                        let is_saved = model.cursor.1 == before.written();
                        // With a whole line in it, the content can be no other lines'.
                        let has_line = model.pipe.front() != model.pipe.back() && model.journal.len() < 26;
                        let front = model.pipe.front().copied();
                        model.unread = model.recover();
                        // Never is a line passed over that is not in the pipe ...
                        prop_assert!(model.unread.written() <= before.written());
                        prop_assert!(model.unread.oldest().is_none_or(|line| Some(line.seq) <= front || front.is_none()));
                        // ... and where lines differ, none comes twice to a reader that stayed.
                        if !alike && model.cursor.2 == 0 && (is_saved || has_line) {
                            let last = model.journal[..before.written() as usize].iter().rposition(|count| *count > 0);
                            prop_assert!(model.unread.written() >= last.map_or(0, |last| last as u64 + 1));
                            let unread: u64 = model.pipe.iter().fold((0, 0), |(count, last), &seq| {
                                (count + u64::from(seq != last), seq)
                            }).0;
                            prop_assert_eq!(model.unread.count(), unread);
                        }
                        if model.unread.written() < before.written() {
                            // What follows is written again; the model tells no two copies of a line apart.
                            return Ok(());
                        }
                    }
                }
                model.unread.settle(model.pipe.len() as u64);
                if alike {
                    continue;
                }
                let front = model.pipe.front().copied();
                prop_assert_eq!(model.unread.oldest().map(|line| line.seq), front);
                let acknowledged = front.map_or(model.unread.written(), |front| front - 1);
                prop_assert_eq!(model.unread.acknowledged(), acknowledged);
            }
        }
    }

    #[test]
    fn what_outlived_its_writer_is_recognised_or_not() {
        let lines: [(Line, &[u8]); 2] = [(line(5, 3), b"ab\n"), (line(7, 4), b"xyz\n")];
        // After the first `at_least` lines, the first answer counts.
        let recover = |at_least: usize, rest: u64, content: &[u8]| {
            let mut recovery = Recovery::new(4, rest, content);
            let mut found = if at_least == 0 { recovery.unread() } else { None };
            for (number, (line, octets)) in lines.iter().enumerate() {
                recovery.add(|out| {
                    out.extend_from_slice(octets);
                    *line
                });
                found = found.or_else(|| if number + 1 >= at_least { recovery.unread() } else { None });
            }
            found.map(|unread| (unread.acknowledged(), unread.written(), unread.count()))
        };
        for (at_least, rest, content, wanted) in [
            (2, 0, "", Some((7, 7, 0))),
            (2, 0, "xyz\n", Some((6, 7, 1))),
            (2, 0, "z\n", Some((6, 7, 1))),
            (2, 0, "b\nxyz\n", Some((4, 7, 2))),
            (2, 0, "ab\nxyz\n", Some((4, 7, 2))),
            // More was written than the cursor says.
            (0, 0, "ab\nxyz\n", Some((4, 7, 2))),
            (0, 0, "ab\n", Some((4, 5, 1))),
            // Everything was read, or nothing was written: twice is better than never.
            (0, 0, "", Some((4, 4, 0))),
            // The end of a line from before.
            (2, 4, "old\nab\nxyz\n", Some((3, 7, 3))),
            (2, 3, "old\nab\nxyz\n", None),
            (0, u64::MAX, "ab\n", Some((3, 4, 1))),
            (2, 0, "ab\n", None),
            (2, 3, "stranger", None),
        ] {
            assert_eq!(recover(at_least, rest, content.as_bytes()), wanted, "{at_least} {rest} {content:?}");
        }
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
    fn octets_of_another_program_confuse_nothing() {
        let mut unread = Unread::new(0);
        unread.push(line(1, 10));
        unread.settle(500);
        assert_eq!(unread.acknowledged(), 0);
        unread.settle(0);
        assert_eq!(unread.acknowledged(), 1);
    }
}
