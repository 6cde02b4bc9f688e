//! Field bodies with parameters: Content-Type and Content-Disposition (RFC 2045 section 5.1, RFC 2183, RFC 2231), and what
//! real mail makes of them: encoded words in quotes, unquoted file names with blanks, backslashes in Windows paths.

use crate::limits;
use crate::message::header::charset::Charset;
use crate::message::header::word;
use std::borrow::Cow;

/// Parameters of one field that are looked at; RFC 2231 splits a long value into several.
const PARAMETERS: usize = 256;

/// A field body, taken apart.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// What stands before the first `;`, in lower case, without white space and comments.
    pub(super) value: String,
    /// Names in lower case, and values without their quotes.
    parameters: Vec<(String, Vec<u8>)>,
}

impl Body {
    /// Takes an unfolded field body apart.
    pub(super) fn parse(body: &[u8]) -> Body {
        let end = memchr::memchr(b';', body).unwrap_or(body.len());
        let value = body[..end].split(|&octet| octet == b'(').next().unwrap_or_default();
        let value = String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase();
        let mut parsed = Body { value, parameters: Vec::new() };
        let mut rest = body.get(end + 1..).unwrap_or_default();
        while !rest.is_empty() && parsed.parameters.len() < PARAMETERS {
            let end = memchr::memchr2(b'=', b';', rest).unwrap_or(rest.len());
            let name = String::from_utf8_lossy(rest[..end].trim_ascii()).to_ascii_lowercase();
            if rest.get(end) != Some(&b'=') {
                rest = rest.get(end + 1..).unwrap_or_default();
                continue;
            }
            let (value, length) = value_of(&rest[end + 1..]);
            rest = &rest[end + 1 + length..];
            parsed.parameters.push((name, value));
        }
        parsed
    }

    /// The octets of a plain parameter; the first one of a name counts.
    pub(super) fn octets(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    /// The text of a parameter: in the charset that it names (RFC 2231), with encoded words decoded (RFC 2047 forbids them
    /// here, and many programs write them), octets beyond ASCII as UTF-8, else in the charset `raw`.
    pub(super) fn text(&self, name: &str, raw: Option<Charset>) -> Option<String> {
        self.extended(name, raw).or_else(|| Some(word::decode(self.octets(name)?, raw, limits::FIELD)))
    }

    /// `name*=charset'language'octets`, or the same in numbered pieces: `name*0*=`, `name*1=` (RFC 2231 sections 3 and 4).
    fn extended(&self, name: &str, raw: Option<Charset>) -> Option<String> {
        let mut pieces: Vec<(usize, bool, &[u8])> = Vec::new();
        for (known, value) in &self.parameters {
            let Some(rest) = known.strip_prefix(name).and_then(|rest| rest.strip_prefix('*')) else { continue };
            let (number, encoded) = match rest.strip_suffix('*') {
                Some(number) => (number, true),
                None => (rest, rest.is_empty()),
            };
            let number = if number.is_empty() { Ok(0) } else { number.parse::<usize>() };
            if let Ok(number) = number
                && !pieces.iter().any(|(earlier, ..)| *earlier == number)
            {
                pieces.push((number, encoded, value));
            }
        }
        pieces.sort_by_key(|(number, ..)| *number);
        let (_, encoded, first) = *pieces.first()?;
        let mut charset = None;
        // The first piece begins with charset and language.
        if encoded {
            let mut parts = first.splitn(3, |&octet| octet == b'\'');
            if let (Some(named), Some(_), Some(rest)) = (parts.next(), parts.next(), parts.next()) {
                charset = Charset::named(named);
                pieces[0].2 = rest;
            }
        }
        let octets: Vec<u8> = pieces
            .iter()
            .flat_map(|(_, encoded, piece)| if *encoded { unescaped(piece) } else { piece.to_vec() })
            .collect();
        Some(match charset {
            Some(charset) => charset.decode(&octets).into_owned(),
            None => plain(&octets, raw).into_owned(),
        })
    }
}

fn plain(octets: &[u8], raw: Option<Charset>) -> Cow<'_, str> {
    match (std::str::from_utf8(octets), raw) {
        (Ok(text), _) => Cow::Borrowed(text),
        (Err(_), Some(charset)) => charset.decode(octets),
        (Err(_), None) => String::from_utf8_lossy(octets),
    }
}

/// A value, and how many octets it takes with the `;` behind it.
fn value_of(text: &[u8]) -> (Vec<u8>, usize) {
    let blank = text.len() - text.trim_ascii_start().len();
    let end_of = |from: usize| memchr::memchr(b';', &text[from..]).map_or(text.len(), |at| from + at + 1);
    if text.get(blank) != Some(&b'"') {
        let end = end_of(blank);
        let value = text[blank..end].strip_suffix(b";").unwrap_or(&text[blank..end]);
        return (value.trim_ascii().to_vec(), end);
    }
    let (mut value, mut at) = (Vec::new(), blank + 1);
    loop {
        match text[at..] {
            [] => return (value, text.len()),
            [b'"', ..] => return (value, end_of(at)),
            // Other backslashes are those of a path.
            [b'\\', escaped @ (b'"' | b'\\'), ..] => {
                value.push(escaped);
                at += 2;
            }
            [octet, ..] => {
                value.push(octet);
                at += 1;
            }
        }
    }
}

/// `%XX` is an octet; what is damaged stays.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |octet: u8| char::from(octet).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                octets.push((hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0)) as u8);
                rest = after;
            }
            (other, _) => octets.push(*other),
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_in_every_form_that_mail_has() {
        for (body, name) in [
            ("attachment; filename=plain.pdf", Some("plain.pdf")),
            ("attachment; FileName = \"a; b.pdf\" ; x=y", Some("a; b.pdf")),
            ("attachment; filename=two words.pdf; size=1", Some("two words.pdf")),
            ("attachment; filename=\"C:\\dir\\file.txt\"", Some("C:\\dir\\file.txt")),
            ("attachment; filename=\"a \\\"b\\\" \\\\ c\"", Some("a \"b\" \\ c")),
            ("attachment; filename=\"open", Some("open")),
            ("attachment; filename=\"=?UTF-8?B?UmVjaG51bmcgw6QucGRm?=\"", Some("Rechnung ä.pdf")),
            ("attachment; filename==?ISO-8859-1?Q?=E4.pdf?=", Some("ä.pdf")),
            ("attachment; filename=\"=?UTF-8?Q?=C3?= =?UTF-8?Q?=A4.pdf?=\"", Some("ä.pdf")),
            ("attachment; filename*=UTF-8''%e2%82%ac%20rates.pdf", Some("€ rates.pdf")),
            ("attachment; filename=\"EURO.pdf\"; filename*=utf-8'en'%E2%82%AC.pdf", Some("€.pdf")),
            ("attachment; filename*=iso-8859-1''%A3.txt", Some("£.txt")),
            ("attachment; filename*1=\"b.pdf\"; filename*0=\"a\"", Some("ab.pdf")),
            ("attachment; filename*0*=UTF-8''%C3; filename*1*=%A4; filename*2=\"%20.pdf\"", Some("ä%20.pdf")),
            ("attachment; filename*=%C3%A4.pdf", Some("ä.pdf")),
            ("attachment; filename*=x-unknown''%zz", Some("%zz")),
            ("attachment; filename=", Some("")),
            ("attachment; filename", None),
            ("attachment", None),
            ("; filename=a", Some("a")),
        ] {
            assert_eq!(Body::parse(body.as_bytes()).text("filename", None).as_deref(), name, "{body}");
        }
        let raw = Charset::named(b"iso-8859-1");
        assert_eq!(Body::parse(b"a; filename=\"\xe4.pdf\"").text("filename", raw).as_deref(), Some("ä.pdf"));
        assert_eq!(Body::parse(b" Text/HTML (x; y) ; charset=b").value, "text/html");
    }
}
