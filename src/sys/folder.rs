//! Opening folders and files that another user can change: no link of that user is followed, and what is not of the
//! expected kind is refused.

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::fs::{chownat, fchmod, fchown, fstat, mkdirat, openat, readlinkat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::Ids;

/// Links that are followed on the way to one folder, as path_resolution(7) does.
const MOST_LINKS: usize = 40;

const SEARCH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// No user but root can replace an entry of root in this folder, or a folder above it.
    is_safe: bool,
}

impl Folder {
    /// Opens a folder. A process of root follows a link only where no other user can have made it.
    ///
    /// # Errors
    ///
    /// `NotFound` when a part of the path does not exist, `PermissionDenied` for a link that is not followed.
    pub fn open(path: &Path) -> io::Result<Folder> {
        match Folder::reach(path)? {
            (folder, missing) if missing.is_empty() => Ok(folder),
            _ => Err(Errno::NOENT.into()),
        }
    }

    /// Opens the folder that a path is in, and gives the path's last part with it.
    ///
    /// # Errors
    ///
    /// As for [`Folder::open`]; `InvalidInput` for a path without a last part.
    pub fn of(path: &Path) -> io::Result<(Folder, &OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((Folder::open(parent)?, name))
    }

    /// The deepest folder of the path that exists, and what is missing below it.
    fn reach(path: &Path) -> io::Result<(Folder, VecDeque<OsString>)> {
        Folder::walk(path, Folder::check_link)
    }

    /// Goes along a path, from `/`: the deepest folder that exists, and what is missing below it. Of each link
    /// `check_link` is asked, with the folder that it is in, its name and what fstat(2) says of it.
    ///
    /// # Errors
    ///
    /// As openat(2) says, and what `check_link` says; ELOOP for more than `MOST_LINKS` links.
    pub fn walk(
        path: &Path,
        mut check_link: impl FnMut(&Folder, &OsStr, &Stat) -> io::Result<()>,
    ) -> io::Result<(Folder, VecDeque<OsString>)> {
        let mut rest: VecDeque<OsString> = parts(&std::path::absolute(path)?);
        let mut folder = Folder::root()?;
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            match openat(&folder.fd, &name, SEARCH, Mode::empty()) {
                Ok(next) => {
                    let is_safe = folder.is_safe && is_root_only(&fstat(&next)?);
                    folder = Folder { fd: next, is_safe };
                }
                Err(Errno::NOENT) => {
                    rest.push_front(name);
                    return Ok((folder, rest));
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let target = folder.read_link(&name, &mut check_link)?.ok_or(Errno::NOTDIR)?;
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if target.is_absolute() {
                        folder = Folder::root()?;
                    }
                    parts(&target).into_iter().rev().for_each(|part| rest.push_front(part));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((folder, rest))
    }

    fn root() -> io::Result<Folder> {
        let fd = rustix::fs::open("/", SEARCH, Mode::empty())?;
        let is_safe = is_root_only(&fstat(&fd)?);
        Ok(Folder { fd, is_safe })
    }

    /// Where a link in this folder leads; `None` when the entry is no link, or does not exist.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` when this process is root and others can have made the link.
    pub fn link(&self, name: &OsStr) -> io::Result<Option<PathBuf>> {
        self.read_link(name, Folder::check_link)
    }

    fn read_link(
        &self,
        name: &OsStr,
        mut check_link: impl FnMut(&Folder, &OsStr, &Stat) -> io::Result<()>,
    ) -> io::Result<Option<PathBuf>> {
        let entry = match openat(&self.fd, name, SEARCH.difference(OFlags::DIRECTORY), Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        let stat = fstat(&entry)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        check_link(self, name, &stat)?;
        let target = readlinkat(&entry, "", Vec::new())?;
        Ok(Some(PathBuf::from(OsStr::from_bytes(target.as_bytes()))))
    }

    /// Refuses a link that root must not follow.
    fn check_link(&self, name: &OsStr, link: &Stat) -> io::Result<()> {
        if rustix::process::geteuid().is_root() && !(self.is_safe && link.st_uid == 0) {
            let name = name.to_string_lossy().escape_debug().to_string();
            let message = format!("{name} is a link that root does not follow: others can change it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(())
    }

    /// The user and the group that the folder belongs to.
    ///
    /// # Errors
    ///
    /// As fstat(2) says.
    pub fn owner(&self) -> io::Result<Ids> {
        let stat = fstat(&self.fd)?;
        Ok(Ids { uid: stat.st_uid, gid: stat.st_gid })
    }

    /// Whether no user but root can replace what root makes here.
    pub fn is_safe(&self) -> bool {
        self.is_safe
    }

    /// The folder, open for reading: to lock it, and to make its entries safe with fsync(2).
    ///
    /// # Errors
    ///
    /// As openat(2) says.
    pub fn handle(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.fd, ".", flags, Mode::empty())?.into())
    }

    /// Opens a regular file in this folder, without following a link. `flags` say how; `mode` is for a new file.
    ///
    /// # Errors
    ///
    /// As openat(2) says; `InvalidInput` for what is no regular file, and, where this process is root and others can
    /// change the folder, for a file that has a second name.
    pub fn file(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        // The file is looked at before anything is done to it.
        let safe =
            flags.difference(OFlags::TRUNC) | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, safe, Mode::from_raw_mode(mode))?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
        }
        // A backup made of hard links is no danger; a link that another user made for root to write through is.
        if stat.st_nlink > 1 && !self.is_safe && rustix::process::geteuid().is_root() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "has a second name (a hard link); remove one of them",
            ));
        }
        if flags.contains(OFlags::TRUNC) {
            rustix::fs::ftruncate(&file, 0)?;
        }
        Ok(file.into())
    }

    /// Gives a FIFO or a socket that root has just made here to its owner. Another file, or a file with a second name,
    /// is refused: someone has put it in the place of the new one.
    ///
    /// # Errors
    ///
    /// As openat(2) and fchownat(2) say.
    pub fn give(&self, name: &OsStr, kind: FileType, owner: Ids) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.fd, name, flags, Mode::empty())?;
        let stat = fstat(&made)?;
        if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_nlink > 1 || stat.st_uid != 0 {
            return Err(io::Error::other("another process has put something else in its place"));
        }
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        Ok(chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a regular file with one name, without following a link at its last part; see [`Folder::file`].
///
/// # Errors
///
/// As for [`Folder::of`] and [`Folder::file`].
pub fn open_file(path: &Path, flags: OFlags, mode: u32) -> io::Result<File> {
    let (folder, name) = Folder::of(path)?;
    folder.file(name, flags, mode)
}

/// Makes a folder with this mode, and those above it with 0755, where they do not exist. With `owner` this process is
/// root and gives the folder to that user; it makes nothing where others could exchange it, so that the owner has to.
///
/// # Errors
///
/// As mkdirat(2) and fchown(2) say.
pub fn make_folder(path: &Path, mode: u32, owner: Option<Ids>) -> io::Result<()> {
    let (mut folder, mut missing) = match Folder::reach(path) {
        // The owner may follow its own links.
        Err(error) if owner.is_some() && error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        reached => reached?,
    };
    if owner.is_some() && !folder.is_safe {
        return Ok(());
    }
    while let Some(name) = missing.pop_front() {
        let is_last = missing.is_empty();
        let mode = Mode::from_raw_mode(if is_last { mode } else { 0o755 });
        let made = match mkdirat(&folder.fd, &name, mode) {
            Ok(()) => true,
            // Another process was faster, and it may be anyone's.
            Err(Errno::EXIST) if owner.is_some() => return Ok(()),
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&folder.fd, &name, flags, Mode::empty())?;
        if made {
            // The umask may have taken rights away.
            fchmod(&fd, mode)?;
            if let Some(ids) = owner.filter(|_| is_last) {
                fchown(&fd, Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid)))?;
            }
        }
        folder.fd = fd;
    }
    Ok(())
}

/// Owned by root, and not writable for others, or with the sticky bit, which keeps others from exchanging root's entries.
fn is_root_only(stat: &Stat) -> bool {
    stat.st_uid == 0 && (stat.st_mode & 0o022 == 0 || stat.st_mode & 0o1000 != 0)
}

/// The names in a path, `..` among them.
fn parts(path: &Path) -> VecDeque<OsString> {
    let is_name = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_name).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mailbell-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_file_is_opened_only_when_it_is_one_regular_file() {
        let path = scratch("file");
        fs::write(path.join("plain"), "content").unwrap();
        symlink("plain", path.join("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path.join("fifo"), Mode::RWXU).unwrap();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        for wrong in ["link", "fifo", "."] {
            assert!(open_file(&path.join(wrong), flags, 0o600).is_err(), "{wrong}");
        }
        assert_eq!(fs::read(path.join("plain")).unwrap(), b"content");
        open_file(&path.join("plain"), flags, 0o600).unwrap();
        open_file(&path.join("new"), flags, 0o600).unwrap();
        assert_eq!((fs::read(path.join("plain")).unwrap(), fs::read(path.join("new")).unwrap()), (vec![], vec![]));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn folders_are_made_with_their_mode_and_links_lead_on() {
        use std::os::unix::fs::PermissionsExt;
        let path = scratch("make");
        make_folder(&path.join("a/b/c"), 0o750, None).unwrap();
        make_folder(&path.join("a/b/c"), 0o700, None).unwrap();
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode("a/b"), mode("a/b/c")), (0o755, 0o755, 0o750));
        symlink("a/../a/b", path.join("link")).unwrap();
        make_folder(&path.join("link/d"), 0o700, None).unwrap();
        assert!(path.join("a/b/d").is_dir());
        symlink("loop", path.join("loop")).unwrap();
        assert!(Folder::open(&path.join("loop")).is_err());
        assert_eq!(Folder::open(&path.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(path.join("file"), "").unwrap();
        assert_eq!(Folder::open(&path.join("file/x")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn root_follows_no_link_of_another_user() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        const NOBODY: Ids = Ids { uid: 65_534, gid: 65_534 };
        let path = scratch("links");
        make_folder(&path.join("theirs"), 0o755, Some(NOBODY)).unwrap();
        fs::create_dir_all(path.join("ours/below")).unwrap();
        symlink(path.join("ours"), path.join("theirs/link")).unwrap();
        symlink(path.join("ours"), path.join("link")).unwrap();
        assert!(Folder::open(&path.join("link/below")).unwrap().is_safe());
        let refused = Folder::open(&path.join("theirs/link/below")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(!Folder::open(&path.join("theirs")).unwrap().is_safe());
        fs::write(path.join("ours/file"), "content").unwrap();
        fs::hard_link(path.join("ours/file"), path.join("theirs/file")).unwrap();
        let flags = OFlags::RDWR | OFlags::TRUNC;
        assert_eq!(open_file(&path.join("theirs/file"), flags, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(fs::read(path.join("ours/file")).unwrap(), b"content");
        open_file(&path.join("ours/file"), flags, 0).unwrap();
        // Their folder is for them to fill.
        make_folder(&path.join("theirs/new"), 0o755, Some(NOBODY)).unwrap();
        assert!(!path.join("theirs/new").exists());
        std::os::unix::fs::lchown(path.join("link"), Some(NOBODY.uid), None).unwrap();
        assert!(Folder::open(&path.join("link")).is_err());
        fs::remove_dir_all(path).unwrap();
    }
}
