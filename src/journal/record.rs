//! One record of the journal: the event of one stored message, and its JSON.

use crate::message::date;
use crate::message::header::Summary;
use crate::message::letter;
use crate::message::trace::{Origin, Via};
use std::borrow::Cow;
use std::io::Write;

/// One stored message, as the journal and every subscriber tell it (names after RFC 5423).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1, 2, 3 ... without gaps, over all users. The journal gives it; 0 before that.
    pub seq: u64,
    /// When the message was stored, microseconds since 1970 UTC; RFC 3339 in JSON.
    pub timestamp: u64,
    /// The user with the Maildir.
    pub user: String,
    /// The Maildir base name up to the first `,` or `:`.
    pub id: String,
    /// The file's absolute path when it was stored; empty where nothing is stored here, which is null in JSON.
    pub path: String,
    /// Octets with CRLF line ends.
    pub size: u64,
    /// The client and the session that it came from.
    pub origin: Origin,
    /// The recipient as the sender typed it; `None` where there is no envelope.
    pub rcpt_to: Option<String>,
    /// The header fields and the key.
    pub summary: Summary,
    /// `seq` of the latest earlier event with the same user and key. The journal gives it.
    pub duplicate_of: Option<u64>,
}

/// The names of a record's fields, in the order of its JSON.
pub const FIELDS: [&str; 37] = [
    "seq",
    "event",
    "timestamp",
    "user",
    "id",
    "path",
    "remote",
    "folder",
    "uid",
    "uri",
    "size",
    "via",
    "mail_from",
    "rcpt_to",
    "client",
    "helo",
    "auth",
    "tls",
    "message_id",
    "date",
    "from",
    "reply_to",
    "to",
    "subject",
    "mime_version",
    "content_type",
    "content_transfer_encoding",
    "cc",
    "sender",
    "in_reply_to",
    "references",
    "list_id",
    "auto_submitted",
    "headers",
    "verified",
    "key",
    "duplicate_of",
];

/// Longest field that a stranger can fill, octets.
pub const LONGEST_FIELD: usize = 2_048;

/// What marks a field that was cut.
const MARK: &str = "...";

/// A field's value.
enum Value<'a> {
    Number(u64),
    Time(u64),
    Text(&'a str),
    /// An object of names and values.
    Headers(&'a [(String, Option<String>)]),
}

fn cut(text: &mut String) {
    if text.len() > LONGEST_FIELD {
        text.truncate(text.floor_char_boundary(LONGEST_FIELD - MARK.len()));
        text.push_str(MARK);
    }
}

/// A JSON string of a value in at most `longest` octets.
fn write_text(text: &str, longest: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    letter::push(out, text, longest, letter::put_json);
    out.push(b'"');
}

/// A JSON object of names and values.
fn write_headers(headers: &[(String, Option<String>)], longest: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (number, (name, value)) in headers.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write_text(name, usize::MAX, out);
        out.push(b':');
        match value {
            Some(value) => write_text(value, longest, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

impl Default for Record {
    /// Of a message of which nothing is known.
    fn default() -> Record {
        Record {
            seq: 0,
            timestamp: 0,
            user: String::new(),
            id: String::new(),
            path: String::new(),
            size: 0,
            origin: Origin::unknown(Via::Smtp),
            rcpt_to: None,
            summary: Summary::default(),
            duplicate_of: None,
        }
    }
}

impl Record {
    /// The value of a field of [`FIELDS`] as text; `None` where it is null or unknown.
    pub fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.value(name)? {
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            Value::Time(time) => Some(Cow::Owned(date::rfc3339_micros(time))),
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Headers(headers) => {
                let mut json = Vec::new();
                write_headers(headers, usize::MAX, &mut json);
                Some(Cow::Owned(String::from_utf8(json).unwrap_or_default()))
            }
        }
    }

    /// The value of one of `event.headers`, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.summary.headers.iter().find(|(known, _)| known == name)?.1.as_deref()
    }

    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.values().into_iter().find(|(known, _)| *known == name)?.1
    }

    /// All fields, in the order of [`FIELDS`].
    fn values(&self) -> [(&'static str, Option<Value<'_>>); FIELDS.len()] {
        fn text(text: &Option<String>) -> Option<Value<'_>> {
            text.as_deref().map(Value::Text)
        }
        let Record { origin, summary, .. } = self;
        [
            ("seq", Some(Value::Number(self.seq))),
            ("event", Some(Value::Text("MessageNew"))),
            ("timestamp", Some(Value::Time(self.timestamp))),
            ("user", Some(Value::Text(&self.user))),
            ("id", Some(Value::Text(&self.id))),
            ("path", Some(Value::Text(&self.path)).filter(|_| !self.path.is_empty())),
            ("remote", text(&origin.remote)),
            ("folder", text(&origin.folder)),
            ("uid", text(&origin.uid)),
            ("uri", text(&origin.uri)),
            ("size", Some(Value::Number(self.size))),
            ("via", Some(Value::Text(origin.via.name()))),
            ("mail_from", text(&origin.mail_from)),
            ("rcpt_to", text(&self.rcpt_to)),
            ("client", text(&origin.client)),
            ("helo", text(&origin.helo)),
            ("auth", text(&origin.auth)),
            ("tls", text(&origin.tls)),
            ("message_id", text(&summary.message_id)),
            ("date", text(&summary.date)),
            ("from", text(&summary.from)),
            ("reply_to", text(&summary.reply_to)),
            ("to", text(&summary.to)),
            ("subject", text(&summary.subject)),
            ("mime_version", text(&summary.mime_version)),
            ("content_type", text(&summary.content_type)),
            ("content_transfer_encoding", text(&summary.content_transfer_encoding)),
            ("cc", text(&summary.cc)),
            ("sender", text(&summary.sender)),
            ("in_reply_to", text(&summary.in_reply_to)),
            ("references", text(&summary.references)),
            ("list_id", text(&summary.list_id)),
            ("auto_submitted", text(&summary.auto_submitted)),
            ("headers", Some(Value::Headers(&summary.headers))),
            ("verified", text(&summary.verified)),
            ("key", Some(Value::Text(&summary.key))),
            ("duplicate_of", self.duplicate_of.map(Value::Number)),
        ]
    }

    /// Cuts the fields that a stranger can make long to [`LONGEST_FIELD`] octets, at a character, with `...` at the end.
    pub fn cut_fields(&mut self) {
        cut(&mut self.summary.key);
        self.summary.headers.iter_mut().filter_map(|(_, value)| value.as_mut()).for_each(cut);
        for (name, text) in self.optionals() {
            if let Some(text) = text.as_mut().filter(|_| !matches!(name, "rcpt_to" | "mail_from")) {
                cut(text);
            }
        }
    }

    /// One of the fields that a message may lack.
    pub fn optional_mut(&mut self, name: &str) -> Option<&mut Option<String>> {
        self.optionals().into_iter().find(|(known, _)| *known == name).map(|(_, text)| text)
    }

    /// All of them, in the order of [`FIELDS`].
    fn optionals(&mut self) -> [(&'static str, &mut Option<String>); 26] {
        let Record { origin, summary, rcpt_to, .. } = self;
        [
            ("remote", &mut origin.remote),
            ("folder", &mut origin.folder),
            ("uid", &mut origin.uid),
            ("uri", &mut origin.uri),
            ("mail_from", &mut origin.mail_from),
            ("rcpt_to", rcpt_to),
            ("client", &mut origin.client),
            ("helo", &mut origin.helo),
            ("auth", &mut origin.auth),
            ("tls", &mut origin.tls),
            ("message_id", &mut summary.message_id),
            ("date", &mut summary.date),
            ("from", &mut summary.from),
            ("reply_to", &mut summary.reply_to),
            ("to", &mut summary.to),
            ("subject", &mut summary.subject),
            ("mime_version", &mut summary.mime_version),
            ("content_type", &mut summary.content_type),
            ("content_transfer_encoding", &mut summary.content_transfer_encoding),
            ("cc", &mut summary.cc),
            ("sender", &mut summary.sender),
            ("in_reply_to", &mut summary.in_reply_to),
            ("references", &mut summary.references),
            ("list_id", &mut summary.list_id),
            ("auto_submitted", &mut summary.auto_submitted),
            ("verified", &mut summary.verified),
        ]
    }

    /// Appends the record as one JSON object, without a newline; no reader takes anything in it for one.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_json_within(out, |_| usize::MAX);
    }

    /// The same with the value of each field in at most so many octets; one that is longer is cut.
    pub fn write_json_within(&self, out: &mut Vec<u8>, longest: impl Fn(&str) -> usize) {
        let mut before = "{\"";
        for (name, value) in self.values() {
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            before = ",\"";
            // unwrap: writing to a vector cannot fail.
            match value {
                None => out.extend_from_slice(b"null"),
                Some(Value::Number(number)) => write!(out, "{number}").unwrap(),
                Some(Value::Time(time)) => write!(out, "\"{}\"", date::rfc3339_micros(time)).unwrap(),
                Some(Value::Text(text)) => write_text(text, longest(name), out),
                Some(Value::Headers(headers)) => write_headers(headers, longest(name), out),
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample(seq: u64, user: &str, id: &str) -> Record {
        Record {
            seq,
            timestamp: 1_795_423_499_000_000 + seq,
            user: user.into(),
            id: id.into(),
            path: format!("/mail/{user}/new/{id},S=1,W=2"),
            size: 2,
            origin: Origin { mail_from: Some(String::new()), ..Origin::unknown(Via::Smtp) },
            rcpt_to: Some(format!("{user}@example.org")),
            summary: Summary { subject: Some("s".into()), key: format!("mid:<{id}>"), ..Summary::default() },
            duplicate_of: None,
        }
    }

    #[test]
    fn json_has_every_field_in_its_order() {
        let mut out = Vec::new();
        sample(7, "alice", "1.M2").write_json(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                r#"{"seq":7,"event":"MessageNew","timestamp":"2026-11-23T08:44:59.000007Z","user":"alice""#
            )
        );
        assert_eq!(sample(7, "alice", "1.M2").values().map(|(name, _)| name), FIELDS);
        let places: Vec<_> = FIELDS.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
        assert!(places.is_sorted());
        assert!(text.ends_with(r#""key":"mid:<1.M2>","duplicate_of":null}"#), "{text}");
        assert_eq!(Record::seq_of(text.as_bytes()), Some(7));
    }

    #[test]
    fn damage_from_one_line_into_the_next_makes_no_record_of_two() {
        let mut line = Vec::new();
        sample(7, "alice", "7.h").write_json(&mut line);
        line.push(b'\n');
        let second = line.len();
        sample(8, "alice", "8.h").write_json(&mut line);
        // From within the value of `event` to within that of the second line.
        for octet in &mut line[20..second + 20] {
            *octet = !*octet;
        }
        assert!(Record::parse(&line).is_err());
    }

    #[test]
    fn damaged_lines_say_what_is_wrong() {
        for (line, what) in [
            ("", "EOF"),
            ("{}", "missing field `seq`"),
            ("[1]", "expected a record"),
            (r#"{"seq":1,"timestamp":"yesterday"}"#, "timestamp"),
            (r#"{"subject":["a"]}"#, "subject: invalid type"),
            (r#"{"seq":-1}"#, "seq"),
            (r#"{"via":"fax"}"#, "via"),
        ] {
            let error = Record::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(what), "{line}: {error}");
        }
        let mut line = Vec::new();
        sample(7, "alice", "1.M2").write_json(&mut line);
        line.extend_from_slice(b"{");
        assert!(Record::parse(&line).unwrap_err().to_string().contains("trailing"));
    }

    #[test]
    fn long_fields_are_cut_at_a_character_and_addresses_are_not() {
        let mut record = sample(7, "alice", "1.M2");
        let long = "\u{e9}".repeat(2_000);
        for name in ["subject", "rcpt_to", "mail_from"] {
            *record.optional_mut(name).unwrap() = Some(long.clone());
        }
        record.summary.key = "k".repeat(LONGEST_FIELD);
        record.summary.to = Some("t".repeat(LONGEST_FIELD + 1));
        record.cut_fields();
        assert_eq!(record.summary.subject, Some(format!("{}...", "\u{e9}".repeat(1_022))));
        assert_eq!(record.summary.to, Some(format!("{}...", "t".repeat(LONGEST_FIELD - 3))));
        assert_eq!((record.rcpt_to.as_ref(), record.origin.mail_from.as_ref()), (Some(&long), Some(&long)));
        assert_eq!(record.summary.key.len(), LONGEST_FIELD);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in proptest::collection::vec(any::<Option<String>>(), FIELDS.len()), duplicate in any::<Option<u64>>()) {
            let mut record = sample(1, "bob", "x");
            for (name, text) in FIELDS.iter().zip(texts) {
                if let Some(slot) = record.optional_mut(name) {
                    *slot = text;
                }
            }
            record.duplicate_of = duplicate;
            record.summary.headers = vec![("x-a".into(), record.summary.cc.clone()), ("x-b".into(), None)];
            let mut out = Vec::new();
            record.write_json(&mut out);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(Record::parse(&out), Ok(record));
        }
    }
}
