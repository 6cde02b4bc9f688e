//! The envelope of a message that waits, and the line of JSON that keeps it on disk.

use crate::smtp::dsn::{Notify, Ret};
use serde_json::{Value, json};
use std::fmt;

/// Longest envelope on disk, octets: some 10,000 recipients with every parameter as long as it may be.
pub(super) const LONGEST: usize = 8 * 1024 * 1024;

/// What names a message that waits, in its file's name, in the log, and in `mailbell queue`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(String);

impl QueueId {
    /// What a person or a folder says. `None` for what cannot be one: it has 1 to 70 of `0-9 A-Z a-z . -` and begins with a
    /// digit, so that it is safe in a path.
    pub fn parse(text: &str) -> Option<QueueId> {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-');
        let fits = matches!(text.len(), 1..=70) && text.as_bytes()[0].is_ascii_digit() && text.bytes().all(is_plain);
        fits.then(|| QueueId(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was made, seconds since 1970; 0 where the text does not say.
    pub fn seconds(&self) -> u64 {
        self.0.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One recipient elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The address, without brackets.
    pub address: String,
    /// NOTIFY (RFC 3461 section 4.1).
    pub notify: Notify,
    /// ORCPT as the client wrote it: `rfc822;` and xtext.
    pub orcpt: Option<String>,
}

impl Recipient {
    /// Without parameters.
    pub fn new(address: &str) -> Recipient {
        Recipient { address: address.to_owned(), ..Recipient::default() }
    }
}

/// The envelope of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Without brackets; `""` is the null path.
    pub reverse_path: String,
    /// At least one; each address once.
    pub recipients: Vec<Recipient>,
    /// RET (RFC 3461 section 4.3).
    pub ret: Option<Ret>,
    /// ENVID as the client wrote it, in xtext.
    pub envid: Option<String>,
    /// The client asked for SMTPUTF8: addresses or header fields hold UTF-8.
    pub smtputf8: bool,
    /// The local user that is answerable for it: its quota counts the message, and a notice about the message goes into its
    /// Maildir. `None`: a notice goes to the reverse-path.
    pub user: Option<String>,
    /// When it came, seconds since 1970; 0 is set to the present time by [`super::Queue::begin`].
    pub arrived: u64,
}

impl Envelope {
    /// One line with its end.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let recipients: Vec<Value> = self
            .recipients
            .iter()
            .map(|recipient| {
                let notify = Some(recipient.notify.to_string()).filter(|notify| !notify.is_empty());
                json!({"address": recipient.address, "notify": notify, "orcpt": recipient.orcpt})
            })
            .collect();
        let line = json!({
            "reverse_path": self.reverse_path,
            "ret": self.ret.map(Ret::name),
            "envid": self.envid,
            "smtputf8": self.smtputf8,
            "user": self.user,
            "arrived": self.arrived,
            "recipients": recipients,
        });
        format!("{line}\n").into_bytes()
    }

    /// `None` for a line that [`Envelope::to_line`] did not write.
    pub(super) fn parse(line: &[u8]) -> Option<Envelope> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let recipients: Option<Vec<Recipient>> = value["recipients"].as_array()?.iter().map(recipient).collect();
        Some(Envelope {
            reverse_path: safe(&value["reverse_path"])?,
            recipients: recipients.filter(|recipients| !recipients.is_empty())?,
            ret: match optional(&value["ret"])? {
                Some(text) => Some(Ret::parse(&text)?),
                None => None,
            },
            envid: optional(&value["envid"])?,
            smtputf8: value["smtputf8"].as_bool()?,
            user: optional(&value["user"])?,
            arrived: value["arrived"].as_u64()?,
        })
    }
}

fn recipient(value: &Value) -> Option<Recipient> {
    Some(Recipient {
        address: safe(&value["address"]).filter(|address| !address.is_empty())?,
        notify: match optional(&value["notify"])? {
            Some(text) => Notify::parse(&text)?,
            None => Notify::UNSET,
        },
        orcpt: optional(&value["orcpt"])?,
    })
}

/// Text for a command to another server. A control character in it, such as a line end, would begin a second command.
fn safe(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.contains(char::is_control)).map(str::to_owned)
}

/// The text, or nothing where there is null.
fn optional(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        value => safe(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_safe_name_is_an_id() {
        assert_eq!(QueueId::parse("1763888639.M000456P412Q1").unwrap().seconds(), 1_763_888_639);
        for wrong in ["", ".", "..", "../1", "1/2", "a1", "1 ", "1\n", "é", &"1".repeat(71)] {
            assert_eq!(QueueId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_line_end_in_an_address_is_no_envelope() {
        let line =
            |address: &str| Envelope { recipients: vec![Recipient::new(address)], ..Envelope::default() }.to_line();
        assert!(Envelope::parse(&line("a@b")).is_some());
        for wrong in ["a@b\r\nDATA", "", "a\0"] {
            assert_eq!(Envelope::parse(&line(wrong)), None, "{wrong:?}");
        }
        for wrong in ["", "{}", "[]", "null", "{\"recipients\":[]}"] {
            assert_eq!(Envelope::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            addresses in proptest::collection::vec("[^\\p{Cc}]{1,20}", 1..5),
            sender in "[^\\p{Cc}]{0,20}",
            envid in proptest::option::of("[!-~]{1,10}"),
            flags in any::<(bool, bool, bool)>(),
            arrived in any::<u64>(),
        ) {
            let notify = if flags.0 { Notify::NEVER } else { Notify::UNSET };
            let recipients = addresses.iter().map(|address| Recipient { notify, ..Recipient::new(address) }).collect();
            let envelope = Envelope {
                reverse_path: sender,
                recipients,
                ret: flags.1.then_some(Ret::Full),
                envid,
                smtputf8: flags.2,
                user: flags.0.then(|| "alice".to_owned()),
                arrived,
            };
            let line = envelope.to_line();
            prop_assert_eq!(line.iter().filter(|octet| **octet == b'\n').count(), 1);
            prop_assert_eq!(Envelope::parse(&line), Some(envelope));
        }
    }
}
