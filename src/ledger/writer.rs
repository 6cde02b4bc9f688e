//! The journal's one writer: appends records to the active segment, begins the next one, and takes records out again that
//! nobody was told of. It syncs nothing: that is done without the lock that deliveries need, see [`Unsynced`].
//!
//! A record is appended by one write(2), for which the disk has room already (fallocate(2)), so that a full disk refuses
//! a record before its first octet.

use super::duplicates::Duplicates;
use crate::journal::Record;
use crate::journal::segment::Segment;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A segment is sealed when it has grown to this, octets.
pub(super) const SEGMENT_OCTETS: u64 = 8 * 1024 * 1024;

/// Octets that are reserved at a time: some 50 records.
const RESERVE: u64 = 64 * 1024;

/// Appends to the journal in one folder.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    /// The active segment; `None` until the first record, and where it cannot be opened.
    pub(super) file: Option<Arc<File>>,
    /// `seq` in the name of the active segment.
    pub(super) first: u64,
    /// Octets in the active segment.
    pub(super) end: u64,
    /// Up to here the disk has room for it.
    reserved: u64,
    /// `seq` of the record that comes next.
    pub(super) next: u64,
    /// When the first record of the active segment was appended, or some time before.
    pub(super) began: Option<SystemTime>,
    pub(super) duplicates: Duplicates,
    /// Records that are to be written, and how many.
    buffer: Vec<u8>,
    pending: u64,
    /// What is found as duplicate of the records in `buffer` alone: a `seq` that is not used up must not be.
    batch: Duplicates,
    /// The segment ends with a part of a line.
    is_torn: bool,
    unsynced: Unsynced,
}

/// Files that are to be synced before records up to `to` are safe.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    files: Vec<Arc<File>>,
    /// The folder, too: there is a new segment.
    folder: bool,
    /// `seq` of the last record.
    pub(super) to: u64,
}

impl Unsynced {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.folder
    }

    /// Makes them safe against a power cut.
    pub(super) fn sync(&self, dir: &Path) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.sync_data())?;
        if self.folder { File::open(dir)?.sync_all() } else { Ok(()) }
    }
}

impl Writer {
    /// Begins a new segment with the record `next`.
    pub(super) fn new(dir: &Path, next: u64, duplicates: Duplicates) -> Writer {
        Writer {
            dir: dir.to_owned(),
            file: None,
            first: next,
            end: 0,
            reserved: 0,
            next,
            began: None,
            duplicates,
            buffer: Vec::new(),
            pending: 0,
            batch: Duplicates::default(),
            is_torn: false,
            unsynced: Unsynced::default(),
        }
    }

    /// Goes on with a segment that has `end` octets.
    pub(super) fn resume(mut self, file: File, first: u64, end: u64, began: Option<SystemTime>) -> Writer {
        let file = Arc::new(file);
        self.unsynced.files.push(file.clone());
        (self.file, self.first, self.end, self.reserved, self.began) = (Some(file), first, end, end, began);
        self
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `seq` of the latest record.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Puts a record behind those that are to be written, and gives it its `seq` and `duplicate_of`.
    pub(super) fn push(&mut self, record: &mut Record) {
        record.cut_fields();
        record.seq = self.next + self.pending;
        let (user, key) = (&record.user, &record.summary.key);
        record.duplicate_of = self.batch.insert(user, key, record.seq).or_else(|| self.duplicates.latest(user, key));
        record.write_json(&mut self.buffer);
        self.buffer.push(b'\n');
        self.pending += 1;
    }

    /// Octets that are to be written.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Appends what was pushed.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails. Then none of it is in the journal, and the numbers are not used up; it is given back.
    pub(super) fn write(&mut self) -> Result<(), (io::Error, Vec<Record>)> {
        let outcome = self.append().map_err(|error| {
            let lines = self.buffer.split(|octet| *octet == b'\n');
            (error, lines.filter_map(|line| Record::parse(line).ok()).collect())
        });
        if outcome.is_ok() {
            self.next += self.pending;
            self.began = self.began.or_else(|| Some(SystemTime::now()));
            self.duplicates.merge(std::mem::take(&mut self.batch));
        }
        (self.pending, self.batch) = (0, Duplicates::default());
        self.buffer.clear();
        self.buffer.shrink_to(64 * 1024);
        outcome
    }

    fn append(&mut self) -> io::Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let file = self.open()?;
        if self.is_torn {
            self.buffer.insert(0, b'\n');
        }
        self.reserve(&file)?;
        if let Err(error) = (&*file).write_all(&self.buffer) {
            if let Err(worse) = file.set_len(self.end) {
                // A newline ends the part of a line, and readers pass over it.
                self.is_torn = true;
                self.end = file.metadata().map_or(self.end, |metadata| metadata.len());
                return Err(io::Error::other(format!("{error}, and the file could not be cut back: {worse}")));
            }
            return Err(error);
        }
        self.is_torn = false;
        self.end += self.buffer.len() as u64;
        if !self.unsynced.files.iter().any(|other| Arc::ptr_eq(other, &file)) {
            self.unsynced.files.push(file);
        }
        Ok(())
    }

    /// Opens the active segment, which is made where it is not there.
    pub(super) fn open(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let path = Segment::plain(&self.dir, self.first).path;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let file = Arc::new(options.open(path)?);
        self.end = file.metadata()?.len();
        self.reserved = self.end;
        self.unsynced.folder = true;
        Ok(self.file.insert(file).clone())
    }

    /// Sees to it that the disk has room for the buffer. One fallocate(2) for many records; a file system without it goes
    /// on without.
    fn reserve(&mut self, file: &File) -> io::Result<()> {
        let octets = self.buffer.len() as u64;
        if self.end + octets <= self.reserved {
            return Ok(());
        }
        let ahead = octets.max(RESERVE);
        match fallocate(file, FallocateFlags::KEEP_SIZE, self.end, ahead) {
            Ok(()) => self.reserved = self.end + ahead,
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => return Err(error.into()),
            Err(_) => self.reserved = u64::MAX,
        }
        Ok(())
    }

    /// Ends the active segment: the next record begins another one.
    pub(super) fn rotate(&mut self) {
        if self.next > self.first {
            (self.file, self.first, self.end, self.reserved, self.began) = (None, self.next, 0, 0, None);
            self.is_torn = false;
        }
    }

    /// Begins another segment where the active one was removed, replaced or cut short behind our back.
    pub(super) fn check_place(&mut self) {
        // A test may have put a device there.
        let Some(file) = self.file.as_ref().filter(|file| file.metadata().is_ok_and(|found| found.is_file())) else {
            return;
        };
        let path = Segment::plain(&self.dir, self.first).path;
        let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino(), metadata.len() >= self.end);
        let (there, own) = (path.symlink_metadata().map(of).ok(), file.metadata().map(of).ok());
        if there.is_none_or(|there| Some(there) != own || !there.2) {
            log::error!("{}: was removed, replaced or cut short; going on with another segment", path.display());
            self.rotate();
        }
    }

    /// What is to be synced; nothing of it is kept here.
    pub(super) fn take_unsynced(&mut self) -> Unsynced {
        Unsynced { to: self.last(), ..std::mem::take(&mut self.unsynced) }
    }

    /// It could not be synced. The system takes for written what it could not write (fsync(2)), so the active segment is
    /// written again before the next try.
    pub(super) fn give_back(&mut self, unsynced: Unsynced) {
        let path = Segment::plain(&self.dir, self.first).path;
        let mut octets = vec![0; usize::try_from(self.end).unwrap_or(0)];
        let again = File::open(&path).and_then(|file| file.read_exact_at(&mut octets, 0));
        // Not by the file of the journal, which appends wherever it is told to write.
        let file = again.and_then(|()| OpenOptions::new().write(true).open(path));
        if let Err(error) = file.and_then(|file| file.write_all_at(&octets, 0)) {
            log::debug!("journal: {error}");
        }
        self.unsynced.files.extend(unsynced.files);
        self.unsynced.folder |= unsynced.folder;
    }

    /// As after a write that failed half-way.
    #[cfg(test)]
    pub(super) fn be_torn(&mut self) {
        self.is_torn = true;
    }

    /// Nothing is known of the room for the active segment.
    #[cfg(test)]
    pub(super) fn begin_reserve(&mut self) {
        self.reserved = 0;
    }

    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Takes records out of the active segment that nobody was told of, and gives those behind them lower numbers. `from`:
    /// octets before the first of them.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or cut; it is as it was.
    pub(super) fn take_out(&mut self, from: u64, is_out: impl Fn(&Record) -> bool) -> io::Result<TakenOut> {
        let file = self.open()?;
        let path = Segment::plain(&self.dir, self.first).path;
        let mut octets = vec![0; usize::try_from(self.end.saturating_sub(from)).unwrap_or(0)];
        File::open(path)?.read_exact_at(&mut octets, from)?;
        let records = octets.split(|octet| *octet == b'\n').filter_map(|line| Record::parse(line).ok());
        let records: Vec<Record> = records.collect();
        let Some(first) = records.first().map(|record| record.seq) else { return Ok(TakenOut::default()) };
        file.set_len(from)?;
        (self.end, self.reserved, self.next) = (from, self.reserved.min(from), first);
        self.duplicates.forget_from(first);
        if !self.unsynced.files.iter().any(|other| Arc::ptr_eq(other, &file)) {
            self.unsynced.files.push(file);
        }
        let mut taken = TakenOut::default();
        for mut record in records.into_iter().filter(|record| !is_out(record)) {
            let (old, place) = (record.seq, from + self.buffered() as u64);
            self.push(&mut record);
            taken.moved.push(Moved { old, new: record.seq, place });
        }
        if let Err((error, records)) = self.write() {
            log::error!("journal: {error}; {} records follow", records.len());
            taken = TakenOut { moved: Vec::new(), unwritten: records };
        }
        Ok(taken)
    }
}

/// What [`Writer::take_out`] did.
#[derive(Debug, Default)]
pub(super) struct TakenOut {
    /// Records that have another number or place now.
    pub(super) moved: Vec<Moved>,
    /// Records that are in no file now, because the disk failed.
    pub(super) unwritten: Vec<Record>,
}

/// A record that was moved.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) old: u64,
    pub(super) new: u64,
    /// Octets before it.
    pub(super) place: u64,
}
