//! Reading one message: a plain file, or gzip as Dovecot's zlib plugin and this server write it. The first octets
//! tell, not the name; a message cannot begin with them, for a header field's name is printable ASCII.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use rustix::fs::OFlags;

use super::name::Name;
use crate::message::dot::encode::WireSize;

/// How a gzip file with deflate begins (RFC 1952 section 2.3.1).
pub const GZIP: [u8; 3] = [0x1F, 0x8B, 8];

/// A message's octets as they were before compression, LF line ends and all. Read it in large blocks: a plain file
/// costs an open(2) and one read(2) a block, and no more where its name tells when it has come to its end.
#[derive(Debug)]
pub struct MessageReader {
    file: File,
    kind: Kind,
    /// Octets that are left of a plain file, if its name tells its size. A block that is not filled ends at 0 then, and
    /// nobody has to ask for the end; where the name is wrong, it is asked for as ever.
    left: Option<u64>,
}

#[derive(Debug)]
enum Kind {
    /// Nothing was read yet; the first block will tell.
    Unknown,
    Plain,
    /// All of a plain file was read.
    End,
    /// The decoder has a descriptor of its own.
    Gzip(Box<MultiGzDecoder<File>>),
}

impl MessageReader {
    /// Opens a message file. A symbolic link is none, for it may lead to what its maker may not read; and who put a FIFO
    /// there keeps nobody waiting.
    pub fn open(path: &Path) -> io::Result<MessageReader> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
        let left = path.file_name().and_then(|file_name| Name::parse(file_name.as_bytes()).size);
        Ok(MessageReader { file, kind: Kind::Unknown, left })
    }

    /// Reads a message file that is open already, at its beginning.
    pub fn of(file: File) -> MessageReader {
        MessageReader { file, kind: Kind::Unknown, left: None }
    }

    /// The file itself, where it is a plain one of which nothing was read yet.
    pub fn into_plain(self) -> io::Result<Result<File, MessageReader>> {
        let mut head = [0; GZIP.len()];
        let is_gzip = self.file.read_at(&mut head, 0)? == head.len() && head == GZIP;
        let is_plain = matches!(self.kind, Kind::Unknown) && !is_gzip && self.file.metadata()?.is_file();
        Ok(if is_plain { Ok(self.file) } else { Err(self) })
    }

    /// Counts a whole message as RETR sends it, by way of a block that the caller keeps for many messages.
    pub fn measure(path: &Path, block: &mut [u8]) -> io::Result<u64> {
        let mut reader = MessageReader::open(path)?;
        let mut size = WireSize::new();
        loop {
            match reader.read(block)? {
                0 => return Ok(size.octets_sent()),
                octets => size.add(&block[..octets]),
            }
        }
    }

    /// Reads the first block of a file whose kind is not known. A block too small to tell is for a caller who does not
    /// care for speed: the rest of the magic is looked at on the way.
    fn read_first(file: &mut File, block: &mut [u8]) -> io::Result<(usize, bool)> {
        if block.len() >= GZIP.len() {
            let octets = file.read(block)?;
            return Ok((octets, block[..octets].starts_with(&GZIP)));
        }
        let mut head = Vec::new();
        file.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
        file.rewind()?;
        Ok((file.read(block)?, head == GZIP))
    }

    /// Counts what was read of a plain file into a block of so many octets.
    fn taken(&mut self, octets: usize, block: usize) {
        self.left = self.left.and_then(|left| left.checked_sub(octets as u64));
        if octets < block && self.left == Some(0) {
            self.kind = Kind::End;
        }
    }
}

impl Read for MessageReader {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Plain => {
                let octets = self.file.read(block)?;
                self.taken(octets, block.len());
                Ok(octets)
            }
            Kind::End => Ok(0),
            Kind::Gzip(decoder) => decoder.read(block),
            Kind::Unknown => {
                let (octets, gzip) = MessageReader::read_first(&mut self.file, block)?;
                if !gzip {
                    self.kind = Kind::Plain;
                    self.taken(octets, block.len());
                    return Ok(octets);
                }
                self.file.rewind()?;
                self.kind = Kind::Gzip(Box::new(MultiGzDecoder::new(self.file.try_clone()?)));
                self.read(block)
            }
        }
    }
}
