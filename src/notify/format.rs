//! How a record becomes a line: `inotify`, `path`, `tsv`, `json`, or a template.

use crate::journal::Record;

/// A format, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// `DIR/ MOVED_TO FILE`.
    Inotify,
    /// The path.
    Path,
    /// Tab-separated.
    Tsv,
    /// The record.
    Json,
    /// Pieces of text and fields' names.
    Template(Vec<Piece>),
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is written.
    Text(String),
    /// The value of a field of the event.
    Field(&'static str),
}

impl Format {
    /// Of `inotify`, `path`, `tsv`, `json`, or anything with `{` as a template.
    ///
    /// # Errors
    ///
    /// Says what is wrong, with the nearest format or field that there is.
    pub fn parse(_text: &str) -> Result<Format, String> {
        unimplemented!("notify")
    }

    /// Appends the line with its newline: at most `limits::PIPE_LINE` octets, UTF-8, no control character inside.
    pub fn write_line(&self, _record: &Record, _out: &mut Vec<u8>) {
        unimplemented!("notify")
    }
}
