//! The session of one connection: its state, and what the commands do that are no part of a message. AUTH is in `auth`,
//! MAIL to the end of data in `mail`; see the picture in the module above.

use super::reply;
use super::step::{Auth, Farewell, Protocol, Settings, Step};
use super::transaction::Transaction;
use super::verb::{self, Verb};
use crate::limits;
use crate::message::address::ForwardPath;
use crate::message::letter::is_unsafe;
use crate::sasl::{Exchange, Mechanism};
use log::trace;

/// Longest name in HELO, octets: that of a domain (RFC 5321 section 4.5.3.1.2).
const NAME: usize = 255;

/// Where a session is. A transaction is on the heap, so that a change of state moves a pointer and a session without a
/// transaction is small.
#[derive(Debug)]
pub(super) enum State<M> {
    /// Before HELO, and after TLS has begun.
    Start,
    /// Between transactions.
    Ready,
    /// A SASL response is awaited.
    Exchange(Mechanism, Exchange),
    /// The driver checks credentials.
    Login,
    /// The driver checks the sender.
    Sender(Box<Transaction<M>>),
    /// After MAIL.
    Transaction(Box<Transaction<M>>),
    /// The driver looks a recipient up.
    Recipient(Box<Transaction<M>>, ForwardPath),
    /// The driver reads and stores the message.
    Data(Box<Transaction<M>>),
    /// After the first BDAT.
    Chunks(Box<Transaction<M>>),
    /// The session has ended.
    Closed,
}

impl<M> State<M> {
    fn name(&self) -> &'static str {
        match self {
            State::Start => "Start",
            State::Ready => "Ready",
            State::Exchange(..) => "Exchange",
            State::Login => "Login",
            State::Sender(_) => "Sender",
            State::Transaction(_) => "Transaction",
            State::Recipient(..) => "Recipient",
            State::Data(_) => "Data",
            State::Chunks(_) => "Chunks",
            State::Closed => "Closed",
        }
    }
}

/// The name of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helo {
    /// The argument of HELO, EHLO or LHLO.
    pub name: String,
    /// It was not HELO.
    pub extended: bool,
}

/// One SMTP or LMTP session. `M` is a message that is coming in.
#[derive(Debug)]
pub struct Session<M> {
    pub(super) settings: Settings,
    pub(super) state: State<M>,
    helo: Option<Helo>,
    /// The user that logged in.
    pub(super) user: Option<String>,
    /// Exchanges begun, so that no challenge is used twice.
    pub(super) exchanges: u32,
    /// Errors since the last message that was stored.
    pub(super) errors: u32,
}

impl<M> Session<M> {
    /// A session of a connection that was just accepted.
    pub fn new(settings: Settings) -> Session<M> {
        Session { settings, state: State::Start, helo: None, user: None, exchanges: 0, errors: 0 }
    }

    /// Appends the greeting, the first thing said (inside TLS for smtps).
    pub fn greeting(&self, out: &mut Vec<u8>) {
        let protocol = match self.settings.protocol {
            Protocol::Smtp => "ESMTP",
            Protocol::Lmtp => "LMTP",
        };
        reply::line(out, &format!("220 {} {protocol} mailbell", self.settings.hostname));
    }

    /// Appends the last thing said to a client that did not say QUIT.
    pub fn farewell(&mut self, farewell: Farewell, out: &mut Vec<u8>) {
        let reply = match farewell {
            Farewell::TalksEarly => reply::TALKS_EARLY,
            Farewell::Timeout => reply::TIMEOUT,
            Farewell::Stopping => reply::STOPPING,
        };
        self.close(reply, out);
    }

    /// The longest line that may come now, octets with its line end.
    pub fn line_limit(&self) -> usize {
        match self.state {
            State::Exchange(..) => limits::SASL_LINE,
            _ => limits::SMTP_COMMAND_LINE,
        }
    }

    /// The name that the client gave since the session, or TLS, began.
    pub fn helo(&self) -> Option<&Helo> {
        self.helo.as_ref()
    }

    /// The user that logged in.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Takes one line without its line end and appends the reply to `out`, as far as the session knows it.
    pub fn command(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        match self.state {
            State::Exchange(..) => return self.response(line, out),
            State::Start | State::Ready | State::Transaction(_) | State::Chunks(_) => {}
            // A step is not answered yet, or the session has ended.
            _ => return Step::Close,
        }
        if line.iter().any(|&octet| octet.is_ascii_control() && octet != b'\t') {
            return self.say(reply::CONTROL_CHARACTER, out);
        }
        let Some((verb, argument)) = verb::split(line) else {
            return self.say(reply::UNKNOWN_COMMAND, out);
        };
        match verb {
            Verb::Helo | Verb::Ehlo | Verb::Lhlo => self.hello(verb, argument, out),
            Verb::Mail => self.mail(argument, out),
            Verb::Rcpt => self.rcpt(argument, out),
            Verb::Bdat => self.bdat(argument, out),
            Verb::Auth => self.auth(argument, out),
            Verb::Vrfy if argument.is_empty() => self.say(reply::VRFY_SYNTAX, out),
            Verb::Vrfy => self.say(reply::NOT_VERIFIED, out),
            Verb::Help => self.help(out),
            Verb::Noop => self.say(reply::OK, out),
            Verb::Quit => self.close(reply::BYE, out),
            Verb::Http => self.close(reply::HTTP, out),
            Verb::NotOffered => self.say(reply::NOT_OFFERED, out),
            _ if !argument.is_empty() => self.say(reply::NO_ARGUMENT, out),
            Verb::Data => self.data(out),
            Verb::Rset => self.reset(out),
            Verb::StartTls => self.starttls(out),
        }
    }

    /// Answers a line that was longer than `line_limit`; the driver skipped it.
    pub fn line_too_long(&mut self, out: &mut Vec<u8>) -> Step {
        match self.state {
            State::Exchange(..) => {
                self.enter(State::Ready);
                self.say(reply::AUTH_LINE_TOO_LONG, out)
            }
            _ => self.say(reply::LINE_TOO_LONG, out),
        }
    }

    /// TLS has begun. Everything from before is forgotten (RFC 3207 section 4.2).
    pub fn tls_started(&mut self) {
        self.settings.tls_active = true;
        self.helo = None;
        self.user = None;
        self.enter(State::Start);
    }

    /// Changes the state; besides it only `advance` does. Gives back the old state: a caller that drops it drops the
    /// transaction and its message.
    pub(super) fn enter(&mut self, next: State<M>) -> State<M> {
        trace!("smtp: {} -> {}", self.state.name(), next.name());
        std::mem::replace(&mut self.state, next)
    }

    /// Changes the state to what `next` makes of it.
    pub(super) fn advance(&mut self, next: impl FnOnce(State<M>) -> State<M>) {
        let before = std::mem::replace(&mut self.state, State::Closed);
        let name = before.name();
        self.state = next(before);
        trace!("smtp: {name} -> {}", self.state.name());
    }

    /// Appends a reply of one line. A permanent refusal counts as an error; after too many errors the session ends with
    /// another reply instead.
    pub(super) fn say(&mut self, reply: &str, out: &mut Vec<u8>) -> Step {
        if reply.starts_with('5') {
            self.errors += 1;
            if self.errors > limits::SESSION_ERRORS {
                return self.close(reply::TOO_MANY_ERRORS, out);
            }
        }
        reply::line(out, reply);
        Step::Continue
    }

    pub(super) fn close(&mut self, reply: &str, out: &mut Vec<u8>) -> Step {
        reply::line(out, reply);
        self.enter(State::Closed);
        Step::Close
    }

    /// HELO, EHLO and LHLO drop an open transaction (RFC 5321 section 4.1.4). The name is not checked, for section 4.1.4
    /// forbids to refuse mail because of it.
    fn hello(&mut self, verb: Verb, argument: &[u8], out: &mut Vec<u8>) -> Step {
        match self.settings.protocol {
            Protocol::Lmtp if verb != Verb::Lhlo => return self.say(reply::LHLO_ONLY, out),
            Protocol::Smtp if verb == Verb::Lhlo => return self.say(reply::NO_LMTP, out),
            _ if argument.is_empty() => return self.say(reply::NAME_NEEDED, out),
            _ if argument.len() > NAME => return self.say(reply::NAME_TOO_LONG, out),
            _ => {}
        }
        let extended = verb != Verb::Helo;
        // It stands in a trace field, in the log and in the event, so characters that act there are replaced.
        let name = String::from_utf8_lossy(argument).replace(is_unsafe, "?");
        self.helo = Some(Helo { name, extended });
        self.enter(State::Ready);
        if extended {
            reply::lines(out, "250", &self.extensions());
            return Step::Continue;
        }
        self.say(&format!("250 {}", self.settings.hostname), out)
    }

    /// The reply to EHLO: our name, then each extension that may be used now.
    fn extensions(&self) -> Vec<String> {
        let Settings { hostname, max_message_size, max_recipients, .. } = &self.settings;
        let mut lines = vec![hostname.clone(), "PIPELINING".into(), format!("SIZE {max_message_size}")];
        if self.settings.tls_available && !self.settings.tls_active {
            lines.push("STARTTLS".into());
        }
        let mechanisms: Vec<&str> = self.mechanisms().map(|mechanism| mechanism.name()).collect();
        if !mechanisms.is_empty() {
            lines.push(format!("AUTH {}", mechanisms.join(" ")));
        }
        lines.extend(["8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"].map(String::from));
        // A server that hands mail in by LMTP sends the notices itself (RFC 2033 has no DSN).
        if self.settings.dsn && self.settings.protocol == Protocol::Smtp {
            lines.push("DSN".into());
        }
        lines.push(format!("LIMITS RCPTMAX={max_recipients}"));
        lines.push("HELP".into());
        lines
    }

    fn help(&mut self, out: &mut Vec<u8>) -> Step {
        let hello = match self.settings.protocol {
            Protocol::Smtp => "HELO EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let commands = format!("2.0.0 {hello} MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT");
        let mut more = Vec::from([commands]);
        if self.settings.auth != Auth::Off {
            more.push("2.0.0 AUTH".into());
        }
        if self.settings.tls_available {
            more.push("2.0.0 STARTTLS".into());
        }
        more.push(concat!("2.0.0 mailbell ", env!("CARGO_PKG_VERSION"), ", see RFC 5321").into());
        reply::lines(out, "214", &more);
        Step::Continue
    }

    fn reset(&mut self, out: &mut Vec<u8>) -> Step {
        if !matches!(self.state, State::Start) {
            self.enter(State::Ready);
        }
        self.say(reply::RESET, out)
    }

    fn starttls(&mut self, out: &mut Vec<u8>) -> Step {
        if self.settings.tls_active {
            return self.say(reply::TLS_ACTIVE, out);
        }
        if !self.settings.tls_available {
            return self.say(reply::NOT_OFFERED, out);
        }
        reply::line(out, reply::BEGIN_TLS);
        Step::StartTls
    }
}

#[cfg(test)]
impl<M> Session<M> {
    pub(super) fn state_name(&self) -> &'static str {
        self.state.name()
    }
}
