//! `mailbell deliver`, an MTA's delivery agent, and `sendmail`, the same with other options. The message is on standard
//! input; it is stored for all recipients or for none.
//!
//! While a server runs on the same state, the command only stores: the server finds the message and records it.

mod dialogue;
mod hand_over;
mod options;
mod sendmail;
mod source;

pub(super) use hand_over::tcp;
pub use sendmail::run as sendmail;

use super::{Failed, Outcome, exit};
use crate::accounts::{Accounts, Unknown};
use crate::config::Config;
use crate::delivery::{Asked, Delivery, Elsewhere, Envelope, Failure, Incoming, Onward, Recipient, Stored};
use crate::journal::{Held, Lock};
use crate::ledger::{Keep, Ledger};
use crate::message::address::{self, Mailbox};
use crate::message::letter::is_unsafe;
use crate::message::trace::{Facts, Origin, Via};
use crate::server::owner;
use crate::smtp::dsn::Notify;
use lexopt::prelude::*;
use options::Notices;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use source::Source;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: mailbell deliver [-c FILE] [-f SENDER] RECIPIENT...

Stores the message on standard input for each recipient: a user, or an address at a domain of this server; where there is
a [relay], it sends to other addresses. All recipients get it, or none. Line ends are LF or CRLF; an mbox `From ` line at the top is removed.

  -f, --from SENDER   envelope sender; <> or empty for the null sender
                      (default: $SENDER, else the sender in the `From ` line, else the null sender)
  -c, --config FILE   configuration (else $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml)
  -h, --help          this text

A running server records the message; without one this command does. In Postfix's master.cf:

  mailbell unix - n n - - pipe user=mailbell argv=/usr/bin/mailbell deliver -f ${sender} -- ${recipient}

and in main.cf `mailbell_destination_recipient_limit = 1`, because one exit code stands for all recipients of a run.

Exit codes: 0 stored, 64 wrong usage, 65 message too large or in a loop, 67 no such user, 75 try again later (also when
a mailbox is full), 77 missing permission, 78 wrong configuration.
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
    let config = super::configuration(file)?;
    let is_server_s = goes_elsewhere(&config, &recipients) && !may_store(&config);
    let mut source = Source::open(io::stdin().lock(), false).map_err(unreadable)?;
    let sender = match (sender, std::env::var_os("SENDER")) {
        (Some(sender), _) => sender,
        (None, Some(sender)) => sender_of(sender)?,
        (None, None) => reverse_path(source.mbox_sender().unwrap_or_default()).unwrap_or_default(),
    };
    if is_server_s {
        return hand_over::hand_over(&config, &sender, &recipients, &Notices::default(), |message| {
            source.read_all(config.smtp.max_message_size, message).map_err(unreadable)
        });
    }
    let store = Store::open(config)?;
    let recipients = store.recipients(&recipients)?;
    store.deliver(recipients, sender, false, |incoming| feed(&mut source, incoming))
}

/// Whether this user may write the mail. Cron also runs jobs of users that may not.
fn may_store(config: &Config) -> bool {
    let may = |path: &Path, how: Access| !matches!(access(path, how), Err(Errno::ACCESS | Errno::PERM | Errno::ROFS));
    let write = Access::WRITE_OK | Access::EXEC_OK;
    may(&config.users.file, Access::READ_OK) && may(&config.state, write) && may(&config.mail.root, write)
}

/// Whether the relay is to send to one of these recipients.
fn goes_elsewhere(config: &Config, recipients: &[String]) -> bool {
    let is_elsewhere = |recipient: &String| {
        let domain = address::mailbox(recipient).ok().and_then(|mailbox| mailbox.domain);
        domain.is_some_and(|domain| !config.domains.contains(&domain))
    };
    config.relays() && recipients.iter().any(is_elsewhere)
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

/// An argument as text that can stand in a header field and in an envelope.
fn text_of(argument: OsString) -> Result<String, Failed> {
    let text = argument.into_string();
    let text = text.map_err(|argument| Failed::new(exit::USAGE, format!("{argument:?} is not UTF-8")))?;
    match text.contains(is_unsafe) {
        true => Err(Failed::new(exit::USAGE, format!("{text:?} has a control character; leave it out"))),
        false => Ok(text),
    }
}

fn sender_of(argument: OsString) -> Result<String, Failed> {
    Ok(reverse_path(&text_of(argument)?).unwrap_or_default())
}

/// `a@example.com`, `<a@example.com>`, and for the null path `<>`, nothing, or what Postfix's pipe and mbox have in its
/// place. Other text is taken as it is, for it is only repeated; `None` where it has control characters.
fn reverse_path(text: &str) -> Option<String> {
    let text = text.trim();
    let inside = text.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(text);
    let path = if inside.eq_ignore_ascii_case("MAILER-DAEMON") { "" } else { inside };
    (!path.contains(is_unsafe)).then(|| path.to_owned())
}

/// Where a message goes: users here, each once, and addresses on other servers, each once.
#[derive(Debug, Default)]
struct Recipients {
    users: Vec<Recipient>,
    outside: Vec<Onward>,
    asked: Asked,
}

impl Recipients {
    /// The sender wants these notices of other servers.
    fn asks(&mut self, notices: &Notices) {
        self.outside.iter_mut().for_each(|to| to.notify = notices.notify);
        self.asked = Asked { ret: notices.ret, envid: notices.envid.clone(), ..Asked::default() };
    }

    fn add_outside(&mut self, address: String, alias_sender: Option<String>) {
        let key = address::key(&address);
        if !self.outside.iter().any(|to| address::key(&to.address) == key) {
            self.outside.push(Onward { address, alias_sender, notify: Notify::UNSET, orcpt: None });
        }
    }
}

/// The place that messages go to.
struct Store {
    config: Config,
    accounts: Accounts,
}

impl Store {
    /// Becomes the owner of the mail, and reads the accounts.
    fn open(config: Config) -> Result<Store, Failed> {
        owner::become_owner_of_store(&config)?;
        let accounts = Accounts::load(&config).map_err(|problems| {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Failed::new(exit::CONFIG, "")
        })?;
        Ok(Store { config, accounts })
    }

    /// The recipients that are meant.
    fn recipients(&self, typed: &[String]) -> Result<Recipients, Failed> {
        let mut recipients = Recipients::default();
        if typed.is_empty() {
            return Err(Failed::new(exit::USAGE, "no recipient; see --help"));
        }
        for typed in typed {
            let typed = typed.trim();
            let bare = typed.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(typed);
            self.add(bare, &mut recipients)
                .map_err(|why| Failed::new(exit::NO_USER, format!("{}: {why}", bare.escape_debug())))?;
        }
        Ok(recipients)
    }

    fn add(&self, typed: &str, recipients: &mut Recipients) -> Result<(), String> {
        let mailbox = address::mailbox(typed).map_err(|fault| fault.0.to_owned())?;
        // A name alone is meant to be here.
        let domain = mailbox.domain.or_else(|| Some(self.config.home_domain().to_owned()));
        match self.accounts.route(&Mailbox { domain, ..mailbox }) {
            Ok(route) => {
                for user in route.users {
                    if !recipients.users.iter().any(|to| to.user == user) {
                        recipients.users.push(Recipient { user, typed: typed.to_owned() });
                    }
                }
                route.outside.into_iter().for_each(|to| recipients.add_outside(to.address, Some(to.sender)));
                Ok(())
            }
            Err(Unknown::NotOurDomain) if self.config.relays() => {
                recipients.add_outside(typed.to_owned(), None);
                Ok(())
            }
            Err(Unknown::NotOurDomain) => {
                Err("not a domain of ours, and nothing is sent elsewhere without `relay.host`".to_owned())
            }
            Err(Unknown::NoSuchUser) => Err("no such user".to_owned()),
        }
    }

    /// Stores a message; a failure becomes an exit code.
    fn deliver(
        &self,
        recipients: Recipients,
        sender: String,
        complete_header: bool,
        feed: impl FnOnce(&mut Incoming<'_>) -> io::Result<()>,
    ) -> Outcome {
        let stored = self.store(recipients, sender, complete_header, feed)?;
        stored.map(|_| ExitCode::SUCCESS).map_err(|failure| Failed::new(code(&failure), failure))
    }

    /// Stores a message. Without a server this process writes the journal; until the message is whole, a server can start,
    /// however long that takes. The outer error is about the input or the state, the inner one about the message.
    fn store(
        &self,
        recipients: Recipients,
        sender: String,
        complete_header: bool,
        feed: impl FnOnce(&mut Incoming<'_>) -> io::Result<()>,
    ) -> Result<Result<Stored, Failure>, Failed> {
        let delivery = Delivery::new(&self.config, None);
        let Recipients { users: recipients, outside, asked } = recipients;
        #[cfg(feature = "relay")]
        if !outside.is_empty() {
            let queue = crate::queue::Queue::open(&self.config.state);
            delivery.send_by(queue.map_err(|error| state_failed(&self.config, error.into()))?.into());
        }
        let elsewhere = Elsewhere::new(&sender, outside, &asked);
        let origin = Origin { mail_from: Some(sender), ..Origin::unknown(Via::Deliver) };
        let max_size = self.config.smtp.max_message_size;
        let envelope = Envelope { origin, facts: Facts::default(), recipients, max_size, complete_header };
        let mut incoming = delivery.begin_with(envelope, elsewhere);
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
        Ok(stored)
    }
}

fn state_failed(config: &Config, held: Held) -> Failed {
    let code = match &held {
        Held::Io(error) => super::code_of(error, exit::TEMPORARY),
        _ => exit::TEMPORARY,
    };
    Failed::new(code, format!("{}: {held}", config.state.display()))
}

fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::TooLarge | Failure::Loop => exit::DATA,
        Failure::System(error) => super::code_of(error, exit::TEMPORARY),
        // There is room again when a user removes mail.
        Failure::OverQuota | Failure::DiskFull(_) => exit::TEMPORARY,
    }
}
