//! The durable places of subscribers in the journal: one file each, `STATE/cursors/NAME`.
//!
//! A cursor is written whole, to a temporary file that is renamed, or, where only the place has changed, its first line of
//! fixed width in one write within a sector; so `kill -9` leaves no half of one. It is written [`BURST`] times
//! in a row at once, and then once in [`EVERY`]. A copy in `STATE/cursors/.safe/` is synced before it is renamed, in a
//! thread beside its owner: it takes the place of a cursor that a power cut damaged. What is not written yet is repeated
//! after a crash, and never lost.
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
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a cursor may outlive a process that was killed: a program that it was starting at that moment holds a copy of
/// its descriptors until exec(2) closes them.
const INHERITED: Duration = Duration::from_secs(1);

/// How often a busy subscriber's cursor is written.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is written in a row before that. A quiet server's cursors are always current.
const BURST: u32 = 16;

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
    folder: Arc<Folder>,
    name: String,
    /// Keeps the lock. The file that takes its place is locked before it does.
    file: File,
    /// It was opened to write.
    is_writable: bool,
    /// What the file says.
    kept: Kept,
    /// Writes the copy.
    copying: Option<JoinHandle<io::Result<()>>>,
    /// It is written once in [`EVERY`], counted from here; see [`Cursor::due`].
    paced: Instant,
}

impl Cursor {
    /// Takes the cursor of that name until it is dropped. A new one begins after the record that `initial` gives; one
    /// with a damaged file where that can be done without losing a record.
    ///
    /// # Errors
    ///
    /// When another process holds it, or the file cannot be made.
    pub fn open(state: &Path, name: &str, initial: impl FnOnce() -> u64) -> Result<Cursor, CursorError> {
        let path = state.join("cursors").join(encode(name));
        let io = |error: io::Error| CursorError::Io(path.clone(), error);
        let folder = Arc::new(Folder::open(state, true).map_err(io)?);
        folder.remove_stale();
        let mut initial = Some(initial);
        let file = loop {
            match folder.open_file(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Another process may make it at the same time: the first one wins, and the other one finds it.
                    let begin = initial.take().map_or(0, |initial| initial());
                    let kept = Kept::at(begin);
                    if let Some(file) = folder.create(name, &kept).map_err(io)? {
                        return Ok(Cursor::new(folder, name, file, kept));
                    }
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

    fn new(folder: Arc<Folder>, name: &str, file: File, kept: Kept) -> Cursor {
        let (name, paced) = (name.to_owned(), Instant::now());
        Cursor { folder, name, file, is_writable: false, kept, copying: None, paced }
    }

    /// What was kept last.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// When it may be written again; `None` when it may be written now.
    pub fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let ahead = self.paced.saturating_duration_since(now);
        ahead.checked_sub(EVERY * (BURST - 1)).filter(|wait| !wait.is_zero()).map(|wait| now + wait)
    }

    /// Writes it. It costs nothing when nothing changed.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or when its copy could not be written the last time.
    pub fn set(&mut self, kept: Kept) -> io::Result<()> {
        let is_copied = self.copying.as_ref().is_none_or(JoinHandle::is_finished);
        let copied = if is_copied { self.settle() } else { Ok(()) };
        if self.kept == kept {
            return copied;
        }
        self.paced = self.paced.max(Instant::now()) + EVERY;
        let text = kept.text();
        self.write(kept, &text, false)?;
        if is_copied {
            let (folder, name) = (self.folder.clone(), self.name.clone());
            let copy = move || folder.copy(&name, &text);
            // Without a thread the copy is older.
            self.copying = std::thread::Builder::new().name("cursor".into()).stack_size(64 * 1024).spawn(copy).ok();
        }
        copied
    }

    /// Writes it, and returns when it is safe on disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(&mut self, kept: Kept) -> io::Result<()> {
        let copied = self.settle();
        let text = kept.text();
        self.write(kept, &text, true)?;
        copied
    }

    fn write(&mut self, kept: Kept, text: &str, sync: bool) -> io::Result<()> {
        // Where the place alone has changed, its line of fixed width does: one pwrite(2) within a sector, so that a crash
        // finds almost nothing unwritten. The file must not have been removed.
        let is_place = self.is_writable && Kept { place: self.kept.place, ..kept.clone() } == self.kept;
        if is_place && !sync && self.file.metadata()?.nlink() > 0 {
            let line = text.find('\n').map_or(text.len(), |end| end + 1);
            self.file.write_all_at(&text.as_bytes()[..line], 0)?;
            self.kept = kept;
            return Ok(());
        }
        let mut written = self.folder.replace(&self.folder.cursors, &self.name, text, sync);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // The folder was removed.
            self.folder = Arc::new(self.folder.again()?);
            written = self.folder.replace(&self.folder.cursors, &self.name, text, sync);
        }
        (self.file, self.is_writable, self.kept) = (written?, true, kept);
        Ok(())
    }

    /// Waits for the thread that writes the copy.
    fn settle(&mut self) -> io::Result<()> {
        let copied = self.copying.take().map(JoinHandle::join);
        copied
            .unwrap_or(Ok(Ok(())))
            .unwrap_or_else(|_| Err(io::Error::other("the thread that copies the cursor failed")))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // Its copy must not be written after the next holder's.
        let _ = self.settle();
    }
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
