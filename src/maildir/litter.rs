//! Removes from `tmp/` what interrupted deliveries left there, after 36 hours, as the Maildir rules say.

use super::folder::Folder;
use rustix::fs::{AtFlags, FileType, unlinkat};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than any delivery takes.
pub const AGE: Duration = Duration::from_secs(36 * 3600);

/// Removes files in `tmp/` that were not read or written for [`AGE`], and gives their number. A link in place of `tmp/`
/// is not followed.
///
/// # Errors
///
/// When the folder is there and cannot be read. Files that cannot be removed are logged.
pub fn clean(maildir: &Path, now: SystemTime) -> io::Result<usize> {
    let tmp = match Folder::named(maildir, "tmp") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        tmp => tmp?,
    };
    let limit = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(AGE).as_secs() as i64;
    let mut removed = 0;
    for name in tmp.names()? {
        // It may have gone to new/ meanwhile.
        let Ok(stat) = tmp.stat(&name) else { continue };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_folder || stat.st_mtime.max(stat.st_atime) >= limit {
            continue;
        }
        match unlinkat(&tmp, &name, AtFlags::empty()) {
            Ok(()) => removed += 1,
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => log::warn!("{}/tmp/{name:?}: cannot be removed: {error}", maildir.display()),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::testing::maildir;
    use std::fs;

    #[test]
    fn only_old_files_in_tmp_go() {
        let maildir = maildir("litter", &[("tmp/1.h", b""), ("tmp/2.h", b""), ("new/3.h", b""), ("cur/4.h:2,", b"")]);
        fs::create_dir(maildir.join("tmp/folder")).unwrap();
        let now = SystemTime::now();
        let old = now - AGE - Duration::from_secs(5);
        let file = fs::File::open(maildir.join("tmp/1.h")).unwrap();
        file.set_modified(old).unwrap();
        assert_eq!(clean(&maildir, now).unwrap(), 0, "it was read just now");
        file.set_times(fs::FileTimes::new().set_modified(old).set_accessed(old)).unwrap();
        assert_eq!(clean(&maildir, now).unwrap(), 1);
        assert_eq!(clean(&maildir, now + AGE - Duration::from_secs(5)).unwrap(), 0);
        assert_eq!(clean(&maildir, now + AGE + Duration::from_secs(5)).unwrap(), 1);
        assert_eq!(crate::maildir::testing::files(&maildir), ["cur/4.h:2,", "new/3.h"]);
        assert!(maildir.join("tmp/folder").is_dir());
        // The owner of a Maildir may not make us remove files elsewhere.
        let link = crate::maildir::testing::folder("litter-link");
        std::os::unix::fs::symlink(maildir.join("cur"), link.join("tmp")).unwrap();
        assert!(clean(&link, now + AGE * 2).is_err());
        assert_eq!(crate::maildir::testing::files(&maildir), ["cur/4.h:2,", "new/3.h"]);
        fs::remove_dir_all(link).unwrap();
        assert_eq!(clean(Path::new("/nonexistent/mailbell"), now).unwrap(), 0);
        fs::remove_dir_all(maildir).unwrap();
    }
}
