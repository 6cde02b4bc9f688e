//! Compresses old messages in `cur/` with gzip, by the rules of Dovecot's zlib plugin, which reads them as before: the
//! first octets tell that a file is compressed, `,S=` in the name keeps its size, its time stays, and the flag Z says
//! to the next pass that there is nothing to do. The id and `,W=` stay. The caller decides when it runs and how long it pauses.
//!
//! | on disk | when | cleaned up by |
//! |---|---|---|
//! | `tmp/NAME` half written | killed while writing | `litter`, after 36 hours |
//! | `tmp/NAME` is gzip, `cur/NAME` plain | killed before the exchange | the same |
//! | `tmp/NAME` plain, `cur/NAME` gzip | killed after the exchange | the same; the message is read as before |
//! | `cur/NAME` gzip without Z | killed before the flag | the next pass sets it |
//!
//! The two are exchanged by one renameat2(2), which fails if another program has moved the message meanwhile; so there
//! is no moment at which a message is missing or there twice.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flate2::{Compression, write::GzEncoder};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, renameat, renameat_with};
use rustix::io::Errno;

use super::folder::Folder;
use super::name::Place;
use super::name::{self, Name};
use super::reader::GZIP;

/// The flag that Dovecot's manual suggests for a compressed message.
const COMPRESSED: u8 = b'Z';

/// The result of a pass.
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

/// The result for one message.
enum Outcome {
    /// Octets saved.
    Compressed(u64),
    Moved,
    /// Compressed already, or its size is not what its name says.
    Left,
}

/// One pass over a Maildir: every message in `cur/` that is older than `older_than`, by the time of its file, and has
/// `,S=` in its name. It ends soon after `stop` is set; `pause` is called before each message, to sleep or to yield.
///
/// # Errors
///
/// When the folders cannot be read, or made safe.
pub fn compress_pass(
    maildir: &Path,
    older_than: Duration,
    stop: &AtomicBool,
    mut pause: impl FnMut(),
) -> io::Result<Report> {
    let mut report = Report::default();
    let folders = match Folders::open(maildir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(report),
        folders => folders?,
    };
    // All names are read before the first file is changed.
    for file_name in folders.cur.names()?.into_iter().filter(|name| is_candidate(name.as_bytes())) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if !folders.is_older(&file_name, older_than) {
            continue;
        }
        pause();
        match folders.compress(&file_name) {
            Ok(Outcome::Compressed(saved)) => {
                report.compressed += 1;
                report.saved += saved;
            }
            Ok(Outcome::Moved) => report.moved += 1,
            Ok(Outcome::Left) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => report.moved += 1,
            Err(error) => {
                log::warn!("{}/cur/{file_name:?}: cannot be compressed: {error}", maildir.display());
                report.failed += 1;
            }
        }
    }
    if report.compressed > 0 {
        rustix::fs::fsync(&folders.cur)?;
    }
    Ok(report)
}

/// Whether a file of this name may be compressed.
fn is_candidate(file_name: &[u8]) -> bool {
    let name = Name::parse(file_name);
    name::is_message(file_name) && name.size.is_some() && !name.flags.contains(&COMPRESSED)
}

/// The folders that a pass works in. Everything is done from their descriptors, so that a link in place of a folder
/// leads nowhere.
struct Folders {
    cur: Folder,
    tmp: Folder,
}

impl Folders {
    fn open(maildir: &Path) -> io::Result<Folders> {
        Ok(Folders { cur: Folder::of_ours(maildir, Place::Cur)?, tmp: Folder::named(maildir, "tmp")? })
    }

    /// False if it is gone, and if it is no file.
    fn is_older(&self, file_name: &OsStr, older_than: Duration) -> bool {
        self.cur.stat_file(file_name).is_some_and(|stat| {
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            SystemTime::now().duration_since(modified).is_ok_and(|age| age >= older_than)
        })
    }

    fn compress(&self, file_name: &OsStr) -> io::Result<Outcome> {
        let name = Name::parse(file_name.as_bytes());
        let (mut plain, _) = self.cur.message(file_name)?;
        let metadata = plain.metadata()?;
        let target = OsString::from_vec(name.with_flag(COMPRESSED));
        let mut head = Vec::new();
        (&mut plain).take(GZIP.len() as u64).read_to_end(&mut head)?;
        if head == GZIP {
            // An earlier pass, or another program, compressed it and left out the flag.
            self.flag(file_name, &target)?;
            return Ok(Outcome::Left);
        }
        if name.size != Some(metadata.len()) {
            log::debug!("{file_name:?} has {} octets, not those of its name; not compressed", metadata.len());
            return Ok(Outcome::Left);
        }
        let litter = Litter { tmp: &self.tmp, name: Litter::name() };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.tmp, &litter.name, flags, Mode::RUSR | Mode::WUSR)?);
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
        if !self.exchange(&litter.name, file_name)? {
            return Ok(Outcome::Moved);
        }
        // The message is safe by now; a program that moves it before its flag is set leaves the flag to the next pass.
        match self.flag(file_name, &target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Outcome::Compressed(metadata.len().saturating_sub(octets))),
        }
    }

    /// Gives a message its new name, unless another message has that name: then it goes on without the flag.
    fn flag(&self, source: &OsStr, target: &OsStr) -> io::Result<()> {
        let cur = &self.cur;
        match renameat_with(cur, source, cur, target, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            // A file system without RENAME_NOREPLACE: look, then rename.
            Err(Errno::INVAL | Errno::NOSYS) if cur.stat(target).is_ok() => Ok(()),
            Err(Errno::INVAL | Errno::NOSYS) => Ok(renameat(cur, source, cur, target)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Swaps the two files in one step. False if the message is not there any more.
    fn exchange(&self, compressed: &OsStr, source: &OsStr) -> io::Result<bool> {
        let (tmp, cur) = (&self.tmp, &self.cur);
        match renameat_with(tmp, compressed, cur, source, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            // A file system that cannot swap: look, then rename, as Dovecot's manual has it.
            Err(Errno::INVAL | Errno::NOSYS) => match cur.stat(source) {
                Ok(_) => Ok(renameat(tmp, compressed, cur, source).map(|()| true)?),
                Err(_) => Ok(false),
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// A file in `tmp/` that is always removed; after the exchange it is the plain message.
struct Litter<'a> {
    tmp: &'a Folder,
    name: OsString,
}

impl Litter<'_> {
    fn name() -> OsString {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{}.P{}Q{count}.gzip", since.as_micros(), std::process::id()).into()
    }
}

impl Drop for Litter<'_> {
    fn drop(&mut self) {
        // It may not have been made; what cannot be removed is cleaned after 36 hours.
        let _ = rustix::fs::unlinkat(self.tmp, &self.name, AtFlags::empty());
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

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
