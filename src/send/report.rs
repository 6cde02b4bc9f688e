//! The text of a notice: multipart/report (RFC 3462) with a part for people, one for programs (RFC 3464; RFC 6533 where
//! something is not ASCII), and the message or its header. It reads and stores nothing.

use crate::message::date;
use crate::message::header::Fields;
use crate::smtp::dsn::from_xtext;
use std::fmt::Write as _;

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
    Delivered,
}

impl Kind {
    /// RFC 3464 section 2.3.3.
    pub(super) fn action(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Delayed => "delayed",
            Kind::Relayed => "relayed",
            Kind::Delivered => "delivered",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Kind::Failed => "Undelivered mail: your message could not be delivered",
            Kind::Delayed => "Delayed mail: your message is still waiting",
            Kind::Relayed => "Your message was handed to another server",
            Kind::Delivered => "Your message was delivered",
        }
    }
}

/// One recipient.
#[derive(Clone, Debug)]
pub(super) struct About<'a> {
    pub(super) address: &'a str,
    /// In xtext, with its type.
    pub(super) orcpt: Option<&'a str>,
    /// RFC 3463.
    pub(super) status: &'a str,
    /// What the other server said, or why there is no answer of it.
    pub(super) answer: &'a str,
}

/// What a notice is made of.
pub(super) struct Report<'a> {
    pub(super) kind: Kind,
    /// Our own name.
    pub(super) hostname: &'a str,
    /// The other server's name, where there is one.
    pub(super) relay: Option<&'a str>,
    /// Of the message. With `number` it makes the notice's own Message-ID.
    pub(super) id: &'a str,
    pub(super) number: u32,
    /// The sender of the message, to whom the notice goes.
    pub(super) reverse_path: &'a str,
    /// In xtext.
    pub(super) envid: Option<&'a str>,
    /// Seconds since 1970: now, when the message came, and until when it is tried.
    pub(super) now: u64,
    pub(super) arrived: u64,
    pub(super) until: u64,
    /// At least one.
    pub(super) recipients: Vec<About<'a>>,
    /// The message's header, LF line ends.
    pub(super) header: Vec<u8>,
    /// The whole message, where the notice repeats it.
    pub(super) whole: Option<Vec<u8>>,
}

impl Report<'_> {
    /// The whole notice, with LF line ends.
    pub(super) fn compose(&self) -> Vec<u8> {
        let (header, is_cut) = lines_of(&self.header);
        let is_ascii = header.is_ascii()
            && self.reverse_path.is_ascii()
            && self.recipients.iter().all(|to| to.address.is_ascii() && to.orcpt.is_none_or(str::is_ascii));
        let boundary = format!("=_{}.{}", self.id, self.kind.action());
        let mut text = String::new();
        self.fields(&mut text, &boundary, is_ascii);
        // write! to a String cannot fail.
        let encoding = if is_ascii { "" } else { "\nContent-Transfer-Encoding: 8bit" };
        let _ = writeln!(text, "--{boundary}\nContent-Type: text/plain; charset=utf-8{encoding}\n");
        self.for_people(&mut text);
        let status = if is_ascii { "message/delivery-status" } else { "message/global-delivery-status" };
        let _ = writeln!(text, "\n--{boundary}\nContent-Type: {status}{encoding}\n");
        self.for_programs(&mut text);
        let part = match (self.whole.is_some(), is_ascii) {
            (true, true) => "message/rfc822",
            (true, false) => "message/global",
            (false, true) => "text/rfc822-headers",
            (false, false) => "message/global-headers",
        };
        let is_plain = is_ascii && self.whole.as_ref().is_none_or(|whole| whole.is_ascii());
        let encoding = if is_plain { "" } else { "\nContent-Transfer-Encoding: 8bit" };
        let _ = writeln!(text, "\n--{boundary}\nContent-Type: {part}{encoding}\n");
        let mut notice = text.into_bytes();
        match &self.whole {
            Some(whole) => notice.extend_from_slice(whole),
            None => notice.extend_from_slice(header),
        }
        if is_cut && self.whole.is_none() {
            notice.extend_from_slice(b"X-Cut: the rest of the header is left out\n");
        }
        notice.extend_from_slice(format!("\n--{boundary}--\n").as_bytes());
        notice
    }

    fn fields(&self, text: &mut String, boundary: &str, is_ascii: bool) {
        let Report { hostname, id, number, .. } = self;
        let _ = writeln!(text, "Date: {}", date::rfc5322(self.now));
        let _ = writeln!(text, "From: Mail delivery system <MAILER-DAEMON@{hostname}>");
        let _ = writeln!(text, "To: {}", self.reverse_path);
        let _ = writeln!(text, "Subject: {}", self.kind.subject());
        let _ = writeln!(text, "Message-ID: <{id}.{number}.{}@{hostname}>", self.kind.action());
        let message_id = Fields::new(&self.header).find(|(name, _)| name.eq_ignore_ascii_case(b"Message-ID"));
        let message_id = message_id.and_then(|(_, body)| std::str::from_utf8(body).ok());
        let message_id = message_id.map(|body| body.split_whitespace().collect::<String>());
        let is_fit = |id: &String| id.len() < 900 && id.bytes().all(|octet| octet.is_ascii_graphic());
        if let Some(message_id) = message_id.filter(is_fit) {
            let _ = writeln!(text, "In-Reply-To: {message_id}\nReferences: {message_id}");
        }
        text.push_str("Auto-Submitted: auto-replied\nMIME-Version: 1.0\n");
        let _ =
            writeln!(text, "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"{boundary}\"");
        if !is_ascii || self.whole.as_ref().is_some_and(|whole| !whole.is_ascii()) {
            text.push_str("Content-Transfer-Encoding: 8bit\n");
        }
        text.push_str("\nThis is a report in MIME format (RFC 3464).\n\n");
    }

    fn for_people(&self, text: &mut String) {
        let (day, until) = (date::rfc5322(self.arrived), date::rfc5322(self.until));
        let _ = writeln!(text, "This is the mail server {}.\n", self.hostname);
        let _ = match self.kind {
            Kind::Failed => writeln!(text, "Your message of {day}\ncould not be delivered to:"),
            Kind::Delayed => writeln!(
                text,
                "Your message of {day}\nhas not been delivered yet. It is tried again until\n{until}; you need not send it \
                 again.\nIt waits for:"
            ),
            Kind::Relayed => writeln!(
                text,
                "Your message of {day}\nwas handed to {}, which does not report deliveries.\nNothing more is told, unless \
                 the message fails there. It went to:",
                self.relay.unwrap_or("another server")
            ),
            Kind::Delivered => writeln!(text, "Your message of {day}\nwas delivered to:"),
        };
        for to in self.recipients.iter().take(NAMED) {
            let _ = writeln!(text, "\n  {}", shown(to.address));
            if !to.answer.is_empty() {
                let _ = writeln!(text, "    {}", shown(to.answer));
            }
        }
        if self.recipients.len() > NAMED {
            let _ = writeln!(text, "\n  and {} more", self.recipients.len() - NAMED);
        }
        if self.kind == Kind::Failed {
            let what = if self.whole.is_some() { "message" } else { "header of the message" };
            let _ = writeln!(text, "\nThe {what} follows below.");
        }
    }

    /// RFC 3464 section 2.
    fn for_programs(&self, text: &mut String) {
        if let Some(envid) = self.envid {
            let _ = writeln!(text, "Original-Envelope-Id: {}", shown(&from_xtext(envid)));
        }
        let _ = writeln!(text, "Reporting-MTA: dns; {}", self.hostname);
        let _ = writeln!(text, "Arrival-Date: {}", date::rfc5322(self.arrived));
        for to in &self.recipients {
            text.push('\n');
            if let Some((kind, original)) = to.orcpt.and_then(|orcpt| orcpt.split_once(';')) {
                let _ = writeln!(text, "Original-Recipient: {kind};{}", shown(&from_xtext(original)));
            }
            let address_type = if to.address.is_ascii() { "rfc822" } else { "utf-8" };
            let _ = writeln!(text, "Final-Recipient: {address_type};{}", shown(to.address));
            let _ = writeln!(text, "Action: {}", self.kind.action());
            let status = match self.kind {
                Kind::Delayed if !to.status.starts_with('4') => "4.4.1",
                _ if to.status.is_empty() => "4.4.1",
                _ => to.status,
            };
            let _ = writeln!(text, "Status: {status}");
            if is_reply(to.answer) {
                if let Some(relay) = self.relay {
                    let _ = writeln!(text, "Remote-MTA: dns; {relay}");
                }
                let _ = writeln!(text, "Diagnostic-Code: smtp; {}", shown(to.answer));
            } else if !to.answer.is_empty() {
                let _ = writeln!(text, "Diagnostic-Code: x-mailbell; {}", shown(to.answer));
            }
            if self.kind == Kind::Delayed {
                let _ = writeln!(text, "Will-Retry-Until: {}", date::rfc5322(self.until));
            }
        }
    }
}

/// Whether another server said this: three digits, and a space or nothing.
fn is_reply(answer: &str) -> bool {
    let octets = answer.as_bytes();
    octets.len() >= 3 && octets[..3].iter().all(u8::is_ascii_digit) && octets.get(3).is_none_or(|next| *next == b' ')
}

/// At most so much of a header, cut behind a line. Whether it was cut.
fn lines_of(header: &[u8]) -> (&[u8], bool) {
    if header.len() <= HEADERS {
        return (header, false);
    }
    let end = memchr::memrchr(b'\n', &header[..HEADERS]).map_or(0, |at| at + 1);
    (&header[..end], true)
}

/// One line without control characters, of a length that fits into a field.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(900).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: Kind) -> Report<'static> {
        Report {
            kind,
            hostname: "mail.example.org",
            relay: Some("smtp.example.com"),
            id: "1763888639.M000456P412Q1",
            number: 2,
            reverse_path: "alice@example.org",
            envid: Some("a+20b"),
            now: 1_795_423_499,
            arrived: 1_795_400_000,
            until: 1_795_800_000,
            recipients: vec![
                About {
                    address: "bob@there.example",
                    orcpt: Some("rfc822;b+2Bo@x"),
                    status: "5.1.1",
                    answer: "550 5.1.1 no",
                },
                About { address: "carol@there.example", orcpt: None, status: "5.6.3", answer: "5.6.3 no 8BITMIME" },
            ],
            header: b"Subject: hello\nMessage-ID:\n <a@b>\n".to_vec(),
            whole: None,
        }
    }

    fn text(report: &Report<'_>) -> String {
        String::from_utf8(report.compose()).unwrap()
    }

    #[test]
    fn a_failure_has_its_three_parts() {
        let text = text(&report(Kind::Failed));
        for line in [
            "To: alice@example.org",
            "In-Reply-To: <a@b>",
            "Auto-Submitted: auto-replied",
            "Content-Type: multipart/report; report-type=delivery-status;",
            "Content-Type: message/delivery-status",
            "Content-Type: text/rfc822-headers",
            "Original-Envelope-Id: a b",
            "Reporting-MTA: dns; mail.example.org",
            "Original-Recipient: rfc822;b+o@x",
            "Final-Recipient: rfc822;bob@there.example",
            "Action: failed",
            "Status: 5.1.1",
            "Remote-MTA: dns; smtp.example.com",
            "Diagnostic-Code: smtp; 550 5.1.1 no",
            "Diagnostic-Code: x-mailbell; 5.6.3 no 8BITMIME",
            "Subject: hello",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
        assert_eq!(text.matches("--=_1763888639.M000456P412Q1.failed").count(), 4);
        assert!(text.ends_with("--=_1763888639.M000456P412Q1.failed--\n"));
        assert!(text.lines().all(|line| line.len() <= 998) && text.is_ascii());
    }

    #[test]
    fn a_delay_says_until_when_and_utf_8_has_its_own_types() {
        let delayed = text(&report(Kind::Delayed));
        assert!(
            delayed.contains("Action: delayed\nStatus: 4.4.1\n") && delayed.contains("Will-Retry-Until: "),
            "{delayed}"
        );
        let mut report = report(Kind::Relayed);
        report.recipients[0].address = "jõgeva@there.example";
        let relayed = text(&report);
        for part in
            ["message/global-delivery-status", "message/global-headers", "Final-Recipient: utf-8;jõgeva@there.example"]
        {
            assert!(relayed.contains(part), "{part}: {relayed}");
        }
        report.whole = Some(b"Subject: x\n\nhello\n".to_vec());
        assert!(text(&report).contains("message/global\n"));
    }

    #[test]
    fn a_long_header_is_cut_behind_a_line() {
        let mut report = report(Kind::Failed);
        report.header = "X-Long: 0123456789\n".repeat(10_000).into_bytes();
        let text = text(&report);
        assert!(text.len() < HEADERS + 8_192 && text.contains("0123456789\nX-Cut: "));
    }
}
