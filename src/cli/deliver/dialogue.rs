//! `sendmail -bs`: SMTP on standard input and output, as some mail programs hand mail in. The same session as the server's,
//! without a network: no AUTH, no TLS. Each message is kept in memory until it is whole.

use super::{Recipients, Store};
use crate::accounts::Unknown;
use crate::cli::{Failed, Outcome, exit};
use crate::delivery::{self, Asked, Failure, Onward};
use crate::message::dot::decode::{Decoder, LineEnds};
use crate::smtp::{self, Auth, Outside, Protocol, RecipientRefusal, Route, Session, Settings, Step, Stored};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;

/// Longest part of a line of a message that is read at once, octets.
const LINE: u64 = 64 * 1024;

/// A message as it comes by BDAT.
#[derive(Default)]
struct Chunks {
    ends: LineEnds,
    text: Vec<u8>,
}

/// Speaks until QUIT or the end of the input.
pub fn run(store: &Store) -> Outcome {
    let (session, input) = (Session::new(settings(store)), BufReader::new(io::stdin().lock()));
    let mut dialogue = Dialogue { store, session, input, bare_lf: false };
    dialogue.run().map(|()| ExitCode::SUCCESS).map_err(|error| Failed::new(exit::IO, error))
}

fn settings(store: &Store) -> Settings {
    let config = &store.config;
    Settings {
        hostname: config.hostname.clone(),
        protocol: Protocol::Smtp,
        max_message_size: config.smtp.max_message_size,
        max_recipients: config.smtp.max_recipients,
        auth: Auth::Off,
        cleartext_allowed: false,
        stamp: None,
        tls_available: false,
        tls_active: false,
        dsn: config.relays(),
    }
}

struct Dialogue<'a, R> {
    store: &'a Store,
    session: Session<Chunks>,
    input: BufReader<R>,
    /// The last command ended with a bare LF, as a script writes it; then lines of the message do, too.
    bare_lf: bool,
}

impl<R: Read> Dialogue<'_, R> {
    fn run(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        self.session.greeting(&mut out);
        loop {
            io::stdout().write_all(&out)?;
            io::stdout().flush()?;
            out.clear();
            let Some(mut step) = self.next_line(&mut out)? else { return Ok(()) };
            while step != Step::Continue {
                if step == Step::Close {
                    return io::stdout().write_all(&out);
                }
                step = self.act(step, &mut out)?;
            }
        }
    }

    /// Gives the next line to the session; `None` at the end of the input.
    fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<Option<Step>> {
        let longest = self.session.line_limit();
        let mut line = Vec::new();
        self.input.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut line)?;
        if line.len() > longest {
            if !line.ends_with(b"\n") {
                self.input.skip_until(b'\n')?;
            }
            return Ok(Some(self.session.line_too_long(out)));
        }
        let Some(line) = line.strip_suffix(b"\n") else { return Ok(None) };
        self.bare_lf = !line.ends_with(b"\r");
        Ok(Some(self.session.command(line.strip_suffix(b"\r").unwrap_or(line), out)))
    }

    fn act(&mut self, step: Step, out: &mut Vec<u8>) -> io::Result<Step> {
        Ok(match step {
            Step::Sender => self.session.sender_checked(Ok(()), out),
            Step::Recipient => {
                let outcome = self.recipient();
                self.session.recipient_checked(outcome, out)
            }
            Step::Data => {
                io::stdout().write_all(out)?;
                io::stdout().flush()?;
                out.clear();
                let text = self.data()?;
                self.store(&text, out)
            }
            Step::Chunk { octets, last } => {
                let mut message = self.session.take_message().unwrap_or_default();
                let mut chunk = Vec::new();
                // The session has refused a chunk that would make the message too large.
                self.input.by_ref().take(octets).read_to_end(&mut chunk)?;
                if (chunk.len() as u64) < octets {
                    return Ok(Step::Close);
                }
                message.ends.decode(&chunk, &mut message.text);
                if !last {
                    return Ok(self.session.chunk_received(octets, message, out));
                }
                message.ends.finish(&mut message.text);
                self.store(&message.text, out)
            }
            Step::Discard { octets } => {
                io::copy(&mut self.input.by_ref().take(octets), &mut io::sink())?;
                Step::Continue
            }
            // Neither AUTH nor STARTTLS is offered.
            Step::Login { .. } => self.session.logged_in(None, out),
            Step::StartTls | Step::Continue | Step::Close => Step::Close,
        })
    }

    fn recipient(&self) -> Result<Route, RecipientRefusal> {
        let path = self.session.recipient().ok_or(RecipientRefusal::NoSuchUser)?;
        let to = |address: String, sender| Outside { address, sender };
        match self.store.accounts.route(path) {
            Ok(route) => {
                let outside = route.outside.into_iter().map(|by_alias| to(by_alias.address, Some(by_alias.sender)));
                Ok(Route { outside: outside.collect(), users: route.users })
            }
            Err(Unknown::NotOurDomain) if self.store.config.relays() => {
                Ok(Route { users: Vec::new(), outside: vec![to(path.text.clone(), None)] })
            }
            Err(Unknown::NotOurDomain) => Err(RecipientRefusal::NotOurDomain),
            Err(Unknown::NoSuchUser) => Err(RecipientRefusal::NoSuchUser),
        }
    }

    /// Message data up to the line with a dot. Of a message that is too large, an octet more than may be stored is kept,
    /// so that the store refuses it.
    fn data(&mut self) -> io::Result<Vec<u8>> {
        let most = usize::try_from(self.store.config.smtp.max_message_size).unwrap_or(usize::MAX).saturating_add(1);
        let (mut decoder, mut text, mut ended) = (Decoder::new(), Vec::new(), false);
        while !ended {
            if self.bare_lf {
                let mut line = Vec::new();
                self.input.by_ref().take(LINE).read_until(b'\n', &mut line)?;
                if line.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let lf = line.pop_if(|last| *last == b'\n').map(|_| &b"\r\n"[..]).unwrap_or_default();
                (_, ended) = decoder.decode(&[&line, lf].concat(), &mut text);
            } else {
                let block = self.input.fill_buf()?;
                if block.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let taken;
                (taken, ended) = decoder.decode(block, &mut text);
                self.input.consume(taken);
            }
            text.truncate(most);
        }
        Ok(text)
    }

    fn store(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        let outcome = self.stored(text);
        let told = match &outcome {
            Ok(stored) => {
                let only_queued = self.session.transaction().is_some_and(|it| it.mailboxes().is_empty());
                Ok(Stored { id: &stored.id, only_queued, over_quota: &stored.over_quota })
            }
            Err(failure) => Err(*failure),
        };
        self.session.stored(told, out)
    }

    fn stored(&self, text: &[u8]) -> Result<delivery::Stored, smtp::Failure> {
        let transaction = self.session.transaction().ok_or(smtp::Failure::System)?;
        let users = transaction
            .mailboxes()
            .into_iter()
            .map(|(user, path)| delivery::Recipient { user: user.to_owned(), typed: path.text.clone() });
        let outside = transaction.outside().into_iter().map(|(to, recipient)| Onward {
            address: to.address.clone(),
            alias_sender: to.sender.clone(),
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
        });
        let (ret, envid) = (transaction.ret, transaction.envid.clone());
        let asked = Asked { ret, envid, smtputf8: transaction.smtputf8, user: None };
        let recipients = Recipients { users: users.collect(), outside: outside.collect(), asked };
        let feed = |incoming: &mut delivery::Incoming<'_>| {
            incoming.write(text);
            Ok(())
        };
        match self.store.store(recipients, transaction.reverse_path.to_string(), true, feed) {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(Failure::TooLarge)) => Err(smtp::Failure::TooLarge),
            Ok(Err(Failure::Loop)) => Err(smtp::Failure::Loop),
            Ok(Err(Failure::OverQuota)) => Err(smtp::Failure::OverQuota),
            Ok(Err(Failure::DiskFull(_))) => Err(smtp::Failure::NoRoom),
            Ok(Err(Failure::System(_))) | Err(_) => Err(smtp::Failure::System),
        }
    }
}
