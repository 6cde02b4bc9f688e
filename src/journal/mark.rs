//! `STATE/journal/safe`: up to which `seq` the journal is on disk and may be told. The server's ledger writes it, for
//! readers in other processes and for the next start.
//!
//! ```text
//! TOLD TOLD          records up to this one may be told
//! RESERVED ACTIVE    numbers up to RESERVED may have been told; the newest segment is ACTIVE.jsonl, or a later one
//! ```
//!
//! Each number has 20 digits. The first line is written often and synced seldom. It holds its number twice: a reader that
//! comes while it is written sees two different numbers and looks again. The second line is synced before any number
//! above the old RESERVED is told. After a power cut TOLD may be too low, and RESERVED is not.
//!
//! Without the file (a journal of version 0.1.0, a copy) the whole journal counts as safe.

use super::segment::{self, LARGEST_SEQ};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name in the journal's folder.
pub const NAME: &str = "safe";

/// A line: two numbers of 20 digits, a space and a newline.
const WIDTH: usize = 42;

/// How often a reader looks again before it takes the mark for damaged.
const LOOKS: usize = 1_000;

/// `TOLD` of a mark. `None`: there is none, or a damaged one.
pub fn read(dir: &Path) -> Option<u64> {
    read_file(&segment::open(&dir.join(NAME)).ok()?)
}

/// The same of an open file.
pub fn read_file(file: &File) -> Option<u64> {
    for _ in 0..LOOKS {
        let mut octets = [0; WIDTH];
        if file.read_at(&mut octets, 0).ok()? != WIDTH {
            return None;
        }
        if let Some((one, other)) = parse(&octets)
            && one == other
        {
            return Some(one);
        }
        std::hint::spin_loop();
    }
    None
}

fn parse(octets: &[u8; WIDTH]) -> Option<(u64, u64)> {
    let (one, other) = std::str::from_utf8(octets).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let number = |text: &str| {
        let seq = text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok())??;
        (seq < LARGEST_SEQ).then_some(seq)
    };
    Some((number(one)?, number(other)?))
}

/// The second line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Numbers up to this one may have been told.
    pub to: u64,
    /// `seq` in the name of the newest segment.
    pub active: u64,
}

/// What is reserved; `None` where no mark says so.
pub fn reserved(dir: &Path) -> Option<Reserved> {
    let mut octets = [0; WIDTH];
    segment::open(&dir.join(NAME)).ok()?.read_exact_at(&mut octets, WIDTH as u64).ok()?;
    parse(&octets).map(|(to, active)| Reserved { to, active })
}

/// The mark of the process that writes the journal.
#[derive(Clone, Debug)]
pub struct Mark {
    path: PathBuf,
    file: Arc<File>,
}

impl Mark {
    /// Makes the mark of the journal in `dir` say this. A file that says something else is replaced.
    ///
    /// # Errors
    ///
    /// Of open(2), pwrite(2), rename(2) and fsync(2).
    pub fn open(dir: &Path, told: u64, reserve: Reserved) -> io::Result<Mark> {
        let path = dir.join(NAME);
        let new = dir.join("safe.new");
        let mut options = OpenOptions::new();
        options.write(true).mode(0o640).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        if read(dir) == Some(told)
            && reserved(dir) == Some(reserve)
            && let Ok(file) = options.open(&path)
        {
            return Ok(Mark { path, file: Arc::new(file) });
        }
        // Readers find it whole, or not at all.
        let file = options.create(true).truncate(true).open(&new)?;
        file.write_all_at(&[line(told, told), line(reserve.to, reserve.active)].concat(), 0)?;
        file.sync_data()?;
        fs::rename(new, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(Mark { path, file: Arc::new(file) })
    }

    /// Tells every reader that the journal is safe up to `seq`.
    ///
    /// # Errors
    ///
    /// Of pwrite(2).
    pub fn set(&self, seq: u64) -> io::Result<()> {
        self.file.write_all_at(&line(seq, seq), 0)
    }

    /// Reserves numbers, safe against a power cut.
    ///
    /// # Errors
    ///
    /// Of pwrite(2) and fdatasync(2).
    pub fn reserve(&self, reserve: Reserved) -> io::Result<()> {
        self.file.write_all_at(&line(reserve.to, reserve.active), WIDTH as u64)?;
        self.sync()
    }

    /// Writes to another file, such as /dev/full, and gives the one before.
    #[cfg(test)]
    pub(crate) fn swap_file(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.file, file)
    }

    /// Whether it is still the file that readers find.
    pub fn is_in_place(&self) -> bool {
        let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (there, own) = (self.path.symlink_metadata(), self.file.metadata());
        there.is_ok_and(|there| own.is_ok_and(|own| of(there) == of(own)))
    }

    /// Makes it safe against a power cut.
    ///
    /// # Errors
    ///
    /// Of fdatasync(2).
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn line(one: u64, other: u64) -> Vec<u8> {
    format!("{one:020} {other:020}\n").into_bytes()
}
