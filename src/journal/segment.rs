//! The files of the journal: which there are, what their names say, and how their lines are read.
//!
//! A segment is named after the `seq` of its first record, 20 digits, so that names sort as numbers do: the active one
//! is `.jsonl`, a sealed one becomes `.jsonl.gz`. Nothing here writes to a file.
//!
//! A line counts only if it is a record. Everything else (zeroes, a line cut in two, a gzip stream that ends early) is
//! damage: it is passed over, and the `seq` of the next record tells what is missing.

use super::record::Record;
use flate2::read::MultiGzDecoder;
use memchr::memmem::Finder;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest line that can be a record, octets. A field has at most 2,048 octets and each is escaped in at most six.
const LONGEST_LINE: usize = 1024 * 1024;

/// One read of a segment, octets. Each subscriber and each stream over HTTP keeps one while it waits.
const BLOCK: usize = 16 * 1024;

/// A larger `seq` is damage: a server that stores a million messages a second needs 2,000 years for so many.
pub const LARGEST_SEQ: u64 = 1 << 56;

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
        (1..LARGEST_SEQ).contains(&first).then_some(Segment { first, compressed, path })
    }

    /// Reads its lines from the beginning. What is no file (a folder, a link, a FIFO) has none.
    ///
    /// # Errors
    ///
    /// When the file is not there or cannot be opened now.
    pub fn lines(&self) -> io::Result<Lines> {
        let source = match open(&self.path) {
            Ok(file) if self.compressed => Source::Gzip(Box::new(MultiGzDecoder::new(BufReader::new(file)))),
            Ok(file) => Source::Plain(file),
            Err(error) if is_damage(&error) => Source::Nothing,
            Err(error) => return Err(error),
        };
        let damaged = u64::from(matches!(source, Source::Nothing));
        Ok(Lines { reader: BufReader::with_capacity(BLOCK, source), at: 0, damaged })
    }

    /// Hands every record of the segment to `each`, with the octets before its line and after it. Gives the octets that
    /// are no record.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn records(&self, mut each: impl FnMut(Record, u64, u64)) -> io::Result<u64> {
        let (mut lines, mut line) = (self.lines()?, Vec::new());
        while let Some((record, start)) = lines.next_record(0, &mut line)? {
            let end = lines.at;
            each(record, start, end);
        }
        Ok(lines.damaged)
    }
}

/// Every segment of a journal, oldest first, each once: of a pair that a crash left, the plain one. What is no regular
/// file is no segment: the records that should be in it are missing.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            found.extend(Segment::parse(entry.path()));
        }
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
    /// Octets before the next line.
    at: u64,
    /// Octets so far that are no record.
    damaged: u64,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    Nothing,
}

impl Read for Source {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(file) => file.read(block),
            Source::Gzip(decoder) => decoder.read(block),
            Source::Nothing => Ok(0),
        }
    }
}

impl Lines {
    /// Of a segment that is gone.
    pub(super) fn none() -> Lines {
        Lines { reader: BufReader::with_capacity(0, Source::Nothing), at: 0, damaged: 0 }
    }

    /// The next record with this text in its line; lines without it are passed over unread. `line` is a buffer.
    ///
    /// # Errors
    ///
    /// As [`Lines::next_record`].
    pub fn next_holding(&mut self, text: &Finder<'_>, line: &mut Vec<u8>) -> io::Result<Option<Record>> {
        while self.next_line(line)? {
            if text.find(line).is_some()
                && let Ok(record) = Record::parse(line)
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The next record and the octets before its line; `None` at the end. Lines that say a `seq` below `from` are passed
    /// over unread. `line` is a buffer.
    ///
    /// A last line without a newline is read again the next time, from the file: it may be a line that is being written.
    ///
    /// # Errors
    ///
    /// When the system has no memory or no descriptor left. A file that cannot be read further has ended.
    pub fn next_record(&mut self, from: u64, line: &mut Vec<u8>) -> io::Result<Option<(Record, u64)>> {
        loop {
            let start = self.at;
            if !self.next_line(line)? {
                return Ok(None);
            }
            if Record::seq_of(line).is_some_and(|seq| seq < from) {
                continue;
            }
            match Record::parse(line) {
                Ok(record) if (1..LARGEST_SEQ).contains(&record.seq) => return Ok(Some((record, start))),
                _ => self.damaged += self.at - start,
            }
        }
    }

    /// Reads the next whole line, without its newline. Of a line that is too long only the end is kept.
    fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let start = self.at;
        loop {
            let room = (LONGEST_LINE - line.len()) as u64;
            let count = match (&mut self.reader).take(room).read_until(b'\n', line) {
                Ok(count) => count,
                Err(error) if is_damage(&error) => {
                    self.damaged += self.at - start;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            self.at += count as u64;
            if line.last() == Some(&b'\n') {
                line.pop();
                return Ok(true);
            }
            if line.len() < LONGEST_LINE {
                break;
            }
            line.clear();
        }
        // The end of the file, and a compressed segment grows no more.
        if self.at > start && !self.seek(start)? {
            self.damaged += self.at - start;
        }
        Ok(false)
    }

    /// Goes back to a line's beginning, and keeps nothing of what follows it: it may be written anew. False where that
    /// cannot be, in a compressed segment.
    ///
    /// # Errors
    ///
    /// As lseek(2) says.
    pub fn seek(&mut self, start: u64) -> io::Result<bool> {
        if !matches!(self.reader.get_ref(), Source::Plain(_)) {
            return Ok(false);
        }
        self.reader.seek(SeekFrom::Start(start))?;
        self.at = start;
        Ok(true)
    }

    /// Keeps nothing of what follows: it may be written anew.
    ///
    /// # Errors
    ///
    /// As lseek(2) says.
    pub fn forget_ahead(&mut self) -> io::Result<()> {
        if self.reader.buffer().is_empty() { Ok(()) } else { self.seek(self.at).map(|_| ()) }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Source::Plain(file) => file.seek(to),
            Source::Gzip(_) | Source::Nothing => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Opens a regular file and nothing else: no link is followed, and open(2) of a FIFO does not wait.
///
/// # Errors
///
/// Of open(2); `InvalidData` where it is no file.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether an error says that the file is damaged, and not that the system is out of memory or descriptors.
pub fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotADirectory, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | IsADirectory | NotADirectory | UnexpectedEof)
        || [Errno::IO, Errno::LOOP].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
