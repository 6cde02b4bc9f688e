//! The header of a message: its fields, unfolded, and what the event says of them.
//!
//! A value is UTF-8 without control characters and at most [`limits::FIELD`] octets long: encoded words are decoded
//! (`word`), other octets are UTF-8 or in the charset that Content-Type names, and white space is folded to single spaces
//! where the header was folded or held tabs.

use crate::limits;
use crate::message::idn;
use crate::message::trace::{self, Via};
use charset::Charset;
use md5::{Digest, Md5};
use std::borrow::Cow;
use std::fmt::Write;

pub mod charset;
mod verified;
mod walk;
pub mod word;

pub use verified::strip;
pub use walk::{Fields, Line, Scan};

/// What stands at the end of a value that was cut.
const CUT: &str = "...";

/// What the event says of a message's header. `None` where the message has no such field; the first of a repeated
/// field counts; values are unfolded, RFC 2047 words decoded, outer white space trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `Message-ID`, as written, with its angle brackets.
    pub message_id: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// `From`.
    pub from: Option<String>,
    /// `Reply-To`.
    pub reply_to: Option<String>,
    /// `To`.
    pub to: Option<String>,
    /// `Subject`.
    pub subject: Option<String>,
    /// `MIME-Version`.
    pub mime_version: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Transfer-Encoding`.
    pub content_transfer_encoding: Option<String>,
    /// `Cc`.
    pub cc: Option<String>,
    /// `Sender`.
    pub sender: Option<String>,
    /// `In-Reply-To`.
    pub in_reply_to: Option<String>,
    /// `References`.
    pub references: Option<String>,
    /// `List-Id`.
    pub list_id: Option<String>,
    /// `Auto-Submitted`.
    pub auto_submitted: Option<String>,
    /// The fields of [`EventSettings::headers`], in that order, by their names in lower case.
    pub headers: Vec<(String, Option<String>)>,
    /// `pass`, `fail` or `none`: what [`EventSettings::authserv`] says of DMARC.
    pub verified: Option<String>,
    /// `mid:` and the Message-ID, else `hdr:` and a digest over Date, From, To, Subject and the oldest Received.
    pub key: String,
}

/// `[event]`: what a record says beyond the usual fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSettings {
    /// Names of further header fields, in lower case, each once.
    pub headers: Vec<String>,
    /// The server that is believed: its Authentication-Results count.
    pub authserv: Option<String>,
}

/// The fields of [`Summary`], in its order.
const NAMES: [&[u8]; 15] = [
    b"Message-ID",
    b"Date",
    b"From",
    b"Reply-To",
    b"To",
    b"Subject",
    b"MIME-Version",
    CONTENT_TYPE,
    b"Content-Transfer-Encoding",
    b"Cc",
    b"Sender",
    b"In-Reply-To",
    b"References",
    b"List-Id",
    b"Auto-Submitted",
];
const CONTENT_TYPE: &[u8] = b"Content-Type";

impl Summary {
    /// Reads the header at the beginning of a stored message, with LF or CRLF line ends.
    ///
    /// No more than [`limits::HEADER_OCTETS`] are looked at. Our own trace fields at the top are not part of what the
    /// sender wrote: they neither hide a field of the same name nor count for `key`.
    pub fn parse(head: &[u8]) -> Summary {
        Summary::read(head, &EventSettings::default(), Via::Smtp)
    }

    /// The same, with what `settings` ask for, of a message that came by `via`.
    pub fn read(head: &[u8], settings: &EventSettings, via: Via) -> Summary {
        let head = &head[..head.len().min(limits::HEADER_OCTETS)];
        Summary::of_header(&head[trace::length(head)..], settings, via)
    }

    /// The same of a header without our own trace fields.
    pub fn of_header(head: &[u8], settings: &EventSettings, via: Via) -> Summary {
        let head = &head[..head.len().min(limits::HEADER_OCTETS)];
        let mut further: Vec<Option<&[u8]>> = vec![None; settings.headers.len()];
        let mut bodies: [Option<&[u8]>; NAMES.len()] = [None; NAMES.len()];
        let mut oldest_received: &[u8] = b"";
        for (name, body) in Fields::new(head) {
            if let Some(index) = settings.headers.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
                further[index].get_or_insert(body);
            }
            if name.eq_ignore_ascii_case(b"Received") {
                oldest_received = body;
            } else if let Some(index) = NAMES.iter().position(|known| name.eq_ignore_ascii_case(known)) {
                bodies[index].get_or_insert(body);
            }
        }
        let content_type = NAMES.iter().position(|name| *name == CONTENT_TYPE).and_then(|index| bodies[index]);
        let raw = content_type.and_then(charset_of);
        let [
            message_id,
            date,
            from,
            reply_to,
            to,
            subject,
            mime_version,
            content_type,
            content_transfer_encoding,
            cc,
            sender,
            in_reply_to,
            references,
            list_id,
            auto_submitted,
        ] = bodies.map(|body| body.map(|body| value(body, raw)));
        let further = further.into_iter().map(|body| body.map(|body| value(body, raw)));
        let headers = settings.headers.iter().cloned().zip(further).collect();
        let verified = settings.authserv.as_deref().and_then(|authserv| verified::verified(head, authserv, via));
        let key = match message_id.as_deref() {
            Some(id) if !id.is_empty() => {
                let mut key = format!("mid:{id}");
                cut(&mut key);
                key
            }
            _ => digest([&date, &from, &to, &subject], oldest_received),
        };
        Summary {
            message_id,
            date,
            from,
            reply_to,
            to,
            subject,
            mime_version,
            content_type,
            content_transfer_encoding,
            cc,
            sender,
            in_reply_to,
            references,
            list_id,
            auto_submitted,
            headers,
            verified: verified.map(str::to_owned),
            key,
        }
    }
}

/// `hdr:` and a digest that two deliveries of the same message share. It is no protection against forgery.
fn digest(fields: [&Option<String>; 4], oldest_received: &[u8]) -> String {
    let mut digest = Md5::new();
    for field in fields {
        digest.update(field.as_deref().unwrap_or_default());
        // What no value can hold keeps two fields apart.
        digest.update([0]);
    }
    let folded = oldest_received.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty());
    folded.for_each(|word| digest.update(word));
    let mut key = String::from("hdr:");
    for octet in digest.finalize() {
        // unwrap: writing to a String cannot fail.
        write!(key, "{octet:02x}").unwrap();
    }
    key
}

/// The charset that the Content-Type of a header names: that of octets beyond ASCII in its other fields.
pub fn raw_charset(head: &[u8]) -> Option<Charset> {
    Fields::new(head).find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE)).and_then(|(_, body)| charset_of(body))
}

/// The charset that the body of a Content-Type field names (RFC 2045 section 5.1).
fn charset_of(content_type: &[u8]) -> Option<Charset> {
    content_type.split(|&octet| octet == b';').skip(1).find_map(|parameter| {
        let equals = memchr::memchr(b'=', parameter)?;
        let is_charset = parameter[..equals].trim_ascii().eq_ignore_ascii_case(b"charset");
        // A quoted string ends with its quote, a token before white space or a comment.
        let value = parameter[equals + 1..].trim_ascii();
        let value = match value.strip_prefix(b"\"") {
            Some(quoted) => quoted.split(|&octet| octet == b'"').next(),
            None => value.split(|&octet| octet.is_ascii_whitespace() || octet == b'(').next(),
        };
        if is_charset { value.and_then(Charset::named) } else { None }
    })
}

/// A field body as the event tells it. Octets beyond ASCII outside of encoded words are UTF-8, else in the charset `raw`.
pub fn value(body: &[u8], raw: Option<Charset>) -> String {
    let body = unfolded(body);
    // Nothing to decode, as in most fields.
    let begins_a_word = |at: usize| body.get(at + 1) == Some(&b'?');
    let is_plain = || body.len() <= limits::FIELD && body.iter().all(|octet| matches!(octet, b' '..=b'~'));
    match std::str::from_utf8(&body) {
        Ok(text) if is_plain() && !memchr::memchr_iter(b'=', &body).any(begins_a_word) => text.to_owned(),
        _ => decoded(&body, raw),
    }
}

fn decoded(body: &[u8], raw: Option<Charset>) -> String {
    let mut value = word::decode(body, raw, limits::FIELD);
    value.retain(|letter| !letter.is_control());
    // An encoded word may begin or end with white space.
    let blank = value.len() - value.trim_start().len();
    value.drain(..blank);
    value.truncate(value.trim_end().len());
    cut(&mut value);
    value.shrink_to_fit();
    value
}

/// The body without folds, outer white space and tabs.
pub(in crate::message) fn unfolded(body: &[u8]) -> Cow<'_, [u8]> {
    let body = body.trim_ascii();
    if !body.iter().any(|octet| matches!(octet, b'\r' | b'\n' | b'\t')) {
        return Cow::Borrowed(body);
    }
    let mut unfolded = Vec::with_capacity(body.len());
    let mut in_fold = false;
    for &octet in body {
        match octet {
            b'\r' | b'\n' => in_fold = true,
            b' ' | b'\t' if in_fold => {}
            b'\t' => unfolded.push(b' '),
            octet => {
                if std::mem::take(&mut in_fold) {
                    unfolded.push(b' ');
                }
                unfolded.push(octet);
            }
        }
    }
    Cow::Owned(unfolded)
}

/// How many `Received` fields of a header say that the message came through the host of this name.
pub fn passes(head: &[u8], hostname: &str) -> usize {
    let is_ours = |body: &[u8]| {
        let body = String::from_utf8_lossy(body);
        let mut words = body.split_ascii_whitespace().skip_while(|word| !word.eq_ignore_ascii_case("by"));
        words.nth(1).is_some_and(|host| idn::same_domain(host.trim_end_matches(';'), hostname))
    };
    Fields::new(head).filter(|(name, body)| name.eq_ignore_ascii_case(b"Received") && is_ours(body)).count()
}

/// Cuts a text at a character, so that with the mark of the cut it has at most [`limits::FIELD`] octets.
pub fn cut(text: &mut String) {
    if text.len() > limits::FIELD {
        text.truncate(text.floor_char_boundary(limits::FIELD - CUT.len()));
        text.push_str(CUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::trace::{Facts, Origin, Trace, Via};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_without_encoded_words_is_the_same_either_way(body in "[ -~\t\n]{0,80}|a{1990,2100}") {
            prop_assert_eq!(value(body.as_bytes(), None), decoded(&unfolded(body.as_bytes()), None));
        }
    }

    #[test]
    fn the_first_of_a_repeated_field_counts_and_folds_are_undone() {
        let summary = Summary::parse(
            b"subject : one\r\n\tand more\r\nSUBJECT: two\r\nTo: a,\n b\nFrom:\nX: y\n\nDate: not a field any more\n",
        );
        assert_eq!(summary.subject.as_deref(), Some("one and more"));
        assert_eq!(summary.to.as_deref(), Some("a, b"));
        assert_eq!(summary.from.as_deref(), Some(""));
        assert_eq!(summary.date, None);
    }

    #[test]
    fn white_space_of_an_encoded_word_is_trimmed_too() {
        assert_eq!(value(b" =?UTF-8?Q?_a_b_?=\n", None), "a b");
        assert_eq!(value(b" =?UTF-8?B?IA==?=\n", None), "");
        // Found by fuzzing: a fold inside a word becomes a space at the beginning.
        assert_eq!(value(b"=?UTF-8?Q?\r?=?t: x", None), "?t: x");
    }

    #[test]
    fn no_value_holds_a_control_character() {
        let summary = Summary::parse(b"Subject: a\tb\x1b[31mc\0d =?utf-8?q?e=0Af=07=C2=85?=\n\n");
        assert_eq!(summary.subject.as_deref(), Some("a b[31mcd ef"));
    }

    #[test]
    fn the_key_is_the_message_id_or_what_stands_for_it() {
        assert_eq!(Summary::parse(b"Message-Id: <a@b>\n\n").key, "mid:<a@b>");
        let head = b"Received: new\nReceived: old\n folded\nDate: d\nFrom: f\nTo: t\nSubject: s\n\n";
        let key = Summary::parse(head).key;
        assert!(key.starts_with("hdr:") && key.len() == 36, "{key}");
        assert_eq!(
            Summary::parse(b"Received: other\nReceived: old folded\nDate: d\nFrom: f\nTo: t\nSubject: s\n\n").key,
            key
        );
        assert_ne!(Summary::parse(b"Received: older\nDate: d\nFrom: f\nTo: t\nSubject: s\n\n").key, key);
        assert_ne!(Summary::parse(b"Received: old folded\nDate: d\nFrom: ft\nTo: \nSubject: s\n\n").key, key);
    }

    #[test]
    fn passes_through_a_host_are_counted() {
        let head = b"Received: from x by mail.example.org;\n d\nReceived: from mail.example.org by y\n\
            X: by mail.example.org\nreceived: FROM x\n\tBY Mail.example.org. (z) with SMTP\nReceived: by\n\n\
            Received: by mail.example.org\n";
        assert_eq!((passes(head, "mail.Example.org"), passes(head, "other.example.org")), (2, 0));
    }

    #[test]
    fn our_own_received_does_not_count() {
        let origin = Origin { mail_from: Some("a@b".into()), helo: Some("h".into()), ..Origin::unknown(Via::Smtp) };
        let mut keys = Vec::new();
        for id in ["1", "2"] {
            let facts = Facts::default();
            let trace = Trace { origin: &origin, facts, hostname: "m", id, recipient: None, seconds: 7 };
            let mut head = trace::prefix(&trace);
            head.extend_from_slice(b"Subject: s\n\n");
            keys.push(Summary::parse(&head).key);
        }
        assert_eq!(keys[0], keys[1]);
        assert_eq!(keys[0], Summary::parse(b"Subject: s\n\n").key);
    }

    #[test]
    fn messages_without_a_header_have_none() {
        for message in ["", "\n", "\r\nSubject: x\n", "just text\nSubject: x\n"] {
            assert_eq!(Summary::parse(message.as_bytes()).subject, None, "{message:?}");
        }
        let long = [b"X: ".to_vec(), vec![b'x'; 100_000], b"\nSubject: too late\n\n".to_vec()].concat();
        assert_eq!(Summary::parse(&long).subject, None);
    }

    #[test]
    fn a_byte_order_mark_hides_no_field() {
        let summary = Summary::parse(b"\xef\xbb\xbfFrom: a@example.org\nTo: me\nMessage-ID: <bom@example.org>\n\nx\n");
        assert_eq!(summary.from.as_deref(), Some("a@example.org"));
        assert_eq!((summary.to.as_deref(), &summary.key[..]), (Some("me"), "mid:<bom@example.org>"));
    }

    #[test]
    fn raw_octets_are_in_the_charset_of_content_type() {
        for (content_type, subject, meant) in [
            ("text/plain; charset=ISO-8859-1", &b"Gr\xfc\xdfe"[..], "Grüße"),
            ("text/plain;\n\tformat=flowed; Charset = \"iso8859_1\"", b"Gr\xfc\xdfe", "Grüße"),
            ("text/plain; charset=gb2312", b"\xd0\xc2\xd3\xca\xbc\xfe\xcd\xa8\xd6\xaa", "新邮件通知"),
            ("text/plain; charset=iso-8859-1 (Latin)", b"Gr\xfc\xdfe", "Grüße"),
            ("text/plain; charset=\"iso-8859-1\" ", b"Gr\xfc\xdfe", "Grüße"),
            ("text/plain; charset=windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
            ("text/plain; charset=iso-8859-1", "Grüße".as_bytes(), "Grüße"),
            ("text/plain; charset=utf-8", b"Gr\xfc\xdfe", "Gr\u{fffd}\u{fffd}e"),
            ("multipart/mixed; boundary=\"charset=gb2312\"", b"Gr\xfc\xdfe", "Gr\u{fffd}\u{fffd}e"),
        ] {
            let head = [b"Subject: ", subject, b"\nContent-Type: ", content_type.as_bytes(), b"\n\n"].concat();
            assert_eq!(Summary::parse(&head).subject.as_deref(), Some(meant), "{content_type}");
        }
    }

    #[test]
    fn a_value_has_at_most_2048_octets() {
        for (body, length) in [
            ("x".repeat(2_048), 2_048),
            ("x".repeat(2_049), 2_048),
            ("é".repeat(1_024), 2_048),
            ("é".repeat(30_000), 2_047),
            ("=?UTF-8?Q?abc?= x ".repeat(3_000), 2_048),
        ] {
            let value = value(body.as_bytes(), None);
            assert_eq!((value.len(), value.ends_with(CUT)), (length, body.len() > 2_048), "{}", &body[..8]);
            assert!(value.capacity() <= 2_048);
        }
        let long = format!("Message-ID: <{}@example.org>\n\n", "x".repeat(5_000));
        assert_eq!(Summary::parse(long.as_bytes()).key.len(), 2_048);
    }
}
