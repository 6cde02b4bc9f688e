//! The session's states, and the one function that changes them.

mod login;

use super::RECIPIENTS;
use super::capabilities::Capabilities;
use super::envelope;
use super::reply::{Read, Reader, Reply, joined};
use super::step::{Message, Settings, Step, Verdict};
use crate::sasl::client::{Failure, Text};
use login::Login;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

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

/// A command that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Reset,
    Mail,
    Rcpt(usize),
}

/// One message.
#[derive(Debug, Default)]
struct Transaction {
    size: u64,
    /// What became of each recipient; `None`: accepted so far, or not asked yet.
    verdicts: Vec<Option<Verdict>>,
    accepted: Vec<usize>,
    /// Replies to come.
    expected: VecDeque<Expected>,
    /// Commands to be sent when the last one is answered.
    unsent: VecDeque<(Expected, String)>,
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

    /// Begins a message. [`Session::most_recipients`] says how many recipients it may have.
    pub fn mail(&mut self, message: &Message, out: &mut Vec<u8>) -> Step {
        if self.state != State::Ready {
            return self.fail(Failure::Protocol("a message outside of its turn"));
        }
        let command = match envelope::mail(message, &self.can) {
            Ok(command) => command,
            Err(reply) => return Step::Done(vec![Verdict::Failed(reply); message.recipients.len()]),
        };
        let mut transaction = Transaction { size: message.size, ..Transaction::default() };
        if std::mem::take(&mut self.is_open) {
            transaction.unsent.push_back((Expected::Reset, "RSET\r\n".into()));
        }
        transaction.unsent.push_back((Expected::Mail, command));
        let before = transaction.unsent.len();
        for (index, recipient) in message.recipients.iter().enumerate() {
            match envelope::rcpt(recipient, &self.can) {
                Ok(command) => {
                    transaction.unsent.push_back((Expected::Rcpt(index), command));
                    transaction.verdicts.push(None);
                }
                Err(reply) => transaction.verdicts.push(Some(Verdict::Failed(reply))),
            }
        }
        if transaction.unsent.len() == before {
            return Step::Done(transaction.verdicts.into_iter().flatten().collect());
        }
        self.transaction = transaction;
        self.enter(State::Envelope);
        self.send_commands(out);
        Step::Line
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

    /// Sends what may go out now: everything with PIPELINING, else one command.
    fn send_commands(&mut self, out: &mut Vec<u8>) {
        let count = if self.can.pipelining { usize::MAX } else { 1 };
        for _ in 0..count {
            let Some((expected, command)) = self.transaction.unsent.pop_front() else { break };
            out.extend_from_slice(command.as_bytes());
            self.transaction.expected.push_back(expected);
        }
    }

    /// A reply to RSET, MAIL or RCPT.
    fn envelope(&mut self, reply: Reply, out: &mut Vec<u8>) -> Step {
        let Some(expected) = self.transaction.expected.pop_front() else {
            return self.fail(Failure::Protocol("a reply that nothing asked for"));
        };
        // RFC 4954 section 6: these are about the login, and not about the message.
        if matches!(reply.code, 530 | 534 | 535 | 538) {
            return self.fail(Failure::Refused(text(&reply)));
        }
        if reply.is_intermediate() {
            return self.fail(Failure::Protocol("a reply to MAIL or RCPT that makes no sense"));
        }
        match expected {
            Expected::Reset => {}
            Expected::Mail if reply.is_positive() => self.is_open = true,
            Expected::Mail => {
                let verdict = verdict(reply);
                for each in self.transaction.verdicts.iter_mut().filter(|each| each.is_none()) {
                    *each = Some(verdict.clone());
                }
                // Those that were sent already will be refused; their replies say nothing new.
                self.transaction.unsent.clear();
            }
            Expected::Rcpt(index) if self.is_open && reply.is_positive() => self.transaction.accepted.push(index),
            Expected::Rcpt(index) if self.is_open => self.transaction.verdicts[index] = Some(of_recipient(reply)),
            Expected::Rcpt(_) => {}
        }
        if self.transaction.expected.is_empty() {
            self.send_commands(out);
        }
        if !self.transaction.expected.is_empty() {
            return Step::Line;
        }
        if self.transaction.accepted.is_empty() {
            return self.finish();
        }
        if self.can.chunking {
            self.enter(State::Body);
            out.extend_from_slice(format!("BDAT {} LAST\r\n", self.transaction.size).as_bytes());
            return Step::Chunk;
        }
        self.enter(State::Data);
        send("DATA", out)
    }

    /// The server has answered for all recipients that it had accepted.
    fn decide(&mut self, reply: &Reply) -> Step {
        for index in std::mem::take(&mut self.transaction.accepted) {
            self.transaction.verdicts[index] = Some(verdict(reply.clone()));
        }
        self.finish()
    }

    fn finish(&mut self) -> Step {
        self.enter(State::Ready);
        Step::Done(std::mem::take(&mut self.transaction).verdicts.into_iter().flatten().collect())
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

fn verdict(reply: Reply) -> Verdict {
    match reply.code / 100 {
        2 => Verdict::Sent(reply),
        5 => Verdict::Failed(reply),
        _ => Verdict::Deferred(reply),
    }
}

/// Of a recipient that was not accepted. RFC 5321 section 4.5.3.1.10: 452 means too many of them, and so does 552 of old
/// servers.
fn of_recipient(reply: Reply) -> Verdict {
    match (reply.code, reply.status().get(1..)) {
        (452 | 552, Some(".5.3")) => Verdict::TooMany(reply),
        (452, Some(".0.0")) => Verdict::TooMany(reply),
        (552, Some(".0.0")) => Verdict::Deferred(reply),
        _ => verdict(reply),
    }
}
