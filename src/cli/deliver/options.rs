//! The command line of sendmail(8), as far as programs use it.

use super::{sender_of, text_of};
use crate::cli::{Failed, VERSION, exit};
use crate::message::addresses::addresses;
use crate::smtp::dsn::{Notify, Ret, to_xtext};
use lexopt::prelude::*;
use std::path::PathBuf;

const HELP: &str = "\
Usage: sendmail [OPTION...] RECIPIENT...       (also: mailbell sendmail)

Stores the message on standard input for users of this server, as sendmail(8) does, and sends it to others where there is
a [relay]. A recipient is a user or an address, also with a name or in a list: 'Alice <alice@example.org>, bob'. A user
without the rights to write mail needs a running server, which then takes the message; to other servers such a user sends
from an own address only.

  -t                  recipients are also the addresses in To, Cc and Bcc; Bcc is removed
  -i, -oi             a line with a single dot does not end the message
  -f SENDER, -r       envelope sender; <> for none (default: the user that runs this command)
  -F NAME             full name, for a From that is missing
  -bs                 speak SMTP on standard input and output
  -bp                 as mailq: print what waits to be sent
  -bi                 as newaliases: say what is wrong with the aliases; nothing has to be built
  -N WHEN, -R WHAT    notices (DSN): never, or a list of success, failure, delay; full or hdrs
  -V ID               an id that notices repeat
  -C FILE             configuration (else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml)
  --help              this text

-bm, -A, -B, -D, -G, -h, -L, -m, -n, -O, -o..., -p, -q, -U, -v, -X are accepted and change nothing.
";

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Send the message on standard input.
    #[default]
    Message,
    /// `-bs`: speak SMTP on standard input and output.
    Dialogue,
    /// `-bp`: print what waits to be sent.
    Queue,
    /// `-bi`: say what is wrong with the aliases.
    Aliases,
    /// Print this text; nothing else.
    Print(&'static str),
}

/// The command line, read.
#[derive(Debug, Default)]
pub struct Options {
    pub mode: Mode,
    pub file: Option<PathBuf>,
    pub sender: Option<String>,
    pub full_name: Option<String>,
    /// `-t`.
    pub from_header: bool,
    /// `-i`.
    pub ignores_dots: bool,
    /// The addresses in the arguments, each still to be parsed.
    pub recipients: Vec<String>,
    /// `-N`, `-R` and `-V`.
    pub asked: Notices,
}

/// Which notices the sender wants (RFC 3461).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    pub notify: Notify,
    pub ret: Option<Ret>,
    /// In xtext.
    pub envid: Option<String>,
}

/// Reads the arguments after the command's name.
pub fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failed> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('t') => options.from_header = true,
            Short('i') => options.ignores_dots = true,
            Short('o') => options.ignores_dots |= arguments.value()? == "i",
            Short('f' | 'r') => options.sender = Some(sender(&sender_of(arguments.value()?)?)),
            Short('F') => options.full_name = Some(text_of(arguments.value()?)?),
            Short('C' | 'c') => options.file = Some(PathBuf::from(arguments.value()?)),
            Short('b') => options.mode = mode(&text_of(arguments.value()?)?)?,
            Short('q') => {
                arguments.optional_value();
                options.mode = Mode::Print("");
            }
            Short('I') => options.mode = Mode::Aliases,
            // What is none of the values means nothing to other programs of this name either.
            Short('N') => options.asked.notify = Notify::parse(&text_of(arguments.value()?)?).unwrap_or_default(),
            Short('R') => options.asked.ret = ret(&text_of(arguments.value()?)?),
            Short('V') => {
                let id = to_xtext(&text_of(arguments.value()?)?);
                options.asked.envid = Some(id).filter(|id| matches!(id.len(), 1..=100));
            }
            Short('d') => drop(arguments.optional_value()),
            Short('A' | 'B' | 'D' | 'e' | 'h' | 'L' | 'O' | 'p' | 'X') => drop(arguments.value()?),
            Short('G' | 'm' | 'n' | 's' | 'U' | 'v' | 'x') => {}
            Long("help") => options.mode = Mode::Print(HELP),
            Long("version") => options.mode = Mode::Print(VERSION),
            Value(recipient) => options.recipients.extend(addresses(&text_of(recipient)?)),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn mode(letter: &str) -> Result<Mode, Failed> {
    match letter {
        "m" => Ok(Mode::Message),
        "s" => Ok(Mode::Dialogue),
        "p" => Ok(Mode::Queue),
        "i" => Ok(Mode::Aliases),
        "d" | "D" | "l" => Err(Failed::new(exit::USAGE, format!("-b{letter}: run `mailbell serve` for a server"))),
        _ => Err(Failed::new(exit::USAGE, format!("-b{letter} is not supported; see --help"))),
    }
}

/// `full`, `hdrs` or, as Postfix and sendmail have it, a word that begins so.
fn ret(text: &str) -> Option<Ret> {
    match text.to_ascii_lowercase() {
        text if text.starts_with("full") => Some(Ret::Full),
        text if text.starts_with("hdrs") => Some(Ret::Headers),
        _ => None,
    }
}

/// The address in `Name <address>`. Text that holds no address, or several, stays as it is.
fn sender(text: &str) -> String {
    match &addresses(text)[..] {
        [address] => address.clone(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Options {
        parse(lexopt::Parser::from_args(words)).unwrap()
    }

    #[test]
    fn the_options_of_every_sendmail_are_taken() {
        let options =
            of(&["-oi", "-FName", "-f", "<a@b>", "-bm", "-B8BITMIME", "-N", "never", "-odb", "-oem", "--", "-x"]);
        assert!(options.ignores_dots && !options.from_header && options.mode == Mode::Message);
        assert_eq!((options.sender.as_deref(), options.full_name.as_deref()), (Some("a@b"), Some("Name")));
        assert_eq!(options.recipients, ["-x"]);
        let options = of(&["-tivr", "", "alice"]);
        assert!(options.ignores_dots && options.from_header);
        assert_eq!((options.sender.as_deref(), &options.recipients[..]), (Some(""), &["alice".to_owned()][..]));
        // Of cron in Debian, of mutt, of git send-email and of smartd.
        for words in [
            &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "alice"][..],
            &["-oem", "-oi", "-f", "me@example.org", "-N", "failure,delay", "-R", "full", "--", "alice"],
            &["-i", "-f", "me@example.org", "alice"],
            &[
                "-Am",
                "-odi",
                "-V",
                "envid",
                "-h",
                "20",
                "-L",
                "label",
                "-O",
                "DeliveryMode=b",
                "-X",
                "/dev/null",
                "alice",
            ],
        ] {
            assert_eq!(of(words).recipients, ["alice"], "{words:?}");
        }
        for wrong in [&["-bd"][..], &["-bv"], &["-Z"], &["-f"]] {
            assert!(parse(lexopt::Parser::from_args(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_recipient_may_have_a_name_and_be_a_list() {
        for (argument, recipients) in [
            ("alice,bob", &["alice", "bob"][..]),
            (" alice , bob@example.org ", &["alice", "bob@example.org"]),
            ("Alice <alice@example.org>", &["alice@example.org"]),
            ("\"Alice, A.\" <alice@example.org>, Bob <bob>", &["alice@example.org", "bob"]),
            ("alice@example.org (Alice)", &["alice@example.org"]),
            ("Team: alice, bob;", &["alice", "bob"]),
            ("", &[]),
            (",", &[]),
        ] {
            assert_eq!(of(&["-i", argument]).recipients, recipients, "{argument}");
        }
        assert_eq!(of(&["-f", "Alice <alice@example.org>"]).sender.as_deref(), Some("alice@example.org"));
    }

    #[test]
    fn no_control_character_is_taken() {
        for words in [
            &["-f", "a@b\nX-Evil: 2"][..],
            &["-ra@b\rX: 2"],
            &["-FName\nX: 2", "alice"],
            &["alice\n"],
            &["a@b\u{2028}"],
        ] {
            let failed = parse(lexopt::Parser::from_args(words)).unwrap_err();
            assert!(format!("{failed:?}").contains("control character"), "{failed:?}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(of(&["-bs"]).mode, Mode::Dialogue);
        assert_eq!(of(&["-bp"]).mode, Mode::Queue);
        for words in [&["-q"][..], &["-q15m"]] {
            assert_eq!(of(words).mode, Mode::Print(""), "{words:?}");
        }
        assert!(of(&["-bi"]).mode == Mode::Aliases && of(&["-I"]).mode == Mode::Aliases);
    }

    #[test]
    fn notices_are_asked_for() {
        let asked = of(&["-N", "success,delay", "-R", "hdrs", "-V", "a b+c", "x@y"]).asked;
        assert_eq!(asked.notify, Notify::parse("SUCCESS,DELAY").unwrap());
        assert_eq!((asked.ret, asked.envid.as_deref()), (Some(Ret::Headers), Some("a+20b+2Bc")));
        assert_eq!(of(&["-N", "often", "-R", "all", "-V", "", "x@y"]).asked, Notices::default());
    }
}
