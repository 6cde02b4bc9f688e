//! Messages on their way into Maildirs: written in `tmp/`, fsynced, renamed into `new/`, and the folders fsynced. One
//! file for all recipients. It knows neither the content of a message nor its recipients.
//!
//! | on disk | when | what cleans up |
//! |---|---|---|
//! | `tmp/ID`, whole or not | killed before the rename | `litter`, after 36 hours |
//! | `new/NAME` for some recipients, `tmp/ID` for the others | killed between the renames | the sender was told nothing and sends again |
//! | `new/NAME` for all | killed before the record | the next start records it |

use super::{failpoint, typed};
use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Modes of what is made here.
#[derive(Clone, Debug)]
pub struct Modes {
    file: u32,
    folder: u32,
    /// Whether the process's umask takes rights away from files: the first file tells, which saves a system call for
    /// every other one.
    masked: Arc<OnceLock<bool>>,
}

impl Modes {
    /// Of the mode of files: a group that may read them may enter their folder. Never all users.
    pub fn of_files(mode: u32) -> Modes {
        let file = mode & 0o660 | 0o600;
        Modes { file, folder: 0o700 | file & 0o060 | (file & 0o040) >> 2, masked: Arc::default() }
    }
}

/// Makes a Maildir, or what is missing of it, and makes that last.
///
/// # Errors
///
/// Of mkdir(2) or fsync(2).
pub fn make_maildir(maildir: &Path, modes: &Modes) -> io::Result<()> {
    make_folder(maildir, modes)?;
    for name in ["tmp", "new", "cur"] {
        make_folder(&maildir.join(name), modes)?;
    }
    Ok(())
}

/// Whether a message can be put into a Maildir: does with a small file all that is done with one, but for the fsync of the
/// file. Its name in `new/` is no message's.
///
/// # Errors
///
/// Why not.
pub fn probe(maildir: &Path, id: &str, modes: &Modes) -> io::Result<()> {
    let mut draft = Draft::create(maildir, id, modes)?;
    draft.write(&[b'\n'; 4096])?;
    let new = maildir.join("new");
    let target = new.join(format!(".{id}"));
    let folder = File::open(&new).map_err(at(&new))?;
    fs::rename(&draft.path, &target).map_err(at(&new))?;
    draft.made = Made(vec![target]);
    sync_folder(&folder, &new)
}

/// Makes a folder and those above it.
fn make_folder(folder: &Path, modes: &Modes) -> io::Result<()> {
    match DirBuilder::new().mode(modes.folder).create(folder) {
        Ok(()) => {}
        // A link that leads nowhere exists, too, and nothing can be made in it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).ok_or(error)?;
            make_folder(above, modes)?;
            // Another thread may have been faster.
            return make_folder(folder, modes);
        }
        Err(error) => return Err(error),
    }
    // The umask may have taken rights away.
    fs::set_permissions(folder, fs::Permissions::from_mode(modes.folder))?;
    match folder.parent().filter(|above| !above.as_os_str().is_empty()).map(File::open) {
        Some(Ok(above)) => above.sync_all(),
        // A folder that may be written and not read, such as a home's parent, cannot be synced.
        _ => Ok(()),
    }
}

/// Files of one message, removed again unless it was published. Where one has gone to `cur/` already, it stays.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::warn!("{}: cannot be removed: {error}", path.display());
            }
        }
    }
}

/// A message that is being written. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    /// The file itself, until it is staged.
    made: Made,
    modes: Modes,
    /// Octets so far.
    size: u64,
}

impl Draft {
    /// Begins a file in the `tmp/` of a Maildir, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// Of open(2) and, for a new Maildir, mkdir(2).
    pub fn create(maildir: &Path, id: &str, modes: &Modes) -> io::Result<Draft> {
        let path = below(maildir, "tmp", id);
        let file = in_maildir(maildir, modes, || create(&path, modes))?;
        Ok(Draft { file, made: Made(vec![path.clone()]), path, modes: modes.clone(), size: 0 })
    }

    /// Appends octets, in one write(2) unless the system takes fewer.
    ///
    /// # Errors
    ///
    /// Of write(2).
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        failpoint::reach("before-write");
        self.file.write_all(octets).map_err(at(&self.path))?;
        failpoint::reach("after-write");
        self.size += octets.len() as u64;
        Ok(())
    }

    /// Keeps the address that was typed for each user in an attribute of the file.
    pub fn tell_recipients<'a>(&self, recipients: impl Iterator<Item = (&'a str, &'a str)>) {
        typed::write(&self.file, recipients);
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the file last, and gives it to these Maildirs and no other: by hard link, or as a copy where that cannot
    /// be. The draft's own may be one of them.
    ///
    /// # Errors
    ///
    /// Of fsync(2) and link(2). Nothing is left then.
    pub fn stage(self, id: &str, maildirs: &[PathBuf]) -> io::Result<Staged> {
        self.file.sync_all().map_err(at(&self.path))?;
        failpoint::reach("after-fsync");
        let mut made = Made::default();
        for maildir in maildirs {
            let path = below(maildir, "tmp", id);
            if path != self.path {
                in_maildir(maildir, &self.modes, || match fs::hard_link(&self.path, &path) {
                    Err(error) if no_link(&error) => self.copy_to(&path),
                    outcome => outcome,
                })?;
                failpoint::reach("after-link");
            }
            made.0.push(path);
        }
        let mut own = self.made;
        own.0.retain(|path| !made.0.contains(path));
        Ok(Staged { made, modes: self.modes })
    }

    fn copy_to(&self, path: &Path) -> io::Result<()> {
        let mut copy = create(path, &self.modes)?;
        let whole = File::open(&self.path).and_then(|mut from| io::copy(&mut from, &mut copy));
        whole.and_then(|_| copy.sync_all()).inspect_err(|_| drop(fs::remove_file(path)))
    }
}

/// A message that is whole and safe in the `tmp/` of every recipient. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    made: Made,
    modes: Modes,
}

impl Staged {
    /// Moves it into each `new/` under this name.
    ///
    /// # Errors
    ///
    /// Of open(2) and rename(2). Nothing is left then, unless a program took it away at once.
    pub fn publish(mut self, file_name: &str) -> io::Result<Published> {
        let mut folders = Vec::with_capacity(self.made.0.len());
        for path in &mut self.made.0 {
            // unwrap: every path here was made by joining a Maildir, "tmp" and an id.
            let maildir = path.parent().and_then(Path::parent).unwrap();
            let new = maildir.join("new");
            let folder = in_maildir(maildir, &self.modes, || open(&new, OFlags::RDONLY | OFlags::DIRECTORY, 0))?;
            let target = below(maildir, "new", file_name);
            fs::rename(&*path, &target).map_err(at(&target))?;
            failpoint::reach("after-rename");
            *path = target;
            folders.push((folder, new));
        }
        Ok(Published { made: self.made, folders })
    }
}

/// A message that is in each `new/`, and not safe there yet. Dropping it takes it away again.
#[derive(Debug)]
pub struct Published {
    made: Made,
    folders: Vec<(File, PathBuf)>,
}

impl Published {
    /// Makes its names safe against a power cut.
    ///
    /// # Errors
    ///
    /// Of fsync(2). Nothing is left then, unless a program took it away at once.
    pub fn make_safe(mut self) -> io::Result<()> {
        for (folder, path) in &self.folders {
            sync_folder(folder, path)?;
            failpoint::reach("after-dirsync");
        }
        self.made.0.clear();
        Ok(())
    }
}

/// Whether the file system of a folder can keep mail: it must be able to sync a folder. For `mailbell check`.
///
/// # Errors
///
/// Says what it cannot do. Of open(2) and fsync(2).
pub fn can_be_synced(folder: &Path) -> io::Result<()> {
    sync_folder(&File::open(folder).map_err(at(folder))?, folder)
}

fn sync_folder(folder: &File, path: &Path) -> io::Result<()> {
    folder.sync_all().map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => io::Error::new(
            error.kind(),
            format!(
                "{}: the file system cannot sync a folder (fsync: {error}), so no mail is safe there; use a local one \
                 such as ext4 or XFS",
                path.display()
            ),
        ),
        _ => at(path)(error),
    })
}

/// Does something in a Maildir; if the Maildir is not there, makes it and tries again.
fn in_maildir<T>(maildir: &Path, modes: &Modes, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let outcome = match act() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_maildir(maildir, modes).and_then(|()| act()),
        outcome => outcome,
    };
    outcome.map_err(at(maildir))
}

/// The path of a file in a folder of a Maildir, made by one allocation.
pub fn below(maildir: &Path, folder: &str, file_name: &(impl AsRef<OsStr> + ?Sized)) -> PathBuf {
    let file_name = file_name.as_ref();
    let mut path = PathBuf::with_capacity(maildir.as_os_str().len() + folder.len() + file_name.len() + 2);
    [maildir.as_os_str(), folder.as_ref(), file_name].iter().for_each(|part| path.push(part));
    path
}

/// Says where an error was.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    |error| io::Error::new(error.kind(), At { path: path.to_owned(), error })
}

/// An error and its place.
#[derive(Debug)]
struct At {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for At {}

/// The number of the system's error, also of one that says its place.
pub fn errno(error: &io::Error) -> Option<i32> {
    let inner = || errno(&error.get_ref()?.downcast_ref::<At>()?.error);
    error.raw_os_error().or_else(inner)
}

/// One open(2). That of musl's standard library has an fcntl(2) behind it, for kernels that did not know O_CLOEXEC.
fn open(path: &Path, flags: OFlags, mode: u32) -> io::Result<File> {
    let mode = Mode::from_raw_mode(mode);
    Ok(File::from(retry_on_intr(|| rustix::fs::open(path, flags | OFlags::CLOEXEC, mode))?))
}

fn create(path: &Path, modes: &Modes) -> io::Result<File> {
    let file = open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, modes.file)?;
    let mode = || file.metadata().map(|metadata| metadata.permissions().mode() & 0o777);
    if *modes.masked.get_or_init(|| mode().is_ok_and(|mode| mode != modes.file)) {
        file.set_permissions(fs::Permissions::from_mode(modes.file))?;
    }
    Ok(file)
}

/// Whether an error means that hard links are impossible here.
fn no_link(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    // Another file system, too many links, a file system without links (EPERM), or one that says it its own way.
    [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS].into_iter().any(of)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
