//! Compresses old messages in `cur/` with gzip, by the rules of Dovecot's zlib plugin, which reads them as before: the
//! first octets tell that a file is compressed, `,S=` in the name keeps its size, its time stays, and the flag Z says
//! to the next pass that there is nothing to do. The id and `,W=` stay. When it runs, and how gently, is the caller's.
//!
//! | on disk | when | who cleans up |
//! |---|---|---|
//! | `tmp/NAME` half written | killed while writing | who cleans `tmp/` after 36 hours |
//! | `tmp/NAME` is gzip, `cur/NAME` plain | killed before the exchange | the same |
//! | `tmp/NAME` plain, `cur/NAME` gzip | killed after the exchange | the same; the message is read as before |
//! | `cur/NAME` gzip without Z | killed before the flag | the next pass sets it |
//!
//! The two are exchanged by one renameat2(2), which fails if another program has moved the message meanwhile; so there
//! is no moment at which a message is missing or there twice.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flate2::{Compression, write::GzEncoder};
use rustix::fs::{CWD, RenameFlags, Timespec, Timestamps};

use super::listing::{Place, path};
use super::name::{self, Name};
use super::reader::GZIP;

/// The flag that Dovecot's manual suggests for a compressed message.
const COMPRESSED: u8 = b'Z';

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages compressed.
    pub compressed: usize,
    /// Octets on disk that this saved.
    pub saved: u64,
    /// Messages that another program moved or removed meanwhile; the next pass looks at them again.
    pub moved: usize,
    /// Messages that failed, each with a line in the log.
    pub failed: usize,
}

/// Why a pass could not be made at all.
#[derive(Debug)]
pub struct Error(PathBuf, io::Error);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot be compressed: {}", self.0.display(), self.1)
    }
}

impl std::error::Error for Error {}

/// What became of one message.
enum Outcome {
    /// Octets saved.
    Compressed(u64),
    Moved,
    /// Compressed already, or its size is not what its name says.
    Left,
}

/// One pass over a Maildir: every message in `cur/` that is older than `older_than`, by the time of its file, and whose
/// name has `,S=`. It ends soon after `stop` is set; `pause` is called before each message, to sleep or to yield.
pub fn compress_pass(
    maildir: &Path,
    older_than: Duration,
    stop: &AtomicBool,
    mut pause: impl FnMut(),
) -> Result<Report, Error> {
    let cur = maildir.join("cur");
    let mut report = Report::default();
    for file_name in candidates(&cur).map_err(|error| Error(cur.clone(), error))? {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let source = path(maildir, Place::Cur, &file_name);
        if !is_older(&source, older_than) {
            continue;
        }
        pause();
        match compress(maildir, &source, &file_name) {
            Ok(Outcome::Compressed(saved)) => {
                report.compressed += 1;
                report.saved += saved;
            }
            Ok(Outcome::Moved) => report.moved += 1,
            Ok(Outcome::Left) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => report.moved += 1,
            Err(error) => {
                log::warn!("{}: cannot be compressed: {error}", source.display());
                report.failed += 1;
            }
        }
    }
    if report.compressed > 0 {
        let synced = File::open(&cur).and_then(|folder| folder.sync_all());
        synced.map_err(|error| Error(cur, error))?;
    }
    Ok(report)
}

/// The names in `cur/` that may be compressed, all read before the first is changed.
fn candidates(cur: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(cur) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let file_name = entry?.file_name().into_vec();
        let name = Name::parse(&file_name);
        if name::is_message(&file_name) && name.size.is_some() && !name.flags.contains(&COMPRESSED) {
            names.push(file_name);
        }
    }
    Ok(names)
}

/// False for what is not there any more, and for what is no file.
fn is_older(source: &Path, older_than: Duration) -> bool {
    let modified = fs::symlink_metadata(source).ok().filter(fs::Metadata::is_file).and_then(|m| m.modified().ok());
    modified.is_some_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age >= older_than))
}

fn compress(maildir: &Path, source: &Path, file_name: &[u8]) -> io::Result<Outcome> {
    let name = Name::parse(file_name);
    let mut plain = File::open(source)?;
    let metadata = plain.metadata()?;
    let target = path(maildir, Place::Cur, &name.with_flag(COMPRESSED));
    let mut head = Vec::new();
    (&mut plain).take(GZIP.len() as u64).read_to_end(&mut head)?;
    if head == GZIP {
        // An earlier pass, or another program, compressed it and left out the flag.
        flag(source, &target)?;
        return Ok(Outcome::Left);
    }
    if name.size != Some(metadata.len()) {
        log::debug!("{}: has {} octets, not those of its name; not compressed", source.display(), metadata.len());
        return Ok(Outcome::Left);
    }
    let litter = Litter::name(maildir);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&litter.0)?;
    let mut encoder = GzEncoder::new(BufWriter::with_capacity(64 * 1024, file), Compression::default());
    encoder.write_all(&head)?;
    let copied = io::copy(&mut plain, &mut encoder)? + head.len() as u64;
    if copied != metadata.len() {
        return Err(io::Error::other("changed while it was read"));
    }
    let file = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    like(&file, &metadata)?;
    file.sync_all()?;
    let octets = file.metadata()?.len();
    if !exchange(&litter.0, source)? {
        return Ok(Outcome::Moved);
    }
    // The message is safe by now; a program that moves it before its flag is set leaves the flag to the next pass.
    match flag(source, &target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(Outcome::Compressed(metadata.len().saturating_sub(octets))),
    }
}

/// Gives a message its new name, unless another message has that name: then it goes on without the flag.
fn flag(source: &Path, target: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, source, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        // A file system that cannot say "unless": look, then rename.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if target.try_exists()? => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(source, target),
        Err(error) => Err(error.into()),
    }
}

/// A file in `tmp/` that is removed whatever happens; after the exchange it is the plain message.
struct Litter(PathBuf);

impl Litter {
    fn name(maildir: &Path) -> Litter {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Litter(maildir.join("tmp").join(format!("{}.P{}Q{count}.gzip", since.as_micros(), std::process::id())))
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        // It may not have been made; what cannot be removed is cleaned after 36 hours.
        let _ = fs::remove_file(&self.0);
    }
}

/// Gives a file the mode, the owner and the times of another. The owner only where that is allowed.
fn like(file: &File, metadata: &fs::Metadata) -> io::Result<()> {
    if let Err(error) = std::os::unix::fs::fchown(file, Some(metadata.uid()), Some(metadata.gid()))
        && error.kind() != io::ErrorKind::PermissionDenied
    {
        return Err(error);
    }
    file.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// Swaps the two files in one step. False if the message is not there any more.
fn exchange(compressed: &Path, source: &Path) -> io::Result<bool> {
    match rustix::fs::renameat_with(CWD, compressed, CWD, source, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        // A file system that cannot swap: look, then rename, as Dovecot's manual has it.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match source.try_exists()? {
            true => fs::rename(compressed, source).map(|()| true),
            false => Ok(false),
        },
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
