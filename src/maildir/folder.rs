//! Opening what is in a Maildir. Its owner may be another user, and must not make this process read the files of other
//! users: no link is followed inside a Maildir, and a message is a regular file that belongs to the Maildir's owner or
//! to the user that this process runs as.

use super::name::Name;
use super::name::Place;
use crate::message::trace;
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Octets at the beginning of a file in which our own trace fields are looked for.
const TRACE: usize = 4_096;

/// Why a directory entry is not opened as a message.
#[derive(Debug)]
pub enum Refused {
    /// It is a link, a folder, a socket, a FIFO or a device.
    NotAFile,
    /// It belongs to this user id: neither to the Maildir's owner nor to the user of this process.
    OfOther(u32),
    /// The system refuses.
    Io(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotAFile => f.write_str("is not a regular file"),
            Refused::OfOther(uid) => write!(f, "belongs to uid {uid}, not to the owner of the Maildir"),
            Refused::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        match errno {
            // A link, and a socket.
            Errno::LOOP | Errno::NXIO => Refused::NotAFile,
            errno => Refused::Io(errno.into()),
        }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        match refused {
            Refused::Io(error) => error,
            refused => io::Error::new(io::ErrorKind::PermissionDenied, refused.to_string()),
        }
    }
}

/// `new/`, `cur/` or `tmp/` of a Maildir, open.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// User id of the Maildir's owner.
    owner: u32,
    identity: (u64, u64),
}

impl Folder {
    /// Opens a folder of a Maildir below `mail.root`. Links above the folder are followed: they are the administrator's.
    ///
    /// # Errors
    ///
    /// Of openat(2); a link in place of the folder is ENOTDIR.
    pub fn of_ours(maildir: &Path, place: Place) -> io::Result<Folder> {
        Folder::named(maildir, place.folder())
    }

    /// The same for a folder with another name, such as `tmp`.
    ///
    /// # Errors
    ///
    /// As [`Folder::of_ours`].
    pub fn named(maildir: &Path, name: &str) -> io::Result<Folder> {
        let fd = open_folder(CWD, &maildir.join(name))?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Folder { fd, owner: stat.st_uid, identity: (stat.st_dev, stat.st_ino) })
    }

    /// Opens a folder of a Maildir that another user may have made, with everything above it. A link above the folder is
    /// followed if it belongs to root, to the user of this process or to the Maildir's owner, or if it is in a folder of
    /// root's or of this process's user that not all users can write: else the owner of a link could show us
    /// the Maildir of another user.
    ///
    /// # Errors
    ///
    /// Of openat(2), and PermissionDenied because of a link.
    pub fn of_others(maildir: &Path, place: Place) -> io::Result<Folder> {
        let maildir = open_maildir(maildir)?;
        let owner = maildir.owner()?.uid;
        let fd = open_folder(&maildir, Path::new(place.folder()))?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Folder { fd, owner, identity: (stat.st_dev, stat.st_ino) })
    }

    /// Device and inode.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The names of all entries but `.` and `..`. A descriptor reads a folder once.
    ///
    /// # Errors
    ///
    /// Of getdents(2).
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut entries = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a message for reading.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn message(&self, file_name: &OsStr) -> Result<(File, Stat), Refused> {
        let file = File::from(rustix::fs::openat(&self.fd, file_name, MESSAGE, Mode::empty())?);
        let stat = check(&file, file_name.as_bytes(), self.owner)?;
        Ok((file, stat))
    }

    /// What lstat(2) says of a regular file; `None` for anything else, and for one that is gone.
    pub fn stat_file(&self, file_name: &OsStr) -> Option<Stat> {
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        self.stat(file_name).ok().filter(is_file)
    }

    /// What lstat(2) says of an entry.
    ///
    /// # Errors
    ///
    /// Of fstatat(2).
    pub fn stat(&self, file_name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, file_name, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a message is opened: NONBLOCK, since open(2) of a FIFO would wait.
const MESSAGE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a message of a Maildir below `mail.root` for reading, by one system call as a rule: POP3 does it for each
/// message. `owner`: the owner of the Maildir, or `None` where only the user of this process can write in it.
///
/// # Errors
///
/// Why not.
pub fn open_ours(maildir: &Path, place: Place, file_name: &[u8], owner: Option<u32>) -> Result<File, Refused> {
    let path = super::listing::path(maildir, place, file_name);
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(CWD, &path, MESSAGE, Mode::empty(), no_links) {
        // There is a link, which may be the administrator's above the Maildir; or the kernel has no openat2(2), which
        // containers also express as EPERM.
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
            let folder = Folder::of_ours(maildir, place).map_err(Refused::Io)?;
            File::from(rustix::fs::openat(&folder.fd, file_name, MESSAGE, Mode::empty())?)
        }
        file => File::from(file?),
    };
    if let Some(owner) = owner {
        check(&file, file_name, owner)?;
    }
    Ok(file)
}

/// Whether a file may be read as a message of a Maildir with this owner. A file of this process's user in the Maildir of
/// another user must have one name, or be the message that we wrote under this name: else it is a hard link to another file.
fn check(file: &File, file_name: &[u8], owner: u32) -> Result<Stat, Refused> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refused::NotAFile);
    }
    let is_written_here = || {
        let mut head = [0; TRACE];
        let octets = file.read_at(&mut head, 0).unwrap_or(0);
        trace::is_of(&head[..octets], Name::parse(file_name).id)
    };
    let is_ours = || stat.st_uid == rustix::process::geteuid().as_raw() && (stat.st_nlink <= 1 || is_written_here());
    if stat.st_uid == owner || is_ours() { Ok(stat) } else { Err(Refused::OfOther(stat.st_uid)) }
}

fn open_folder(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

/// Opens a Maildir. A link above it is followed or refused as [`Folder::of_others`] says.
fn open_maildir(path: &Path) -> io::Result<sys::folder::Folder> {
    let euid = rustix::process::geteuid().as_raw();
    let is_trusted = |uid: u32| uid == 0 || uid == euid;
    let mut doubtful = Vec::new();
    let (maildir, missing) = sys::folder::Folder::walk(path, |folder, _, link| {
        let folder = rustix::fs::fstat(folder)?;
        if !is_trusted(link.st_uid) && (!is_trusted(folder.st_uid) || folder.st_mode & 0o002 != 0) {
            doubtful.push(link.st_uid);
        }
        Ok(())
    })?;
    if !missing.is_empty() {
        return Err(Errno::NOENT.into());
    }
    let owner = maildir.owner()?.uid;
    if let Some(uid) = doubtful.into_iter().find(|uid| *uid != owner) {
        let why = format!("a link of uid {uid} leads to a Maildir of uid {owner}; it is not followed");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(maildir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::testing::{folder, maildir};
    use std::fs;
    use std::os::unix::fs::{chown, lchown, symlink};

    /// Runs a test only as root, which can make files of other users.
    fn is_root() -> bool {
        let is_root = rustix::process::geteuid().is_root();
        if !is_root {
            eprintln!("skipped: needs root");
        }
        is_root
    }

    #[test]
    fn no_link_inside_a_maildir_is_followed() {
        let real = maildir("folder-real", &[("new/1.h", b"x\n")]);
        let link = maildir("folder-link", &[]);
        fs::remove_dir(link.join("new")).unwrap();
        symlink(real.join("new"), link.join("new")).unwrap();
        symlink(real.join("new/1.h"), link.join("cur/1.h")).unwrap();
        for open in [Folder::of_ours, Folder::of_others] {
            assert_eq!(open(&link, Place::New).unwrap_err().kind(), io::ErrorKind::NotADirectory);
            let cur = open(&link, Place::Cur).unwrap();
            assert!(matches!(cur.message("1.h".as_ref()), Err(Refused::NotAFile)));
            assert_eq!(open(&real, Place::New).unwrap().names().unwrap(), ["1.h"]);
        }
        for owner in [None, Some(rustix::process::geteuid().as_raw())] {
            assert!(open_ours(&link, Place::New, b"1.h", owner).is_err());
            assert!(matches!(open_ours(&link, Place::Cur, b"1.h", owner), Err(Refused::NotAFile)));
            assert!(open_ours(&real, Place::New, b"1.h", owner).is_ok());
        }
        // The administrator's link to a whole Maildir.
        let root = folder("folder-root");
        symlink(&real, root.join("bob")).unwrap();
        assert!(open_ours(&root.join("bob"), Place::New, b"1.h", None).is_ok());
        assert!(Folder::of_others(&root.join("bob"), Place::New).is_ok());
        [real, link, root].into_iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    }

    #[test]
    fn links_above_a_maildir_must_be_of_somebody_who_may_make_them() {
        if !is_root() {
            return;
        }
        let home = folder("folder-homes");
        let of = |name: &str, uid| {
            let home = home.join(name);
            fs::create_dir_all(home.join("Maildir/new")).unwrap();
            let folders = [home.join("Maildir/new"), home.join("Maildir"), home.clone()];
            folders.into_iter().for_each(|folder| chown(folder, Some(uid), None).unwrap());
            home
        };
        let (alice, bob) = (of("alice", 2001), of("bob", 2002));
        let link = |from: &Path, to: &Path, uid| {
            let _ = fs::remove_file(to);
            symlink(from, to).unwrap();
            lchown(to, Some(uid), None).unwrap();
        };
        let open = |path: &Path| Folder::of_others(path, Place::New).map(|folder| folder.owner).map_err(|e| e.kind());
        let stolen = bob.join("stolen");
        link(&alice.join("Maildir"), &stolen, 2002);
        assert_eq!(open(&stolen), Err(io::ErrorKind::PermissionDenied));
        link(&alice, &stolen, 2002);
        assert_eq!(open(&stolen.join("Maildir")), Err(io::ErrorKind::PermissionDenied));
        link(&bob.join("Maildir"), &stolen, 2002);
        assert_eq!(open(&stolen), Ok(2002));
        link(&alice.join("Maildir"), &stolen, 0);
        assert_eq!(open(&stolen), Ok(2001));
        // In a folder that is the administrator's, any user with access may have made it.
        link(&alice.join("Maildir"), &home.join("link"), 2003);
        assert_eq!(open(&home.join("link")), Ok(2001));
        link(Path::new("loop"), &home.join("loop"), 0);
        assert!(open(&home.join("loop")).is_err());
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn files_of_other_users_are_no_messages() {
        if !is_root() {
            return;
        }
        let files: [(&str, &[u8]); 4] = [("new/1.h", b"x"), ("new/2.h", b"x"), ("new/3.h", b"x"), ("secret", b"x")];
        let maildir = maildir("folder-owners", &files);
        for path in [maildir.clone(), maildir.join("new"), maildir.join("new/1.h")] {
            chown(path, Some(2001), None).unwrap();
        }
        chown(maildir.join("new/2.h"), Some(2002), None).unwrap();
        fs::hard_link(maildir.join("secret"), maildir.join("new/4.h")).unwrap();
        let new = Folder::of_others(&maildir, Place::New).unwrap();
        assert!(new.message("1.h".as_ref()).is_ok());
        assert!(matches!(new.message("2.h".as_ref()), Err(Refused::OfOther(2002))));
        assert!(new.message("3.h".as_ref()).is_ok(), "ours, with one name");
        assert!(matches!(new.message("4.h".as_ref()), Err(Refused::OfOther(0))), "a hard link to a file of ours");
        assert!(matches!(open_ours(&maildir, Place::New, b"2.h", Some(2001)), Err(Refused::OfOther(2002))));
        fs::remove_dir_all(maildir).unwrap();
    }
}
