//! What deliveries that were cut short left in `tmp/`: removed after 36 hours, as the Maildir rules have it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No delivery takes as long as this.
pub const AGE: Duration = Duration::from_secs(36 * 3600);

/// Removes files in `tmp/` to which nothing has happened for [`AGE`], and gives their number. The time of the last
/// change of the inode counts too, since a program may give a file that it copies an old time of modification.
///
/// # Errors
///
/// When the folder is there and cannot be read. What cannot be removed is told to the log.
pub fn clean(maildir: &Path, now: SystemTime) -> io::Result<usize> {
    let entries = match fs::read_dir(maildir.join("tmp")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let limit = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(AGE).as_secs() as i64;
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        // Of the entry itself, should it be a symbolic link. It may have gone to new/ meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() || metadata.mtime().max(metadata.ctime()) >= limit {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("{}: cannot be removed: {error}", entry.path().display()),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::testing::maildir;

    #[test]
    fn only_old_files_in_tmp_go() {
        let maildir = maildir("litter", &[("tmp/1.h", b""), ("tmp/2.h", b""), ("new/3.h", b""), ("cur/4.h:2,", b"")]);
        fs::create_dir(maildir.join("tmp/folder")).unwrap();
        let old = SystemTime::now() - 2 * AGE;
        fs::File::open(maildir.join("tmp/1.h")).unwrap().set_modified(old).unwrap();
        let now = SystemTime::now();
        assert_eq!(clean(&maildir, now).unwrap(), 0, "it came to be just now, whatever its time says");
        assert_eq!(clean(&maildir, now + AGE - Duration::from_secs(5)).unwrap(), 0);
        assert_eq!(clean(&maildir, now + AGE + Duration::from_secs(5)).unwrap(), 2);
        assert_eq!(crate::maildir::testing::files(&maildir), ["cur/4.h:2,", "new/3.h"]);
        assert!(maildir.join("tmp/folder").is_dir());
        assert_eq!(clean(Path::new("/nonexistent/mailbell"), now).unwrap(), 0);
        fs::remove_dir_all(maildir).unwrap();
    }
}
