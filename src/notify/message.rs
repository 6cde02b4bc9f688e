//! The stored message for a program's standard input: uncompressed, wherever in its Maildir it is by now.
//!
//! The Maildir may belong to another user. Below it no link is followed, and only a regular file is opened, so that its
//! owner cannot make a hook read what the owner may not.
//!
//! For a message that is gone, because somebody read and deleted it before its turn came, the input is empty: the event
//! happened all the same. A message that is there and cannot be opened is an error, and the hook is run later.

use super::command::Source;
#[cfg(feature = "mime")]
use crate::content;
use crate::journal::Record;
use crate::maildir::moved;
use std::fs::File;
use std::io;
#[cfg(feature = "mime")]
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

/// Gets a message that stays on its server; `None` where that fails.
pub type Fetcher = Box<dyn Fn(&Record) -> Option<File> + Send + Sync>;

static FETCHER: OnceLock<Fetcher> = OnceLock::new();

/// Gets messages that are not stored here by `fetcher` from now on. The first one counts.
pub fn fetch_with(fetcher: Fetcher) {
    let _ = FETCHER.set(fetcher);
}

/// The message of a record.
///
/// # Errors
///
/// When it is there and cannot be opened or read.
pub(super) fn open(record: &Record) -> io::Result<Source<'static>> {
    if record.path.is_empty() {
        let fetched = FETCHER.get().and_then(|fetcher| fetcher(record));
        return Ok(fetched.map_or_else(|| Source::Octets(Box::new(io::empty())), Source::File));
    }
    let path = Path::new(&record.path);
    let reader = match (path.parent().and_then(Path::parent), path.file_name()) {
        (Some(maildir), Some(file_name)) => moved::open(maildir, file_name)?,
        _ => None,
    };
    let Some(reader) = reader else { return Ok(Source::Octets(Box::new(io::empty()))) };
    Ok(match reader.into_plain()? {
        Ok(file) => Source::File(file),
        Err(reader) => Source::Octets(Box::new(reader)),
    })
}

/// The record and what is in its message, as one line of JSON that is made while it is read.
///
/// # Errors
///
/// As [`open`].
#[cfg(feature = "mime")]
pub(super) fn parsed(record: &Record) -> io::Result<Source<'static>> {
    Ok(Source::Octets(Box::new(parsed_of(record, open(record)?)?)))
}

/// The same of a message that is open.
#[cfg(feature = "mime")]
pub(super) fn parsed_of(record: &Record, source: Source<'_>) -> io::Result<impl Read + 'static> {
    let object = match source {
        Source::File(mut file) => content::parsed(record, &mut file),
        Source::Octets(mut octets) => content::parsed(record, &mut octets),
    }?;
    Ok(object.chain(&b"\n"[..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use crate::notify::testing::Scratch;
    use rustix::fs::Mode;
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Read;
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
    fn a_message_of_our_own_that_cannot_be_opened_is_an_error() {
        use std::os::unix::fs::PermissionsExt;
        let maildir = Maildir::new("rights");
        fs::write(maildir.file("new/1.M1"), "one").unwrap();
        fs::set_permissions(maildir.file("new/1.M1"), fs::Permissions::from_mode(0o000)).unwrap();
        if rustix::process::geteuid().is_root() {
            for path in ["", "new", "new/1.M1"] {
                std::os::unix::fs::chown(maildir.file(path), Some(65_534), None).unwrap();
            }
        }
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
