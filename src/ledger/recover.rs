//! Opening a journal to write to it: repairs what a crash or a power cut left, and finds the number that comes next, which
//! is above every number that was ever given, so that none is given twice.
//!
//! Nobody was told of a record that is behind the mark and behind every cursor. A power cut may have taken the message of
//! such a record, or have left a part of a line. Then the record goes, and those behind it get its number. A message
//! whose record is gone is found in its Maildir and recorded anew. Without a mark everything may have been told.

use super::duplicates::Duplicates;
use super::writer::Writer;
use crate::journal::segment::{self, LARGEST_SEQ, Segment};
use crate::journal::{Record, mark};
use crate::maildir::moved;
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

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
    let told = told.max(marked.unwrap_or(0)).min(LARGEST_SEQ - 1);
    let Some(last) = segments.last() else { return Ok(Writer::new(dir, told + 1, duplicates)) };
    let found = look(last);
    let given = told.max(duplicates.last()).max(found.last).max(last.first - 1);
    if last.compressed {
        // How many records a stream that ends early had is unknown, but each took an octet at least.
        let unknown = if found.is_damaged && marked.is_none() { fs::metadata(&last.path)?.len() } else { 0 };
        return Ok(Writer::new(dir, given + unknown + 1, duplicates));
    }
    let no_link = OFlags::NOFOLLOW.bits() as i32;
    let file = match OpenOptions::new().append(true).custom_flags(no_link).open(&last.path) {
        Ok(file) => file,
        Err(error) => {
            log::error!("{}: {error}; records go to another segment when there is room", last.path.display());
            return Ok(Writer::new(dir, given.max(last.first) + 1, duplicates));
        }
    };
    let length = file.metadata()?.len();
    let unknown = if found.last == 0 && marked.is_none() { length } else { 0 };
    if length > found.end {
        log::warn!("{}: cut off {} octets that are no record", last.path.display(), length - found.end);
        file.set_len(found.end)?;
    }
    let given = given + unknown;
    let mut writer = Writer::new(dir, given + 1, duplicates).resume(file, last.first, found.end, found.began);
    let untold: Vec<&(Record, u64)> =
        found.tail.iter().filter(|(record, _)| marked.is_some() && record.seq > told).collect();
    if let Some((_, from)) = untold.iter().find(|(record, _)| !is_there(record)) {
        let before = writer.last();
        writer.take_out(*from, |record| !is_there(record))?;
        log::warn!("journal: {} records of messages that are not there were taken out", before - writer.last());
    }
    // A power cut must not take what will be told now.
    let folders: BTreeSet<&Path> = untold.iter().filter_map(|(record, _)| Path::new(&record.path).parent()).collect();
    for folder in folders {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    // The number that comes next does not follow the last one of this segment: it begins another one.
    if given > found.last.max(last.first - 1) {
        writer.rotate();
    }
    Ok(writer)
}

/// What the last segment holds.
#[derive(Debug, Default)]
struct Last {
    /// The highest `seq`; 0 where there is no record.
    last: u64,
    /// Octets up to the end of the last record.
    end: u64,
    began: Option<std::time::SystemTime>,
    is_damaged: bool,
    /// Its last records, with the octets before each.
    tail: Vec<(Record, u64)>,
}

fn look(segment: &Segment) -> Last {
    /// Records that can be behind the mark: it is safe within a second.
    const TAIL: usize = 10_000;
    let mut found = Last::default();
    let mut missing = 0;
    let outcome = segment.records(|record, start, end| {
        // When it was appended is not written anywhere. It was not before this, while the file's mtime would put off the
        // sealing with every restart; that a segment ends too early, once a start, does no harm.
        found.began = found.began.or(Some(UNIX_EPOCH + Duration::from_micros(record.timestamp)));
        missing += record.seq.saturating_sub(found.last.max(segment.first - 1) + 1);
        (found.last, found.end) = (found.last.max(record.seq), end);
        if found.tail.len() >= 2 * TAIL {
            found.tail.drain(..TAIL);
        }
        found.tail.push((record, start));
    });
    match outcome {
        Ok(0) => {}
        Ok(octets) => {
            found.is_damaged = true;
            log::error!("{}: {octets} octets are damaged; {missing} records are lost", segment.path.display());
        }
        Err(error) => {
            found.is_damaged = true;
            log::error!("{}: {error}", segment.path.display());
        }
    }
    found
}

/// Whether the message of a record is in its Maildir. Where that cannot be told, it is.
fn is_there(record: &Record) -> bool {
    let path = Path::new(&record.path);
    let (Some(maildir), Some(file_name)) = (path.parent().and_then(Path::parent), path.file_name()) else {
        return true;
    };
    moved::is_in(maildir, file_name).unwrap_or(true)
}
