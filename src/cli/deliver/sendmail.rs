//! `sendmail`, as cron, scripts and mail programs call it: deliver with other options. Mail to other servers goes through
//! the relay, where there is one. A From, a Date and a Message-ID are added where they are missing, as every sendmail does.
//! A user without the rights to write mail gives the message to the running server.

use super::hand_over::{self, hand_over};
use super::options::{self, Mode, Options};
use super::source::Source;
use super::{Outcome, Store, dialogue, feed, goes_elsewhere, may_store, unreadable};
use crate::accounts::Accounts;
use crate::cli::{Failed, exit, print};
use crate::config::Config;
use crate::maildir::unique::Ids;
use crate::message::addresses::addresses;
use crate::message::header::Line;
use crate::message::{address, date};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Longest header that is read for `-t`, octets.
const HEADER: usize = 256 * 1024;

/// Runs the command with the arguments after its name.
pub fn run(arguments: lexopt::Parser) -> Outcome {
    let options = options::parse(arguments)?;
    match options.mode {
        Mode::Print(text) => return print(text),
        Mode::Queue => return crate::cli::queue::list(&crate::cli::configuration(options.file)?),
        Mode::Aliases => return aliases(options.file),
        Mode::Dialogue => {
            let config = crate::cli::configuration(options.file)?;
            return match may_store(&config) {
                true => dialogue::run(&Store::open(config)?),
                false => hand_over::dialogue(&config),
            };
        }
        Mode::Message => {}
    }
    send(options)
}

/// `newaliases`: nothing has to be built. What is wrong with the aliases is said; that is no failure of this command.
fn aliases(file: Option<PathBuf>) -> Outcome {
    let config = crate::cli::configuration(file)?;
    if let Err(problems) = Accounts::load(&config) {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends the message on standard input.
fn send(options: Options) -> Outcome {
    let Options { file, sender, full_name, from_header, ignores_dots, mut recipients, asked, .. } = options;
    let config = crate::cli::configuration(file)?;
    let mut source = Source::open(io::stdin().lock(), !ignores_dots).map_err(unreadable)?;
    let mut header = Header::read(&mut source)?;
    if from_header {
        recipients.extend(header.take_recipients());
    }
    let sender = sender.unwrap_or_else(|| default_sender(&config, &recipients));
    if !sender.is_empty() {
        header.add_from(&sender, full_name.as_deref());
    }
    if !may_store(&config) {
        header.add_date_and_id(&config.hostname);
        return hand_over(&config, &sender, &recipients, &asked, |message| {
            header.parts().for_each(|part| message.extend_from_slice(part));
            source.read_all(config.smtp.max_message_size, message).map_err(unreadable)
        });
    }
    let store = Store::open(config)?;
    let mut recipients = store.recipients(&recipients)?;
    recipients.asks(&asked);
    store.deliver(recipients, sender, true, |incoming| {
        header.parts().for_each(|part| incoming.write(part));
        feed(&mut source, incoming)
    })
}

/// The user that runs this command, at this host. To other servers mail goes with the name that the system knows, which is
/// the one that the server asks for, and from a domain that mail can come back to.
fn default_sender(config: &Config, recipients: &[String]) -> String {
    if !goes_elsewhere(config, recipients) {
        return format!("{}@{}", caller(), config.hostname);
    }
    let uid = rustix::process::getuid().as_raw();
    let name = crate::sys::user_name(uid).unwrap_or_else(|| format!("uid{uid}"));
    let comes_back = config.domains.contains(&config.hostname);
    format!("{name}@{}", if comes_back { &config.hostname } else { config.home_domain() })
}

/// The name of the user that runs this command: what the environment says, where that can be a local-part.
fn caller() -> String {
    let is_local_part = |name: &String| address::mailbox(name).is_ok_and(|mailbox| mailbox.domain.is_none());
    let name = ["LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok().filter(is_local_part));
    name.unwrap_or_else(|| match rustix::process::getuid() {
        root if root.is_root() => "root".to_owned(),
        other => format!("uid{}", other.as_raw()),
    })
}

/// The header of the message, taken apart, and what was read of the body with it.
#[derive(Debug, Default)]
struct Header {
    /// Each with its line ends and folds.
    fields: Vec<Vec<u8>>,
    /// The empty line, or the first line of a body that has none before it.
    rest: Vec<u8>,
}

impl Header {
    fn read(source: &mut Source<impl io::Read>) -> Result<Header, Failed> {
        let mut header = Header::default();
        let (mut part, mut octets, mut line_ended) = (Vec::new(), 0, true);
        while source.next(&mut part).map_err(unreadable)? {
            octets += part.len();
            if octets > HEADER {
                return Err(Failed::new(exit::DATA, format!("the header is longer than {HEADER} octets")));
            }
            let goes_on = !line_ended || part.starts_with(b" ") || part.starts_with(b"\t");
            line_ended = part.ends_with(b"\n");
            match header.fields.last_mut().filter(|_| goes_on) {
                Some(field) => field.extend_from_slice(&part),
                None if is_field(&part) => header.fields.push(part.clone()),
                None => {
                    // A body that begins without an empty line gets one: what is added must not become part of it.
                    if part != b"\n" {
                        header.rest.push(b'\n');
                    }
                    header.rest.extend_from_slice(&part);
                    return Ok(header);
                }
            }
        }
        if let Some(field) = header.fields.last_mut().filter(|field| !field.ends_with(b"\n")) {
            field.push(b'\n');
        }
        Ok(header)
    }

    /// The addresses in To, Cc and Bcc. Bcc goes.
    fn take_recipients(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["To", "Cc", "Bcc"] {
            for field in self.fields.iter().filter(|field| is_named(field, name)) {
                let body = field.splitn(2, |&octet| octet == b':').nth(1).unwrap_or_default();
                found.extend(addresses(&String::from_utf8_lossy(body)));
            }
        }
        self.fields.retain(|field| !is_named(field, "Bcc"));
        found
    }

    fn add_from(&mut self, sender: &str, full_name: Option<&str>) {
        if self.fields.iter().any(|field| is_named(field, "From")) {
            return;
        }
        let from = match full_name.filter(|name| !name.is_empty()) {
            None => format!("From: {sender}\n"),
            Some(name) => {
                format!("From: \"{}\" <{sender}>\n", name.replace('\\', "\\\\").replace('"', "\\\""))
            }
        };
        self.fields.push(from.into_bytes());
    }

    fn add_date_and_id(&mut self, hostname: &str) {
        let id = Ids::new(hostname).next();
        let lacks = |name: &str| !self.fields.iter().any(|field| is_named(field, name));
        let date = lacks("Date").then(|| format!("Date: {}\n", date::rfc5322(id.microseconds / 1_000_000)));
        let message_id = lacks("Message-ID").then(|| format!("Message-ID: <{}@{hostname}>\n", id.unique()));
        self.fields.extend(date.into_iter().chain(message_id).map(String::into_bytes));
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(Vec::as_slice).chain([self.rest.as_slice()])
    }
}

/// Whether a line begins a header field: with a name of printable ASCII (RFC 5322 section 2.2), and a colon.
fn is_field(line: &[u8]) -> bool {
    name_of(line).is_some_and(|name| !name.is_empty() && name.iter().all(|octet| (0x21..=0x7E).contains(octet)))
}

fn is_named(field: &[u8], name: &str) -> bool {
    name_of(field).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
}

fn name_of(line: &[u8]) -> Option<&[u8]> {
    match Line::of(line, memchr::memchr(b':', line)) {
        Line::Field(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Header {
        let mut source = Source::open(text.as_bytes(), false).unwrap();
        Header::read(&mut source).unwrap()
    }

    fn text(header: &Header) -> String {
        String::from_utf8(header.parts().flatten().copied().collect()).unwrap()
    }

    #[test]
    fn recipients_come_from_the_header_and_bcc_goes() {
        let mut all = header("To: a@x,\n b@x\nBCC : c@x,\n\td@x\nSubject: s\ncc:e@x\nBcc: f@x\n\nTo: body\n");
        assert_eq!(all.take_recipients(), ["a@x", "b@x", "e@x", "c@x", "d@x", "f@x"]);
        assert_eq!(text(&all), "To: a@x,\n b@x\nSubject: s\ncc:e@x\n\n");
    }

    #[test]
    fn a_body_without_header_gets_its_empty_line() {
        let mut bare = header("hello world: yes\nmore\n");
        bare.add_from("cron@host", Some("Cron \"D\""));
        assert_eq!(text(&bare), "From: \"Cron \\\"D\\\"\" <cron@host>\n\nhello world: yes\n");
        let mut none = header("");
        none.add_from("a@b", None);
        assert_eq!(text(&none), "From: a@b\n");
        let mut unfinished = header("Subject: x");
        unfinished.add_from("a@b", None);
        assert_eq!(text(&unfinished), "Subject: x\nFrom: a@b\n");
        let mut whole = header("from: me\nSubject: x\n\n");
        whole.add_from("a@b", None);
        assert_eq!(text(&whole), "from: me\nSubject: x\n\n");
    }

    #[test]
    fn a_byte_order_mark_hides_no_recipient() {
        let mut marked = header("\u{feff}To: a@x\nBcc: b@x\n\nbody\n");
        assert_eq!(marked.take_recipients(), ["a@x", "b@x"]);
        assert_eq!(text(&marked), "\u{feff}To: a@x\n\n");
    }
}
