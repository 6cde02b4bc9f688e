//! Opening a journal to write to it: repairs what a crash or a power cut left, and finds the number that comes next, which
//! is above every number that was ever told, so that none is told of two messages.
//!
//! Every record that can be read stays, whether its message is there or not: it may have been told. What follows the last
//! one is cut off.
//!
//! Usually the number that comes next follows the last record: a record is told when it is on disk, so what a power cut
//! took was not told. Damage is different. When the newest segment is missing or damaged, or ends before what was told,
//! nothing says which numbers it held, and numbering goes on behind all that were reserved ([`Reserved`]). Readers pass
//! over what lies between as lost. The mark names a segment before anything in it is told, so a power cut that takes a
//! segment that the mark does not name is no damage.

use super::duplicates::Duplicates;
use super::writer::Writer;
use crate::journal::mark::{self, Reserved};
use crate::journal::segment::{self, LARGEST_SEQ, Segment};
use rustix::fs::OFlags;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A write that was cut short ends where a block of the disk ends; this is the smallest size of one, octets.
const BLOCK: u64 = 512;

/// What follows the last record, octets, is a part of one line at most.
const LONGEST_TAIL: u64 = 1024 * 1024;

/// Opens the journal in `dir`. `told`: everything up to this `seq` may have been told, as cursors and others say.
///
/// # Errors
///
/// When the folder cannot be made or read. Damage is no reason.
pub(super) fn open(dir: &Path, told: u64) -> io::Result<Writer> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp" || extension == "new") {
            let _ = fs::remove_file(path);
        }
    }
    let segments = segment::list(dir)?;
    let duplicates = Duplicates::load(dir, &segments);
    let marked = mark::read(dir);
    let reserved = mark::reserved(dir).unwrap_or_default();
    let told = told.max(marked.unwrap_or(0)).min(LARGEST_SEQ - 1);
    let none = Reserved::default();
    let Some(last) = segments.last() else {
        return Ok(begin(dir, told, if reserved.active == 0 { none } else { reserved }, duplicates));
    };
    let found = look(last);
    let given = told.max(duplicates.last()).max(found.last).max(last.first - 1);
    // It is the newest one of which anything was told, and all of that is in it.
    let has_all_told = found.last.max(last.first - 1) >= given && last.first >= reserved.active && !found.is_damaged;
    if last.compressed {
        let reserved = if has_all_told { none } else { reserved };
        // How many records a stream that ends early had is unknown, but each took an octet at least.
        let unknown = if found.is_damaged && marked.is_none() { fs::metadata(&last.path)?.len() } else { 0 };
        return Ok(begin(dir, given + unknown, reserved, duplicates));
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let file = match options.open(&last.path).and_then(only_file) {
        Ok(file) => file,
        Err(error) => {
            log::error!("{}: {error}; records go to another segment when there is room", last.path.display());
            return Ok(begin(dir, given.max(last.first), reserved, duplicates));
        }
    };
    let length = file.metadata()?.len();
    let is_whole = has_all_told && (reserved.to <= given || is_ordinary(&file, found.end, length));
    if length > found.end {
        log::warn!("{}: cut off {} octets that are no record", last.path.display(), length - found.end);
        file.set_len(found.end)?;
    }
    if is_whole {
        return Ok(Writer::new(dir, given + 1, duplicates).resume(file, last.first, found.end, found.began));
    }
    let unknown = if found.last == 0 && marked.is_none() { length } else { 0 };
    Ok(begin(dir, given + unknown, reserved, duplicates))
}

/// Begins another segment, behind all numbers that may have been told. It is made at once, so that the next start does not
/// find the damaged one again.
fn begin(dir: &Path, given: u64, reserved: Reserved, duplicates: Duplicates) -> Writer {
    if reserved.to > given {
        log::warn!(
            "journal: numbers {} to {} are left out: damage hides which of them were told",
            given + 1,
            reserved.to
        );
    }
    let mut writer = Writer::new(dir, given.max(reserved.to) + 1, duplicates);
    if writer.last() > 0 {
        let _ = writer.open();
    }
    writer
}

/// What the last segment holds.
#[derive(Debug, Default)]
struct Last {
    /// The highest `seq`; 0 where there is no record.
    last: u64,
    /// Octets up to the end of the last record.
    end: u64,
    began: Option<SystemTime>,
    /// It cannot be read, or something before its last record is no record.
    is_damaged: bool,
}

fn look(segment: &Segment) -> Last {
    let mut found = Last::default();
    let mut missing = 0;
    let outcome = segment.records(|record, start, end| {
        // When it was appended is not written anywhere. It was not before this, while the file's mtime would put off the
        // sealing with every restart; that a segment ends too early, once a start, does no harm.
        found.began = found.began.or(Some(UNIX_EPOCH + Duration::from_micros(record.timestamp)));
        missing += record.seq.saturating_sub(found.last.max(segment.first - 1) + 1);
        found.is_damaged |= start != found.end;
        (found.last, found.end) = (found.last.max(record.seq), end);
    });
    match outcome {
        Ok(0) => {}
        Ok(octets) => {
            log::error!("{}: {octets} octets are damaged; {missing} records are lost", segment.path.display());
            found.is_damaged |= segment.compressed || missing > 0;
        }
        Err(error) => {
            log::error!("{}: {error}", segment.path.display());
            found.is_damaged = true;
        }
    }
    found
}

/// A FIFO or a device is no segment.
fn only_file(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Whether what follows the last record is what a crash leaves: a part of a line up to the end of a block of the disk, and
/// zeroes where the file system knew the new length of the file before it had its octets.
fn is_ordinary(file: &File, end: u64, length: u64) -> bool {
    let tail = length.saturating_sub(end);
    let mut octets = vec![0; tail.min(LONGEST_TAIL) as usize];
    if tail > LONGEST_TAIL || file.read_exact_at(&mut octets, end).is_err() {
        return false;
    }
    let text = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    let (line, zeroes) = octets.split_at(text);
    (line.is_empty() || line.starts_with(b"{") && (end + text as u64).is_multiple_of(BLOCK))
        && line.iter().all(|octet| *octet >= b' ')
        && zeroes.iter().all(|octet| *octet == 0)
}
