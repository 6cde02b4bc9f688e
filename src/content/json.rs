//! The JSON object `parsed`.

use crate::journal::Record;
use crate::message::letter;
use crate::message::mime::Parsed;
use std::io::Write;

/// Appends the object in one line, without a newline. `event` is null where there is no record.
pub fn write(record: Option<&Record>, parsed: Parsed, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event\":");
    match record {
        Some(record) => record.write_json(out),
        None => out.extend_from_slice(b"null"),
    }
    // Each text is freed when it is written: they are the largest part.
    let Parsed { text, html, text_cut, attachments, headers } = parsed;
    key("text", out);
    optional(text, out);
    key("html", out);
    optional(html, out);
    key("text_cut", out);
    boolean(text_cut, out);
    key("attachments", out);
    list(attachments, out, |attachment, out| {
        out.extend_from_slice(b"{\"name\":");
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
    });
    key("headers", out);
    list(headers, out, |(name, value), out| {
        out.extend_from_slice(b"{\"name\":");
        string(&name, out);
        key("value", out);
        string(&value, out);
        out.push(b'}');
    });
    out.push(b'}');
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
    out.reserve(value.len() + 2);
    out.push(b'"');
    letter::push(out, value, usize::MAX, letter::put_json);
    out.push(b'"');
}

fn list<T>(items: Vec<T>, out: &mut Vec<u8>, mut put: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put(item, out);
    }
    out.push(b']');
}
