//! The durable places of subscribers in the journal: one file each, `STATE/cursors/NAME`.
//!
//! A cursor is written whole, to a temporary file that is synced and renamed, or, where only the place has changed, its
//! first line of fixed width in one write within a sector. So neither `kill -9` nor a power cut leaves half of one. What
//! is not written yet, or not safe at a power cut, is repeated after it, and never lost.
//!
//! A subscriber sees only records that are safe on disk, so its cursor is never ahead of the journal. Where an older
//! journal took its place, the ledger begins after the cursors.

use super::cursor_folder::{Folder, Form, encode};
use super::kept::Kept;
use crate::sys::hold;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a cursor may outlive a process that was killed: a program that it was starting at that moment holds a copy of
/// its descriptors until exec(2) closes them.
const INHERITED: Duration = Duration::from_secs(1);

/// How often the place of a busy subscriber is written.
const PLACE_EVERY: Duration = Duration::from_millis(100);

/// How often its whole file is written, and how often a written place is synced.
const WHOLE_EVERY: Duration = Duration::from_secs(1);

/// How far ahead of time these writes may run: so many are made at once before they are spaced. The cursors of a quiet
/// server are always current.
const BURST: Duration = Duration::from_secs(16);

/// Why a cursor cannot be used.
#[derive(Debug)]
pub enum CursorError {
    /// Another process has it; one at a time may use it.
    InUse(String),
    /// The file cannot be made, read or locked.
    Io(PathBuf, io::Error),
}

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CursorError::InUse(name) => write!(f, "cursor {name}: another process is using it"),
            CursorError::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for CursorError {}

/// A cursor that this process holds.
#[derive(Debug)]
pub struct Cursor {
    folder: Folder,
    name: String,
    /// Keeps the lock. The file that takes its place is locked before it does.
    file: File,
    /// It was opened to write.
    is_writable: bool,
    /// What the file says.
    kept: Kept,
    /// Each write moves this forward by [`PLACE_EVERY`] or [`WHOLE_EVERY`]; see [`Cursor::due`].
    paced: Instant,
    /// When it was last made safe on disk.
    synced: Instant,
}

impl Cursor {
    /// Takes the cursor of that name until it is dropped. A new one begins after the record that `initial` gives; one
    /// with a damaged file, or with something else in the place of the file, begins where no record is lost.
    ///
    /// # Errors
    ///
    /// When another process holds it, or the file cannot be made.
    pub fn open(state: &Path, name: &str, initial: impl FnOnce() -> u64) -> Result<Cursor, CursorError> {
        let path = state.join("cursors").join(encode(name));
        let io = |error: io::Error| CursorError::Io(path.clone(), error);
        let folder = Folder::open(state, true).map_err(io)?;
        folder.remove_stale();
        let (mut initial, mut is_replaced) = (Some(initial), false);
        let file = loop {
            match folder.open_file(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Another process may make it at the same time: the first one wins, and the other one finds it.
                    let mut begin = || Kept::at(initial.take().map_or(0, |initial| initial()));
                    let kept = if is_replaced { Kept::unknown() } else { begin() };
                    if let Some(file) = folder.create(name, &kept).map_err(io)? {
                        return Ok(Cursor::new(folder, name, file, kept));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::error!(
                        "{}: {error}; a new one is written. Some events may be handed over again",
                        path.display()
                    );
                    is_replaced = true;
                    folder.set_aside(name).map_err(io)?;
                }
                Err(error) => return Err(io(error)),
                Ok(file) if !hold(&file, |waited| Ok(waited >= INHERITED)).map_err(io)? => {
                    return Err(CursorError::InUse(name.to_owned()));
                }
                // Its holder may have put another file in its place while the lock was waited for.
                Ok(file) if !folder.is_in_place(name, &file) => {}
                Ok(file) => break file,
            }
        };
        let (kept, form) = folder.read(name, &file).map_err(io)?;
        if form == Form::Damaged {
            log::error!("{}: damaged; some events may be handed over again", path.display());
        }
        let file = if form == Form::Current { file } else { folder.take_over(name, &kept).map_err(io)? };
        Ok(Cursor::new(folder, name, file, kept))
    }

    fn new(folder: Folder, name: &str, file: File, kept: Kept) -> Cursor {
        let (name, now) = (name.to_owned(), Instant::now());
        Cursor { folder, name, file, is_writable: false, kept, paced: now, synced: now }
    }

    /// What was kept last.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// When it may be written again; `None` when it may be written now.
    pub fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let ahead = self.paced.saturating_duration_since(now);
        ahead.checked_sub(BURST).filter(|wait| !wait.is_zero()).map(|wait| now + wait)
    }

    /// Writes it, unless nothing has changed.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn set(&mut self, kept: Kept) -> io::Result<()> {
        if self.kept == kept {
            return Ok(());
        }
        let is_place = self.is_writable && Kept { place: self.kept.place, ..kept.clone() } == self.kept;
        self.paced = self.paced.max(Instant::now()) + if is_place { PLACE_EVERY } else { WHOLE_EVERY };
        // The file must not have been removed.
        if is_place && self.file.metadata()?.nlink() > 0 {
            self.file.write_all_at(kept.place.line().as_bytes(), 0)?;
            self.kept = kept;
            // So a power cut repeats about a second's records.
            if self.synced.elapsed() >= WHOLE_EVERY {
                self.file.sync_data()?;
                self.synced = Instant::now();
            }
            return Ok(());
        }
        self.finish(kept)
    }

    /// Writes it, and returns when it is safe on disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(&mut self, kept: Kept) -> io::Result<()> {
        let text = kept.text();
        let mut written = self.folder.replace(&self.name, &text);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // The folder was removed.
            self.folder = self.folder.again()?;
            written = self.folder.replace(&self.name, &text);
        }
        (self.file, self.is_writable, self.kept) = (written?, true, kept);
        self.synced = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
