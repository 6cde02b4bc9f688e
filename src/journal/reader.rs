//! Reading the journal record by record, from any place, up to what the mark calls safe.
//!
//! A reader holds one buffer, however long the journal is. It forgets what it has read beyond the safe place, because that
//! may be written again.

use super::mark;
use super::record::Record;
use super::segment::{self, Lines, Segment};
use super::told::Told;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a reader finds.
#[derive(Debug)]
pub enum Item {
    /// The next record.
    Record(Arc<Record>),
    /// Records that are gone, because their segment was dropped, or because their lines are damaged.
    Lost {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

/// A place in the journal that moves forward.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// `seq` of the record that comes next.
    next: u64,
    /// Up to here records may be told.
    safe: Safe,
    open: Option<Open>,
    /// Records that were read already, the next one last; with the octets before their lines.
    peeked: Vec<(Record, u64)>,
    /// Segments may have come or gone since the folder was read.
    changed: bool,
    /// Damage is not logged: another reader has logged it.
    is_quiet: bool,
    line: Vec<u8>,
}

/// What is known of the mark.
#[derive(Debug)]
enum Safe {
    /// Nothing yet.
    Unknown,
    /// There is none: all is safe.
    All,
    /// It said this, and may say more since it was `stale`.
    UpTo { file: File, seq: u64, stale: bool },
    /// The writer is in this process, and said this.
    Told { told: Told, seq: u64 },
}

#[derive(Debug)]
struct Open {
    segment: Segment,
    /// `seq` in the name of the segment that follows: its records have no higher ones.
    until: u64,
    lines: Lines,
    /// The first line whose `seq` is not safe, while those before it are missing.
    beyond: Option<u64>,
}

impl Reader {
    /// Reads the journal in `dir` from the record after `after`.
    pub fn new(dir: &Path, after: u64) -> Reader {
        Reader {
            dir: dir.to_owned(),
            next: after.saturating_add(1),
            safe: Safe::Unknown,
            open: None,
            peeked: Vec::new(),
            changed: true,
            is_quiet: false,
            line: Vec::new(),
        }
    }

    /// The same in the process that writes it.
    pub(super) fn of_told(dir: &Path, after: u64, told: Told) -> Reader {
        Reader { safe: Safe::Told { told, seq: 0 }, ..Reader::new(dir, after) }
    }

    /// Reads all that there is, safe or not.
    #[cfg(test)]
    pub(crate) fn of_all(dir: &Path) -> Reader {
        Reader { safe: Safe::All, ..Reader::new(dir, 0) }
    }

    /// The journal's folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Segments may have come or gone.
    pub(super) fn look_at_folder(&mut self) {
        self.changed = true;
    }

    /// The mark may be another file now, or be there at last.
    pub(super) fn look_for_mark(&mut self) {
        if !matches!(self.safe, Safe::Told { .. }) {
            self.safe = Safe::Unknown;
        }
    }

    /// Goes to the record after `after`, forwards or back.
    pub(super) fn go_to(&mut self, after: u64) {
        (self.next, self.open) = (after.saturating_add(1), None);
        self.peeked.clear();
        self.changed = true;
    }

    /// Records up to this one were called safe.
    pub(super) fn safe_seq(&self) -> u64 {
        match &self.safe {
            Safe::UpTo { seq, .. } | Safe::Told { seq, .. } => *seq,
            Safe::All | Safe::Unknown => u64::MAX,
        }
    }

    /// The mark may say more now.
    pub(super) fn look_again(&mut self) {
        if let Safe::UpTo { stale, .. } = &mut self.safe {
            *stale = true;
        }
    }

    /// Whether the next record may be told now.
    fn is_next_safe(&mut self) -> io::Result<bool> {
        match &mut self.safe {
            Safe::All => return Ok(true),
            Safe::UpTo { seq, .. } | Safe::Told { seq, .. } if self.next <= *seq => return Ok(true),
            Safe::Told { told, seq } => match told.seq() {
                now if now <= *seq => return Ok(false),
                now => *seq = now,
            },
            Safe::UpTo { stale: false, .. } => return Ok(false),
            Safe::UpTo { file, seq, stale } => match mark::read_file(file) {
                Some(now) => (*seq, *stale) = (now.max(*seq), false),
                None => self.safe = Safe::All,
            },
            Safe::Unknown => {
                let file = segment::open(&self.dir.join(mark::NAME)).ok();
                let marked = file.and_then(|file| mark::read_file(&file).map(|seq| (file, seq)));
                self.safe = marked.map_or(Safe::All, |(file, seq)| Safe::UpTo { file, seq, stale: false });
            }
        }
        // What was read ahead was not safe then, and may have been written anew.
        if let Some(open) = &mut self.open {
            open.lines.forget_ahead()?;
        }
        Ok(self.next <= self.safe_seq())
    }

    /// The next item; `None` at the end of what is safe.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened. The place stays where it was.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            if !self.is_next_safe()? {
                return Ok(None);
            }
            if let Some(record) = self.next_in_memory() {
                return Ok(Some(Item::Record(record)));
            }
            if self.open.is_none() {
                match self.enter_segment()? {
                    Step::GoOn => {}
                    Step::Return(item) => return Ok(item),
                }
            }
            let Some((record, start)) = self.read()? else {
                match self.end_of_segment()? {
                    Step::GoOn => continue,
                    Step::Return(item) => return Ok(item),
                }
            };
            let until = self.open.as_ref().map_or(u64::MAX, |open| open.until);
            if record.seq < self.next || record.seq >= until {
                continue;
            }
            let safe = self.safe_seq();
            let Some(open) = &mut self.open else { continue };
            if record.seq > safe {
                // What comes before it is safe and was not found: that is damaged, or the number of this line is.
                open.beyond.get_or_insert(start);
                continue;
            }
            open.beyond = None;
            if record.seq == self.next {
                self.next += 1;
                return Ok(Some(Item::Record(Arc::new(record))));
            }
            // A gap. If the line that follows fills it, the number of this line is damaged.
            let after = self.read()?;
            if after.as_ref().is_some_and(|(after, _)| (self.next..record.seq).contains(&after.seq)) {
                self.peeked.extend(after);
                continue;
            }
            self.log_damage(record.seq - 1);
            let item = self.lose(record.seq - 1);
            if let Some(open) = &mut self.open
                && !open.lines.seek(start)?
            {
                self.peeked.extend(after);
                self.peeked.push((record, start));
            }
            return Ok(Some(item));
        }
    }

    /// The next record, if it is one of the latest that this process recorded. What is open stays behind then.
    fn next_in_memory(&mut self) -> Option<Arc<Record>> {
        let Safe::Told { told, .. } = &self.safe else { return None };
        let (record, segment) = told.record(self.next)?;
        self.next += 1;
        // A segment that grows no more would keep its file on the disk.
        self.open.take_if(|open| open.segment.first != segment);
        Some(record)
    }

    /// Everything from the next record up to `to` is gone.
    fn lose(&mut self, to: u64) -> Item {
        let from = std::mem::replace(&mut self.next, to + 1);
        Item::Lost { from, to }
    }

    fn read(&mut self) -> io::Result<Option<(Record, u64)>> {
        match (self.peeked.pop(), &mut self.open) {
            (Some(peeked), _) => Ok(Some(peeked)),
            (None, Some(open)) => open.lines.next_record(self.next, &mut self.line),
            (None, None) => Ok(None),
        }
    }

    /// The end of this segment, or of the journal: a later segment tells. The writer ends one before it begins the next,
    /// so one more look at this one is enough.
    fn end_of_segment(&mut self) -> io::Result<Step> {
        let (is_marked, safe) = (matches!(self.safe, Safe::UpTo { .. } | Safe::Told { .. }), self.safe_seq());
        let Some(open) = self.open.as_mut().filter(|_| self.changed || is_marked) else {
            return Ok(Step::Return(None));
        };
        let first = open.segment.first;
        let later = segment::list(&self.dir)?.into_iter().map(|segment| segment.first).find(|other| *other > first);
        let beyond = open.beyond.take();
        if beyond.is_none()
            && let Some(found) = open.lines.next_record(self.next, &mut self.line)?
        {
            self.peeked.push(found);
            return Ok(Step::GoOn);
        }
        let to = match later {
            Some(later) if later <= self.next => {
                self.open = None;
                return Ok(Step::GoOn);
            }
            Some(later) => safe.min(later - 1),
            // The mark was read before: what it calls safe was there.
            None if is_marked => safe,
            None => {
                self.changed = false;
                return Ok(Step::Return(None));
            }
        };
        match beyond {
            Some(start) => drop(open.lines.seek(start)?),
            None => self.open = None,
        }
        self.log_damage(to);
        Ok(Step::Return(Some(self.lose(to))))
    }

    fn log_damage(&self, to: u64) {
        if !self.is_quiet {
            log::error!("{}: records {} to {to} are damaged and lost", self.dir.display(), self.next);
        }
    }

    /// Opens the segment that holds the next record.
    fn enter_segment(&mut self) -> io::Result<Step> {
        self.peeked.clear();
        // A segment may be compressed or dropped between reading the folder and opening it, but not again and again.
        for _ in 0..3 {
            let segments = segment::list(&self.dir)?;
            let at = segments.partition_point(|segment| segment.first <= self.next);
            let first = segments.get(at.saturating_sub(1)).map_or(u64::MAX, |segment| segment.first);
            if first > self.next {
                let to = self.safe_seq().min(first - 1);
                if to == u64::MAX - 1 {
                    break;
                }
                return Ok(Step::Return(Some(self.lose(to))));
            }
            let segment = &segments[at - 1];
            match segment.lines() {
                Ok(lines) => {
                    let until = segments.get(at).map_or(u64::MAX, |later| later.first);
                    self.open = Some(Open { segment: segment.clone(), until, lines, beyond: None });
                    return Ok(Step::GoOn);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Step::Return(None))
    }
}

/// How [`Reader::next_item`] goes on.
enum Step {
    GoOn,
    Return(Option<Item>),
}

/// `seq` of the latest record that is safe, 0 where there is none or no journal yet; from the files alone.
///
/// # Errors
///
/// When the folder or the last segment cannot be read.
pub fn last_seq(dir: &Path) -> io::Result<u64> {
    let segments = match segment::list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    if let Some(seq) = mark::read(dir) {
        return Ok(seq);
    }
    let Some(last) = segments.last() else { return Ok(0) };
    let mut seq = last.first - 1;
    last.records(|record, _, _| seq = seq.max(record.seq))?;
    Ok(seq)
}

/// `seq` of the oldest record that is not gone, or of the first one that will be there; from the files' names alone.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn first_seq(dir: &Path) -> io::Result<u64> {
    match segment::list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(1),
        segments => Ok(segments?.first().map_or(1, |oldest| oldest.first)),
    }
}

/// The oldest record after `after` that there is; from the files alone.
///
/// # Errors
///
/// When the folder or a segment cannot be read.
pub fn oldest_after(dir: &Path, after: u64) -> io::Result<Option<Record>> {
    let mut reader = Reader { is_quiet: true, ..Reader::new(dir, after) };
    loop {
        match reader.next_item()? {
            Some(Item::Record(record)) => return Ok(Some(Arc::unwrap_or_clone(record))),
            Some(Item::Lost { .. }) => {}
            None => return Ok(None),
        }
    }
}
