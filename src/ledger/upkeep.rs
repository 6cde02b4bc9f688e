//! What is done with old segments: compressed, and dropped when they are older than `journal.keep`, or when the journal
//! is larger than `journal.max_size`.
//!
//! Age is counted from when the last record of a segment was appended, its mtime; a message that another program
//! delivered may have lain in its Maildir for years before. A clock that was set forward makes every segment old at once:
//! then, and where the mtime is older than this program, age begins again.
//!
//! | on disk | when | what becomes of it |
//! |---|---|---|
//! | `N.tmp` | a compression was cut short | removed at open |
//! | `N.jsonl` and `N.jsonl.gz` | a compression was cut short at its end | compressed again |
//! | `N.keys` missing or damaged | a power cut | made again |

use super::writer::{SEGMENT_OCTETS, Writer};
use super::{Ledger, State, duplicates, lock, today};
use crate::journal::segment::{self, Segment};
use flate2::write::GzEncoder;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A segment is sealed when its first record was appended this long ago, so that `keep` can be kept with little mail too.
pub(super) const SEGMENT_AGE: Duration = Duration::from_secs(24 * 3600);

/// A segment is not sealed for its size before it has this many octets.
const LEAST_SEGMENT: u64 = 16 * 1024;

/// A clock that runs ahead of the monotonic one by more than this was set.
const STEP: Duration = Duration::from_secs(3600);

/// 2024-01-01: no record is older than this program.
const EARLIEST: Duration = Duration::from_secs(1_704_067_200);

/// How long and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// `journal.keep`.
    pub age: Duration,
    /// `journal.max_size`, octets.
    pub size: u64,
}

/// Tells when the clock was set forward.
#[derive(Debug)]
pub(super) struct Clock(SystemTime, Instant);

impl Clock {
    pub(super) fn new() -> Clock {
        Clock(SystemTime::now(), Instant::now())
    }

    /// Whether it was set forward since the last call.
    pub(super) fn was_set_forward(&mut self, now: SystemTime) -> bool {
        let passed = self.1.elapsed();
        let before = std::mem::replace(self, Clock(now, Instant::now()));
        now.duration_since(before.0).is_ok_and(|said| said > passed + STEP)
    }
}

impl Ledger {
    /// Writes down which messages are recorded, so that the next start need not read the whole journal, and forgets
    /// those that are not there any more.
    pub fn save_known(&self) {
        let _alone = lock(&self.keeping);
        self.save();
    }

    fn save(&self) {
        let watched = self.watched();
        match self.known.watched(&watched, today()) {
            Ok(()) => drop(self.save_without_gone(&watched)),
            Err(error) => log::error!("what is known cannot be saved: {error}"),
        }
    }

    /// Writes down which messages are recorded, without a look at the Maildirs. Whether it is on disk.
    pub(super) fn save_recorded(&self) -> bool {
        self.save_without_gone(&[])
    }

    /// Messages that are gone from these Maildirs are forgotten.
    fn save_without_gone(&self, watched: &[(String, PathBuf)]) -> bool {
        let seq = self.settle(&mut self.lock());
        // Before the files that rest on it: a message that is known without a record would never be recorded.
        if !self.sync() {
            return false;
        }
        let saved = self.known.save(watched, seq);
        saved.inspect_err(|error| log::error!("what is known cannot be saved: {error}")).is_ok()
    }

    /// The work of each hour: seals, compresses and drops segments, after what is known was saved. Nothing is done where
    /// it is being done already.
    pub fn housekeep(&self, now: SystemTime) {
        let Ok(_alone) = self.keeping.try_lock() else { return };
        // First: of what the journal drops, nothing else knows that it was recorded.
        self.save();
        if let Err(error) = self.maintain(now) {
            log::error!("journal: {error}");
        }
    }

    pub(super) fn maintain(&self, now: SystemTime) -> io::Result<()> {
        let active = {
            let mut state = self.lock();
            if is_due(&state.writer, now, self.keep) {
                state.writer.rotate();
                // Its name is what remains of the numbers when all else is dropped. Without room it comes later.
                let _ = state.writer.open();
            }
            state.writer.first
        };
        if lock(&self.clock).was_set_forward(now) {
            begin_ages(&self.dir, active, now)?;
        }
        // What is told of is synced, so a segment is not compressed before it is.
        self.sync();
        let told = self.told.seq();
        let oldest = drop_old(&self.dir, active, now, self.keep)?;
        self.lock().writer.duplicates.forget_before(oldest);
        if told + 1 >= active { compress_sealed(&self.dir, active) } else { Ok(()) }
    }

    /// A moment at which no record is being written: what is recorded becomes ready to be saved. Gives the `seq` of the
    /// last such record.
    pub(super) fn settle(&self, state: &mut State) -> u64 {
        state.unsettled = 0;
        self.known.settle();
        state.writer.last()
    }
}

/// A time in the future, as after a clock was set back, is not old.
fn is_older(now: SystemTime, then: SystemTime, age: Duration) -> bool {
    now.duration_since(then).is_ok_and(|passed| passed > age)
}

/// Whether the active segment is to be sealed.
pub(super) fn is_due(writer: &Writer, now: SystemTime, keep: Keep) -> bool {
    let age = SEGMENT_AGE.min(keep.age / 4);
    writer.end >= segment_octets(keep) || writer.began.is_some_and(|began| is_older(now, began, age))
}

/// A segment is sealed when it has so many octets: a small `journal.max_size` asks for small segments, since whole ones are
/// dropped.
pub(super) fn segment_octets(keep: Keep) -> u64 {
    SEGMENT_OCTETS.min((keep.size / 8).max(LEAST_SEGMENT))
}

/// Lets the age of every sealed segment begin now.
pub(super) fn begin_ages(dir: &Path, active: u64, now: SystemTime) -> io::Result<()> {
    log::warn!("journal: the clock was set forward; the age of what is kept begins now");
    for segment in segment::list(dir)?.iter().filter(|segment| segment.first < active) {
        OpenOptions::new().append(true).open(&segment.path)?.set_modified(now)?;
    }
    Ok(())
}

/// Whether the segments in `dir` have more octets than `size`.
///
/// # Errors
///
/// When the folder cannot be read.
pub(super) fn is_too_large(dir: &Path, size: u64) -> io::Result<bool> {
    let segments = segment::list(dir)?;
    let found = segments.iter().filter_map(|segment| fs::metadata(&segment.path).ok());
    Ok(found.map(|metadata| metadata.len()).sum::<u64>() > size)
}

/// Drops what is too old or too much, of the segments before `active`. Gives the first that stays.
///
/// # Errors
///
/// When a file cannot be removed.
pub(super) fn drop_old(dir: &Path, active: u64, now: SystemTime, keep: Keep) -> io::Result<u64> {
    let segments = segment::list(dir)?;
    let mut size = 0;
    let mut found = Vec::new();
    for segment in &segments {
        // A segment that cannot be looked at must not keep the others from being dropped.
        let Ok(metadata) = fs::metadata(&segment.path) else { continue };
        size += metadata.len();
        found.push((segment, metadata));
    }
    for (at, (segment, metadata)) in found.iter().enumerate() {
        if segment.first >= active {
            break;
        }
        let modified = metadata.modified()?;
        if now.duration_since(UNIX_EPOCH).is_ok_and(|now| now > EARLIEST) && modified < UNIX_EPOCH + EARLIEST {
            OpenOptions::new().append(true).open(&segment.path)?.set_modified(now)?;
            return Ok(segment.first);
        }
        let why = match (is_older(now, modified, keep.age), size > keep.size) {
            (true, _) => "older than journal.keep",
            (_, true) => "the journal is larger than journal.max_size",
            (false, false) => return Ok(segment.first),
        };
        fs::remove_file(&segment.path)?;
        let _ = fs::remove_file(duplicates::path(dir, segment.first));
        size -= metadata.len();
        let next = found.get(at + 1).map_or(active, |(next, _)| next.first);
        log::info!("journal: dropped records {} to {}: {why}", segment.first, next - 1);
    }
    Ok(active)
}

/// Compresses the segments before `active`.
///
/// # Errors
///
/// When the disk is full or fails; what was not done is done the next time.
pub(super) fn compress_sealed(dir: &Path, active: u64) -> io::Result<()> {
    for segment in segment::list(dir)?.iter().filter(|segment| segment.first < active && !segment.compressed) {
        duplicates::seal(dir, segment)?;
        compress(segment, dir)?;
    }
    Ok(())
}

/// Replaces a sealed plain segment in `dir` by its gzip. Readers find one or the other at every moment. The mtime stays:
/// it says when the last record was appended.
///
/// # Errors
///
/// When the disk is full or fails; the plain segment stays then.
pub(super) fn compress(segment: &Segment, dir: &Path) -> io::Result<()> {
    let done = segment.path.with_extension("jsonl.gz");
    let tmp = segment.path.with_extension("tmp");
    let mut from = File::open(&segment.path)?;
    let mut to = GzEncoder::new(File::create(&tmp)?, flate2::Compression::new(6));
    io::copy(&mut from, &mut to)?;
    let (file, like) = (to.finish()?, from.metadata()?);
    file.set_permissions(like.permissions())?;
    file.set_modified(like.modified()?)?;
    file.sync_all()?;
    fs::rename(&tmp, &done)?;
    // A power cut must not take both: the plain one goes when the gzip's name is there to stay.
    File::open(dir)?.sync_all()?;
    fs::remove_file(&segment.path)
}
