//! `mailbell deliver`: an MTA's delivery agent, and `sendmail`, which is the same in other words. The message is on
//! standard input; it is stored for all recipients or for none.
//!
//! With a server running on the same state it only stores: the server sees the message and records it.

mod addresses;
mod hand_over;
mod sendmail;
mod source;

pub use sendmail::run as sendmail;

use super::{Failed, Outcome, exit};
use crate::accounts::{Accounts, Unknown};
use crate::config::{Config, Domains};
use crate::delivery::{Delivery, Envelope, Failure, Incoming, Recipient};
use crate::journal::{Held, Lock};
use crate::ledger::{Keep, Ledger};
use crate::message::address::{self, Mailbox};
use crate::message::trace::{Facts, Origin, Via};
use crate::server::owner;
use lexopt::prelude::*;
use source::Source;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Usage: mailbell deliver [-c FILE] [-f SENDER] RECIPIENT...

Stores the message on standard input for each recipient: a user, or an address of ours. All get it, or none.
Line ends are LF or CRLF; an mbox `From ` line at the top is removed.

  -f, --from SENDER   envelope sender; <> or empty for none (else $SENDER, else that of the `From ` line, else none)
  -c, --config FILE   configuration (else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml)
  -h, --help          this text

With a server running it records the message; without one this command does. In Postfix's master.cf:

  mailbell unix - n n - - pipe user=mailbell argv=/usr/bin/mailbell deliver -f ${sender} -- ${recipient}

and `mailbell_destination_recipient_limit = 1` in main.cf, for one exit code answers all the recipients of a run.

Exit codes: 0 stored, 64 usage, 65 too large or looping, 67 no such user, 75 try again later (also: mailbox full),
77 permission, 78 configuration.
";

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut file, mut sender, mut recipients) = (None, None, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => file = Some(PathBuf::from(arguments.value()?)),
            Short('f') | Long("from") => sender = Some(sender_of(arguments.value()?)?),
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            Value(recipient) => recipients.push(text_of(recipient)?),
            other => return Err(other.unexpected().into()),
        }
    }
    let store = Store::open(super::configuration(file)?)?;
    let recipients = store.recipients(&recipients)?;
    let mut source = Source::open(io::stdin().lock(), false).map_err(unreadable)?;
    let sender = match (sender, std::env::var_os("SENDER")) {
        (Some(sender), _) => sender,
        (None, Some(sender)) => sender_of(sender)?,
        (None, None) => reverse_path(source.mbox_sender().unwrap_or_default()),
    };
    store.deliver(recipients, sender, false, |incoming| feed(&mut source, incoming))
}

/// Hands the rest of the message over.
fn feed(source: &mut Source<impl Read>, incoming: &mut Incoming<'_>) -> io::Result<()> {
    let mut piece = Vec::new();
    while source.next(&mut piece)? {
        incoming.write(&piece);
    }
    Ok(())
}

fn unreadable(error: io::Error) -> Failed {
    Failed::new(exit::TEMPORARY, format!("standard input: {error}"))
}

fn text_of(argument: OsString) -> Result<String, Failed> {
    argument.into_string().map_err(|argument| Failed::new(exit::USAGE, format!("{argument:?} is not UTF-8")))
}

fn sender_of(argument: OsString) -> Result<String, Failed> {
    text_of(argument).map(|text| reverse_path(&text))
}

/// `a@example.com`, `<a@example.com>`, and for the null path `<>`, nothing, or what Postfix's pipe and mbox have in its
/// place. Anything else is believed: it is only repeated.
fn reverse_path(text: &str) -> String {
    let text = text.trim();
    let inside = text.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(text);
    if inside.eq_ignore_ascii_case("MAILER-DAEMON") { String::new() } else { inside.to_owned() }
}

/// Where messages go.
struct Store {
    config: Config,
    accounts: Accounts,
}

impl Store {
    /// Becomes the user who owns the mail, and reads who has mail here.
    fn open(config: Config) -> Result<Store, Failed> {
        owner::become_owner_of_store(&config)?;
        let accounts = Accounts::load(&config).map_err(|problems| {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Failed::new(exit::CONFIG, "")
        })?;
        Ok(Store { config, accounts })
    }

    /// Who is meant: each user once.
    fn recipients(&self, typed: &[String]) -> Result<Vec<Recipient>, Failed> {
        let mut recipients: Vec<Recipient> = Vec::new();
        if typed.is_empty() {
            return Err(Failed::new(exit::USAGE, "no recipient; see --help"));
        }
        for typed in typed {
            let typed = typed.trim();
            let bare = typed.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(typed);
            for user in self.users(bare).map_err(|why| Failed::new(exit::NO_USER, format!("{bare}: {why}")))? {
                if !recipients.iter().any(|to| to.user == user) {
                    recipients.push(Recipient { user, typed: bare.to_owned() });
                }
            }
        }
        Ok(recipients)
    }

    fn users(&self, typed: &str) -> Result<Vec<String>, String> {
        let mailbox = address::mailbox(typed).map_err(|fault| fault.0.to_owned())?;
        // A name alone is meant to be here.
        let domain = mailbox.domain.or_else(|| Some(own_domain(&self.config).to_owned()));
        self.accounts.resolve(&Mailbox { domain, ..mailbox }).map_err(|unknown| match unknown {
            Unknown::NotOurDomain => "not a domain of ours, and nothing is sent elsewhere".to_owned(),
            Unknown::NoSuchUser => "no such user".to_owned(),
        })
    }

    /// Stores a message. The journal is ours to write when no server is running; a server can start until the message is
    /// whole, however long that takes.
    fn deliver(
        &self,
        recipients: Vec<Recipient>,
        sender: String,
        complete_header: bool,
        feed: impl FnOnce(&mut Incoming<'_>) -> io::Result<()>,
    ) -> Outcome {
        let delivery = Delivery::new(&self.config, None);
        let origin = Origin { mail_from: Some(sender), ..Origin::unknown(Via::Deliver) };
        let max_size = self.config.smtp.max_message_size;
        let envelope = Envelope { origin, facts: Facts::default(), recipients, max_size, complete_header };
        let mut incoming = delivery.begin(envelope);
        feed(&mut incoming).map_err(unreadable)?;
        let _lock = match Lock::for_delivery(&self.config.state) {
            Ok(lock) => {
                let keep = Keep { age: self.config.journal_keep, size: self.config.journal_max_size };
                let ledger = Ledger::for_delivery(&self.config.state, keep);
                delivery.record_in(ledger.map_err(|error| state_failed(&self.config, error.into()))?);
                Some(lock)
            }
            Err(Held::ByServer) => None,
            Err(held) => return Err(state_failed(&self.config, held)),
        };
        let stored = incoming.commit();
        delivery.tick();
        stored.map(|_| ExitCode::SUCCESS).map_err(|failure| Failed::new(code(&failure), failure))
    }
}

/// A domain of ours.
fn own_domain(config: &Config) -> &str {
    match &config.domains {
        Domains::These(ours) => ours.first().unwrap_or(&config.hostname),
        Domains::Any => &config.hostname,
    }
}

fn state_failed(config: &Config, held: Held) -> Failed {
    let code = match &held {
        Held::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
        _ => exit::TEMPORARY,
    };
    Failed::new(code, format!("{}: {held}", config.state.display()))
}

fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::TooLarge | Failure::Loop => exit::DATA,
        Failure::System(error) if error.kind() == io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
        // Who reads his mail makes room.
        Failure::OverQuota | Failure::DiskFull | Failure::System(_) => exit::TEMPORARY,
    }
}
