//! The session of one connection: its state, what each command does in it, and what the driver has to do next.
//! It checks no password and reads no message; see the diagram in `mod.rs`.

use log::trace;

use super::argument;
use super::step::{Login, Part, Refusal, Settings, Step, Unavailable, Updating};
use super::transaction::Transaction;
use super::verb::{self, Place, Verb};
use super::{Maildrop, capa, reply};
use crate::limits;
use crate::sasl::Mechanism;

/// The states of RFC 1939 section 3, and the end.
#[derive(Debug)]
enum State<M> {
    /// Before log-in. `name` is the argument of the last USER; `exchange` is true while a SASL response is awaited.
    Authorization { name: Option<String>, exchange: bool },
    /// After log-in.
    Transaction(Transaction<M>),
    /// After QUIT.
    Update(Transaction<M>),
    /// Nothing more is sent.
    Closed,
}

impl<M> State<M> {
    fn name(&self) -> &'static str {
        match self {
            State::Authorization { .. } => "Authorization",
            State::Transaction(_) => "Transaction",
            State::Update(_) => "Update",
            State::Closed => "Closed",
        }
    }
}

/// One POP3 session. `M` is the maildrop that a log-in opens.
#[derive(Debug)]
pub struct Session<M> {
    settings: Settings,
    state: State<M>,
    utf8: bool,
    /// Errors since the last valid command in an open maildrop; before login, all errors.
    errors: u32,
}

impl<M: Maildrop> Session<M> {
    /// A session of a connection that was just accepted.
    pub fn new(settings: Settings) -> Session<M> {
        Session { settings, state: State::Authorization { name: None, exchange: false }, utf8: false, errors: 0 }
    }

    /// Appends the greeting, the first line of the server (inside TLS for pop3s).
    pub fn greeting(&self, out: &mut Vec<u8>) {
        match &self.settings.stamp {
            Some(stamp) => reply::ok(out, &format!("mailbell POP3 ready {stamp}")),
            None => reply::ok(out, "mailbell POP3 ready"),
        }
    }

    /// The longest line that may come now, octets with its line end.
    pub fn line_limit(&self) -> usize {
        match self.state {
            State::Authorization { exchange: true, .. } => limits::SASL_LINE,
            _ => limits::POP3_COMMAND_LINE,
        }
    }

    /// Takes one line without its line end and appends the reply to `out`, as far as the session knows it.
    pub fn command(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        if let State::Authorization { exchange: exchange @ true, .. } = &mut self.state {
            if line != b"*" {
                return Step::AuthResponse;
            }
            *exchange = false;
            return self.error(reply::CANCELLED, out);
        }
        let Some((verb, place, argument)) = verb::split(line) else {
            return self.error(reply::UNKNOWN_COMMAND, out);
        };
        match (place, &self.state) {
            (_, State::Update(_) | State::Closed) => Step::Close,
            (Place::Transaction, State::Authorization { .. }) => self.error(reply::LOGIN_FIRST, out),
            (Place::Authorization, State::Transaction(_)) => self.error(reply::LOGGED_IN, out),
            (Place::Authorization, _) => self.authorization(verb, argument, out),
            (Place::Transaction, _) => self.transaction(verb, argument, out),
            (Place::Anywhere, _) => self.anywhere(verb, argument, out),
        }
    }

    /// Answers a line that was longer than `line_limit`; the driver skipped it.
    pub fn line_too_long(&mut self, out: &mut Vec<u8>) -> Step {
        if let State::Authorization { exchange, .. } = &mut self.state {
            *exchange = false;
        }
        self.error(reply::LINE_TOO_LONG, out)
    }

    /// The one place where the state changes. It returns the old state; a caller that drops it drops the maildrop and its
    /// lock.
    fn enter(&mut self, next: State<M>) -> State<M> {
        trace!("pop3: {} -> {}", self.state.name(), next.name());
        std::mem::replace(&mut self.state, next)
    }

    fn error(&mut self, sentence: &str, out: &mut Vec<u8>) -> Step {
        self.errors += 1;
        if self.errors > limits::SESSION_ERRORS {
            reply::err(out, reply::TOO_MANY_ERRORS);
            self.enter(State::Closed);
            return Step::Close;
        }
        reply::err(out, sentence);
        Step::Continue
    }

    fn anywhere(&mut self, verb: Verb, argument: &[u8], out: &mut Vec<u8>) -> Step {
        match verb {
            Verb::Lang if capa::language(argument, out) => Step::Continue,
            Verb::Lang => self.error(reply::UNKNOWN_LANGUAGE, out),
            Verb::Capa => {
                capa::capabilities(&self.settings, out);
                Step::Continue
            }
            // The only other command of this place is QUIT.
            _ => match self.enter(State::Closed) {
                State::Transaction(transaction) => {
                    self.enter(State::Update(transaction));
                    Step::Update
                }
                _ => {
                    reply::ok(out, "Bye");
                    Step::Close
                }
            },
        }
    }

    fn authorization(&mut self, verb: Verb, argument: &[u8], out: &mut Vec<u8>) -> Step {
        match verb {
            Verb::User => self.user(argument, out),
            Verb::Pass => self.pass(argument, out),
            Verb::Apop => self.apop(argument, out),
            Verb::Auth => self.auth(argument, out),
            Verb::Stls => self.stls(out),
            // The only other command of this place is UTF8, which changes nothing: all octets pass as they are. An
            // argument would ask for an extension that is not offered.
            _ if !argument.is_empty() => self.error(reply::NO_ARGUMENT, out),
            _ => {
                self.utf8 = true;
                reply::ok(out, "UTF8 enabled");
                Step::Continue
            }
        }
    }

    /// USER is +OK for every name, so that the reply does not tell which exist (RFC 1939 section 13).
    fn user(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        if !self.passwords_allowed() {
            return self.error(reply::CLEARTEXT_REFUSED, out);
        }
        if argument.is_empty() {
            return self.error(reply::NO_NAME, out);
        }
        let name = Some(String::from_utf8_lossy(argument).into_owned());
        self.enter(State::Authorization { name, exchange: false });
        reply::ok(out, "Send PASS");
        Step::Continue
    }

    /// PASS must follow USER at once or after other commands, but one USER serves one PASS.
    fn pass(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        if !self.passwords_allowed() {
            return self.error(reply::CLEARTEXT_REFUSED, out);
        }
        match &mut self.state {
            State::Authorization { name, .. } => match name.take() {
                Some(name) => Step::Login(Login::Password { name, password: argument.to_vec() }),
                None => self.error(reply::USER_FIRST, out),
            },
            _ => self.error(reply::LOGGED_IN, out),
        }
    }

    fn apop(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        if self.settings.stamp.is_none() {
            return self.error(reply::NO_APOP, out);
        }
        let (name, digest) = argument::pair(argument);
        match digest.and_then(|digest| std::str::from_utf8(digest).ok()) {
            Some(digest) if digest.len() == 32 && digest.bytes().all(|octet| octet.is_ascii_hexdigit()) => {
                let name = String::from_utf8_lossy(name).into_owned();
                Step::Login(Login::Apop { name, digest: digest.to_owned() })
            }
            _ => self.error(reply::APOP_SYNTAX, out),
        }
    }

    fn auth(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        if argument.is_empty() {
            capa::mechanism_list(&self.settings, out);
            return Step::Continue;
        }
        let (wanted, initial) = argument::pair(argument);
        match Mechanism::named(wanted) {
            Some(mechanism) if capa::mechanisms(&self.settings).any(|offered| offered == mechanism) => {
                Step::Auth { mechanism, initial: initial.map(<[u8]>::to_vec) }
            }
            Some(Mechanism::Plain | Mechanism::Login) => self.error(reply::CLEARTEXT_REFUSED, out),
            _ => self.error(reply::UNKNOWN_MECHANISM, out),
        }
    }

    fn stls(&mut self, out: &mut Vec<u8>) -> Step {
        if self.settings.tls_active {
            self.error(reply::TLS_ACTIVE, out)
        } else if !self.settings.tls_available {
            self.error(reply::NO_STLS, out)
        } else if self.utf8 {
            self.error(reply::STLS_AFTER_UTF8, out)
        } else {
            reply::ok(out, "Begin TLS now");
            Step::StartTls
        }
    }

    fn passwords_allowed(&self) -> bool {
        self.settings.cleartext_allowed || self.settings.tls_active
    }

    fn transaction(&mut self, verb: Verb, argument: &[u8], out: &mut Vec<u8>) -> Step {
        let State::Transaction(transaction) = &mut self.state else {
            return self.error(reply::LOGIN_FIRST, out);
        };
        match transaction.command(verb, argument, out) {
            Ok(step) => {
                self.errors = 0;
                step
            }
            // A wrong message-number does not count as an error, as in Dovecot.
            Err(sentence) => {
                reply::err(out, &sentence);
                Step::Continue
            }
        }
    }

    /// TLS has begun. Everything that was sent in clear is forgotten (RFC 2595 section 4); the stamp stays.
    pub fn tls_started(&mut self) {
        self.settings.tls_active = true;
        self.enter(State::Authorization { name: None, exchange: false });
    }

    /// Answers `Step::Auth` and `Step::AuthResponse` with a challenge, base64; the next line is the response.
    pub fn challenge(&mut self, text: &str, out: &mut Vec<u8>) -> Step {
        out.extend_from_slice(b"+ ");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.enter(State::Authorization { name: None, exchange: true });
        Step::Continue
    }

    /// Answers `Step::Login` and the end of a SASL exchange.
    pub fn opened(&mut self, outcome: Result<M, Refusal>, out: &mut Vec<u8>) -> Step {
        self.enter(State::Authorization { name: None, exchange: false });
        match outcome {
            Ok(maildrop) => {
                let transaction = Transaction::new(maildrop);
                transaction.welcome(out);
                self.errors = 0;
                self.settings.stamp = None;
                self.enter(State::Transaction(transaction));
                Step::Continue
            }
            Err(Refusal::Auth) => self.error(reply::AUTH_FAILED, out),
            Err(Refusal::InUse) => self.error(reply::IN_USE, out),
            Err(Refusal::Temporary) => self.error(reply::LOGIN_TEMPORARY, out),
            Err(Refusal::Permanent) => self.error(reply::LOGIN_PERMANENT, out),
        }
    }

    /// Answers `Step::More`: appends the next part of the listing.
    pub fn more(&mut self, out: &mut Vec<u8>) -> Step {
        match &mut self.state {
            State::Transaction(transaction) => transaction.more(out),
            _ => Step::Continue,
        }
    }

    /// The maildrop of the session, once one is open: to open the message of `Step::Send`.
    pub fn maildrop(&mut self) -> Option<&mut M> {
        match &mut self.state {
            State::Transaction(transaction) | State::Update(transaction) => Some(&mut transaction.maildrop),
            _ => None,
        }
    }

    /// Answers `Step::Send`: the first line of the reply. After `Ok` the driver appends the message by the encoder; if
    /// that fails in the middle, it closes the connection: nothing else can tell the client.
    pub fn message_opened(&mut self, part: Part, outcome: Result<(), Unavailable>, out: &mut Vec<u8>) -> Step {
        match (outcome, &mut self.state) {
            (Ok(()), State::Transaction(transaction)) => transaction.sending(part, out),
            (Err(Unavailable::Gone), _) => reply::err(out, reply::GONE),
            _ => reply::err(out, reply::UNREADABLE),
        }
        Step::Continue
    }

    /// What is to be applied after `Step::Update`.
    pub fn updating(&mut self) -> Option<Updating<'_, M>> {
        match &mut self.state {
            State::Update(Transaction { maildrop, deleted, seen, .. }) => Some(Updating { maildrop, deleted, seen }),
            _ => None,
        }
    }

    /// Answers `Step::Update`: how many messages could not be removed. The lock is released before the reply goes out,
    /// so that a client that reconnects at once finds the maildrop free.
    pub fn updated(&mut self, failed: usize, out: &mut Vec<u8>) -> Step {
        self.enter(State::Closed);
        if failed == 0 {
            reply::ok(out, "Bye");
        } else {
            reply::err(out, reply::NOT_ALL_REMOVED);
        }
        Step::Close
    }

    /// Ends the session because the server stops; nothing is deleted.
    pub fn stopping(&mut self, out: &mut Vec<u8>) {
        self.enter(State::Closed);
        reply::err(out, reply::STOPPING);
    }

    /// The name of the state, for logs and `mailbell status`.
    pub fn state_name(&self) -> &'static str {
        self.state.name()
    }
}
