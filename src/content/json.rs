//! The JSON object `parsed`, made piece by piece while it is read: in JSON a control character takes six octets, so the whole
//! object can be many times the message's text.

use crate::journal::Record;
use crate::message::letter;
use crate::message::mime::{Attachment, Parsed};
use std::io::{self, Read, Write};
use std::vec::IntoIter;

/// Octets of a text that become one piece.
const PIECE: usize = 16 * 1024;

/// The object in one line, without a newline.
#[derive(Debug)]
pub struct Object {
    /// The next one last.
    left: Vec<Part>,
    piece: Vec<u8>,
    /// Octets of the piece that were read.
    read: usize,
}

/// What is not written yet.
#[derive(Debug)]
enum Part {
    Json(Vec<u8>),
    /// A string, and how much of it is written.
    Text(String, usize),
    Attachments(IntoIter<Attachment>),
    Headers(IntoIter<(String, String)>),
}

impl Object {
    /// Of a record, null where there is none, and its message.
    pub fn new(record: Option<&Record>, parsed: Parsed) -> Object {
        let Parsed { text, html, text_cut, attachments, headers } = parsed;
        let mut json = b"{\"event\":".to_vec();
        match record {
            Some(record) => record.write_json(&mut json),
            None => json.extend_from_slice(b"null"),
        }
        let mut left = Vec::new();
        for (name, text) in [("text", text), ("html", html)] {
            key(name, &mut json);
            match text {
                None => json.extend_from_slice(b"null"),
                Some(text) => {
                    json.push(b'"');
                    left.extend([Part::Json(std::mem::take(&mut json)), Part::Text(text, 0)]);
                    json.push(b'"');
                }
            }
        }
        key("text_cut", &mut json);
        boolean(text_cut, &mut json);
        key("attachments", &mut json);
        json.push(b'[');
        left.extend([Part::Json(json), Part::Attachments(attachments.into_iter())]);
        left.extend([Part::Json(b"],\"headers\":[".to_vec()), Part::Headers(headers.into_iter())]);
        left.push(Part::Json(b"]}".to_vec()));
        left.reverse();
        Object { left, piece: Vec::new(), read: 0 }
    }

    /// Makes the next piece; false at the end. What is written is freed.
    fn next_piece(&mut self) -> bool {
        // An item of a list follows another one where that was the last piece.
        let follows = self.piece.last() == Some(&b'}');
        self.piece.clear();
        self.read = 0;
        while self.piece.is_empty() {
            let out = &mut self.piece;
            let is_done = match self.left.last_mut() {
                None => return false,
                Some(Part::Json(json)) => {
                    std::mem::swap(out, json);
                    true
                }
                Some(Part::Text(text, at)) => {
                    let end = text.floor_char_boundary(*at + PIECE);
                    letter::push(out, &text[*at..end], usize::MAX, letter::put_json);
                    *at = end;
                    end == text.len()
                }
                Some(Part::Attachments(list)) => list.next().map(|next| attachment(next, follows, out)).is_none(),
                Some(Part::Headers(list)) => list.next().map(|next| header(next, follows, out)).is_none(),
            };
            if is_done {
                self.left.pop();
            }
        }
        true
    }
}

impl Read for Object {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() && !self.next_piece() {
            return Ok(0);
        }
        let count = (&self.piece[self.read..]).read(block)?;
        self.read += count;
        Ok(count)
    }
}

fn attachment(attachment: Attachment, follows: bool, out: &mut Vec<u8>) {
    begin(follows, out);
    optional(attachment.name, out);
    key("type", out);
    string(&attachment.kind, out);
    key("size", out);
    // unwrap: writing to a vector cannot fail.
    write!(out, "{}", attachment.size).unwrap();
    key("content_id", out);
    optional(attachment.content_id, out);
    key("inline", out);
    boolean(attachment.inline, out);
    key("sha256", out);
    out.push(b'"');
    for octet in attachment.sha256 {
        // unwrap: as above.
        write!(out, "{octet:02x}").unwrap();
    }
    out.extend_from_slice(b"\"}");
}

fn header((name, value): (String, String), follows: bool, out: &mut Vec<u8>) {
    begin(follows, out);
    string(&name, out);
    key("value", out);
    string(&value, out);
    out.push(b'}');
}

/// The beginning of an item of a list, up to its name.
fn begin(follows: bool, out: &mut Vec<u8>) {
    if follows {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"name\":");
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn optional(value: Option<String>, out: &mut Vec<u8>) {
    match value {
        Some(value) => string(&value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn string(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    letter::push(out, value, usize::MAX, letter::put_json);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::mime::{Collector, Reader, TEXT};

    fn parsed(message: &[u8]) -> Parsed {
        let (mut reader, mut collector) = (Reader::default(), Collector::new(None));
        reader.add(message, &mut collector);
        reader.finish(&mut collector);
        collector.finish()
    }

    #[test]
    fn its_pieces_are_small_and_make_one_object_however_they_are_read() {
        let controls = "\u{1}ä\n".repeat(TEXT / 4);
        let header: String = (0..900).map(|number| format!("X-{number}: {}\n", "\u{e9}".repeat(20))).collect();
        let message = format!(
            "Subject: a\n{header}Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{controls}\n--b\nContent-Type: text/html\n\n{controls}\n{}--b--\n",
            "--b\nContent-Type: a/b; name=x\n\nx\n".repeat(300)
        );
        let parsed = parsed(message.as_bytes());
        let (text, headers) = (parsed.text.clone().unwrap(), parsed.headers.len());
        let mut object = Object::new(None, parsed);
        let (mut whole, mut longest) = (Vec::new(), 0);
        while object.next_piece() {
            longest = longest.max(object.piece.capacity());
            whole.extend_from_slice(&object.piece);
            object.read = object.piece.len();
        }
        assert!(whole.len() > 3 * TEXT && longest <= 8 * PIECE, "{} {longest}", whole.len());
        let value: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!((value["text"].as_str(), &value["event"]), (Some(text.as_str()), &serde_json::Value::Null));
        assert_eq!(value["headers"].as_array().unwrap().len(), headers);
        assert_eq!(value["attachments"].as_array().unwrap().len(), 300);
        for block in [1, 7, 100_000] {
            let (mut object, mut again, mut octets) =
                (Object::new(None, self::parsed(message.as_bytes())), Vec::new(), vec![0; block]);
            while let count @ 1.. = object.read(&mut octets).unwrap() {
                again.extend_from_slice(&octets[..count]);
            }
            assert!(again == whole, "in blocks of {block}");
        }
    }

    #[test]
    fn an_empty_text_is_a_text() {
        let mut text = String::new();
        Object::new(None, parsed(b"\n")).read_to_string(&mut text).unwrap();
        assert_eq!(text, r#"{"event":null,"text":"","html":null,"text_cut":false,"attachments":[],"headers":[]}"#);
    }
}
