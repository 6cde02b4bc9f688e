//! One message of the queue as it is read back: every read is bounded, and what this server did not write is an error, never
//! a message.

use super::envelope::{self, Envelope, QueueId};
use super::progress::{self, Progress};
use crate::sys::read_regular;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a message's header is read, octets.
const HEADER: u64 = 256 * 1024;

/// The first words of every file, with the version of its form.
const MAGIC: &str = "mailbell-queue 1";

/// The first line of a file, of fixed length, so that it can be set right when the message has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Octets of the message as stored.
    pub octets: u64,
    /// Its lines.
    pub lines: u64,
    /// The message has octets beyond ASCII.
    pub eight_bit: bool,
}

impl Head {
    /// Octets of the line with its end.
    const LENGTH: usize = MAGIC.len() + 1 + 20 + 1 + 20 + 1 + 1 + 1;

    pub(super) fn to_line(self) -> Vec<u8> {
        let bits = if self.eight_bit { 8 } else { 7 };
        format!("{MAGIC} {:020} {:020} {bits}\n", self.octets, self.lines).into_bytes()
    }

    fn parse(line: &[u8]) -> Option<Head> {
        let line = std::str::from_utf8(line).ok().filter(|line| line.len() == Head::LENGTH)?;
        let mut words = line.strip_prefix(MAGIC)?.split_ascii_whitespace();
        let head = Head {
            octets: words.next()?.parse().ok()?,
            lines: words.next()?.parse().ok()?,
            eight_bit: words.next()? == "8",
        };
        Some(head).filter(|head| head.to_line() == line.as_bytes())
    }
}

/// One message that waits.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: QueueId,
    /// Its envelope.
    pub envelope: Envelope,
    /// What was tried.
    pub progress: Progress,
    /// Its size.
    pub head: Head,
    file: File,
    /// Where the message begins in the file.
    start: u64,
}

impl Entry {
    /// `InvalidData` for a file that this server did not write so.
    pub(super) fn read(path: &Path, tries: &Path, id: &QueueId) -> io::Result<Entry> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(damaged("is not a regular file"));
        }
        let longest = (Head::LENGTH + envelope::LONGEST) as u64;
        let mut reader = BufReader::new((&file).take(longest));
        let (mut line, mut second) = (Vec::new(), Vec::new());
        (&mut reader).take(Head::LENGTH as u64).read_until(b'\n', &mut line)?;
        let head = Head::parse(&line).ok_or_else(|| damaged("the head cannot be read"))?;
        reader.read_until(b'\n', &mut second)?;
        let envelope = Envelope::parse(&second).ok_or_else(|| damaged("the envelope cannot be read"))?;
        let start = (line.len() + second.len()) as u64;
        if u64::try_from(stat.st_size).ok() != start.checked_add(head.octets) {
            return Err(damaged("the message has another size than its head says"));
        }
        let recipients = envelope.recipients.len();
        let octets = match read_regular(tries, progress::LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // What is there is no note of this server's.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge) => {
                Some(vec![])
            }
            // Without it a recipient would get the message twice.
            read => Some(read?),
        };
        let noted = octets.map(|octets| Progress::parse(&octets, recipients));
        if noted == Some(None) {
            log::warn!("queue: {id}: what was noted of earlier tries cannot be read; all recipients are tried");
        }
        let progress = noted.flatten().unwrap_or_else(|| Progress::new(recipients));
        Ok(Entry { id: id.clone(), envelope, progress, head, file, start })
    }

    /// Octets with CRLF line ends.
    pub fn size(&self) -> u64 {
        self.head.octets + self.head.lines
    }

    /// The message from its beginning: LF line ends.
    ///
    /// # Errors
    ///
    /// Of lseek(2).
    pub fn message(&self) -> io::Result<impl Read + '_> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.start))?;
        Ok(file.take(self.head.octets))
    }

    /// The message's header without the empty line behind it, or the beginning of a header that is very long.
    ///
    /// # Errors
    ///
    /// Of read(2).
    pub fn header(&self) -> io::Result<Vec<u8>> {
        let mut message = self.message()?.take(HEADER);
        let (mut octets, mut block) = (Vec::new(), [0; 4096]);
        loop {
            let count = message.read(&mut block)?;
            let from = octets.len().saturating_sub(1);
            octets.extend_from_slice(&block[..count]);
            let blank = memchr::memmem::find(&octets[from..], b"\n\n").map(|at| from + at + 1);
            match if octets.starts_with(b"\n") { Some(0) } else { blank } {
                Some(end) => {
                    octets.truncate(end);
                    return Ok(octets);
                }
                None if count == 0 => return Ok(octets),
                None => {}
            }
        }
    }

    /// Addresses of the recipients that wait.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        let outcomes = self.envelope.recipients.iter().zip(&self.progress.outcomes);
        outcomes
            .filter(|(_, outcome)| outcome.state == progress::State::Waiting)
            .map(|(recipient, _)| recipient.address.as_str())
    }
}

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
