//! Which parts are the text of a message and which are attachments, as RFC 8621 section 4.1.4 suggests it: of alternatives
//! each is taken, of a multipart/related the first part, and texts that stand one after the other are one text. A text with
//! a file name is an attachment unless it comes first. A message within the message is an attachment.

use super::name::{Names, safe};
use super::part::{Disposition, Part};
use super::reader::Sink;
use super::{HEADERS, RAW_TEXT, TEXT, html};
use crate::limits;
use crate::message::header::charset::Charset;
use crate::message::header::{Fields, raw_charset, value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Longest name of a header field that is told, octets.
const NAME: usize = 255;

/// What is in a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The plain text, or that of the HTML where it has no plain one; LF line ends, at most [`TEXT`] octets.
    pub text: Option<String>,
    /// The HTML text, in the same bounds.
    pub html: Option<String>,
    /// Whether one of them would be longer.
    pub text_cut: bool,
    /// All other parts, in their order.
    pub attachments: Vec<Attachment>,
    /// The fields of the message's header: name, and value as in an event.
    pub headers: Vec<(String, String)>,
}

/// A part that is not the text.
#[derive(Debug, PartialEq, Eq)]
pub struct Attachment {
    /// A safe file name, another one for each attachment; `None` where the message gives none that can be used.
    pub name: Option<String>,
    /// Its type, such as `image/png`.
    pub kind: String,
    /// Octets.
    pub size: u64,
    /// Its Content-ID without angle brackets: `cid:` URLs in the HTML text name it.
    pub content_id: Option<String>,
    /// Whether it is to be shown with the text.
    pub inline: bool,
    /// SHA-256.
    pub sha256: [u8; 32],
}

/// Takes the octets of attachments.
pub trait Files {
    /// An attachment begins. `name` is safe, but may be used already.
    fn begin(&mut self, name: Option<&str>, kind: &str);
    /// Octets of it.
    fn octets(&mut self, octets: &[u8]);
    /// It has ended.
    fn end(&mut self);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Multipart {
    Alternative,
    Related,
    Other,
}

/// A multipart that has begun.
#[derive(Debug)]
struct Level {
    multipart: Multipart,
    parts: usize,
    /// Of a multipart/related: the Content-ID of its root, where it says one (RFC 2387).
    start: Option<String>,
    in_alternative: bool,
    /// An alternative of plain text, or of HTML text, has begun: what follows is no part of the other one.
    no_text: bool,
    no_html: bool,
    /// Texts of each kind before it began.
    texts: usize,
    htmls: usize,
}

impl Level {
    fn of(multipart: Multipart) -> Level {
        Level {
            multipart,
            parts: 0,
            start: None,
            in_alternative: multipart == Multipart::Alternative,
            no_text: false,
            no_html: false,
            texts: 0,
            htmls: 0,
        }
    }
}

/// A part of the text.
#[derive(Debug)]
struct Fragment {
    is_html: bool,
    text: String,
}

/// What the octets that come belong to.
enum Current {
    Nothing,
    Text { is_html: bool, charset: Option<Charset>, raw: Vec<u8> },
    Attachment { about: Attachment, hash: Sha256 },
}

/// Collects what is told of a message.
pub struct Collector<'f> {
    parsed: Parsed,
    levels: Vec<Level>,
    fragments: Vec<Fragment>,
    /// Indices of the fragments of the text, and of the HTML text.
    texts: Vec<usize>,
    htmls: Vec<usize>,
    /// Octets of plain and of HTML fragments.
    octets: [usize; 2],
    current: Current,
    names: Names,
    files: Option<&'f mut dyn Files>,
}

impl<'f> Collector<'f> {
    /// Gives the octets of attachments to `files`.
    pub fn new(files: Option<&'f mut dyn Files>) -> Collector<'f> {
        Collector {
            parsed: Parsed::default(),
            levels: vec![Level::of(Multipart::Other)],
            fragments: Vec::new(),
            texts: Vec::new(),
            htmls: Vec::new(),
            octets: [0; 2],
            current: Current::Nothing,
            names: Names::default(),
            files,
        }
    }

    /// What was found, when the message has ended.
    pub fn finish(mut self) -> Parsed {
        let (mut text, mut html) = (None, None);
        self.htmls.retain(|&index| self.fragments[index].is_html);
        // Some programs leave the plain alternative empty.
        if self.texts.iter().all(|&index| self.fragments[index].text.trim().is_empty()) && !self.htmls.is_empty() {
            self.texts = self.htmls.clone();
        }
        for &index in &self.texts {
            let fragment = &self.fragments[index];
            let shown = if fragment.is_html {
                Cow::Owned(html::text_of(&fragment.text))
            } else {
                Cow::Borrowed(&fragment.text[..])
            };
            self.parsed.text_cut |= join(&mut text, &shown);
        }
        for &index in &self.htmls {
            self.parsed.text_cut |= join(&mut html, &self.fragments[index].text);
        }
        (self.parsed.text, self.parsed.html) = (text, html);
        self.parsed
    }

    /// Whether a part is text, and of which of the two; the lists are changed.
    fn is_text(&mut self, part: &Part) -> bool {
        let next = self.fragments.len();
        // unwrap: there is a level for the message itself.
        let level = self.levels.last_mut().unwrap();
        level.parts += 1;
        let is_html = match part.kind.as_str() {
            "text/plain" => false,
            "text/html" => true,
            _ => return false,
        };
        let is_first = level.parts == 1 || level.start.is_some() && level.start == part.content_id;
        let is_shown = is_first || level.multipart != Multipart::Related && part.name.is_none();
        if !is_shown || part.disposition == Disposition::Attachment {
            return false;
        }
        let (to_text, to_html) = match level.multipart {
            Multipart::Alternative => (!is_html, is_html),
            _ => {
                level.no_html |= level.in_alternative && !is_html;
                level.no_text |= level.in_alternative && is_html;
                // HTML behind a plain text is another form of it, as a rule.
                let is_other = is_html && self.texts.iter().any(|&text| !self.fragments[text].is_html);
                (!level.no_text && !is_other, !level.no_html && is_html)
            }
        };
        self.texts.extend(to_text.then_some(next));
        self.htmls.extend(to_html.then_some(next));
        to_text || to_html
    }
}

/// Appends a text in a line of its own; whether it had to be cut.
fn join(whole: &mut Option<String>, text: &str) -> bool {
    let whole = whole.get_or_insert_default();
    if !whole.is_empty() && !whole.ends_with('\n') && whole.len() < TEXT {
        whole.push('\n');
    }
    let room = TEXT - whole.len();
    whole.push_str(&text[..text.floor_char_boundary(room)]);
    text.len() > room
}

impl Sink for Collector<'_> {
    fn head(&mut self, head: &[u8]) {
        let raw = raw_charset(head);
        let field = |(name, body): (&[u8], &[u8])| {
            let mut name = String::from_utf8_lossy(name).into_owned();
            name.truncate(name.floor_char_boundary(NAME));
            (name, value(body, raw))
        };
        self.parsed.headers = Fields::new(head).take(HEADERS).map(field).collect();
    }

    fn enter(&mut self, part: &Part) {
        let multipart = match part.kind.as_str() {
            "multipart/alternative" => Multipart::Alternative,
            "multipart/related" => Multipart::Related,
            _ => Multipart::Other,
        };
        let mut level = Level { texts: self.texts.len(), htmls: self.htmls.len(), ..Level::of(multipart) };
        if let Some(outer) = self.levels.last_mut() {
            outer.parts += 1;
            level.in_alternative |= outer.in_alternative;
            level.start = part.start.clone().filter(|_| multipart == Multipart::Related);
            (level.no_text, level.no_html) = (outer.no_text, outer.no_html);
        }
        self.levels.push(level);
    }

    fn leave(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        // Without a plain alternative the text is made of the HTML.
        if level.multipart == Multipart::Alternative && !level.no_text && self.texts.len() == level.texts {
            self.texts.extend_from_slice(&self.htmls[level.htmls..]);
        }
    }

    fn begin(&mut self, part: Part) {
        if self.is_text(&part) {
            let is_html = part.kind == "text/html";
            self.current = Current::Text { is_html, charset: part.charset, raw: Vec::new() };
            return;
        }
        let in_related = self.levels.last().is_some_and(|level| level.multipart == Multipart::Related);
        let inline = match part.disposition {
            Disposition::Inline => true,
            Disposition::Unsaid => in_related && part.content_id.is_some(),
            Disposition::Attachment => false,
        };
        let name = part.name.as_deref().and_then(safe);
        if let Some(files) = &mut self.files {
            files.begin(name.as_deref(), &part.kind);
        }
        let name = name.map(|name| self.names.other(&name));
        let Part { kind, content_id, .. } = part;
        let about = Attachment { name, kind, size: 0, content_id, inline, sha256: [0; 32] };
        self.current = Current::Attachment { about, hash: Sha256::new() };
    }

    fn octets(&mut self, octets: &[u8]) {
        match &mut self.current {
            Current::Nothing => {}
            Current::Text { is_html, raw, .. } => {
                let is_full = self.octets[usize::from(*is_html)] > TEXT;
                let room = if is_full { 0 } else { RAW_TEXT - raw.len() };
                raw.extend_from_slice(&octets[..octets.len().min(room)]);
                self.parsed.text_cut |= octets.len() > room;
            }
            Current::Attachment { about, hash } => {
                about.size += octets.len() as u64;
                hash.update(octets);
                if let Some(files) = &mut self.files {
                    files.octets(octets);
                }
            }
        }
    }

    fn end(&mut self) {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Nothing => {}
            Current::Text { is_html, charset, raw } => {
                let mut text = decoded(&raw, charset, is_html);
                drop(raw);
                // One octet more than there is room for says that there is more.
                text.truncate(text.floor_char_boundary(TEXT + 4));
                self.octets[usize::from(is_html)] += text.len();
                self.fragments.push(Fragment { is_html, text });
            }
            Current::Attachment { mut about, hash } => {
                about.sha256 = hash.finalize().into();
                self.parsed.attachments.push(about);
                if let Some(files) = &mut self.files {
                    files.end();
                }
            }
        }
    }
}

/// The text of a part, with LF line ends. One that does not say its charset, or one that nobody knows, is UTF-8 where it can
/// be, else what the HTML itself says, else windows-1252.
fn decoded(raw: &[u8], charset: Option<Charset>, is_html: bool) -> String {
    let text = match (charset, std::str::from_utf8(raw)) {
        (Some(charset), _) => charset.decode(raw),
        (None, Ok(text)) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        // Cut in the middle of a character.
        (None, Err(error)) if error.error_len().is_none() => String::from_utf8_lossy(&raw[..error.valid_up_to()]),
        (None, Err(_)) => {
            let said = if is_html { meta_charset(&raw[..raw.len().min(limits::FIELD)]) } else { None };
            said.or_else(|| Charset::named(b"windows-1252"))
                .map_or_else(|| String::from_utf8_lossy(raw), |c| c.decode(raw))
        }
    };
    if memchr::memchr(b'\r', text.as_bytes()).is_some() { text.replace("\r\n", "\n") } else { text.into_owned() }
}

/// `<meta charset=...>`, and `content="text/html; charset=..."`.
fn meta_charset(head: &[u8]) -> Option<Charset> {
    let head = head.to_ascii_lowercase();
    let at = memchr::memmem::find(&head, b"charset=")? + b"charset=".len();
    let rest = head[at..].strip_prefix(b"\"").unwrap_or(&head[at..]);
    let end = rest.iter().position(|octet| !(octet.is_ascii_alphanumeric() || b"-_".contains(octet)))?;
    Charset::named(&rest[..end])
}
