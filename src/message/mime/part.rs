//! What the header of a part says of it.

use super::parameter::Body;
use super::transfer::Decoder;
use crate::message::header::charset::Charset;
use crate::message::header::{Fields, unfolded, value};

/// Longest type, and longest Content-ID, octets.
const LONGEST: usize = 255;

/// Longest boundary that is looked for, octets (RFC 2046 section 5.1.1: 70).
const BOUNDARY: usize = 200;

/// How a part wants to be shown (RFC 2183).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It does not say.
    Unsaid,
    /// With the text.
    Inline,
    /// By itself, or in a way that nobody knows.
    Attachment,
}

/// A part of a message, or the message itself where it has only one.
#[derive(Debug)]
pub struct Part {
    /// `text/plain`, in lower case; also where the header says nothing that can be understood.
    pub kind: String,
    /// The charset of a text that names one that can be read. `None` as well for US-ASCII: a text that is not has octets of
    /// another one.
    pub charset: Option<Charset>,
    /// The file name as the sender gave it.
    pub name: Option<String>,
    /// How it wants to be shown.
    pub disposition: Disposition,
    /// Content-ID without its angle brackets.
    pub content_id: Option<String>,
    pub(super) decoder: Decoder,
    pub(super) boundary: Option<Vec<u8>>,
}

impl Part {
    /// Reads a header. `default` is the type where none is given.
    pub(super) fn parse(head: &[u8], default: &str) -> Part {
        let mut fields: [Option<&[u8]>; 4] = [None; 4];
        const NAMES: [&[u8]; 4] =
            [b"Content-Type", b"Content-Disposition", b"Content-Transfer-Encoding", b"Content-ID"];
        for (name, body) in Fields::new(head) {
            if let Some(index) = NAMES.iter().position(|known| name.eq_ignore_ascii_case(known)) {
                fields[index].get_or_insert(body);
            }
        }
        let [content_type, disposition, encoding, content_id] = fields;
        let parsed = |body: Option<&[u8]>| body.map(|body| Body::parse(&unfolded(body))).unwrap_or_default();
        let (content_type, disposition) = (parsed(content_type), parsed(disposition));
        let charset = content_type.octets("charset").and_then(charset);
        let name = disposition.text("filename", charset).or_else(|| content_type.text("name", charset));
        let boundary = content_type.octets("boundary").map(<[u8]>::trim_ascii_end);
        let boundary = boundary.filter(|boundary| matches!(boundary.len(), 1..=BOUNDARY)).map(<[u8]>::to_vec);
        Part {
            kind: kind(&content_type.value, default, boundary.is_some()),
            charset,
            name: name.filter(|name| !name.trim().is_empty()),
            disposition: match disposition.value.as_str() {
                "" => Disposition::Unsaid,
                "inline" => Disposition::Inline,
                _ => Disposition::Attachment,
            },
            content_id: content_id.map(content_id_of).filter(|id| !id.is_empty()),
            decoder: Decoder::named(encoding.unwrap_or_default()),
            boundary,
        }
    }

    /// Whether it holds other parts.
    pub(super) fn is_multipart(&self) -> bool {
        self.kind.starts_with("multipart/") && self.boundary.is_some()
    }
}

/// RFC 2045 section 5.2: a type that cannot be understood is plain text. So is a multipart that does not say where its parts
/// begin.
fn kind(value: &str, default: &str, has_boundary: bool) -> String {
    if value.is_empty() {
        return default.to_owned();
    }
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/');
    let is_type = value.len() <= LONGEST && value.split_once('/').is_some_and(|(kind, sub)| plain(kind) && plain(sub));
    if is_type && (has_boundary || !value.starts_with("multipart/")) {
        value.to_owned()
    } else {
        "text/plain".to_owned()
    }
}

fn charset(name: &[u8]) -> Option<Charset> {
    let is_ascii =
        ["us-ascii", "ascii", "ansi_x3.4-1968"].iter().any(|ascii| name.eq_ignore_ascii_case(ascii.as_bytes()));
    if is_ascii { None } else { Charset::named(name) }
}

fn content_id_of(body: &[u8]) -> String {
    let mut id = value(body, None);
    if let Some(inner) = id.strip_prefix('<') {
        id = inner.strip_suffix('>').unwrap_or(inner).to_owned();
    }
    id.truncate(id.floor_char_boundary(LONGEST));
    id
}
