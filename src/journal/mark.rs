//! `STATE/journal/safe`: up to which `seq` the journal is on disk, so that subscribers may be told of it. The server's
//! ledger writes it, at most once for each sync of the journal; every reader of the journal obeys it.
//!
//! The number is there twice in one line of fixed width: a reader that comes while it is written sees two different ones
//! and looks again. Without the file (a journal of version 0.1.0, a copy) the whole journal counts as safe.

use super::segment::{self, LARGEST_SEQ};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name in the journal's folder.
pub const NAME: &str = "safe";

/// Two numbers of 20 digits, a space and a newline.
const WIDTH: usize = 42;

/// How often a reader looks again before it takes the mark for damaged.
const LOOKS: usize = 1_000;

/// What a mark says. `None`: there is none, or a damaged one.
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
        if let Some(seq) = parse(&octets) {
            return Some(seq);
        }
        std::hint::spin_loop();
    }
    None
}

fn parse(octets: &[u8; WIDTH]) -> Option<u64> {
    let (one, other) = std::str::from_utf8(octets).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let is_number = one.bytes().all(|octet| octet.is_ascii_digit());
    one.parse().ok().filter(|seq| is_number && one == other && *seq < LARGEST_SEQ)
}

/// The mark of the process that writes the journal.
#[derive(Clone, Debug)]
pub struct Mark {
    path: PathBuf,
    file: Arc<File>,
}

impl Mark {
    /// Makes the mark of the journal in `dir` say `seq`. One that says something else is replaced.
    ///
    /// # Errors
    ///
    /// Of open(2), pwrite(2), rename(2) and fsync(2).
    pub fn open(dir: &Path, seq: u64) -> io::Result<Mark> {
        let path = dir.join(NAME);
        let new = dir.join("safe.new");
        let mut options = OpenOptions::new();
        options.write(true).mode(0o640).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        if read(dir) == Some(seq)
            && let Ok(file) = options.open(&path)
        {
            return Ok(Mark { path, file: Arc::new(file) });
        }
        // Readers find it whole, or not at all.
        let file = options.create(true).truncate(true).open(&new)?;
        file.write_all_at(&text(seq), 0)?;
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
        self.file.write_all_at(&text(seq), 0)
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

fn text(seq: u64) -> Vec<u8> {
    format!("{seq:020} {seq:020}\n").into_bytes()
}
