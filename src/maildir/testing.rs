//! Folders and files for the tests of this room.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new folder of the test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("mailbell-{name}-{}-{count}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A new Maildir with these files, each `new/NAME` or `cur/NAME`.
pub(crate) fn maildir(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let maildir = folder(name);
    for part in ["tmp", "new", "cur"] {
        fs::create_dir(maildir.join(part)).unwrap();
    }
    for (file, content) in files {
        fs::write(maildir.join(file), content).unwrap();
    }
    maildir
}

/// The names in `new/` and `cur/`, as `new/NAME` and `cur/NAME`, sorted.
pub(crate) fn files(maildir: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for part in ["new", "cur"] {
        for entry in fs::read_dir(maildir.join(part)).unwrap() {
            files.push(format!("{part}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    files.sort();
    files
}
