//! The sizes of messages without a size in their names, in one small file for each user, so that another program's
//! message is read for its size once. The file may be lost at any time; the messages are then measured again.
//!
//! Its lines are `UNIQUE-ID OCTETS FILE-OCTETS SECONDS NANOSECONDS`. The last three are the length and the time of the last
//! change of the file that was measured: names are used again, and a size is valid only for that file. Only messages that
//! are still there are written again, which bounds the file. It is replaced by rename, without fsync: sizes that a power
//! cut takes are measured again.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::Stat;

/// The first line; other versions have another one.
const HEAD: &str = "mailbell sizes 3\n";

/// No file larger than this is read: some 1,000,000 messages.
const LARGEST: u64 = 64 << 20;

/// What tells a file from another that took its name: its octets on disk and the time of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    octets: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Shape {
    /// From what stat(2) says.
    pub fn of(stat: &Stat) -> Shape {
        Shape {
            octets: u64::try_from(stat.st_size).unwrap_or(0),
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec as u32,
        }
    }
}

/// Remembered sizes by unique-id.
#[derive(Debug, Default)]
pub struct Sizes {
    by_id: HashMap<Vec<u8>, (u64, Shape)>,
}

impl Sizes {
    /// Reads the file. A file that is missing, unreadable or of another version counts as empty; a bad line is skipped.
    pub fn load(path: &Path) -> Sizes {
        let fits = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LARGEST);
        let content = if fits { fs::read(path).unwrap_or_default() } else { Vec::new() };
        let mut sizes = Sizes::default();
        let Some(lines) = content.strip_prefix(HEAD.as_bytes()) else {
            return sizes;
        };
        for line in lines.split_inclusive(|&octet| octet == b'\n') {
            // A last line without its end may have lost digits.
            let Some(line) = line.strip_suffix(b"\n") else { continue };
            if let Some((unique_id, octets, shape)) = parse(line) {
                sizes.insert(unique_id, octets, shape);
            }
        }
        sizes
    }

    /// The size of a message with a file of this shape, octets as RETR sends them.
    pub fn get(&self, unique_id: &[u8], shape: Shape) -> Option<u64> {
        self.by_id.get(unique_id).filter(|(_, known)| *known == shape).map(|(octets, _)| *octets)
    }

    /// Remembers a size. `unique_id` has no space and no line end in it.
    pub fn insert(&mut self, unique_id: &[u8], octets: u64, shape: Shape) {
        self.by_id.insert(unique_id.to_vec(), (octets, shape));
    }

    /// The number of sizes.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Writes the file, readable for the owner alone. The caller holds the maildrop's lock, so one process writes one
    /// user's file at a time.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut content = HEAD.as_bytes().to_vec();
        for (unique_id, (octets, shape)) in &self.by_id {
            content.extend_from_slice(unique_id);
            writeln!(content, " {octets} {} {} {}", shape.octets, shape.seconds, shape.nanoseconds)?;
        }
        // No user name has a `~`, so this is no other user's file.
        let mut new = path.as_os_str().to_owned();
        new.push(".new~");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&content)?;
        fs::rename(&new, path)
    }
}

/// Takes a line apart, without its end.
fn parse(line: &[u8]) -> Option<(&[u8], u64, Shape)> {
    let space = memchr::memchr(b' ', line)?;
    let mut numbers = std::str::from_utf8(&line[space + 1..]).ok()?.split(' ');
    let octets = numbers.next()?.parse().ok()?;
    let shape = Shape {
        octets: numbers.next()?.parse().ok()?,
        seconds: numbers.next()?.parse().ok()?,
        nanoseconds: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some((&line[..space], octets, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { octets: 90, seconds: -7, nanoseconds: 5 };

    #[test]
    fn survives_what_happens_to_files() {
        let folder = crate::maildir::testing::folder("sizes");
        let path = folder.join("sizes/alice");
        assert!(Sizes::load(&path).count() == 0);
        let mut sizes = Sizes::default();
        sizes.insert(b"1.M2.h", 120, SHAPE);
        sizes.insert(b"mb-00", u64::MAX, Shape { octets: 0, seconds: i64::MIN, nanoseconds: u32::MAX });
        sizes.store(&path).unwrap();
        let read = Sizes::load(&path);
        assert_eq!(read.by_id, sizes.by_id);
        assert_eq!(read.get(b"1.M2.h", SHAPE), Some(120));
        assert_eq!(read.get(b"1.M2.h", Shape { nanoseconds: 6, ..SHAPE }), None);

        let lines = "a 1 90 -7 5\nb\nc x\n d\ne 99999999999999999999 90 -7 5\ng 1 90 -7\nh 1 90 -7 5 5\nf 12 90 -7 5";
        fs::write(&path, format!("{HEAD}{lines}")).unwrap();
        let read = Sizes::load(&path);
        assert_eq!((read.count(), read.get(b"a", SHAPE)), (1, Some(1)));
        for other in ["", "mailbell sizes 1\na 1\n", "mailbell"] {
            fs::write(&path, other).unwrap();
            assert!(Sizes::load(&path).count() == 0, "{other}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
