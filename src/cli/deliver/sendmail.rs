//! `sendmail`, as cron, scripts and mail readers call it: deliver with other options, to our own users only. A From, a
//! Date and a Message-ID are added where they are missing, as every sendmail does. Who may not write the mail hands the
//! message to the running server by SMTP.

use super::hand_over::hand_over;
use super::source::Source;
use super::{Outcome, Store, feed, sender_of, text_of, unreadable};
use crate::cli::{Failed, exit, print};
use crate::config::Config;
use crate::maildir::unique::Ids;
use crate::message::addresses::addresses;
use crate::message::date;
use lexopt::prelude::*;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

const HELP: &str = "\
Usage: sendmail [OPTION...] RECIPIENT...       (also: mailbell sendmail)

Stores the message on standard input for users of this server, as sendmail(8) would. Who may not write the mail himself
gives it to the running server by SMTP.

  -t                  recipients are also those in To, Cc and Bcc; Bcc is removed
  -i, -oi             a line with a single dot does not end the message
  -f SENDER, -r       envelope sender; <> for none (default: the user who calls)
  -F NAME             full name, for a From that is missing
  -C FILE             configuration (else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml)
  --help              this text

-bm, -B, -N, -R, -V, -O, -o..., -v, -m, -n, -G, -U are accepted and change nothing.
";

/// Longest header that is read for `-t`, octets.
const HEADER: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Options {
    file: Option<PathBuf>,
    sender: Option<String>,
    full_name: Option<String>,
    from_header: bool,
    ignores_dots: bool,
    recipients: Vec<String>,
}

/// Runs the command with the arguments after its name.
pub fn run(arguments: lexopt::Parser) -> Outcome {
    let options = match parse(arguments)? {
        Ok(options) => options,
        Err(text) => return print(text),
    };
    let config = crate::cli::configuration(options.file)?;
    let sender = options.sender.unwrap_or_else(|| format!("{}@{}", caller(), config.hostname));
    let mut source = Source::open(io::stdin().lock(), !options.ignores_dots).map_err(unreadable)?;
    let mut header = Header::read(&mut source)?;
    let mut recipients = options.recipients;
    if options.from_header {
        recipients.extend(header.take_recipients());
    }
    if !sender.is_empty() {
        header.add_from(&sender, options.full_name.as_deref());
    }
    if !may_store(&config) {
        header.add_date_and_id(&config.hostname);
        return hand_over(&config, &sender, &recipients, |message| {
            header.parts().for_each(|part| message.extend_from_slice(part));
            source.read_all(config.smtp.max_message_size, message).map_err(unreadable)
        });
    }
    let store = Store::open(config)?;
    let recipients = store.recipients(&recipients)?;
    store.deliver(recipients, sender, true, |incoming| {
        header.parts().for_each(|part| incoming.write(part));
        feed(&mut source, incoming)
    })
}

/// Whether this user may touch the mail. Cron runs jobs of users who may not.
fn may_store(config: &Config) -> bool {
    let may = |path: &Path, how: Access| !matches!(access(path, how), Err(Errno::ACCESS | Errno::PERM | Errno::ROFS));
    let write = Access::WRITE_OK | Access::EXEC_OK;
    may(&config.users.file, Access::READ_OK) && may(&config.state, write) && may(&config.mail.root, write)
}

/// The options, or the text that was asked for.
fn parse(mut arguments: lexopt::Parser) -> Result<Result<Options, &'static str>, Failed> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('t') => options.from_header = true,
            Short('i') => options.ignores_dots = true,
            Short('o') => options.ignores_dots |= arguments.value()? == "i",
            Short('f' | 'r') => options.sender = Some(sender_of(arguments.value()?)?),
            Short('F') => options.full_name = Some(text_of(arguments.value()?)?),
            Short('C' | 'c') => options.file = Some(PathBuf::from(arguments.value()?)),
            Short('b') => {
                let mode = arguments.value()?;
                if mode != "m" {
                    return Err(Failed::new(exit::USAGE, format!("-b{} is not for this sendmail", mode.display())));
                }
            }
            Short('A' | 'B' | 'D' | 'h' | 'L' | 'N' | 'O' | 'p' | 'R' | 'V' | 'X') => drop(arguments.value()?),
            Short('e') => drop(arguments.value()?),
            Short('G' | 'm' | 'n' | 's' | 'U' | 'v' | 'x') => {}
            Long("help") => return Ok(Err(HELP)),
            Long("version") => return Ok(Err(crate::cli::VERSION)),
            Value(recipient) => options.recipients.push(text_of(recipient)?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Ok(options))
}

/// The name of the user who calls, as far as the environment knows it.
fn caller() -> String {
    let name =
        ["LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
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
                found.extend(addresses(&String::from_utf8_lossy(&field[name.len()..]).trim_start()[1..]));
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
                let quoted = name.replace(char::is_control, " ").replace('\\', "\\\\").replace('"', "\\\"");
                format!("From: \"{quoted}\" <{sender}>\n")
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

/// Whether a line can begin a header field: a name of printable ASCII (RFC 5322 section 2.2), perhaps white space, a colon.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(|octet| (0x21..=0x7E).contains(octet))
}

fn is_named(field: &[u8], name: &str) -> bool {
    let colon = memchr::memchr(b':', field).unwrap_or(0);
    field[..colon].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
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
        bare.add_from("cron@host", Some("Cron \"D\"\n"));
        assert_eq!(text(&bare), "From: \"Cron \\\"D\\\" \" <cron@host>\n\nhello world: yes\n");
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
    fn the_options_of_every_sendmail_are_taken() {
        let of = |words: &[&str]| parse(lexopt::Parser::from_args(words)).unwrap().unwrap();
        let options =
            of(&["-oi", "-FName", "-f", "<a@b>", "-bm", "-B8BITMIME", "-N", "never", "-odb", "-oem", "--", "-x"]);
        assert!(options.ignores_dots && !options.from_header);
        assert_eq!((options.sender.as_deref(), options.full_name.as_deref()), (Some("a@b"), Some("Name")));
        assert_eq!(options.recipients, ["-x"]);
        let options = of(&["-tivr", "", "alice"]);
        assert!(options.ignores_dots && options.from_header);
        assert_eq!((options.sender.as_deref(), &options.recipients[..]), (Some(""), &["alice".to_owned()][..]));
        for wrong in [&["-bs"][..], &["-bp"], &["-Z"], &["-f"]] {
            assert!(parse(lexopt::Parser::from_args(wrong)).is_err(), "{wrong:?}");
        }
    }
}
