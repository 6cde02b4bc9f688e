//! Notices to the sender of a message (RFC 3464): that it failed, waits, or was handed to a server that tells nothing more.
//! They go into the Maildir of a local sender, or through the queue to one elsewhere. There is no notice about a notice.

use super::attempt::header;
use super::{Place, now};
use crate::delivery;
use crate::message::address;
use crate::message::date;
use crate::message::header::Fields;
use crate::message::trace::{Facts, Origin, Via};
use crate::queue::{self, Entry};
use crate::service::maillog::Line;
use crate::smtp::dsn::{Ret, from_xtext};
use std::fmt::Write as _;
use std::io::{Read, Write as _};

/// Largest message that a notice repeats whole, octets.
const FULL: u64 = 1024 * 1024;

/// How much of the header a notice repeats, octets.
const HEADERS: usize = 64 * 1024;

/// Most recipients that the text for people names; the part for programs has all.
const NAMED: usize = 50;

/// What a notice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Failed,
    Delayed,
    Relayed,
}

impl Kind {
    /// RFC 3464 section 2.3.3.
    fn action(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Delayed => "delayed",
            Kind::Relayed => "relayed",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Kind::Failed => "Undelivered mail: your message could not be delivered",
            Kind::Delayed => "Delayed mail: your message is still waiting",
            Kind::Relayed => "Your message was handed to another server",
        }
    }
}

/// Sends a notice about these recipients of a message.
///
/// # Errors
///
/// Why it could not be stored.
pub(super) fn send(place: &Place, entry: &Entry, kind: Kind, recipients: &[usize]) -> Result<(), String> {
    let event = if kind == Kind::Failed { "bounced" } else { kind.action() };
    let line = Line::new(event).field("id", &entry.id).field("from", format!("<{}>", entry.envelope.reverse_path));
    if entry.envelope.reverse_path.is_empty() {
        line.field("recipients", recipients.len()).field("notice", "none: the message is a notice itself").warn();
        return Ok(());
    }
    let notice =
        compose(place, entry, kind, recipients).map_err(|error| format!("the message cannot be read: {error}"))?;
    let told = match local(place, entry) {
        Some(user) => deliver(place, entry, &user, &notice)?,
        None => enqueue(place, entry, &notice)?,
    };
    line.field("recipients", recipients.len()).field("notice", told).info();
    Ok(())
}

/// The user that gets the notice; `None`: the reverse-path is elsewhere.
fn local(place: &Place, entry: &Entry) -> Option<String> {
    let live = place.service.live();
    let accounts = &live.accounts;
    let submitter = entry.envelope.user.as_deref().and_then(|user| accounts.user(user));
    let resolved = || {
        let path = address::mailbox(&entry.envelope.reverse_path).ok()?;
        accounts.resolve(&path).ok()?.into_iter().next()
    };
    submitter.map(str::to_owned).or_else(resolved)
}

fn deliver(place: &Place, entry: &Entry, user: &str, notice: &[u8]) -> Result<String, String> {
    let mut incoming = place.service.delivery.begin(delivery::Envelope {
        origin: Origin { mail_from: Some(String::new()), ..Origin::unknown(Via::Bounce) },
        facts: Facts::default(),
        recipients: vec![delivery::Recipient { user: user.to_owned(), typed: entry.envelope.reverse_path.clone() }],
        max_size: u64::MAX,
        complete_header: false,
    });
    incoming.write(notice);
    incoming.commit().map(|stored| stored.id).map_err(|failure| format!("{user}: {failure}"))
}

fn enqueue(place: &Place, entry: &Entry, notice: &[u8]) -> Result<String, String> {
    let envelope = queue::Envelope {
        reverse_path: String::new(),
        recipients: vec![queue::Recipient::new(&entry.envelope.reverse_path)],
        smtputf8: !entry.envelope.reverse_path.is_ascii() || entry.envelope.smtputf8,
        ..queue::Envelope::default()
    };
    let stored = place.service.queue.begin(envelope).and_then(|mut writer| {
        writer.write_all(notice)?;
        let size = writer.size();
        writer.commit().map(|id| (id, size))
    });
    let (id, size) = stored.map_err(|error| error.to_string())?;
    let line = Line::new("queued").field("id", &id).field("from", "<>").field("to", &entry.envelope.reverse_path);
    line.field("size", size).field("about", &entry.id).info();
    Ok(id.to_string())
}

/// The whole notice, with LF line ends.
fn compose(place: &Place, entry: &Entry, kind: Kind, recipients: &[usize]) -> std::io::Result<Vec<u8>> {
    let (hostname, envelope) = (&place.service.config.hostname, &entry.envelope);
    let (header, is_cut) = lines_of(header(entry)?);
    let is_utf8 =
        envelope.smtputf8 || !header.is_ascii() || envelope.recipients.iter().any(|to| !to.address.is_ascii());
    let boundary = format!("=_{}.{}", entry.id, kind.action());
    let message_id = Fields::new(&header)
        .find(|(name, _)| name.eq_ignore_ascii_case(b"Message-ID"))
        .and_then(|(_, body)| std::str::from_utf8(body).ok().map(|body| body.split_whitespace().collect::<String>()));
    let mut text = String::new();
    // write! to a String cannot fail.
    let _ = writeln!(text, "Date: {}", date::rfc5322(now()));
    let _ = writeln!(text, "From: Mail delivery system <MAILER-DAEMON@{hostname}>");
    let _ = writeln!(text, "To: {}", envelope.reverse_path);
    let _ = writeln!(text, "Subject: {}", kind.subject());
    let _ = writeln!(text, "Message-ID: <{}.{}.{}@{hostname}>", entry.id, entry.progress.attempts, kind.action());
    if let Some(message_id) = message_id.filter(|id| id.len() < 900 && id.is_ascii()) {
        let _ = writeln!(text, "In-Reply-To: {message_id}\nReferences: {message_id}");
    }
    text.push_str("Auto-Submitted: auto-replied\nMIME-Version: 1.0\n");
    let _ = writeln!(text, "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"{boundary}\"");
    if is_utf8 {
        text.push_str("Content-Transfer-Encoding: 8bit\n");
    }
    let _ = writeln!(text, "\nThis is a report in MIME format (RFC 3464).\n");
    let encoding = if is_utf8 { "\nContent-Transfer-Encoding: 8bit" } else { "" };
    let _ = writeln!(text, "--{boundary}\nContent-Type: text/plain; charset=utf-8{encoding}\n");
    for_people(&mut text, place, entry, kind, recipients);
    let status = if is_utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
    let _ = writeln!(text, "\n--{boundary}\nContent-Type: {status}{encoding}\n");
    for_programs(&mut text, place, entry, kind, recipients);
    let is_full = envelope.ret == Some(Ret::Full) && kind == Kind::Failed && entry.size() <= FULL;
    let part = match (is_full, is_utf8) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    let encoding = if is_utf8 || is_full && entry.head.eight_bit { "\nContent-Transfer-Encoding: 8bit" } else { "" };
    let cut = if is_cut && !is_full { "; cut=yes" } else { "" };
    let _ = writeln!(text, "\n--{boundary}\nContent-Type: {part}{cut}{encoding}\n");
    let mut notice = text.into_bytes();
    if is_full {
        entry.message()?.read_to_end(&mut notice)?;
    } else {
        notice.extend_from_slice(&header);
    }
    notice.extend_from_slice(format!("\n--{boundary}--\n").as_bytes());
    Ok(notice)
}

/// At most so much of a header, cut behind a line. Whether it was cut.
fn lines_of(mut header: Vec<u8>) -> (Vec<u8>, bool) {
    if header.len() <= HEADERS {
        return (header, false);
    }
    header.truncate(HEADERS);
    let end = memchr::memrchr(b'\n', &header).map_or(0, |at| at + 1);
    header.truncate(end);
    (header, true)
}

fn for_people(text: &mut String, place: &Place, entry: &Entry, kind: Kind, recipients: &[usize]) {
    let hostname = &place.service.config.hostname;
    let day = date::rfc5322(entry.envelope.arrived);
    let _ = writeln!(text, "This is the mail server {hostname}.\n");
    let _ = match kind {
        Kind::Failed => writeln!(text, "Your message of {day} could not be delivered to:"),
        Kind::Delayed => {
            let until = date::rfc5322(entry.envelope.arrived + place.relay.give_up.as_secs());
            writeln!(
                text,
                "Your message of {day} has not been delivered yet. It is tried again until\n{until}; you need not send it again. It waits for:"
            )
        }
        Kind::Relayed => writeln!(
            text,
            "Your message of {day} was handed to {}, which sends no notices of delivery. This is\nthe last that you hear of it, unless it fails there. It went to:",
            place.relay.host
        ),
    };
    for index in recipients.iter().take(NAMED) {
        let answer = &entry.progress.outcomes[*index].answer;
        let answer = if answer.is_empty() { &entry.progress.error } else { answer };
        let _ = writeln!(text, "\n  {}\n    {}", entry.envelope.recipients[*index].address, shown(answer));
    }
    if recipients.len() > NAMED {
        let _ = writeln!(text, "\n  and {} more", recipients.len() - NAMED);
    }
    if kind == Kind::Failed {
        let what = if entry.envelope.ret == Some(Ret::Full) && entry.size() <= FULL {
            "message"
        } else {
            "header of your message"
        };
        let _ = writeln!(text, "\nThe {what} follows below.");
    }
}

/// RFC 3464 section 2, and RFC 6533 for addresses in UTF-8.
fn for_programs(text: &mut String, place: &Place, entry: &Entry, kind: Kind, recipients: &[usize]) {
    if let Some(envid) = &entry.envelope.envid {
        let _ = writeln!(text, "Original-Envelope-Id: {}", shown(&from_xtext(envid)));
    }
    let _ = writeln!(text, "Reporting-MTA: dns; {}", place.service.config.hostname);
    let _ = writeln!(text, "Arrival-Date: {}", date::rfc5322(entry.envelope.arrived));
    for index in recipients {
        let (recipient, outcome) = (&entry.envelope.recipients[*index], &entry.progress.outcomes[*index]);
        text.push('\n');
        if let Some((kind, original)) = recipient.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';')) {
            let _ = writeln!(text, "Original-Recipient: {kind};{}", shown(&from_xtext(original)));
        }
        let address_type = if recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
        let _ = writeln!(text, "Final-Recipient: {address_type};{}", recipient.address);
        let _ = writeln!(text, "Action: {}", kind.action());
        let status = match (kind, outcome.status.as_str()) {
            (Kind::Delayed, status) if !status.starts_with('4') => "4.4.1",
            (_, "") => "4.4.1",
            (_, status) => status,
        };
        let _ = writeln!(text, "Status: {status}");
        let answer = if outcome.answer.is_empty() { &entry.progress.error } else { &outcome.answer };
        if answer.starts_with(|letter: char| letter.is_ascii_digit()) && answer.get(3..4).is_none_or(|next| next == " ")
        {
            let _ = writeln!(text, "Remote-MTA: dns; {}", place.relay.host);
            let _ = writeln!(text, "Diagnostic-Code: smtp; {}", shown(answer));
        } else if !answer.is_empty() {
            let _ = writeln!(text, "Diagnostic-Code: x-mailbell; {}", shown(answer));
        }
        if kind == Kind::Delayed {
            let until = entry.envelope.arrived + place.relay.give_up.as_secs();
            let _ = writeln!(text, "Will-Retry-Until: {}", date::rfc5322(until));
        }
    }
}

/// One line without control characters, of a length that fits into a field.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(900).collect()
}
