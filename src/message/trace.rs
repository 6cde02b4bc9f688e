//! The trace fields (RFC 5321 section 4.4) at the top of the stored file, which say where a message came from.
//!
//! What `prefix` writes, `read_back` reads: a message that was stored but not yet recorded when the process died gets
//! its whole record from the file alone.

pub use super::origin::{Origin, Via};

use crate::message::date;
use crate::message::letter::is_unsafe;
use std::borrow::Cow;
use std::fmt::{self, Write};

/// What the `with` clause says besides `Origin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// EHLO was said, not HELO.
    pub extended: bool,
    /// The transaction used SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
}

/// Everything that the fields at the top of a file say.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// Where the message came from.
    pub origin: &'a Origin,
    /// What the `with` clause says besides.
    pub facts: Facts,
    /// Our own name.
    pub hostname: &'a str,
    /// The message's id.
    pub id: &'a str,
    /// The recipient as typed, where there is exactly one.
    pub recipient: Option<&'a str>,
    /// The time, in seconds since 1970.
    pub seconds: u64,
}

/// `Return-Path`, `Delivered-To` and `Received`, with LF line ends.
pub fn prefix(trace: &Trace<'_>) -> Vec<u8> {
    let mut text = String::with_capacity(512);
    // unwrap: writing to a String cannot fail.
    write_prefix(&mut text, trace).unwrap();
    text.into_bytes()
}

/// `Received` alone, with LF line ends, as it stands in a message that goes on to another server. The account that logged in
/// is nothing that strangers need to know.
pub fn received(trace: &Trace<'_>) -> Vec<u8> {
    let mut text = String::with_capacity(512);
    // unwrap: writing to a String cannot fail.
    write_received(&mut text, trace, false).unwrap();
    text.into_bytes()
}

fn write_prefix(text: &mut String, trace: &Trace<'_>) -> fmt::Result {
    let Trace { origin, recipient, .. } = trace;
    if let Some(sender) = &origin.mail_from {
        writeln!(text, "Return-Path: <{}>", harmless(sender))?;
    }
    if let Some(recipient) = recipient {
        writeln!(text, "Delivered-To: {}", harmless(recipient))?;
    }
    write_received(text, trace, true)
}

fn write_received(text: &mut String, trace: &Trace<'_>, shows_login: bool) -> fmt::Result {
    let Trace { origin, facts, hostname, id, recipient, seconds } = trace;
    text.push_str("Received: ");
    if let Some(helo) = &origin.helo {
        write!(text, "from {}", atom(helo))?;
        if let Some(client) = &origin.client {
            let tag = if client.contains(':') { "IPv6:" } else { "" };
            write!(text, " ([{tag}{}])", atom(client))?;
        }
        text.push_str("\n\t");
    }
    if let Some(tls) = &origin.tls {
        write!(text, "(using {})\n\t", comment(tls))?;
    }
    if let Some(auth) = origin.auth.as_ref().filter(|_| shows_login) {
        write!(text, "(authenticated as {})\n\t", comment(auth))?;
    }
    if let (Some(remote), Some(uid)) = (&origin.remote, &origin.uid) {
        write!(text, "(fetched from {}", comment(remote))?;
        if let Some(folder) = &origin.folder {
            write!(text, ", folder {}", comment(folder))?;
        }
        write!(text, ", uid {})\n\t", comment(uid))?;
    }
    write!(text, "by {hostname} (mailbell) with {} id {id}", protocol(origin, *facts))?;
    if let Some(recipient) = recipient {
        write!(text, "\n\tfor <{}>", harmless(recipient))?;
    }
    writeln!(text, ";\n\t{}", date::rfc5322(*seconds))
}

/// What [`prefix`] wrote at the top of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// Where the message came from.
    pub origin: Origin,
    /// Of a message with one recipient.
    pub recipient: Option<String>,
    /// The id of the file that the fields were written for; a copy has another.
    pub id: &'a str,
}

/// Reads back what `prefix` wrote. `None` when the file does not begin with trace fields of this shape.
pub fn read_back(head: &[u8]) -> Option<Written<'_>> {
    let mut rest = std::str::from_utf8(&head[..end_of_received(head)?]).ok()?;
    let mut origin = Origin::unknown(Via::Smtp);
    if let Some(tail) = rest.strip_prefix("Return-Path: <") {
        let (sender, tail) = tail.split_once(">\n")?;
        origin.mail_from = Some(sender.to_owned());
        rest = tail;
    }
    let mut recipient = None;
    if let Some(tail) = rest.strip_prefix("Delivered-To: ") {
        let (to, tail) = tail.split_once('\n')?;
        recipient = Some(to.to_owned());
        rest = tail;
    }
    rest = rest.strip_prefix("Received: ")?;
    if let Some(tail) = rest.strip_prefix("from ") {
        let (from, tail) = tail.split_once("\n\t")?;
        match from.split_once(" ([") {
            Some((helo, client)) => {
                origin.helo = Some(helo.to_owned());
                let client = client.strip_suffix("])")?;
                origin.client = Some(client.strip_prefix("IPv6:").unwrap_or(client).to_owned());
            }
            None => origin.helo = Some(from.to_owned()),
        }
        rest = tail;
    }
    if let Some(tail) = rest.strip_prefix("(using ") {
        let (tls, tail) = tail.split_once(")\n\t")?;
        origin.tls = Some(tls.to_owned());
        rest = tail;
    }
    if let Some(tail) = rest.strip_prefix("(authenticated as ") {
        let (auth, tail) = tail.split_once(")\n\t")?;
        origin.auth = Some(auth.to_owned());
        rest = tail;
    }
    if let Some(tail) = rest.strip_prefix("(fetched from ") {
        let (fetched, tail) = tail.split_once(")\n\t")?;
        let (place, uid) = fetched.rsplit_once(", uid ")?;
        let (remote, folder) =
            place.split_once(", folder ").map_or((place, None), |(remote, folder)| (remote, Some(folder)));
        origin.remote = Some(remote.to_owned());
        origin.folder = folder.map(str::to_owned);
        origin.uid = Some(uid.to_owned());
        rest = tail;
    }
    let (_host, tail) = rest.strip_prefix("by ")?.split_once(" (mailbell) with ")?;
    let (protocol, tail) = tail.split_once(" id ")?;
    let id = &tail[..tail.find([';', '\n'])?];
    origin.via = match protocol {
        "local" => Via::Deliver,
        "poll" => Via::Poll,
        "bounce" => Via::Bounce,
        other if other.contains("LMTP") => Via::Lmtp,
        _ => Via::Smtp,
    };
    Some(Written { origin, recipient, id })
}

/// Whether a file begins with the trace fields that were written for the message with this id. Allocates nothing: it is
/// asked for each message that POP3 sends.
pub fn is_of(head: &[u8], id: &[u8]) -> bool {
    let fields = end_of_received(head).map_or(&[][..], |end| &head[..end]);
    let after = |text: &[u8], from: usize| memchr::memmem::find(&fields[from..], text).map(|at| from + at + text.len());
    after(b" (mailbell) with ", 0)
        .and_then(|at| after(b" id ", at))
        .and_then(|at| fields[at..].strip_prefix(id))
        .is_some_and(|rest| matches!(rest.first(), Some(b';' | b'\n')))
}

/// Where our own trace fields end; 0 when the message does not begin with them.
pub fn length(head: &[u8]) -> usize {
    if read_back(head).is_some() { end_of_received(head).unwrap_or(0) } else { 0 }
}

/// The octet after the topmost `Received` field.
fn end_of_received(head: &[u8]) -> Option<usize> {
    let mut received = false;
    let mut at = 0;
    while let Some(length) = memchr::memchr(b'\n', &head[at..]) {
        let line = &head[at..at + length];
        if received && !line.starts_with(b"\t") {
            return Some(at);
        }
        received |= line.starts_with(b"Received: ");
        if !(received || line.starts_with(b"Return-Path: ") || line.starts_with(b"Delivered-To: ")) {
            return None;
        }
        at += length + 1;
    }
    (received && at == head.len()).then_some(at)
}

/// The registered name of the protocol (RFC 3848, RFC 6531 section 4.3).
fn protocol(origin: &Origin, facts: Facts) -> String {
    let base = match origin.via {
        Via::Deliver | Via::Maildir => return "local".into(),
        Via::Poll => return "poll".into(),
        Via::Bounce => return "bounce".into(),
        Via::Lmtp if facts.smtputf8 => "UTF8LMTP",
        Via::Lmtp => "LMTP",
        Via::Smtp if facts.smtputf8 => "UTF8SMTP",
        Via::Smtp if facts.extended => "ESMTP",
        Via::Smtp => return "SMTP".into(),
    };
    let secured = if origin.tls.is_some() { "S" } else { "" };
    let authenticated = if origin.auth.is_some() { "A" } else { "" };
    format!("{base}{secured}{authenticated}")
}

/// Text from a peer, in a field of its own.
fn harmless(text: &str) -> Cow<'_, str> {
    without(text, is_unsafe)
}

/// Text from a peer that must stay one word outside comments.
fn atom(text: &str) -> Cow<'_, str> {
    without(text, |letter| is_unsafe(letter) || letter.is_whitespace() || "()<>;\\\"".contains(letter))
}

/// Text as it stands inside a comment of a trace field: what could end the comment is replaced.
pub fn comment(text: &str) -> Cow<'_, str> {
    without(text, |letter| is_unsafe(letter) || "()\\".contains(letter))
}

/// The text with `?` in the place of each letter that is not wanted; the text itself where there is none.
fn without(text: &str, unwanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    match text.contains(&unwanted) {
        true => Cow::Owned(text.replace(unwanted, "?")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            via: Via::Smtp,
            mail_from: Some("a@example.com".into()),
            client: Some("2001:db8::1".into()),
            helo: Some("client.example".into()),
            auth: Some("alice".into()),
            tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384".into()),
            ..Origin::unknown(Via::Smtp)
        }
    }

    fn trace<'a>(origin: &'a Origin, recipient: Option<&'a str>) -> Trace<'a> {
        let facts = Facts { extended: true, smtputf8: false };
        Trace { origin, facts, hostname: "mail.example.org", id: "1.M2P3Q4.mail", recipient, seconds: 1_795_423_499 }
    }

    #[test]
    fn the_fields_are_those_of_the_rfc() {
        let text = String::from_utf8(prefix(&trace(&origin(), Some("bob@example.org")))).unwrap();
        assert_eq!(
            text,
            "Return-Path: <a@example.com>\nDelivered-To: bob@example.org\n\
             Received: from client.example ([IPv6:2001:db8::1])\n\t(using TLSv1.3 TLS_AES_256_GCM_SHA384)\n\t\
             (authenticated as alice)\n\tby mail.example.org (mailbell) with ESMTPSA id 1.M2P3Q4.mail\n\t\
             for <bob@example.org>;\n\tMon, 23 Nov 2026 08:44:59 +0000\n"
        );
    }

    #[test]
    fn what_goes_on_has_received_alone_and_no_login() {
        let text = String::from_utf8(received(&trace(&origin(), None))).unwrap();
        assert!(text.starts_with("Received: from client.example (["), "{text}");
        assert!(text.contains(" with ESMTPSA id 1.M2P3Q4.mail;\n") && !text.contains("alice"), "{text}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for via in [Via::Smtp, Via::Lmtp, Via::Deliver] {
            for bits in 0..32 {
                let keep = |bit: u32, value: &Option<String>| (bits & (1 << bit) != 0).then(|| value.clone().unwrap());
                let all = origin();
                let helo = keep(1, &all.helo);
                let some = Origin {
                    via,
                    mail_from: keep(0, &all.mail_from).map(|_| String::new()),
                    client: helo.as_ref().and_then(|_| keep(2, &all.client)),
                    helo,
                    auth: keep(3, &all.auth),
                    tls: keep(4, &all.tls),
                    ..Origin::unknown(via)
                };
                for recipient in [None, Some("\"b o b\"@example.org")] {
                    let mut head = prefix(&trace(&some, recipient));
                    assert_eq!(length(&head), head.len());
                    assert!(is_of(&head, b"1.M2P3Q4.mail"));
                    assert!(!is_of(&head, b"1.M2P3Q4.mai") && !is_of(&head, b"1.M2P3Q4.mail2"));
                    let ours = head.len();
                    head.extend_from_slice(b"Subject: x\n\nbody\n");
                    let (origin, recipient) = (some.clone(), recipient.map(str::to_owned));
                    assert_eq!(read_back(&head), Some(Written { origin, recipient, id: "1.M2P3Q4.mail" }));
                    assert_eq!(length(&head), ours);
                }
            }
        }
    }

    #[test]
    fn what_was_fetched_says_from_where() {
        for (folder, uid) in [(Some("INBOX"), "1700000000.42"), (Some("a, folder b, uid c"), "1.2"), (None, "x, y")] {
            let fetched = Origin {
                helo: Some("imap.example.com".into()),
                remote: Some("work".into()),
                folder: folder.map(str::to_owned),
                uid: Some(uid.into()),
                ..Origin::unknown(Via::Poll)
            };
            let head = prefix(&trace(&fetched, None));
            assert_eq!(read_back(&head).unwrap().origin, fetched, "{}", String::from_utf8_lossy(&head));
        }
        let evil = Origin {
            remote: Some("work".into()),
            folder: Some("x)\n\tby (\r\nSubject: y".into()),
            uid: Some("1.2".into()),
            ..Origin::unknown(Via::Poll)
        };
        let read = read_back(&prefix(&trace(&evil, None))).map(|written| written.origin.folder.unwrap());
        assert_eq!(read.as_deref(), Some(&*comment(evil.folder.as_deref().unwrap())));
    }

    #[test]
    fn a_peer_cannot_add_fields() {
        let mut evil = origin();
        evil.helo = Some("x\r\nSubject: forged (".into());
        evil.mail_from = Some("a\nb@example.com".into());
        let head = prefix(&trace(&evil, Some("b\r\nob@example.org")));
        assert!(!head.windows(9).any(|window| window == b"\nSubject:"));
        assert!(read_back(&head).is_some());
    }

    #[test]
    fn other_files_are_not_ours() {
        for other in ["", "Received: from x\n\tby y with ESMTP id z; date\n", "Subject: x\n\n", "Return-Path: <a>\n"] {
            assert_eq!(read_back(other.as_bytes()), None, "{other}");
            assert_eq!(length(other.as_bytes()), 0);
            assert!(!is_of(other.as_bytes(), b"z") && !is_of(other.as_bytes(), b""));
        }
    }
}
