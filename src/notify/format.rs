//! How a record becomes a line: `inotify`, `path`, `tsv`, `json`, or a template. It writes nothing anywhere.
//!
//! A line has at most [`PIPE_LINE`] octets with its newline, is UTF-8, and holds nothing that a reader may take for the end
//! of a line (`letter::is_unsafe`), but for the tabs of `tsv` and of a template's own text: in JSON such letters are
//! escaped, elsewhere each becomes a space, or U+FFFD in `path` and `id`, where a space could name another file.
//!
//! A line that would be longer loses the ends of its longest values, which `...` marks; `seq`, `user`, `id` and `path` stay
//! whole. They are cut only where they alone fill the line (a path of more than some 3,000 octets; PATH_MAX is 4,096),
//! because a line in two pieces would cost a reader the next one, too.

use super::field_name::{FieldName, unknown_header};
use crate::journal::Record;
use crate::limits::PIPE_LINE;
use crate::message::letter::{self, MARK};
use crate::nearest::nearest;

/// Most octets in a template: the shortest values of all its fields then fit in a line beside its text.
const TEMPLATE: usize = 2_048;

/// The columns of `tsv`.
const TSV: [&str; 11] =
    ["seq", "timestamp", "user", "id", "size", "mail_from", "rcpt_to", "message_id", "from", "subject", "path"];

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
    /// Pieces of text, and names of values.
    Template(Vec<Piece>),
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is written.
    Text(String),
    /// A value of the event.
    Value(FieldName),
}

impl Format {
    /// Parses `inotify`, `path`, `tsv`, `json`, or, where there is a `{`, a template, in which `{subject}` stands for that
    /// field of the event (empty where null), `{header.NAME}` for one of `event.headers`, `{{` for `{` and `}}` for `}`.
    ///
    /// # Errors
    ///
    /// Says what is wrong, with the nearest format or field that there is.
    pub fn parse(text: &str) -> Result<Format, String> {
        match text {
            "inotify" => Ok(Format::Inotify),
            "path" => Ok(Format::Path),
            "tsv" => Ok(Format::Tsv),
            "json" => Ok(Format::Json),
            _ if text.contains('{') => parse_template(text).map(Format::Template),
            _ => Err(match nearest(text, ["inotify", "path", "tsv", "json"]) {
                Some(near) => format!("no format `{text}`; did you mean `{near}`?"),
                None => format!("no format `{text}`; there are inotify, path, tsv, json, or a template with {{field}}"),
            }),
        }
    }

    /// Parses a template, also one without a field.
    ///
    /// # Errors
    ///
    /// As [`Format::parse`].
    pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
        parse_template(text)
    }

    /// What is wrong with a header field that a template names, if the events do not have it: `headers` are those of
    /// `event.headers`.
    pub fn unknown_header(&self, headers: &[String]) -> Option<String> {
        let Format::Template(pieces) = self else { return None };
        header_fields(pieces).find_map(|key| unknown_header(&key.to_string(), headers))
    }

    /// Appends the line with its newline: at most `limits::PIPE_LINE` octets, UTF-8, no line end inside.
    pub fn write_line(&self, record: &Record, out: &mut Vec<u8>) {
        let mut line = Line { text: Vec::new(), cut: PIPE_LINE, cut_kept: PIPE_LINE };
        self.render(record, &mut line);
        if line.text.len() > PIPE_LINE {
            line =
                self.cut(record, |cut| (cut, PIPE_LINE)).or_else(|| self.cut(record, |cut| (cut, cut))).unwrap_or(line);
        }
        // A template is short enough for its values cut to their marks; so is every other format.
        debug_assert!(line.text.len() <= PIPE_LINE);
        out.extend_from_slice(&line.text);
    }

    /// The line, with its values cut to the greatest length that lets it fit.
    fn cut(&self, record: &Record, caps: impl Fn(usize) -> (usize, usize)) -> Option<Line> {
        let render = |longest| {
            let (cut, cut_kept) = caps(longest);
            let mut line = Line { text: Vec::new(), cut, cut_kept };
            self.render(record, &mut line);
            (line.text.len() <= PIPE_LINE).then_some(line)
        };
        // A greater length never gives a shorter line, so the greatest is found by halving.
        let (mut fits, mut low, mut high) = (render(MARK.len())?, MARK.len(), PIPE_LINE);
        while high - low > 1 {
            let middle = low.midpoint(high);
            match render(middle) {
                Some(line) => (fits, low) = (line, middle),
                None => high = middle,
            }
        }
        Some(fits)
    }

    fn render(&self, record: &Record, line: &mut Line) {
        match self {
            Format::Inotify => {
                let (dir, file) = record.path.rsplit_once('/').unwrap_or((".", &record.path));
                line.kept(dir);
                line.text.extend_from_slice(b"/ MOVED_TO ");
                line.kept(file);
            }
            Format::Path => line.kept(&record.path),
            Format::Tsv => {
                for (number, name) in TSV.into_iter().enumerate() {
                    if number > 0 {
                        line.text.push(b'\t');
                    }
                    let start = line.text.len();
                    line.field(record, name);
                    // A shell's `read` takes two tabs in a row for one.
                    if line.text.len() == start {
                        line.text.push(b'-');
                    }
                }
            }
            Format::Json => {
                let (cut, cut_kept) = (line.cut, line.cut_kept);
                record.write_json_within(&mut line.text, |name| if is_kept(name) { cut_kept } else { cut });
            }
            Format::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => line.text.extend_from_slice(text.as_bytes()),
                        Piece::Value(FieldName::Event(name)) => line.field(record, name),
                        Piece::Value(key) => line.cut_value(&key.value(record).unwrap_or_default()),
                    }
                }
            }
        }
        line.text.push(b'\n');
    }
}

/// The header fields that a template names.
pub fn header_fields(pieces: &[Piece]) -> impl Iterator<Item = &FieldName> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Value(key @ FieldName::Header(_)) => Some(key),
        _ => None,
    })
}

fn parse_template(text: &str) -> Result<Vec<Piece>, String> {
    if text.len() > TEMPLATE {
        return Err(format!("a template has at most {TEMPLATE} octets"));
    }
    if let Some(letter) = text.chars().find(|letter| letter::is_unsafe(*letter) && *letter != '\t') {
        return Err(format!("a line cannot hold the control character {}", letter.escape_default()));
    }
    let (mut pieces, mut literal) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        literal += &rest[..brace];
        let after = &rest[brace + 1..];
        if after.starts_with(&rest[brace..=brace]) {
            literal += &rest[brace..=brace];
            rest = &after[1..];
            continue;
        }
        if rest[brace..].starts_with('}') {
            return Err("a `}` without `{`; write `}}` for a brace".into());
        }
        let (name, after) = after.split_once('}').ok_or("a `{` without `}`; write `{{` for a brace")?;
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Value(FieldName::parse(name)?));
        rest = after;
    }
    literal += rest;
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// The values of the fields for a program's environment: without line ends, at most `longest` octets where they may be cut.
pub(super) fn plain(record: &Record, name: &str, longest: usize) -> String {
    let mut line = Line { text: Vec::new(), cut: longest, cut_kept: PIPE_LINE };
    line.field(record, name);
    String::from_utf8(line.text).unwrap_or_default()
}

/// The same for a value that may be cut.
pub(super) fn plain_text(value: &str, longest: usize) -> String {
    let mut line = Line { text: Vec::new(), cut: longest, cut_kept: PIPE_LINE };
    line.cut_value(value);
    String::from_utf8(line.text).unwrap_or_default()
}

/// A text for a line of the log.
pub(super) fn without_line_ends(text: &str) -> String {
    text.chars().map(|letter| if letter::is_unsafe(letter) { '\u{FFFD}' } else { letter }).collect()
}

/// A line that is being written.
struct Line {
    text: Vec<u8>,
    /// Most octets of a value that may be cut, with its mark.
    cut: usize,
    /// The same for values that are cut only when nothing else helps.
    cut_kept: usize,
}

/// Fields that a reader needs whole, and those that are short.
fn is_kept(name: &str) -> bool {
    matches!(name, "seq" | "event" | "timestamp" | "user" | "id" | "path" | "size" | "via" | "duplicate_of")
}

impl Line {
    fn field(&mut self, record: &Record, name: &str) {
        let Some(value) = record.field(name) else { return };
        if is_kept(name) {
            self.kept(&value);
        } else {
            self.cut_value(&value);
        }
    }

    fn cut_value(&mut self, value: &str) {
        letter::push(&mut self.text, value, self.cut, |letter, out| {
            letter::put(if letter::is_unsafe(letter) { ' ' } else { letter }, out);
        });
    }

    fn kept(&mut self, value: &str) {
        letter::push(&mut self.text, value, self.cut_kept, |letter, out| {
            letter::put(if letter::is_unsafe(letter) { '\u{FFFD}' } else { letter }, out);
        });
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
