//! The body of a webhook's request: what it is, how long it is, and its octets, which are read twice: for length and
//! signature, and to be sent. A message is never in memory as a whole.

use super::command::Source;
use super::message;
use crate::journal::Record;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// `webhook.body`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The JSON record.
    Event,
    /// The record and what is in its message, in JSON.
    #[cfg(feature = "mime")]
    Parsed,
    /// The stored message, as a hook reads it on its standard input: LF line ends.
    Message,
}

impl Body {
    /// The value of Content-Type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Body::Message => "message/rfc822",
            _ => "application/json",
        }
    }
}

/// The octets of one request.
pub(super) struct Payload {
    length: u64,
    /// A message that is parsed when it is measured, in the sandbox.
    #[cfg(feature = "mime")]
    unparsed: Option<Source<'static>>,
    octets: Octets,
}

enum Octets {
    Memory(Cursor<Vec<u8>>),
    File(File),
    /// A compressed message: one reader for each time that it is read.
    Twice(Box<dyn Read>, Box<dyn Read>),
}

impl Payload {
    /// Nothing, as a HEAD has it.
    pub(super) fn empty() -> Payload {
        Payload::of(Octets::Memory(Cursor::default()))
    }

    /// Opens what is sent for a record. A message that is gone is empty.
    pub(super) fn open(body: Body, record: &Record) -> io::Result<Payload> {
        let octets = match body {
            Body::Event => {
                let mut json = Vec::new();
                record.write_json(&mut json);
                Octets::Memory(Cursor::new(json))
            }
            #[cfg(feature = "mime")]
            Body::Parsed => {
                return Ok(Payload { unparsed: Some(message::open(record)?), ..Payload::empty() });
            }
            Body::Message => match message::open(record)? {
                Source::File(file) => Octets::File(file),
                // What is on another server and cannot be had is empty, and not asked for a second time.
                Source::Octets(first) if record.path.is_empty() => Octets::Twice(first, Box::new(io::empty())),
                Source::Octets(first) => match message::open(record)? {
                    Source::Octets(second) => Octets::Twice(first, second),
                    Source::File(file) => Octets::File(file),
                },
            },
        };
        Ok(Payload::of(octets))
    }

    fn of(octets: Octets) -> Payload {
        Payload {
            length: 0,
            #[cfg(feature = "mime")]
            unparsed: None,
            octets,
        }
    }

    /// Reads it the first time, each block for `see`. Returns its length.
    #[cfg_attr(not(feature = "mime"), allow(unused_variables))]
    pub(super) fn measure(&mut self, record: &Record, mut see: impl FnMut(&[u8])) -> io::Result<u64> {
        #[cfg(feature = "mime")]
        if let Some(source) = self.unparsed.take() {
            let mut json = Vec::new();
            message::parsed_of(record, source)?.read_to_end(&mut json)?;
            self.octets = Octets::Memory(Cursor::new(json));
        }
        let source: &mut dyn Read = match &mut self.octets {
            Octets::Memory(octets) => octets,
            Octets::File(file) => file,
            Octets::Twice(first, _) => first,
        };
        let (mut block, mut length) = (vec![0; 32 * 1024], 0);
        loop {
            match source.read(&mut block) {
                Ok(0) => break,
                Ok(count) => {
                    see(&block[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.length = length;
        Ok(length)
    }

    /// Its length, and its octets from the beginning.
    pub(super) fn source(&mut self) -> io::Result<(u64, &mut dyn Read)> {
        Ok((
            self.length,
            match &mut self.octets {
                Octets::Memory(octets) => {
                    octets.set_position(0);
                    octets
                }
                Octets::File(file) => {
                    file.seek(SeekFrom::Start(0))?;
                    file
                }
                Octets::Twice(_, second) => second,
            },
        ))
    }
}
