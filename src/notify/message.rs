//! The stored message for a program's standard input: uncompressed, wherever in its Maildir it is by now.
//!
//! The Maildir may belong to another user. Below it no link is followed, and only a regular file is opened, so that its
//! owner cannot make a hook read what the owner may not.
//!
//! For a message that is gone, because somebody read and deleted it before its turn came, the input is empty: the event
//! happened all the same. A message that is there and cannot be opened is an error, and the hook is run later.

use super::command::Source;
use crate::journal::Record;
use crate::maildir::name;
use crate::maildir::reader::MessageReader;
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The message of a record.
///
/// # Errors
///
/// When it is there and cannot be opened or read.
pub(super) fn open(record: &Record) -> io::Result<Source<'static>> {
    let Some(file) = find(Path::new(&record.path))? else { return Ok(Source::Octets(Box::new(io::empty()))) };
    Ok(match MessageReader::of(file).into_plain()? {
        Ok(file) => Source::File(file),
        Err(reader) => Source::Octets(Box::new(reader)),
    })
}

/// The file at `path`, which is `MAILDIR/FOLDER/NAME`, or the same message under another name or in the other folder;
/// `None` when it is gone.
fn find(path: &Path) -> io::Result<Option<File>> {
    let (Some(folder), Some(file_name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let (Some(maildir), Some(folder)) = (folder.parent(), folder.file_name()) else { return Ok(None) };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some(maildir) = unless_gone(rustix::fs::open(maildir, flags, Mode::empty()))? else { return Ok(None) };
    let below = |folder: &str| match openat(&maildir, folder, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            log::warn!("{}/{folder}: no folder any more, but a link or a file; not opened", path.display());
            Ok(None)
        }
        other => unless_gone(other),
    };
    // The path in a record is UTF-8. Where the file's name is not, the look below finds it.
    let (folder, file_name) = (folder.to_string_lossy(), file_name.to_string_lossy());
    if let Some(folder) = below(&folder)?
        && let Ok(name) = CString::new(&*file_name)
        && let Some(file) = open_in(&folder, &name)?
    {
        return Ok(Some(file));
    }
    // It may be moved once more between the look and the opening, but not again and again.
    for _ in 0..3 {
        let mut was_seen = false;
        for folder in ["cur", "new"] {
            let Some(folder) = below(folder)? else { continue };
            let Some(name) = look_up(&folder, &file_name)? else { continue };
            was_seen = true;
            if let Some(file) = open_in(&folder, &name)? {
                return Ok(Some(file));
            }
        }
        if !was_seen {
            break;
        }
    }
    Ok(None)
}

/// The name that the message has in a folder now.
fn look_up(folder: &OwnedFd, file_name: &str) -> io::Result<Option<CString>> {
    let known_as = |name: &[u8]| String::from_utf8_lossy(name::known_as(name)).into_owned();
    let wanted = known_as(file_name.as_bytes());
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name::is_message(name.to_bytes()) && known_as(name.to_bytes()) == wanted {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// Opens a message's file; `None` when it is gone, or when something that is no message was put in its place. It does not
/// block, whatever is there.
fn open_in(folder: &OwnedFd, name: &CString) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NXIO) => None,
        other => unless_gone(other)?.map(File::from).filter(|file| file.metadata().is_ok_and(|file| file.is_file())),
    };
    if file.is_none() && rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        log::warn!("{}: no message any more, but a link or a special file; not opened", name.to_string_lossy());
    }
    Ok(file)
}

fn unless_gone(opened: Result<OwnedFd, Errno>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use crate::notify::testing::Scratch;
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    struct Maildir(Scratch);

    impl Maildir {
        fn new(name: &str) -> Maildir {
            let maildir = Maildir(Scratch::new(name));
            for folder in ["new", "cur"] {
                fs::create_dir_all(maildir.0.path("mail").join(folder)).unwrap();
            }
            fs::write(maildir.0.path("secret"), "secret").unwrap();
            maildir
        }

        fn file(&self, name: impl AsRef<OsStr>) -> std::path::PathBuf {
            self.0.path("mail").join(name.as_ref())
        }

        /// What a hook reads for a message that was stored there.
        fn read(&self, name: &str) -> io::Result<String> {
            let mut record = sample(1, "alice", "x");
            record.path = self.file(name).to_str().unwrap().into();
            let mut text = String::new();
            match open(&record)? {
                Source::File(mut file) => file.read_to_string(&mut text)?,
                Source::Octets(mut octets) => octets.read_to_string(&mut text)?,
            };
            Ok(text)
        }
    }

    #[test]
    fn a_message_is_found_where_it_is_now_and_one_that_is_gone_is_empty() {
        let maildir = Maildir::new("where");
        fs::write(maildir.file("new/1.M1,S=1"), "one").unwrap();
        assert_eq!(maildir.read("new/1.M1,S=1").unwrap(), "one");
        fs::rename(maildir.file("new/1.M1,S=1"), maildir.file("cur/1.M1,S=1:2,S")).unwrap();
        assert_eq!(maildir.read("new/1.M1,S=1").unwrap(), "one");
        fs::remove_file(maildir.file("cur/1.M1,S=1:2,S")).unwrap();
        assert_eq!(maildir.read("new/1.M1,S=1").unwrap(), "");
        fs::remove_dir_all(maildir.file("")).unwrap();
        assert_eq!(maildir.read("new/1.M1,S=1").unwrap(), "");
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_found_by_the_path_of_the_record() {
        let maildir = Maildir::new("latin");
        let name = OsStr::from_bytes(b"new/1.M1.\xe4,S=1");
        fs::write(maildir.file(name), "one").unwrap();
        assert_eq!(maildir.read("new/1.M1.\u{FFFD},S=1").unwrap(), "one");
    }

    #[test]
    fn no_link_is_followed_and_no_special_file_is_opened() {
        let maildir = Maildir::new("links");
        for (name, target) in [("new/1.M1", "../../secret"), ("new/1.M2", "1.M1"), ("new/1.M3", "/dev/zero")] {
            symlink(target, maildir.file(name)).unwrap();
            assert_eq!(maildir.read(name).unwrap(), "", "{name}");
        }
        rustix::fs::mkfifoat(rustix::fs::CWD, maildir.file("new/1.M4"), Mode::RUSR).unwrap();
        assert_eq!(maildir.read("new/1.M4").unwrap(), "");
        fs::create_dir(maildir.file("new/1.M5")).unwrap();
        assert_eq!(maildir.read("new/1.M5").unwrap(), "");
        // The same for a folder that was replaced by a link.
        fs::create_dir(maildir.0.path("other")).unwrap();
        fs::write(maildir.0.path("other/1.M6"), "secret").unwrap();
        fs::remove_dir_all(maildir.file("new")).unwrap();
        symlink("../other", maildir.file("new")).unwrap();
        assert_eq!(maildir.read("new/1.M6").unwrap(), "");
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        use std::os::unix::fs::PermissionsExt;
        let maildir = Maildir::new("rights");
        fs::write(maildir.file("new/1.M1"), "one").unwrap();
        fs::set_permissions(maildir.file("new/1.M1"), fs::Permissions::from_mode(0o000)).unwrap();
        let opened = std::thread::scope(|scope| {
            let other_user = scope.spawn(|| {
                if rustix::process::geteuid().is_root() {
                    let nobody = rustix::fs::Uid::from_raw(65_534);
                    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                maildir.read("new/1.M1")
            });
            other_user.join().unwrap()
        });
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
