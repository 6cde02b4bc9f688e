//! What is in a stored message, for programs: its text and attachments as one JSON object, and its attachments as files.
//!
//! A message is read once, in blocks, plain or decompressed, and is nowhere in memory as a whole. The object is made when it
//! is handed over; it is never in the journal.

mod json;
mod save;

pub use json::Object;
pub use save::Saver;

use crate::journal::Record;
use crate::message::mime::{Collector, Files, Parsed, Reader};
use std::io::{self, Read};

/// Octets of a message that are read; what follows is left out. A small compressed file can stand for very many octets.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Octets that are read at a time.
const BLOCK: usize = 64 * 1024;

/// Reads a message, and gives the octets of its attachments to `files`. A compressed message that is damaged ends where the
/// damage is.
///
/// # Errors
///
/// When the message cannot be read.
pub fn read(message: &mut dyn Read, files: Option<&mut dyn Files>) -> io::Result<Parsed> {
    let (mut reader, mut collector) = (Reader::default(), Collector::new(files));
    let (mut block, mut left) = (vec![0; BLOCK], LONGEST);
    while left > 0 {
        match message.read(&mut block) {
            Ok(0) => break,
            Ok(octets) => {
                reader.add(&block[..octets], &mut collector);
                left = left.saturating_sub(octets as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_damage(&error) => break,
            Err(error) => return Err(error),
        }
    }
    drop(block);
    reader.finish(&mut collector);
    Ok(collector.finish())
}

/// The JSON object `parsed` of a record and its message, to be read: as a rule some kB, at most some 15 MB. It keeps the texts
/// and the header, 3 MB at most. A message that is gone is an empty one: then text and HTML are null, and the lists are
/// empty.
///
/// # Errors
///
/// When the message cannot be read.
pub fn parsed(record: &Record, message: &mut dyn Read) -> io::Result<Object> {
    Ok(Object::new(Some(record), read(message, None)?))
}

/// What the decompressor says of a file that its owner has damaged. To try again would not help.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;

    fn text(message: &str) -> String {
        let mut text = String::new();
        parsed(&sample(7, "alice", "1.M2"), &mut message.as_bytes()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn object(message: &str) -> serde_json::Value {
        serde_json::from_str(&text(message)).unwrap()
    }

    #[test]
    fn the_object_has_every_key_in_its_order() {
        let text = text("Subject: a\n\nb\"\x1b\n");
        assert!(text.starts_with(r#"{"event":{"seq":7,"#), "{text}");
        let rest = r#","text":"b\"\u001b\n","html":null,"text_cut":false,"attachments":[],"headers":[{"name":"Subject","value":"a"}]}"#;
        assert!(text.ends_with(rest), "{text}");
    }

    #[test]
    fn an_attachment_has_every_key() {
        let found = object(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: Application/PDF; name=\"../a.pdf\"\n\nx\n--b\nContent-Type: image/png\nContent-ID: <c@d>\nContent-Disposition: inline\n\n--b--\n",
        );
        assert_eq!(
            found["attachments"][0],
            serde_json::json!({"name": "a.pdf", "type": "application/pdf", "size": 1, "content_id": null, "inline": false,
                "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"})
        );
        assert_eq!(found["attachments"][1]["name"], serde_json::Value::Null);
        assert_eq!(found["attachments"][1]["content_id"], "c@d");
        assert_eq!(found["attachments"][1]["inline"], true);
    }

    #[test]
    fn a_message_that_is_gone_has_an_event_and_no_content() {
        let found = object("");
        assert_eq!((&found["event"]["seq"], &found["text"]), (&serde_json::json!(7), &serde_json::Value::Null));
        assert_eq!((&found["headers"], &found["attachments"]), (&serde_json::json!([]), &serde_json::json!([])));
    }

    #[test]
    fn damage_ends_a_message_and_other_errors_are_told() {
        struct Broken(io::ErrorKind, bool);
        impl Read for Broken {
            fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.1, true) {
                    return Err(self.0.into());
                }
                block[..9].copy_from_slice(b"A: b\n\nxyz");
                Ok(9)
            }
        }
        let read = |kind| read(&mut Broken(kind, false), None);
        assert_eq!(read(io::ErrorKind::UnexpectedEof).unwrap().text.as_deref(), Some("xyz"));
        assert_eq!(read(io::ErrorKind::TimedOut).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
