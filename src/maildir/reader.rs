//! Reading one message: a plain file, or gzip as Dovecot's zlib plugin and this server write it. The first octets
//! tell, not the name; a message cannot begin with them, for a header field's name is printable ASCII. What may be opened
//! is decided in `folder`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

use super::name::Name;
use crate::message::dot::encode::{LineEnds, WireSize};
use crate::message::trace;

/// How a gzip file with deflate begins (RFC 1952 section 2.3.1).
pub const GZIP: [u8; 3] = [0x1F, 0x8B, 8];

/// A message's octets as they were before compression, LF line ends and all. Read it in large blocks.
#[derive(Debug)]
pub struct MessageReader {
    file: File,
    kind: Kind,
    /// Octets of a plain file that are not read yet, as its name tells. A block that is not filled and leaves 0 is the
    /// last one, so that no read(2) asks for the end: one system call of four for each message that POP3 sends. Where the
    /// name is silent or wrong, read(2) tells.
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
    /// Reads a message file that is open, at its beginning. `file_name` may tell the size.
    pub fn of(file: File, file_name: &[u8]) -> MessageReader {
        MessageReader { file, kind: Kind::Unknown, left: Name::parse(file_name).size }
    }

    /// The file itself, where it is a plain one of which nothing was read yet.
    pub fn into_plain(self) -> io::Result<Result<File, MessageReader>> {
        let mut head = [0; GZIP.len()];
        let is_gzip = self.file.read_at(&mut head, 0)? == head.len() && head == GZIP;
        let is_plain = matches!(self.kind, Kind::Unknown) && !is_gzip && self.file.metadata()?.is_file();
        Ok(if is_plain { Ok(self.file) } else { Err(self) })
    }

    /// Counts a whole message as RETR sends it. `block` is memory that the caller keeps for many messages.
    pub fn measure(mut self, file_name: &[u8], block: &mut [u8]) -> io::Result<u64> {
        let mut octets = self.read(block)?;
        let mut size = WireSize::new(line_ends(file_name, &block[..octets]));
        while octets > 0 {
            size.add(&block[..octets]);
            octets = self.read(block)?;
        }
        Ok(size.octets_sent())
    }

    /// Reads the first block of a file of unknown kind, and tells whether it is gzip. A block may be too small to tell;
    /// then the file's beginning is read twice.
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

/// What ends the lines of a message file that begins with `head`: LF in those that this server wrote, and LF or CR LF in
/// those of other programs.
pub fn line_ends(file_name: &[u8], head: &[u8]) -> LineEnds {
    if trace::is_of(head, Name::parse(file_name).id) { LineEnds::Lf } else { LineEnds::Mixed }
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
