//! The files of the journal: which there are, what their names say, and how their lines are read.
//!
//! A segment is named after the `seq` of its first record, 20 digits, so that names sort as numbers do: the active one
//! `.jsonl`, sealed ones `.jsonl.gz` sooner or later. This room writes nothing but the gzip of a sealed segment.

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Longest line that is read, octets. A record is bounded by `limits::HEADER_OCTETS`, escaped at most six times.
const LONGEST_LINE: u64 = 1024 * 1024;

/// Octets that are reserved at a time: some 50 records.
const RESERVE: u64 = 64 * 1024;

/// One segment on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// `seq` of its first record.
    pub first: u64,
    /// True for `.jsonl.gz`.
    pub compressed: bool,
    /// The file.
    pub path: PathBuf,
}

impl Segment {
    /// The plain segment that begins with `first`.
    pub fn plain(dir: &Path, first: u64) -> Segment {
        Segment { first, compressed: false, path: dir.join(format!("{first:020}.jsonl")) }
    }

    fn parse(path: PathBuf) -> Option<Segment> {
        let name = path.file_name()?.to_str()?;
        let (digits, ending) = name.split_at_checked(20)?;
        let compressed = match ending {
            ".jsonl" => false,
            ".jsonl.gz" => true,
            _ => return None,
        };
        let first = digits.bytes().all(|octet| octet.is_ascii_digit()).then(|| digits.parse().ok())??;
        Some(Segment { first, compressed, path })
    }

    /// Reads its lines from the beginning.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn lines(&self) -> io::Result<Lines> {
        let file = File::open(&self.path)?;
        let source = if self.compressed {
            Source::Gzip(Box::new(MultiGzDecoder::new(BufReader::new(file))))
        } else {
            Source::Plain(file)
        };
        Ok(Lines { reader: BufReader::with_capacity(64 * 1024, source) })
    }

    /// Replaces a sealed plain segment in `dir` by its gzip. Readers find one or the other at every moment. The mtime
    /// stays: it says when the last record was appended.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; the plain segment stays then.
    pub fn compress(&self, dir: &Path) -> io::Result<()> {
        let done = self.path.with_extension("jsonl.gz");
        let tmp = self.path.with_extension("tmp");
        let mut from = File::open(&self.path)?;
        let mut to = GzEncoder::new(File::create(&tmp)?, flate2::Compression::new(6));
        io::copy(&mut from, &mut to)?;
        let (file, like) = (to.finish()?, from.metadata()?);
        file.set_permissions(like.permissions())?;
        file.set_modified(like.modified()?)?;
        file.sync_all()?;
        fs::rename(&tmp, &done)?;
        // A power cut must not take both: the plain one goes when the gzip's name is there to stay.
        File::open(dir)?.sync_all()?;
        fs::remove_file(&self.path)
    }
}

/// Every segment of a journal, oldest first, each once: of a pair that a crash left, the plain one.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(Segment::parse(entry?.path()));
    }
    // Plain sorts before compressed.
    found.sort();
    found.dedup_by_key(|segment| segment.first);
    Ok(found)
}

/// The lines of a segment, one after the other.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<Source>,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

impl Read for Source {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(file) => file.read(block),
            Source::Gzip(decoder) => decoder.read(block),
        }
    }
}

impl Lines {
    /// Reads the next whole line into `line`, without its newline; false at the end, or before a line that has none
    /// yet. That is read again the next time, from the file: the next start of a server that was killed while it wrote
    /// cuts such a line off and puts others in its place.
    ///
    /// # Errors
    ///
    /// When the file fails, or is damaged.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let count = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(true);
        }
        if count as u64 == LONGEST_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of more than a mebibyte"));
        }
        // The reader is at its file's end, so nothing is left in its buffer. A compressed segment grows no more.
        if count > 0
            && let Source::Plain(file) = self.reader.get_mut()
        {
            file.seek_relative(-(count as i64))?;
        }
        Ok(false)
    }
}

/// Sees to it that the disk has room for `octets` after `end`, so that a full disk refuses a record before its first
/// octet is written and not in its middle, where a reader may have begun to read. One fallocate(2) for many records;
/// a file system without it goes on without.
///
/// # Errors
///
/// When the disk or the disk quota is full.
pub fn reserve(file: &File, end: u64, reserved: &mut u64, octets: u64) -> io::Result<()> {
    if end + octets <= *reserved {
        return Ok(());
    }
    let ahead = octets.max(RESERVE);
    match fallocate(file, FallocateFlags::KEEP_SIZE, end, ahead) {
        Ok(()) => *reserved = end + ahead,
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => return Err(error.into()),
        Err(_) => *reserved = u64::MAX,
    }
    Ok(())
}

/// Appends octets to a file, all or, as far as that can be, nothing: what went wrong half-way is cut off again.
///
/// # Errors
///
/// The error of write(2); if the file could not be cut back, `Err` holds that in its text.
pub fn append(file: &mut File, end: &mut u64, octets: &[u8]) -> io::Result<()> {
    match file.write_all(octets) {
        Ok(()) => {
            *end += octets.len() as u64;
            Ok(())
        }
        Err(error) => {
            if let Err(worse) = file.set_len(*end) {
                return Err(io::Error::other(format!("{error}, and the file could not be cut back: {worse}")));
            }
            Err(error)
        }
    }
}
