//! The journal: what happened, in order, for whoever wants to know. JSON Lines, one record a stored message.
//!
//! | on disk | what it is | what becomes of it |
//! |---|---|---|
//! | `N.jsonl`, the last | the active segment | grows; sealed at 8 MiB or by age, when `N'.jsonl` begins |
//! | `N.jsonl`, not the last | sealed | compressed by the next `maintain` |
//! | `N.tmp` | a compression that was cut short | removed at open |
//! | `N.jsonl` and `N.jsonl.gz` | a compression cut short at its end | the plain one is right; compressed again |
//! | `N.jsonl.gz` | sealed and compressed | dropped when its last append, its mtime, is longer ago than `journal.keep` |
//! | `N.keys` | the duplicate index of a sealed segment | made again when it is missing or damaged |
//! | a last line without newline, or damaged | a write that was cut short | cut off at open |
//! | `lock` | whoever writes | held with flock(2), so it dies with its holder |
//!
//! Age is counted from when a record was appended. Its timestamp does not tell: a message that another program delivered
//! may have lain in its Maildir for years before it was found.
//!
//! Appending is one write(2) and no fsync: the mail itself is safe on disk before, and a start after a power cut finds
//! messages whose records were lost and records them again. `sync` is called within a second of a write, and cursors
//! that are ahead of what is left are set back (`cursor::clamp_all`), so no subscriber waits for a `seq` that comes twice.

mod cursor;
mod duplicates;
mod follow;
mod homes;
#[cfg(test)]
mod keep_tests;
mod kept;
mod lock;
mod parse;
pub mod record;
mod seen;
#[cfg(test)]
mod seen_tests;
mod segment;
#[cfg(test)]
mod tests;

pub use cursor::{Cursor, CursorError, clamp_all, cursors, encode};
pub use follow::{Follower, Item, Reader, first_seq, last_seq, oldest_after};
pub use kept::{Begun, Kept, Place};
pub use lock::{Held, Lock};
pub use record::Record;
pub use seen::{KnownIds, Present};

use duplicates::Duplicates;
use segment::Segment;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A segment is sealed when it has grown to this, octets.
const SEGMENT_OCTETS: u64 = 8 * 1024 * 1024;

/// A segment is sealed when its first record was appended this long ago, so that `keep` can be kept with little mail too.
const SEGMENT_AGE: Duration = Duration::from_secs(24 * 3600);

/// The one writer of a journal.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Octets in the active segment.
    end: u64,
    /// Up to here the disk has room for it.
    reserved: u64,
    /// `seq` of the record that comes next.
    next: u64,
    /// When the first record of the active segment was appended, or some time before.
    began: Option<SystemTime>,
    dirty: bool,
    duplicates: Duplicates,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal in `dir` to write to it, and repairs what a crash left. Whoever calls holds its [`Lock`].
    ///
    /// # Errors
    ///
    /// When the folder or the active segment cannot be read or written.
    pub fn open(dir: &Path) -> io::Result<Journal> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
        let segments = segment::list(dir)?;
        let duplicates = Duplicates::load(dir, &segments)?;
        let writer = match segments.last() {
            None => Writer::begin(dir, 1, duplicates)?,
            Some(last) if last.compressed => Writer::begin(dir, last.first + count_lines(last)?, duplicates)?,
            Some(last) => Writer::resume(last, duplicates)?,
        };
        Ok(Journal { dir: dir.to_owned(), writer: Mutex::new(writer) })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `seq` of the latest record; 0 when there was none yet.
    pub fn last_seq(&self) -> u64 {
        self.lock().next - 1
    }

    /// Appends the records in one write(2), and gives each its `seq` and `duplicate_of`.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails. Then none of them is in the journal, and the numbers are not used up.
    pub fn append(&self, records: &mut [Record]) -> io::Result<()> {
        let mut guard = self.lock();
        let writer = &mut *guard;
        if writer.end >= SEGMENT_OCTETS {
            self.rotate(writer)?;
        }
        writer.buffer.clear();
        // Apart from the others until they are written: a `seq` that is not used up must not be anyone's duplicate.
        let mut batch = Duplicates::default();
        for (record, seq) in records.iter_mut().zip(writer.next..) {
            let (user, key) = (&record.user, &record.summary.key);
            record.seq = seq;
            record.duplicate_of = batch.insert(user, key, seq).or_else(|| writer.duplicates.latest(user, key));
            record.write_json(&mut writer.buffer);
            writer.buffer.push(b'\n');
        }
        segment::reserve(&writer.file, writer.end, &mut writer.reserved, writer.buffer.len() as u64)?;
        segment::append(&mut writer.file, &mut writer.end, &writer.buffer)?;
        writer.duplicates.extend(batch);
        writer.began = writer.began.or_else(|| records.first().map(|_| SystemTime::now()));
        writer.next += records.len() as u64;
        writer.dirty = true;
        writer.buffer.shrink_to(64 * 1024);
        Ok(())
    }

    /// Makes what was appended safe against a power cut. Costs nothing when nothing was.
    ///
    /// # Errors
    ///
    /// As fdatasync(2) says.
    pub fn sync(&self) -> io::Result<()> {
        let file = {
            let mut writer = self.lock();
            if !std::mem::take(&mut writer.dirty) {
                return Ok(());
            }
            writer.file.try_clone()?
        };
        // Without the lock: nobody's mail waits for this.
        file.sync_data().inspect_err(|_| self.lock().dirty = true)
    }

    /// Seals what is old, compresses what is sealed, drops what is older than `keep`.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; what was not done is done the next time.
    pub fn maintain(&self, now: SystemTime, keep: Duration) -> io::Result<()> {
        // A time that is yet to come, as before a clock was set back, is not long ago.
        let is_older = |then: SystemTime, age: Duration| now.duration_since(then).is_ok_and(|passed| passed > age);
        {
            let mut writer = self.lock();
            if writer.began.is_some_and(|began| is_older(began, SEGMENT_AGE.min(keep / 4))) {
                self.rotate(&mut writer)?;
            }
        }
        let segments = segment::list(&self.dir)?;
        let mut oldest = None;
        for pair in segments.windows(2) {
            let [segment, next] = pair else { continue };
            if oldest.is_none() && is_older(fs::metadata(&segment.path)?.modified()?, keep) {
                fs::remove_file(&segment.path)?;
                let _ = fs::remove_file(duplicates::path(&self.dir, segment.first));
                log::info!("journal: dropped records {} to {}, older than journal.keep", segment.first, next.first - 1);
                continue;
            }
            oldest.get_or_insert(segment.first);
            if !segment.compressed {
                duplicates::seal(&self.dir, segment)?;
                segment.compress(&self.dir)?;
            }
        }
        if let Some(oldest) = oldest.or(segments.last().map(|segment| segment.first)) {
            self.lock().duplicates.forget_before(oldest);
        }
        Ok(())
    }

    fn rotate(&self, writer: &mut Writer) -> io::Result<()> {
        writer.file.sync_data()?;
        let mut next = Writer::begin(&self.dir, writer.next, Duplicates::default())?;
        std::mem::swap(&mut next.duplicates, &mut writer.duplicates);
        *writer = next;
        // Its name alone may soon tell which `seq` comes next: the segments before it are dropped without waiting for more.
        File::open(&self.dir)?.sync_all()
    }

    /// Puts another file in the place of the active segment, such as /dev/full, and gives the one before.
    #[cfg(test)]
    pub(crate) fn swap_file(&self, file: File) -> File {
        std::mem::replace(&mut self.lock().file, file)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Begins a segment.
    fn begin(dir: &Path, first: u64, duplicates: Duplicates) -> io::Result<Writer> {
        let segment = Segment::plain(dir, first);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(segment.path)?;
        Ok(Writer { file, end: 0, reserved: 0, next: first, began: None, dirty: false, duplicates, buffer: Vec::new() })
    }

    /// Goes on with the last segment: counts its records, and cuts off what is not a whole one at its end.
    fn resume(segment: &Segment, duplicates: Duplicates) -> io::Result<Writer> {
        let (mut lines, mut line) = (segment.lines()?, Vec::new());
        let (mut read, mut end, mut next, mut began) = (0, 0, segment.first, None);
        let mut at = segment.first;
        while lines.next(&mut line)? {
            read += line.len() as u64 + 1;
            // A damaged line that others follow keeps its number, and its readers are told. The last ones are cut off.
            if let Ok(record) = Record::parse(&line)
                && record.seq == at
            {
                // When it was appended is not written anywhere. It was not before this, while the file's mtime would put
                // off the sealing with every restart; that a segment ends too early, once a start, harms nobody.
                began = began.or(Some(UNIX_EPOCH + Duration::from_micros(record.timestamp)));
                (end, next) = (read, at + 1);
            }
            at += 1;
        }
        let file = OpenOptions::new().append(true).open(&segment.path)?;
        let length = file.metadata()?.len();
        if length > end {
            log::warn!("{}: cut off {} octets of a record that was not whole", segment.path.display(), length - end);
            file.set_len(end)?;
        }
        Ok(Writer { file, end, reserved: end, next, began, dirty: true, duplicates, buffer: Vec::new() })
    }
}

/// How many records a sealed segment has.
fn count_lines(segment: &Segment) -> io::Result<u64> {
    let (mut lines, mut line) = (segment.lines()?, Vec::new());
    let mut count = 0;
    while lines.next(&mut line)? {
        count += 1;
    }
    Ok(count)
}
