//! Reading one message: a plain file, or gzip as Dovecot's zlib plugin and this server write it. The first octets
//! tell, not the name; a message cannot begin with them, for a header field's name is printable ASCII.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::dot::encode::WireSize;

/// How a gzip file with deflate begins (RFC 1952 section 2.3.1).
pub const GZIP: [u8; 3] = [0x1F, 0x8B, 8];

/// A message's octets as they were before compression, LF line ends and all. Read it in large blocks: a plain file
/// costs an open(2) and one read(2) a block, no more.
#[derive(Debug)]
pub struct MessageReader {
    file: File,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Nothing was read yet; the first block will tell.
    Unknown,
    Plain,
    /// The decoder has a descriptor of its own.
    Gzip(Box<MultiGzDecoder<File>>),
}

impl MessageReader {
    /// Opens a message file.
    pub fn open(path: &Path) -> io::Result<MessageReader> {
        Ok(MessageReader { file: File::open(path)?, kind: Kind::Unknown })
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
}

impl Read for MessageReader {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Plain => self.file.read(block),
            Kind::Gzip(decoder) => decoder.read(block),
            Kind::Unknown => {
                let (octets, gzip) = MessageReader::read_first(&mut self.file, block)?;
                if !gzip {
                    self.kind = Kind::Plain;
                    return Ok(octets);
                }
                self.file.rewind()?;
                self.kind = Kind::Gzip(Box::new(MultiGzDecoder::new(self.file.try_clone()?)));
                self.read(block)
            }
        }
    }
}
