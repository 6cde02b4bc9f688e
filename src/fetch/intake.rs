//! From fetched octets to a message in a Maildir and its record, or to a record alone.

use super::folder::HOPELESS;
use crate::config::{Protocol, Remote};
use crate::delivery::{Delivery, Envelope, Failure, Incoming, Recipient};
use crate::journal::Record;
use crate::limits;
use crate::message::header::Summary;
use crate::message::trace::{Facts, Origin, Via};
use md5::{Digest, Md5};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a message is on its server.
#[derive(Clone, Debug)]
pub struct Source {
    /// The server's address and TLS; remote and folder.
    pub origin: Origin,
    /// What a message that is not stored is called.
    pub id: String,
}

/// Names messages of one session.
#[derive(Debug)]
pub struct Names<'r> {
    remote: &'r Remote,
    folder: Option<&'r str>,
    client: Option<String>,
    tls: Option<String>,
}

impl<'r> Names<'r> {
    /// Of this remote and, with IMAP, folder.
    pub fn new(remote: &'r Remote, folder: Option<&'r str>, client: Option<String>, tls: Option<String>) -> Names<'r> {
        Names { remote, folder, client, tls }
    }

    /// A message in an IMAP folder.
    pub fn imap(&self, validity: u32, uid: u32) -> Source {
        let name = &self.remote.name;
        let id = match self.folder {
            None | Some("INBOX") => format!("{name}.{validity}.{uid}"),
            Some(folder) => {
                let digest = Md5::digest(folder.as_bytes());
                let hex: String = digest[..4].iter().map(|octet| format!("{octet:02x}")).collect();
                format!("{name}.{hex}.{validity}.{uid}")
            }
        };
        let uri = uri(self.remote, self.folder.unwrap_or("INBOX"), validity, uid);
        Source { origin: self.origin(format!("{validity}.{uid}"), Some(uri)), id }
    }

    /// A message in a POP3 maildrop.
    pub fn pop3(&self, id: super::maildrop::Id, unique_id: &[u8]) -> Source {
        let uid = String::from_utf8_lossy(unique_id).into_owned();
        Source { origin: self.origin(uid, None), id: format!("{}.{id:016x}", self.remote.name) }
    }

    fn origin(&self, uid: String, uri: Option<String>) -> Origin {
        Origin {
            helo: Some(self.remote.host.clone()),
            client: self.client.clone(),
            tls: self.tls.clone(),
            remote: Some(self.remote.name.clone()),
            folder: self.folder.map(str::to_owned),
            uid: Some(uid),
            uri,
            ..Origin::unknown(Via::Poll)
        }
    }
}

/// RFC 5092: `imap://me%40example.com@HOST/INBOX;UIDVALIDITY=1/;UID=42`.
fn uri(remote: &Remote, folder: &str, validity: u32, uid: u32) -> String {
    let host = if remote.host.contains(':') { format!("[{}]", remote.host) } else { remote.host.clone() };
    let port = match remote.port {
        143 | 993 => String::new(),
        port => format!(":{port}"),
    };
    let (login, folder) = (encoded(&remote.login, b""), encoded(folder, b"/"));
    format!("imap://{login}@{host}{port}/{folder};UIDVALIDITY={validity}/;UID={uid}")
}

/// Percent-encoded but for unreserved characters (RFC 3986 section 2.3) and `more`.
fn encoded(text: &str, more: &[u8]) -> String {
    text.bytes().fold(String::new(), |mut encoded, octet| {
        match octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) || more.contains(&octet) {
            true => encoded.push(char::from(octet)),
            false => encoded += &format!("%{octet:02X}"),
        }
        encoded
    })
}

/// What became of one message.
pub enum One {
    /// It is recorded; true: and stored here.
    Kept(bool),
    /// Points, and why.
    Failed(u32, String),
}

/// A message that is coming in: to be stored, or only looked at. Octets have LF line ends.
pub enum Intake<'d> {
    /// It goes to its Maildir.
    Store(Box<Incoming<'d>>),
    /// Its header is kept.
    Header(Vec<u8>),
}

impl<'d> Intake<'d> {
    /// A message for the remote's user: to be stored, or only its header.
    pub fn new(is_stored: bool, delivery: &'d Delivery, remote: &Remote, source: &Source) -> Intake<'d> {
        if !is_stored {
            return Intake::Header(Vec::new());
        }
        Intake::Store(Box::new(delivery.begin(Envelope {
            origin: source.origin.clone(),
            facts: Facts::default(),
            // No envelope came with it, so no address was typed.
            recipients: vec![Recipient { user: remote.user.clone(), typed: String::new() }],
            max_size: u64::MAX,
            complete_header: false,
        })))
    }

    /// Takes octets.
    pub fn write(&mut self, octets: &[u8]) {
        match self {
            Intake::Store(incoming) => incoming.write(octets),
            Intake::Header(kept) => {
                let room = limits::HEADER_OCTETS - kept.len();
                kept.extend_from_slice(&octets[..octets.len().min(room)]);
            }
        }
    }

    /// The message is whole. `size` is what the server says of it.
    ///
    /// # Errors
    ///
    /// Nothing is stored and nothing recorded then.
    pub fn commit(self, delivery: &Delivery, remote: &Remote, source: Source, size: u64) -> Result<One, Failure> {
        match self {
            Intake::Store(incoming) => match incoming.commit() {
                Ok(_) => Ok(One::Kept(true)),
                Err(Failure::Loop) => Ok(One::Failed(HOPELESS, "more than 100 Received fields".into())),
                Err(failure) => Err(failure),
            },
            Intake::Header(head) => {
                record(delivery, remote, source, size, &head);
                Ok(One::Kept(false))
            }
        }
    }
}

/// Records a message that stays on its server. One that was recorded before, under the same id, is not recorded again.
fn record(delivery: &Delivery, remote: &Remote, source: Source, size: u64, head: &[u8]) {
    let Some(ledger) = delivery.ledger() else { return };
    let Some(expected) = ledger.claim(&remote.user, source.id.as_bytes()) else {
        return log::debug!("{}: {} was recorded before", remote.name, source.id);
    };
    let record = Record {
        timestamp: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64,
        user: remote.user.clone(),
        id: source.id,
        size,
        summary: Summary::read(head, &delivery.event(), source.origin.via),
        origin: source.origin,
        ..Record::default()
    };
    ledger.found(vec![(expected, record)]);
}

/// `work/INBOX`, or `work` with POP3: how a log line begins.
pub fn label(remote: &Remote, folder: Option<&str>) -> String {
    match (remote.protocol, folder) {
        (Protocol::Imap, Some(folder)) => format!("{}/{}", remote.name, folder.escape_debug()),
        _ => remote.name.clone(),
    }
}

/// What a first run would do with so many messages.
pub fn first_run(remote: &Remote, place: &str, messages: u32) -> String {
    let (what, how) = (
        if remote.only_new { "none of them" } else { "all of them" },
        if remote.store { "fetches" } else { "makes events of" },
    );
    format!("{place}: {messages} messages; a first run {how} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::testing::remote;

    #[test]
    fn uris_and_ids_name_the_message() {
        let mut work = remote("work", Protocol::Imap, 993);
        (work.host, work.login) = ("outlook.office365.com".into(), "me@example.com".into());
        let source = Names::new(&work, Some("INBOX"), None, None).imap(1, 42);
        let uri = "imap://me%40example.com@outlook.office365.com/INBOX;UIDVALIDITY=1/;UID=42";
        assert_eq!((source.id.as_str(), source.origin.uri.as_deref()), ("work.1.42", Some(uri)));
        assert_eq!(source.origin.uid.as_deref(), Some("1.42"));
        (work.host, work.port) = ("::1".into(), 1993);
        let source = Names::new(&work, Some("Entw\u{fc}rfe/a;b"), None, None).imap(1, 42);
        let uri = "imap://me%40example.com@[::1]:1993/Entw%C3%BCrfe/a%3Bb;UIDVALIDITY=1/;UID=42";
        assert_eq!(source.origin.uri.as_deref(), Some(uri));
        let hex = source.id.strip_prefix("work.").unwrap().strip_suffix(".1.42").unwrap();
        assert!(hex.len() == 8 && hex.bytes().all(|octet| octet.is_ascii_hexdigit()), "{}", source.id);
        let source = Names::new(&work, None, None, None).pop3(super::super::maildrop::id(b"abc", 1), b"abc");
        assert_eq!((source.id.len(), source.origin.uri, source.origin.folder), ("work.".len() + 16, None, None));
    }
}
