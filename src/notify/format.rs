//! How a record becomes a line: `inotify`, `path`, `tsv`, `json`, or a template. It writes nothing anywhere.
//!
//! A line has at most [`PIPE_LINE`] octets with its newline, is UTF-8, and holds no control character (the tabs of `tsv`
//! and of a template's own text excepted): in JSON they are escaped, elsewhere each becomes a space, or U+FFFD in `path`
//! and `id`, where a space could name another file. A line that would be longer loses the ends of its longest values,
//! which `...` marks; `seq`, `user`, `id` and `path` stay whole. Only where these alone fill the line (a path of more
//! than some 3,000 octets; PATH_MAX is 4,096) are they cut too, because a torn line would cost a reader the next one.

use super::filter::field;
use crate::journal::Record;
use crate::journal::record::FIELDS;
use crate::limits::PIPE_LINE;
use crate::nearest::nearest;

/// Most octets in a template: the shortest values of all its fields then fit in a line beside its text.
const TEMPLATE: usize = 2_048;

/// What marks a value that was cut.
const MARK: &str = "...";

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
    /// Of `inotify`, `path`, `tsv`, `json`, or anything with `{` as a template, in which `{subject}` stands for that
    /// field of the event (empty where null), `{{` for `{` and `}}` for `}`.
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

    /// Appends the line with its newline: at most `limits::PIPE_LINE` octets, UTF-8, no control character inside.
    pub fn write_line(&self, record: &Record, out: &mut Vec<u8>) {
        let mut line = Line { text: String::new(), cut: usize::MAX, cut_kept: usize::MAX };
        self.render(record, &mut line);
        if line.text.len() > PIPE_LINE {
            line = self
                .cut(record, |cut| (cut, usize::MAX))
                .or_else(|| self.cut(record, |cut| (cut, cut)))
                .unwrap_or(line);
        }
        // A template is short enough for its values cut to their marks; so is every other format.
        debug_assert!(line.text.len() <= PIPE_LINE);
        out.extend_from_slice(line.text.as_bytes());
    }

    /// The line whose values are cut to the greatest length that lets it fit.
    fn cut(&self, record: &Record, caps: impl Fn(usize) -> (usize, usize)) -> Option<Line> {
        let render = |longest| {
            let (cut, cut_kept) = caps(longest);
            let mut line = Line { text: String::new(), cut, cut_kept };
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
                line.text += "/ MOVED_TO ";
                line.kept(file);
            }
            Format::Path => line.kept(&record.path),
            Format::Tsv => {
                for (number, name) in TSV.into_iter().enumerate() {
                    if number > 0 {
                        line.text.push('\t');
                    }
                    let start = line.text.len();
                    line.field(record, name);
                    // A shell's `read` takes two tabs in a row for one.
                    if line.text.len() == start {
                        line.text.push('-');
                    }
                }
            }
            Format::Json => line.json(record),
            Format::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => line.text += text,
                        Piece::Field(name) => line.field(record, name),
                    }
                }
            }
        }
        line.text.push('\n');
    }
}

fn parse_template(text: &str) -> Result<Vec<Piece>, String> {
    if text.len() > TEMPLATE {
        return Err(format!("a template has at most {TEMPLATE} octets"));
    }
    if let Some(control) = text.chars().find(|letter| letter.is_control() && *letter != '\t') {
        return Err(format!("a line cannot hold the control character {}", control.escape_default()));
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
        pieces.push(Piece::Field(field(name)?));
        rest = after;
    }
    literal += rest;
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// The value of a field for a program's environment: without control characters, at most `longest` octets.
pub(super) fn plain(record: &Record, name: &str, longest: usize) -> String {
    let mut line = Line { text: String::new(), cut: longest, cut_kept: longest };
    line.field(record, name);
    line.text
}

/// A line that grows.
struct Line {
    text: String,
    /// Octets that a value may take here, its mark included, when it may be cut.
    cut: usize,
    /// The same for those that are cut last of all.
    cut_kept: usize,
}

/// Fields whose ends a reader needs, and those that have no great length.
fn is_kept(name: &str) -> bool {
    matches!(name, "seq" | "event" | "timestamp" | "user" | "id" | "path" | "size" | "via" | "duplicate_of")
}

impl Line {
    fn field(&mut self, record: &Record, name: &str) {
        let Some(value) = record.field(name) else { return };
        if is_kept(name) {
            self.kept(&value);
        } else {
            self.push(&value, self.cut, |letter, text| text.push(if letter.is_control() { ' ' } else { letter }));
        }
    }

    fn kept(&mut self, value: &str) {
        let put = |letter: char, text: &mut String| text.push(if letter.is_control() { '\u{FFFD}' } else { letter });
        self.push(value, self.cut_kept, put);
    }

    /// As `Record::write_json`, but with every control character escaped, DEL and C1 included.
    fn json(&mut self, record: &Record) {
        for (number, name) in FIELDS.into_iter().enumerate() {
            self.text += if number == 0 { "{\"" } else { ",\"" };
            self.text += name;
            self.text += "\":";
            match record.field(name) {
                None => self.text += "null",
                Some(number) if matches!(name, "seq" | "size" | "duplicate_of") => self.text += &number,
                Some(value) => {
                    self.text.push('"');
                    self.push(&value, if is_kept(name) { self.cut_kept } else { self.cut }, escape);
                    self.text.push('"');
                }
            }
        }
        self.text.push('}');
    }

    /// Appends a value, letter by letter as `put` writes them, at most `longest` octets with the mark.
    fn push(&mut self, value: &str, longest: usize, put: impl Fn(char, &mut String)) {
        let start = self.text.len();
        let mut end = start;
        for letter in value.chars() {
            if self.text.len() - start + MARK.len() <= longest {
                end = self.text.len();
            }
            put(letter, &mut self.text);
            if self.text.len() - start > longest {
                self.text.truncate(end);
                self.text += MARK;
                return;
            }
        }
    }
}

/// A letter in a JSON string (RFC 8259 section 7).
fn escape(letter: char, text: &mut String) {
    match letter {
        '"' | '\\' => text.extend(['\\', letter]),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        control if control.is_control() => *text += &format!("\\u{:04x}", u32::from(control)),
        other => text.push(other),
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
