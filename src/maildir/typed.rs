//! The envelope recipients of one file, kept in an extended attribute (xattr(7)) of it: the file is the same for all of
//! them, so its header names none. The attribute is for the process that must record the message from the file alone,
//! because the one that stored it died or does not record. A file system without attributes keeps none.

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr, removexattr};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The attribute: a line for each recipient, user and address.
const NAME: &str = "user.mailbell.rcpt_to";

/// Octets of it that are read, more than any file system keeps beside other attributes.
const LONGEST: usize = 64 * 1024;

/// Writes it, if that can be.
pub fn write<'a>(file: impl AsFd, recipients: impl Iterator<Item = (&'a str, &'a str)>) {
    let lines = recipients.filter(|(_, typed)| !typed.contains('\n')).map(|(user, typed)| format!("{user} {typed}\n"));
    if let Err(error) = fsetxattr(file, NAME, lines.collect::<String>().as_bytes(), XattrFlags::empty()) {
        log::debug!("recipients are not kept beside the message: {error}");
    }
}

/// Removes it: the owner of the file must not learn the other recipients.
pub fn forget(path: &Path) {
    // A program may have moved the file already, and then it stays.
    let _ = removexattr(path, NAME);
}

/// Removes the line of `user`, after a process that did not store the file has recorded it. Records of the other recipients
/// may follow. With the last line, or the last name of the file, the attribute is removed.
pub fn forget_user(file: &File, user: &str) {
    let Some(text) = lines(file) else { return };
    let is_of = |line: &&str| line.split_once(' ').is_none_or(|(name, _)| name != user);
    let rest: String = text.lines().filter(is_of).flat_map(|line| [line, "\n"]).collect();
    let is_last = rest.is_empty() || file.metadata().is_ok_and(|metadata| metadata.nlink() == 1);
    let outcome = if is_last {
        rustix::fs::fremovexattr(file, NAME)
    } else {
        fsetxattr(file, NAME, rest.as_bytes(), XattrFlags::REPLACE)
    };
    if let Err(error) = outcome {
        log::warn!("recipients stay beside a message: {error}");
    }
}

/// The address by which `user` got the file.
pub fn read(file: impl AsFd, user: &str) -> Option<String> {
    let text = lines(file)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == user).map(|(_, typed)| typed.to_owned())
}

fn lines(file: impl AsFd) -> Option<String> {
    let mut octets = vec![0; LONGEST];
    let count = fgetxattr(file, NAME, &mut octets).ok()?;
    octets.truncate(count);
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_finds_one_address() {
        let path = std::env::temp_dir().join(format!("mailbell-typed-{}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        assert_eq!(read(&file, "alice"), None);
        write(&file, [("alice", "\"al ice\"@x"), ("bob", "team"), ("carol", "a\nb")].into_iter());
        if fgetxattr(&file, NAME, &mut [0_u8; 0]).is_err() {
            eprintln!("no extended attributes here: nothing was shown");
            return;
        }
        for (user, typed) in [("alice", Some("\"al ice\"@x")), ("bob", Some("team")), ("carol", None), ("al", None)] {
            assert_eq!(read(&file, user).as_deref(), typed);
        }
        // Another name, as another recipient's.
        let other = path.with_extension("link");
        std::fs::hard_link(&path, &other).unwrap();
        forget_user(&file, "alice");
        assert_eq!((read(&file, "alice"), read(&file, "bob").as_deref()), (None, Some("team")));
        forget_user(&file, "bob");
        assert!(fgetxattr(&file, NAME, &mut [0_u8; 0]).is_err(), "nothing is left");
        write(&file, [("alice", "a"), ("bob", "b")].into_iter());
        std::fs::remove_file(other).unwrap();
        forget_user(&file, "alice");
        assert_eq!(read(&file, "bob"), None, "nobody else can come");
        write(&file, [("alice", "a")].into_iter());
        forget(&path);
        assert_eq!(read(&file, "alice"), None);
        std::fs::remove_file(path).unwrap();
    }
}
