//! One message: MAIL, RCPT, and its data by DATA or BDAT (RFC 5321 section 3.3, RFC 3030, RFC 2033 section 4).

use super::session::{Session, State};
use super::step::{Auth, Failure, Protocol, RecipientRefusal, SenderRefusal, Step, Stored};
use super::transaction::{Recipient, Route, Transaction};
use super::{parameter, reply};
use crate::message::address::{self, ForwardPath, ReversePath};

impl<M> Session<M> {
    pub(super) fn mail(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        match self.state {
            State::Start => return self.say(reply::HELLO_FIRST, out),
            State::Ready => {}
            _ => return self.say(reply::NESTED_MAIL, out),
        }
        if self.settings.auth == Auth::Required && self.user.is_none() {
            let tls_first = self.mechanisms().next().is_none() && self.settings.tls_available;
            return self.say(if tls_first { reply::TLS_FIRST } else { reply::AUTH_FIRST }, out);
        }
        let Ok(argument) = std::str::from_utf8(argument) else {
            return self.say(reply::NOT_UTF8, out);
        };
        let Some(path) = after_keyword(argument, "FROM:") else {
            return self.say(reply::MAIL_SYNTAX, out);
        };
        let (reverse_path, rest) = match address::reverse_path(path) {
            Ok(parsed) => parsed,
            Err(fault) => return self.say(&format!("501 5.1.7 {}", fault.0), out),
        };
        let parameters = match parameter::of_mail(rest) {
            Ok(parameters) => parameters,
            Err(refusal) => return self.say(refusal, out),
        };
        let is_ascii = !matches!(&reverse_path, ReversePath::Mailbox(mailbox) if !mailbox.text.is_ascii());
        if !is_ascii && !parameters.smtputf8 {
            return self.say(reply::SMTPUTF8_NEEDED, out);
        }
        if parameters.size > self.settings.max_message_size {
            return self.say(reply::TOO_LARGE, out);
        }
        let transaction = Transaction::new(reverse_path, parameters);
        self.enter(State::Sender(Box::new(transaction)));
        Step::Sender
    }

    /// Answers `Step::Sender`.
    pub fn sender_checked(&mut self, outcome: Result<(), SenderRefusal>, out: &mut Vec<u8>) -> Step {
        let State::Sender(transaction) = self.enter(State::Ready) else {
            return Step::Close;
        };
        match outcome {
            Ok(()) => {
                self.enter(State::Transaction(transaction));
                self.say(reply::SENDER_OK, out)
            }
            Err(SenderRefusal::NotYours) => self.say(reply::NOT_YOUR_ADDRESS, out),
            Err(SenderRefusal::NoRoom) => self.say(reply::NO_ROOM, out),
            Err(SenderRefusal::TooOften) => self.say(reply::TOO_OFTEN, out),
        }
    }

    pub(super) fn rcpt(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        let transaction = match &mut self.state {
            State::Transaction(transaction) => transaction,
            State::Chunks(_) => return self.say(reply::CHUNKS_BEGUN, out),
            _ => return self.say(reply::MAIL_FIRST, out),
        };
        transaction.tried = true;
        let smtputf8 = transaction.smtputf8;
        let full = transaction.recipients.len() >= self.settings.max_recipients;
        let Ok(argument) = std::str::from_utf8(argument) else {
            return self.say(reply::NOT_UTF8, out);
        };
        let Some(path) = after_keyword(argument, "TO:") else {
            return self.say(reply::RCPT_SYNTAX, out);
        };
        let (forward_path, parameters) = match address::forward_path(path) {
            Ok((forward_path, rest)) => match parameter::of_rcpt(rest) {
                Ok(parameters) => (forward_path, parameters),
                Err(refusal) => return self.say(refusal, out),
            },
            Err(fault) => return self.say(&format!("501 5.1.3 {}", fault.0), out),
        };
        if !forward_path.text.is_ascii() && !smtputf8 {
            return self.say(reply::SMTPUTF8_NEEDED, out);
        }
        if full {
            return self.say(reply::TOO_MANY_RECIPIENTS, out);
        }
        self.advance(|state| match state {
            State::Transaction(mut transaction) => {
                transaction.of_recipient = parameters;
                State::Recipient(transaction, forward_path)
            }
            other => other,
        });
        Step::Recipient
    }

    /// Answers `Step::Recipient`: where the mail goes.
    ///
    /// In LMTP a refusal is no error: the client is a server that hands on what it was given.
    pub fn recipient_checked(&mut self, outcome: Result<Route, RecipientRefusal>, out: &mut Vec<u8>) -> Step {
        if !matches!(self.state, State::Recipient(..)) {
            return Step::Close;
        }
        let reply = match &outcome {
            Ok(_) => reply::RECIPIENT_OK,
            Err(RecipientRefusal::NotOurDomain) if self.settings.dsn => reply::NO_RELAY_FOR_YOU,
            Err(RecipientRefusal::NotOurDomain) => reply::NO_RELAY,
            Err(RecipientRefusal::NotYours) => reply::NOT_YOUR_ADDRESS,
            Err(RecipientRefusal::TooManyWaiting) => reply::TOO_MANY_WAITING,
            Err(RecipientRefusal::TooManySent) => reply::TOO_MANY_SENT,
            Err(RecipientRefusal::NoSuchUser) => reply::NO_SUCH_USER,
            Err(RecipientRefusal::Unavailable) => reply::MAILBOX_UNAVAILABLE,
            Err(RecipientRefusal::OverQuota) => reply::MAILBOX_FULL,
        };
        self.advance(|state| match state {
            State::Recipient(mut transaction, path) => {
                let parameter::OfRecipient { notify, orcpt } = std::mem::take(&mut transaction.of_recipient);
                transaction.recipients.extend(outcome.ok().map(|route| Recipient { path, notify, orcpt, route }));
                State::Transaction(transaction)
            }
            other => other,
        });
        match self.settings.protocol {
            Protocol::Smtp => self.say(reply, out),
            Protocol::Lmtp => {
                reply::line(out, reply);
                Step::Continue
            }
        }
    }

    pub(super) fn data(&mut self, out: &mut Vec<u8>) -> Step {
        if let Some(refusal) = self.no_data_now() {
            return self.say(refusal, out);
        }
        match self.enter(State::Ready) {
            State::Transaction(transaction) => {
                self.enter(State::Data(transaction));
                reply::line(out, reply::SEND_DATA);
                Step::Data
            }
            chunks => {
                self.enter(chunks);
                self.say(reply::CHUNKS_BEGUN, out)
            }
        }
    }

    /// The octets of BDAT are data and must never be read as commands, also when BDAT is refused. So when their number is
    /// unknown, the session ends.
    pub(super) fn bdat(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        let Some((octets, last)) = parameter::of_bdat(argument) else {
            return self.close(reply::BDAT_SYNTAX, out);
        };
        if let Some(refusal) = self.no_data_now() {
            return self.discard(refusal, octets, out);
        }
        let (State::Transaction(mut transaction) | State::Chunks(mut transaction)) = self.enter(State::Ready) else {
            return Step::Close;
        };
        transaction.received = transaction.received.saturating_add(octets);
        if transaction.received > self.settings.max_message_size {
            transaction.message = None;
            transaction.failed = transaction.failed.or(Some(reply::TOO_LARGE));
        }
        match transaction.failed {
            None => {
                self.enter(State::Chunks(transaction));
                Step::Chunk { octets, last }
            }
            Some(refusal) if last => {
                self.each_recipient(&transaction, |_| refusal.to_owned(), out).unwrap_or(Step::Discard { octets })
            }
            Some(refusal) => {
                self.enter(State::Chunks(transaction));
                self.discard(refusal, octets, out)
            }
        }
    }

    fn discard(&mut self, refusal: &str, octets: u64, out: &mut Vec<u8>) -> Step {
        match self.say(refusal, out) {
            Step::Continue => Step::Discard { octets },
            close => close,
        }
    }

    /// The refusal of data when there is no recipient. LMTP has one reply for that (RFC 2033 section 4.2).
    fn no_data_now(&self) -> Option<&'static str> {
        match &self.state {
            State::Transaction(transaction) | State::Chunks(transaction) if !transaction.recipients.is_empty() => None,
            State::Transaction(transaction) if transaction.tried && self.settings.protocol == Protocol::Smtp => {
                Some(reply::NO_VALID_RECIPIENTS)
            }
            State::Transaction(_) => Some(reply::RCPT_FIRST),
            _ => Some(reply::MAIL_FIRST),
        }
    }

    /// The transaction that is open.
    pub fn transaction(&self) -> Option<&Transaction<M>> {
        match &self.state {
            State::Sender(transaction)
            | State::Transaction(transaction)
            | State::Recipient(transaction, _)
            | State::Data(transaction)
            | State::Chunks(transaction) => Some(transaction),
            _ => None,
        }
    }

    /// The recipient of `Step::Recipient`.
    pub fn recipient(&self) -> Option<&ForwardPath> {
        match &self.state {
            State::Recipient(_, path) => Some(path),
            _ => None,
        }
    }

    /// The message as far as it came by BDAT, for the time of a chunk. `None`: this chunk is the first.
    pub fn take_message(&mut self) -> Option<M> {
        match &mut self.state {
            State::Chunks(transaction) => transaction.message.take(),
            _ => None,
        }
    }

    /// Answers `Step::Chunk` when it was not the last, and keeps the message for the next.
    pub fn chunk_received(&mut self, octets: u64, message: M, out: &mut Vec<u8>) -> Step {
        if let State::Chunks(transaction) = &mut self.state {
            transaction.message = Some(message);
        }
        self.say(&format!("250 2.0.0 {octets} octets received"), out)
    }

    /// Answers `Step::Data`, and `Step::Chunk` for the last chunk. In LMTP each recipient has a reply; in SMTP there is one
    /// for all, and it is a refusal if any user did not get the message: nothing else can tell the sender.
    pub fn stored(&mut self, outcome: Result<Stored<'_>, Failure>, out: &mut Vec<u8>) -> Step {
        let (State::Data(transaction) | State::Chunks(transaction)) = self.enter(State::Ready) else {
            return Step::Close;
        };
        let stored = match outcome {
            Ok(stored) => stored,
            Err(failure) => {
                let refusal = match failure {
                    Failure::TooLarge => reply::TOO_LARGE,
                    Failure::Loop => reply::LOOP,
                    Failure::NoRoom => reply::NO_ROOM,
                    Failure::OverQuota => reply::MAILBOX_FULL,
                    Failure::System => reply::SYSTEM,
                };
                return self.each_recipient(&transaction, |_| refusal.to_owned(), out).unwrap_or(Step::Continue);
            }
        };
        self.errors = 0;
        let done = if stored.only_queued { "Queued" } else { "Stored" };
        let accepted = format!("250 2.0.0 {done} as {}", stored.id);
        let reply_to = |recipients: &[Recipient]| {
            let mut users = recipients.iter().flat_map(|recipient| &recipient.route.users);
            match users.any(|user| stored.over_quota.contains(user)) {
                true => reply::MAILBOX_FULL.to_owned(),
                false => accepted.clone(),
            }
        };
        self.each_recipient(&transaction, reply_to, out).unwrap_or(Step::Continue)
    }

    /// One reply for all recipients, or in LMTP one for each. `None`: the session goes on.
    fn each_recipient(
        &mut self,
        transaction: &Transaction<M>,
        reply_to: impl Fn(&[Recipient]) -> String,
        out: &mut Vec<u8>,
    ) -> Option<Step> {
        let recipients = &transaction.recipients[..];
        match self.settings.protocol {
            Protocol::Smtp => Some(self.say(&reply_to(recipients), out)).filter(|step| *step != Step::Continue),
            Protocol::Lmtp => {
                recipients.chunks(1).for_each(|one| reply::line(out, &reply_to(one)));
                None
            }
        }
    }
}

/// What follows `FROM:` or `TO:`, in any case.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (word, rest) = argument.split_at_checked(keyword.len())?;
    word.eq_ignore_ascii_case(keyword).then_some(rest)
}
