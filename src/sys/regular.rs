//! Files that are read whole: regular ones only, and only up to a limit.

use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The content of a regular file of at most `limit` octets. A FIFO or a device is refused and not waited for.
///
/// # Errors
///
/// As open(2) and read(2) say, and when the file is of another kind or too long.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    let mut octets = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(limit as usize) + 1);
    File::from(file).take(limit + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is longer than {limit} octets")));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_up_to_the_limit_are_read() {
        let folder = std::env::temp_dir().join(format!("mailbell-regular-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, fifo) = (folder.join("file"), folder.join("fifo"));
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_regular(&file, 5).unwrap(), b"12345");
        assert_eq!(read_regular(&file, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        for path in [&fifo, &folder, Path::new("/dev/zero")] {
            assert_eq!(read_regular(path, 5).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
