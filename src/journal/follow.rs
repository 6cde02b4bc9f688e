//! Reading the journal record by record, from any place, while it grows: inside the server and outside it alike.
//!
//! A follower needs no help from the writer: it reads the segments' files, and inotify(7) on their folder tells when
//! there is more. It holds one buffer, however long the journal is.

use super::record::Record;
use super::segment::{self, Lines};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a follower comes across.
#[derive(Debug)]
pub enum Item {
    /// The next record.
    Record(Box<Record>),
    /// Records that are gone, because they were older than `journal.keep`, or because their lines are damaged.
    Lost {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

/// A place in the journal that moves forward, and knows when there may be more.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    /// `None` where there are no more instances (inotify(7), max_user_instances).
    inotify: Option<OwnedFd>,
}

/// A place in the journal that moves forward.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// `seq` of the record that comes next.
    next: u64,
    open: Option<Open>,
    /// Segments may have come or gone since the folder was read.
    changed: bool,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    first: u64,
    /// `seq` of the line that is read next: a segment has no gaps.
    at: u64,
    lines: Lines,
}

/// What [`Reader::enter_segment`] found.
enum Found {
    Segment,
    Gap(Item),
    Nothing,
}

impl Follower {
    /// Follows the journal in `dir` from the record after `after`. Where inotify is not to be had, its user has to look
    /// now and then: [`Follower::fd`] says so.
    ///
    /// # Errors
    ///
    /// When the folder is not there or cannot be read.
    pub fn open(dir: &Path, after: u64) -> io::Result<Follower> {
        let inotify = match watch(dir) {
            Ok(inotify) => Some(inotify),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::NOSYS) => {
                log::warn!("no more inotify instances or watches (fs.inotify.*, sysctl): looking now and then instead");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let follower = Follower { reader: Reader::new(dir, after), inotify };
        segment::list(dir)?;
        Ok(follower)
    }

    /// Readable when the journal may have grown since [`Follower::drain_events`]; `None` when nothing tells.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// As it is where inotify is not to be had.
    #[cfg(test)]
    pub(crate) fn make_blind(&mut self) {
        self.inotify = None;
    }

    /// Goes to the record after `after`, forwards or back.
    pub fn go_to(&mut self, after: u64) {
        self.reader = Reader::new(&self.reader.dir, after);
    }

    /// Takes what [`Follower::fd`] holds. Call it before reading to the end, not after: an event that comes in between
    /// then stays for the next wait.
    pub fn drain_events(&mut self) {
        let Some(inotify) = &self.inotify else {
            self.reader.changed = true;
            return;
        };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut space);
        while let Ok(event) = events.next() {
            self.reader.changed |= event.events() != inotify::ReadFlags::MODIFY;
            // What is in the buffer is taken; another read(2) would only say that there is no more.
            if events.is_buffer_empty() {
                break;
            }
        }
    }

    /// The next item; `None` when there is nothing more yet.
    ///
    /// # Errors
    ///
    /// When a file cannot be read. The place stays where it was.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        self.reader.next_item()
    }
}

fn watch(dir: &Path) -> Result<OwnedFd, Errno> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&inotify, dir, events)?;
    Ok(inotify)
}

impl Reader {
    /// Reads the journal in `dir` from the record after `after`.
    pub fn new(dir: &Path, after: u64) -> Reader {
        Reader { dir: dir.to_owned(), next: after + 1, open: None, changed: true, line: Vec::new() }
    }

    /// The next item; `None` at the end of what there was when this reader was made.
    ///
    /// # Errors
    ///
    /// When a file cannot be read. The place stays where it was.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            let Some(open) = &mut self.open else {
                match self.enter_segment()? {
                    Found::Segment => continue,
                    Found::Gap(item) => return Ok(Some(item)),
                    Found::Nothing => return Ok(None),
                }
            };
            if !open.lines.next(&mut self.line)? {
                // The end of this segment, or of the journal: a later segment tells. The writer ends one before it
                // begins the next, so one more look at this one is enough.
                let first = open.first;
                if !self.changed || !segment::list(&self.dir)?.iter().any(|other| other.first > first) {
                    self.changed = false;
                    return Ok(None);
                }
                if !open.lines.next(&mut self.line)? {
                    self.open = None;
                    continue;
                }
            }
            let at = open.at;
            open.at += 1;
            if at >= self.next {
                self.next = at + 1;
                return Ok(Some(self.item(at)));
            }
        }
    }

    /// What the whole line in `self.line` is.
    fn item(&self, at: u64) -> Item {
        let damage = match Record::parse(&self.line) {
            Ok(record) if record.seq == at => return Item::Record(Box::new(record)),
            Ok(record) => format!("seq is {}", record.seq),
            Err(damage) => damage.to_string(),
        };
        log::error!("{}: record {at}: {damage}", self.dir.display());
        Item::Lost { from: at, to: at }
    }

    /// Opens the segment that holds the next record.
    fn enter_segment(&mut self) -> io::Result<Found> {
        // A segment may be compressed or dropped between reading the folder and opening it, but not again and again.
        for _ in 0..3 {
            let segments = segment::list(&self.dir)?;
            let at = segments.partition_point(|segment| segment.first <= self.next);
            let Some(segment) = segments.get(at.saturating_sub(1)) else { return Ok(Found::Nothing) };
            if segment.first > self.next {
                let item = Item::Lost { from: self.next, to: segment.first - 1 };
                self.next = segment.first;
                return Ok(Found::Gap(item));
            }
            match segment.lines() {
                Ok(lines) => {
                    self.open = Some(Open { first: segment.first, at: segment.first, lines });
                    return Ok(Found::Segment);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Found::Nothing)
    }
}

/// `seq` of the latest record, 0 where there is none or no journal yet; from the files alone.
///
/// # Errors
///
/// When the folder or the last segment cannot be read.
pub fn last_seq(dir: &Path) -> io::Result<u64> {
    let segments = match segment::list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let Some(last) = segments.last() else { return Ok(0) };
    let (mut lines, mut line) = (last.lines()?, Vec::new());
    let mut next = last.first;
    while lines.next(&mut line)? {
        next += 1;
    }
    Ok(next - 1)
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
    let mut reader = Reader::new(dir, after);
    loop {
        match reader.next_item()? {
            Some(Item::Record(record)) => return Ok(Some(*record)),
            Some(Item::Lost { .. }) => {}
            None => return Ok(None),
        }
    }
}
