//! Finding a message again that another program has moved or flagged.

use super::folder::{Folder, Refused};
use super::name;
use super::name::Place;
use super::reader::MessageReader;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A message may be moved between the look and the opening, but not again and again.
const LOOKS: usize = 3;

/// The file in a folder of a Maildir that is the same message. `file_name` may be the text of a name that is not UTF-8
/// ([`name::text`]).
///
/// # Errors
///
/// When the folder cannot be read.
pub fn find_in(folder: &Folder, file_name: &OsStr) -> io::Result<Option<OsString>> {
    let wanted = name::text(name::known_as(file_name.as_bytes()));
    let is_it =
        |name: &OsString| name::is_message(name.as_bytes()) && name::text(name::known_as(name.as_bytes())) == wanted;
    Ok(folder.names()?.into_iter().find(is_it))
}

/// Opens a message of a Maildir, which may have another folder and other flags by now. `None` when it is gone, or when the Maildir's
/// owner has made it unreadable: by permissions, by a link, by a file of another user in its place. An error
/// would make the caller try again, so that one user could hold up the messages of all others.
///
/// # Errors
///
/// Of the system.
pub fn open(maildir: &Path, file_name: &OsStr) -> io::Result<Option<MessageReader>> {
    let opened = open_anywhere(maildir, file_name);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_ours(maildir) => {
            log::warn!("{}: message {file_name:?} is not read: {error}", maildir.display());
            Ok(None)
        }
        opened => opened,
    }
}

fn open_anywhere(maildir: &Path, file_name: &OsStr) -> io::Result<Option<MessageReader>> {
    for look in 0..LOOKS {
        // As a rule it has moved to cur/, where flags were added to its name.
        for place in if look == 0 { [Place::New, Place::Cur] } else { [Place::Cur, Place::New] } {
            let folder = match Folder::of_others(maildir, place) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    continue;
                }
                folder => folder?,
            };
            let found = if look == 0 { Some(file_name.to_owned()) } else { find_in(&folder, file_name)? };
            let Some(found) = found else { continue };
            match folder.message(&found) {
                Ok((file, _)) => return Ok(Some(MessageReader::of(file, found.as_bytes()))),
                Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(Refused::NotAFile) => {
                    log::warn!("{}: message {found:?} is no regular file any more; not read", maildir.display());
                    return Ok(None);
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }
    Ok(None)
}

fn is_ours(maildir: &Path) -> bool {
    std::fs::metadata(maildir).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::testing::maildir;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{chown, symlink};

    fn read(maildir: &Path, file_name: &str) -> Option<String> {
        let mut text = String::new();
        open(maildir, file_name.as_ref()).unwrap()?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn a_message_is_found_wherever_it_is() {
        let maildir = maildir("moved", &[("new/1.h", b"one"), ("cur/2.h,S=3:2,S", b"two"), ("cur/3.h:2,", b"three")]);
        fs::rename(maildir.join("cur/3.h:2,"), maildir.join("cur").join(OsStr::from_bytes(b"3.\xE4.h:2,S"))).unwrap();
        for (name, text) in [("1.h", "one"), ("2.h,S=3", "two"), ("2.h", "two"), ("3.%E4.h", "three")] {
            assert_eq!(read(&maildir, name).as_deref(), Some(text));
        }
        assert_eq!(read(&maildir, "4.h"), None);
        assert_eq!(read(Path::new("/nonexistent/mailbell"), "1.h"), None);
        fs::remove_dir_all(maildir).unwrap();
    }

    #[test]
    fn a_message_that_its_owner_replaced_is_gone() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let maildir = maildir("moved-thief", &[("new/2.h", b"another user's")]);
        chown(&maildir, Some(2002), None).unwrap();
        chown(maildir.join("new/2.h"), Some(2001), None).unwrap();
        symlink("/etc/passwd", maildir.join("new/1.h")).unwrap();
        assert_eq!((read(&maildir, "1.h"), read(&maildir, "2.h")), (None, None));
        fs::remove_dir_all(maildir).unwrap();
    }
}
