//! The session's states, and the one function that changes them.

mod login;
mod transaction;

use super::RECIPIENTS;
use super::capabilities::Capabilities;
use super::reply::{Read, Reader, Reply, joined};
use super::step::{Settings, Step};
use crate::sasl::client::{Failure, Text};
use login::Login;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use transaction::Transaction;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Credentials,
    /// AUTH was sent, or its response.
    Auth(Login),
    Ready,
    Envelope,
    Data,
    Body,
    Final,
    Quit,
    Over,
}

/// One session.
pub struct Session {
    settings: Settings,
    state: State,
    reader: Reader,
    can: Capabilities,
    is_secure: bool,
    /// MAIL was accepted, and the transaction has not ended with its message: RSET comes before the next one.
    is_open: bool,
    /// What is sent after the next challenge of a login.
    responses: VecDeque<String>,
    /// The status of a refused token.
    status: Option<String>,
    transaction: Transaction,
}

impl Session {
    /// Before the greeting: [`Step::Line`] is next.
    pub fn new(settings: Settings) -> Session {
        Session {
            settings,
            state: State::Greeting,
            reader: Reader::default(),
            can: Capabilities::default(),
            is_secure: false,
            is_open: false,
            responses: VecDeque::new(),
            status: None,
            transaction: Transaction::default(),
        }
    }

    /// Takes a line without its end.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        match self.reader.line(line) {
            Read::More => Step::Line,
            Read::Whole(code, lines) => self.reply(code, &lines, out),
            Read::Wrong(what) => self.fail(Failure::Protocol(what)),
        }
    }

    /// A line was longer than [`super::LINE`].
    pub fn line_too_long(&mut self) -> Step {
        self.fail(Failure::Flood("a line of more than 4 KiB"))
    }

    /// How long the next line may take, and what it is (RFC 5321 section 4.5.3.2).
    pub fn patience(&self) -> (Duration, &'static str) {
        let (minutes, what) = match self.state {
            State::Greeting => (5, "the greeting"),
            State::Envelope => (5, "the reply to MAIL or RCPT"),
            State::Data => (2, "the reply to DATA"),
            State::Body | State::Final => (10, "the reply to the message"),
            State::Quit => (1, "the reply to QUIT"),
            _ => (5, "a reply"),
        };
        (Duration::from_secs(60 * minutes), what)
    }

    /// Answers [`Step::StartTls`]: everything that was said in clear is forgotten.
    pub fn secured(&mut self, out: &mut Vec<u8>) -> Step {
        self.is_secure = true;
        self.can = Capabilities::default();
        self.reader.clear();
        self.hello(out)
    }

    /// Answers [`Step::Data`] and [`Step::Chunk`].
    pub fn body_sent(&mut self) -> Step {
        if self.state != State::Body {
            return self.fail(Failure::Protocol("a message outside of its turn"));
        }
        self.enter(State::Final);
        Step::Line
    }

    /// Says goodbye.
    pub fn quit(&mut self, out: &mut Vec<u8>) -> Step {
        if self.state == State::Over {
            return Step::Over;
        }
        self.enter(State::Quit);
        send("QUIT", out)
    }

    /// The connection is of no use any more.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// A reply of several lines has begun and not ended.
    pub fn is_in_reply(&self) -> bool {
        self.reader.has_begun()
    }

    /// The message is being sent, and its last reply has not come.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body | State::Final)
    }

    /// Recipients of one transaction.
    pub fn most_recipients(&self) -> usize {
        self.can.recipients.clamp(1, RECIPIENTS)
    }

    /// Messages of one connection, where the server says it.
    pub fn most_messages(&self) -> Option<u32> {
        self.can.messages
    }

    /// The server knows RET, ENVID, NOTIFY and ORCPT.
    pub fn has_dsn(&self) -> bool {
        self.can.dsn
    }

    /// The server takes header fields and addresses in UTF-8.
    pub fn has_smtputf8(&self) -> bool {
        self.can.smtputf8
    }

    /// The extensions that are used, for people.
    pub fn description(&self) -> String {
        let can = &self.can;
        let all = [
            ("PIPELINING", can.pipelining),
            ("8BITMIME", can.eight_bit),
            ("SMTPUTF8", can.smtputf8),
            ("CHUNKING", can.chunking),
            ("DSN", can.dsn),
        ];
        let mut words: Vec<String> = all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect();
        words.extend(can.size.map(|size| format!("SIZE {size}")));
        words.join(", ")
    }

    fn enter(&mut self, state: State) {
        log::trace!("smtp client: {:?} -> {state:?}", self.state);
        self.state = state;
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.enter(State::Over);
        Step::Failed(failure)
    }

    fn ready(&mut self) -> Step {
        self.enter(State::Ready);
        Step::Ready
    }

    fn hello(&mut self, out: &mut Vec<u8>) -> Step {
        self.enter(State::Ehlo);
        send(&format!("EHLO {}", self.settings.hostname), out)
    }

    /// A whole reply.
    fn reply(&mut self, code: u16, lines: &[String], out: &mut Vec<u8>) -> Step {
        let reply = joined(code, lines);
        // RFC 5321 section 3.8: the server closes the connection.
        if code == 421 && !matches!(self.state, State::Body | State::Final | State::Quit) {
            return self.fail(Failure::Bye(text(&reply)));
        }
        match self.state {
            State::Greeting if reply.is_positive() => self.hello(out),
            State::Greeting => self.fail(Failure::Bye(text(&reply))),
            State::Ehlo if reply.is_positive() => {
                self.can = Capabilities::of(lines);
                self.after_hello(out)
            }
            State::Ehlo if self.settings.starttls && !self.is_secure => self.fail(Failure::NoTls(text(&reply))),
            State::Ehlo if reply.is_permanent() && self.settings.account.is_none() => {
                self.enter(State::Helo);
                send(&format!("HELO {}", self.settings.hostname), out)
            }
            State::Ehlo | State::Helo if !reply.is_positive() => self.fail(Failure::Bye(text(&reply))),
            State::Helo => self.ready(),
            State::StartTls if code == 220 => {
                self.enter(State::Handshake);
                Step::StartTls
            }
            State::StartTls => self.fail(Failure::NoTls(text(&reply))),
            State::Auth(login) => self.auth(login, &reply, out),
            State::Envelope => self.envelope(reply, out),
            State::Data if reply.is_intermediate() => {
                self.enter(State::Body);
                Step::Data
            }
            State::Data if reply.is_positive() => self.fail(Failure::Protocol("a reply to DATA that is not 354")),
            State::Data => {
                self.is_open = true;
                self.decide(&reply)
            }
            State::Final if !reply.is_intermediate() => {
                // RFC 3030 section 2: after a chunk that failed, only RSET helps.
                self.is_open = !reply.is_positive();
                let step = self.decide(&reply);
                if code == 421 {
                    self.enter(State::Over);
                }
                step
            }
            // The server does not read the message to its end, and closes.
            State::Body if !reply.is_positive() && !reply.is_intermediate() => {
                let step = self.decide(&reply);
                self.enter(State::Over);
                step
            }
            State::Quit => {
                self.enter(State::Over);
                Step::Over
            }
            _ => self.fail(Failure::Protocol("a reply that nothing asked for")),
        }
    }

    fn after_hello(&mut self, out: &mut Vec<u8>) -> Step {
        if self.settings.starttls && !self.is_secure {
            if !self.can.starttls {
                return self.fail(Failure::NoTls(Text::new(b"STARTTLS is not offered")));
            }
            self.enter(State::StartTls);
            return send("STARTTLS", out);
        }
        if self.settings.account.is_some() {
            self.enter(State::Credentials);
            return Step::Credentials;
        }
        self.ready()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("state", &self.state).finish_non_exhaustive()
    }
}

fn send(command: &str, out: &mut Vec<u8>) -> Step {
    out.extend_from_slice(command.as_bytes());
    out.extend_from_slice(b"\r\n");
    Step::Line
}

fn text(reply: &Reply) -> Text {
    Text::new(reply.to_string().as_bytes())
}
