//! Where a message is that another program has moved, with flags and perhaps attributes behind its name.

use super::name;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file in a folder of a Maildir that is the same message.
///
/// # Errors
///
/// When the folder is there and cannot be read.
pub fn find_in(folder: &Path, file_name: &OsStr) -> io::Result<Option<PathBuf>> {
    let known_as = name::known_as(file_name.as_bytes());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        if name::is_message(file_name.as_bytes()) && name::known_as(file_name.as_bytes()) == known_as {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
