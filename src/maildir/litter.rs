//! What deliveries that were cut short left in `tmp/`: removed after 36 hours, as the Maildir rules have it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No delivery takes as long as this.
pub const AGE: Duration = Duration::from_secs(36 * 3600);

/// Removes files in `tmp/` that nobody has read or written for [`AGE`], and gives their number.
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
        if metadata.is_dir() || metadata.mtime().max(metadata.atime()) >= limit {
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
        let now = SystemTime::now();
        let old = now - AGE - Duration::from_secs(5);
        let file = fs::File::open(maildir.join("tmp/1.h")).unwrap();
        file.set_modified(old).unwrap();
        assert_eq!(clean(&maildir, now).unwrap(), 0, "somebody read it just now");
        file.set_times(fs::FileTimes::new().set_modified(old).set_accessed(old)).unwrap();
        assert_eq!(clean(&maildir, now).unwrap(), 1);
        assert_eq!(clean(&maildir, now + AGE - Duration::from_secs(5)).unwrap(), 0);
        assert_eq!(clean(&maildir, now + AGE + Duration::from_secs(5)).unwrap(), 1);
        assert_eq!(crate::maildir::testing::files(&maildir), ["cur/4.h:2,", "new/3.h"]);
        assert!(maildir.join("tmp/folder").is_dir());
        assert_eq!(clean(Path::new("/nonexistent/mailbell"), now).unwrap(), 0);
        fs::remove_dir_all(maildir).unwrap();
    }
}
