//! The header of a message: its fields, unfolded, and what the event says of them.
//!
//! A value is UTF-8 without control characters: encoded words are decoded (`word`), octets that are neither ASCII nor
//! UTF-8 become U+FFFD, and white space is folded to single spaces where the header was folded or held tabs.

use crate::limits;
use crate::message::trace;
use md5::{Digest, Md5};

pub mod word;

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
    /// `mid:` and the Message-ID, else `hdr:` and a digest over Date, From, To, Subject and the oldest Received.
    pub key: String,
}

impl Summary {
    /// Reads the header at the beginning of a stored message, with LF or CRLF line ends.
    ///
    /// No more than [`limits::HEADER_OCTETS`] are looked at. Our own trace fields at the top are not part of what the
    /// sender wrote: they neither hide a field of the same name nor count for `key`.
    pub fn parse(head: &[u8]) -> Summary {
        let head = &head[..head.len().min(limits::HEADER_OCTETS)];
        let mut summary = Summary::default();
        let mut oldest_received = Vec::new();
        for (name, body) in Fields::new(&head[trace::length(head)..]) {
            if name.eq_ignore_ascii_case(b"Received") {
                oldest_received = body.to_vec();
            } else if let Some(slot) = summary.slot(name)
                && slot.is_none()
            {
                *slot = Some(value(body));
            }
        }
        summary.key = match summary.message_id.as_deref() {
            Some(id) if !id.is_empty() => format!("mid:{id}"),
            _ => format!("hdr:{}", summary.digest(&oldest_received)),
        };
        summary
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<String>> {
        let slots: [(&str, &mut Option<String>); 9] = [
            ("Message-ID", &mut self.message_id),
            ("Date", &mut self.date),
            ("From", &mut self.from),
            ("Reply-To", &mut self.reply_to),
            ("To", &mut self.to),
            ("Subject", &mut self.subject),
            ("MIME-Version", &mut self.mime_version),
            ("Content-Type", &mut self.content_type),
            ("Content-Transfer-Encoding", &mut self.content_transfer_encoding),
        ];
        slots.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, slot)| slot)
    }

    /// A digest that two deliveries of one message share. It is no protection against forgery.
    fn digest(&self, oldest_received: &[u8]) -> String {
        let mut digest = Md5::new();
        for field in [&self.date, &self.from, &self.to, &self.subject] {
            digest.update(field.as_deref().unwrap_or_default());
            // What no value can hold keeps two fields apart.
            digest.update([0]);
        }
        let folded = oldest_received.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty());
        folded.for_each(|word| digest.update(word));
        digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// Walks over the fields of a header: name and raw body, folds and line ends still in it.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Over the header at the beginning of `message`; it ends at the first empty line.
    pub fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut end = 0;
            // A field goes on while the next line begins with white space (RFC 5322 section 2.2.3).
            loop {
                end += memchr::memchr(b'\n', &self.rest[end..]).map_or(self.rest.len() - end, |at| at + 1);
                if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                    break;
                }
            }
            let (field, rest) = self.rest.split_at(end);
            if field.is_empty() || field == b"\n" || field == b"\r\n" {
                return None;
            }
            self.rest = rest;
            let Some(colon) = memchr::memchr(b':', field) else {
                // Not a field, so not a header: the body begins without its empty line. A line that mbox left is no
                // reason to stop.
                if field.starts_with(b"From ") {
                    continue;
                }
                return None;
            };
            return Some((field[..colon].trim_ascii_end(), &field[colon + 1..]));
        }
    }
}

/// A field body as the event tells it.
pub fn value(body: &[u8]) -> String {
    let mut unfolded = Vec::with_capacity(body.len());
    let mut in_fold = false;
    for &octet in body.trim_ascii() {
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
    let mut decoded = word::decode(&unfolded);
    decoded.retain(|letter| !letter.is_control());
    // An encoded word may begin or end with white space.
    match decoded.trim() {
        trimmed if trimmed.len() == decoded.len() => decoded,
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::trace::{Facts, Origin, Trace, Via};

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
        assert_eq!(value(b" =?UTF-8?Q?_a_b_?=\n"), "a b");
        assert_eq!(value(b" =?UTF-8?B?IA==?=\n"), "");
        // Found by fuzzing: a fold inside a word becomes a space at the beginning.
        assert_eq!(value(b"=?UTF-8?Q?\r?=?t: x"), "?t: x");
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
}
