//! The durable places of subscribers in the journal: one file each, `STATE/cursors/NAME`.
//!
//! A cursor is written whole, to a temporary file that is renamed, so that `kill -9` leaves no half of one: [`BURST`] times
//! in a row at once, and then once in [`EVERY`]. A copy in `STATE/cursors/.safe/` is synced before it is renamed, in a
//! thread beside its owner: it takes the place of a cursor that a power cut damaged. What is not written yet is repeated
//! after a crash, and never lost.
//!
//! A subscriber sees only records that are safe on disk, so its cursor is never ahead of the journal. Where an older
//! journal took its place, the ledger begins after the cursors.
//!
//! Every file is opened below a descriptor of the folder and without following links: the process may be root's, and the
//! folder another user's.

use super::kept::Kept;
use crate::sys::hold;
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::fs::{fchown, flock, linkat, mkdirat, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Longest file that is read, octets: more than a hook can have records begun.
const LONGEST: u64 = 64 * 1024;

/// How long a cursor may outlive a process that was killed: a program that it was starting at that moment holds a copy of
/// its descriptors until exec(2) closes them.
const INHERITED: Duration = Duration::from_secs(1);

/// How often a busy subscriber's cursor is written.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is written in a row before that. A quiet server's cursors are always current.
const BURST: u32 = 16;

/// A temporary file of this age is left from a process that was killed.
const STALE: Duration = Duration::from_secs(60);

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
        Cursor { folder, name, file, kept, copying: None, paced }
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
        self.file = self.folder.replace(&self.folder.cursors, &self.name, &text, false)?;
        self.kept = kept;
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
        self.file = self.folder.replace(&self.folder.cursors, &self.name, &kept.text(), true)?;
        self.kept = kept;
        copied
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

/// The folder of the cursors.
#[derive(Debug)]
struct Folder {
    state: OwnedFd,
    cursors: OwnedFd,
    /// The folder of the copies; `None` where there is no cursor yet.
    safe: Option<OwnedFd>,
    /// The owner of the state folder. root gives its files to this user, which must read them at the next start.
    owner: Option<(Uid, Gid)>,
}

impl Folder {
    fn open(state: &Path, create: bool) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let state = open(state, flags, Mode::empty())?;
        let metadata = rustix::fs::fstat(&state)?;
        let owner = (Uid::from_raw(metadata.st_uid), Gid::from_raw(metadata.st_gid));
        let owner = rustix::process::geteuid().is_root().then_some(owner);
        let below = |folder: &OwnedFd, name: &str| {
            if create && mkdirat(folder, name, Mode::from_raw_mode(0o750)).is_ok() {
                let made = openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
                if let Some((user, group)) = owner {
                    fchown(&made, Some(user), Some(group))?;
                }
                rustix::fs::fsync(folder)?;
            }
            openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
        };
        let cursors = below(&state, "cursors")?;
        let safe = below(&cursors, ".safe");
        let safe = if create { Some(safe?) } else { safe.ok() };
        Ok(Folder { state, cursors, safe, owner })
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        open_regular(&self.cursors, &encode(name))
    }

    fn is_in_place(&self, name: &str, file: &File) -> bool {
        let Ok(path) = statat(&self.cursors, encode(name), AtFlags::SYMLINK_NOFOLLOW) else { return false };
        file.metadata().is_ok_and(|file| (file.dev(), file.ino()) == (path.st_dev, path.st_ino))
    }

    /// What a cursor's file says; where it is damaged, what its copy says.
    fn read(&self, name: &str, file: &File) -> io::Result<(Kept, Form)> {
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        let mut form = Form::Current;
        let kept = Kept::parse(name, &text, || {
            form = Form::Old;
            self.tally(name)
        });
        let damaged = match kept {
            Ok(kept) => return Ok((kept, form)),
            Err(damaged) => damaged,
        };
        let copy = self.safe.as_ref().and_then(|safe| open_regular(safe, &encode(name)).ok());
        let mut text = Vec::new();
        let copy = copy.and_then(|file| file.take(LONGEST).read_to_end(&mut text).ok());
        let copy = copy.and_then(|_| Kept::parse(name, &text, || None).ok());
        Ok((copy.unwrap_or(damaged), Form::Damaged))
    }

    /// The second file of a subscriber of version 0.1.0.
    fn tally(&self, name: &str) -> Option<Vec<u8>> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = openat(&self.state, "tallies", flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        open_regular(&folder, &encode(name)).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
        Some(text)
    }

    /// Writes a damaged file, or one of version 0.1.0, in the form of this version; then the second file of that version
    /// goes.
    fn take_over(&self, name: &str, kept: &Kept) -> io::Result<File> {
        let file = self.replace(&self.cursors, name, &kept.text(), true)?;
        rustix::fs::fsync(&self.cursors)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if let Ok(folder) = openat(&self.state, "tallies", flags, Mode::empty()) {
            let _ = unlinkat(&folder, encode(name), AtFlags::empty());
            // The last one takes the folder with it.
            let _ = unlinkat(&self.state, "tallies", AtFlags::REMOVEDIR);
        }
        Ok(file)
    }

    /// Makes a cursor that is not there; `None` when another process was faster.
    fn create(&self, name: &str, kept: &Kept) -> io::Result<Option<File>> {
        let (temporary, file) = self.temporary(&kept.text(), true)?;
        let made = linkat(&self.cursors, &temporary, &self.cursors, encode(name), AtFlags::empty());
        let _ = unlinkat(&self.cursors, &temporary, AtFlags::empty());
        match made {
            Ok(()) => {
                // Without its name it would begin at the journal's end again after a power cut.
                rustix::fs::fsync(&self.cursors)?;
                Ok(Some(file))
            }
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a new file in the place of the cursor's, locked, as the old one is. That the rename is not synced does not
    /// matter: after a power cut an older cursor only repeats.
    fn replace(&self, folder: &OwnedFd, name: &str, text: &str, sync: bool) -> io::Result<File> {
        let (temporary, file) = self.temporary(text, sync)?;
        if let Err(error) = renameat(&self.cursors, &temporary, folder, encode(name)) {
            let _ = unlinkat(&self.cursors, &temporary, AtFlags::empty());
            return Err(error.into());
        }
        Ok(file)
    }

    /// Writes the copy, which is safe on disk before it has its name.
    fn copy(&self, name: &str, text: &str) -> io::Result<()> {
        self.safe.as_ref().map_or(Ok(()), |safe| self.replace(safe, name, text, true).map(drop))
    }

    /// A locked file of a name that no cursor has; with `sync` its content is safe on disk.
    fn temporary(&self, text: &str, sync: bool) -> io::Result<(String, File)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (name, mut file) = loop {
            let name = format!(".{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            match openat(&self.cursors, &name, flags, Mode::from_raw_mode(0o640)) {
                // A process with the same number, in another container or before.
                Err(Errno::EXIST) => {}
                other => break (name, File::from(other?)),
            }
        };
        let written = (|| {
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            if let Some((user, group)) = self.owner {
                fchown(&file, Some(user), Some(group))?;
            }
            file.write_all(text.as_bytes())?;
            if sync { file.sync_data() } else { Ok(()) }
        })();
        if let Err(error) = written {
            let _ = unlinkat(&self.cursors, &name, AtFlags::empty());
            return Err(error);
        }
        Ok((name, file))
    }
}

/// How a file says what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Current,
    /// As version 0.1.0 wrote it.
    Old,
    Damaged,
}

/// Opens a regular file to read it; anything else is an error. It does not block, whatever is there.
fn open_regular(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Every cursor and what it says, without holding them; for `status`. One that cannot be read is logged and left out.
///
/// # Errors
///
/// When the folder is there and cannot be read.
pub fn cursors(state: &Path) -> io::Result<Vec<(String, Kept)>> {
    let folder = match Folder::open(state, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in folder.names()? {
        match folder.open_file(&name).and_then(|file| folder.read(&name, &file)) {
            Ok((kept, _)) => found.push((name, kept)),
            // It may be replaced between the look and the opening.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("cursor {name}: {error}"),
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

impl Folder {
    /// The names of the cursors.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.cursors)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && !name.starts_with('.')
            {
                names.push(decode(name));
            }
        }
        Ok(names)
    }

    /// Removes temporary files that a killed process left.
    fn remove_stale(&self) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.cursors) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_temporary = name.to_bytes().starts_with(b".") && ![c".", c"..", c".safe"].contains(&name);
            let is_stale = || {
                let modified = statat(&self.cursors, name, AtFlags::SYMLINK_NOFOLLOW).ok()?.st_mtime;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
                Some(now.saturating_sub(u64::try_from(modified).ok()?) > STALE.as_secs())
            };
            if is_temporary && is_stale().unwrap_or(false) {
                let _ = unlinkat(&self.cursors, name, AtFlags::empty());
            }
        }
    }
}

/// Any name as a file name: octets that are not known to be harmless become `%XX`.
pub fn encode(name: &str) -> String {
    let mut text = String::new();
    for octet in name.bytes() {
        if octet.is_ascii_alphanumeric() || b"_-+@:".contains(&octet) || (octet == b'.' && !text.is_empty()) {
            text.push(octet.into());
        } else {
            text += &format!("%{octet:02X}");
        }
    }
    text
}

fn decode(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match tail {
            [high, low, after @ ..] if *first == b'%' && hex(high).is_some() && hex(low).is_some() => {
                octets.push((hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => octets.push(*first),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
