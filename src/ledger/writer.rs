//! The journal's one writer: appends records to the active segment, and begins the next one. It syncs nothing: that is done
//! without the lock that deliveries need, see [`Unsynced`].
//!
//! A record is appended by one write(2), for which the disk has room already (fallocate(2)), so that a full disk refuses
//! a record before its first octet.

use super::duplicates::{Duplicates, Undo};
use crate::journal::segment::Segment;
use crate::journal::{Record, Told};
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
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
    /// Device and inode of `file`.
    place: (u64, u64),
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
    /// Records that are to be written, each with the octets of its line.
    pending: Vec<(Record, usize)>,
    /// Their lines.
    buffer: Vec<u8>,
    /// What undoes their part in `duplicates`: a `seq` that is not used up must not be found.
    undo: Vec<Undo>,
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
    /// `seq` in the name of the active segment; 0 where there is none yet.
    pub(super) active: u64,
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

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Active {
    file: Arc<File>,
    first: u64,
    place: (u64, u64),
    end: u64,
}

impl Active {
    pub(super) fn is_same(&self, other: &Active) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    /// Whether it was not removed, and is as long as it was made; with `dir`, whether it is in that folder, too.
    pub(super) fn is_in_place(&self, dir: Option<&Path>) -> bool {
        if let Some(dir) = dir {
            let there = Segment::plain(dir, self.first).path.symlink_metadata();
            return there.is_ok_and(|there| place(&there) == self.place && there.len() >= self.end);
        }
        self.file.metadata().is_ok_and(|file| file.nlink() > 0 && file.len() >= self.end)
    }
}

impl Writer {
    /// Begins a new segment with the record `next`.
    pub(super) fn new(dir: &Path, next: u64, duplicates: Duplicates) -> Writer {
        Writer {
            dir: dir.to_owned(),
            file: None,
            place: (0, 0),
            first: next,
            end: 0,
            reserved: 0,
            next,
            began: None,
            duplicates,
            pending: Vec::new(),
            buffer: Vec::new(),
            undo: Vec::new(),
            is_torn: false,
            unsynced: Unsynced::default(),
        }
    }

    /// Goes on with a segment that has `end` octets.
    pub(super) fn resume(mut self, file: File, first: u64, end: u64, began: Option<SystemTime>) -> Writer {
        self.place = file.metadata().map(|metadata| place(&metadata)).unwrap_or_default();
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
    pub(super) fn push(&mut self, mut record: Record) -> &Record {
        record.cut_fields();
        let seq = self.next + self.pending.len() as u64;
        let (before, undo) = self.duplicates.insert(&record.user, &record.summary.key, seq);
        (record.seq, record.duplicate_of) = (seq, before);
        self.undo.push(undo);
        self.push_line(record)
    }

    fn push_line(&mut self, record: Record) -> &Record {
        let before = self.buffer.len();
        record.write_json(&mut self.buffer);
        self.buffer.push(b'\n');
        &self.pending.push_mut((record, self.buffer.len() - before)).0
    }

    /// Octets that are to be written.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Appends what was pushed, and keeps it in memory for the readers of `told`.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails. Then none of it is in the journal, and the numbers are not used up; it is given back.
    pub(super) fn write(&mut self, told: &Told) -> Result<(), (io::Error, Vec<Record>)> {
        let outcome = self.append();
        self.buffer.clear();
        self.buffer.shrink_to(64 * 1024);
        if let Err(error) = outcome {
            self.undo.drain(..).rev().for_each(|undo| self.duplicates.undo(undo));
            return Err((error, self.pending.drain(..).map(|(record, _)| record).collect()));
        }
        self.next += self.pending.len() as u64;
        self.began = self.began.or_else(|| Some(SystemTime::now()));
        told.keep(self.first, self.pending.drain(..));
        self.undo.clear();
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
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
        options.read(true).append(true).create(true).mode(0o640).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let file = match options.open(&path) {
            // Somebody has removed the journal.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o750).create(&self.dir)?;
                options.open(path)?
            }
            file => file?,
        };
        let file = Arc::new(file);
        let metadata = file.metadata()?;
        (self.place, self.end) = (place(&metadata), metadata.len());
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

    /// The active segment as it is now; `None` where there is none yet.
    pub(super) fn active(&self) -> Option<Active> {
        Some(Active { file: self.file.clone()?, first: self.first, place: self.place, end: self.end })
    }

    /// Begins another segment where another program removed, replaced or cut the active one. Records that were
    /// not told yet are put into it again, to be written; false where there are none, or they cannot be read any more.
    pub(super) fn begin_anew(&mut self, told: u64) -> bool {
        log::error!(
            "{}: was removed, replaced or cut short; going on with another segment",
            Segment::plain(&self.dir, self.first).path.display()
        );
        let untold = self.file.as_ref().map(|file| self.records_after(file, told)).unwrap_or_default();
        let is_whole = !untold.is_empty() && untold.len() as u64 == self.last() - told;
        // By the same numbers, unless the segment would have the same name.
        let next = if is_whole && told + 1 > self.first { told + 1 } else { self.next };
        self.rotate();
        (self.first, self.next) = (next, next);
        for (seq, record) in (next..).zip(untold).filter(|_| is_whole) {
            self.push_line(Record { seq, ..record });
        }
        is_whole
    }

    fn records_after(&self, file: &File, told: u64) -> Vec<Record> {
        let mut octets = vec![0; usize::try_from(self.end).unwrap_or(0)];
        if let Err(error) = file.read_exact_at(&mut octets, 0) {
            log::debug!("journal: {error}");
        }
        let records = octets.split(|octet| *octet == b'\n').filter_map(|line| Record::parse(line).ok());
        records.filter(|record| record.seq > told).collect()
    }

    /// What is to be synced; nothing of it is kept here.
    pub(super) fn take_unsynced(&mut self) -> Unsynced {
        let active = if self.file.is_some() { self.first } else { 0 };
        Unsynced { to: self.last(), active, ..std::mem::take(&mut self.unsynced) }
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
}

fn place(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
