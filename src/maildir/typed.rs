//! How the recipients of one file were typed, kept in an extended attribute (xattr(7)) of it: the file is the same for
//! all of them, so its header names none. It is for whoever must record the message from the file alone, because the
//! process that stored it died or is not the one that records. Where the file system keeps no attributes, nobody knows.

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr, removexattr};
use std::os::fd::AsFd;
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

/// Takes it away again: who reads his own file is not to learn who else was sent it.
pub fn forget(path: &Path) {
    // A program may have moved the file already, and then it stays.
    let _ = removexattr(path, NAME);
}

/// The address by which `user` got the file.
pub fn read(file: impl AsFd, user: &str) -> Option<String> {
    let mut octets = vec![0; LONGEST];
    let count = fgetxattr(file, NAME, &mut octets).ok()?;
    let lines = std::str::from_utf8(&octets[..count]).ok()?.lines();
    lines.filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == user).map(|(_, typed)| typed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finds_his_own() {
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
        forget(&path);
        assert_eq!(read(&file, "alice"), None);
        std::fs::remove_file(path).unwrap();
    }
}
