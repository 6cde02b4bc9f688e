//! The session's states, and the one function that changes them.

mod login;

use super::step::{Outcome, Settings, Step};
use crate::sasl::client::{ClientMechanism, Failure, Text, refused_login};
use login::stamp;
use std::fmt;

/// Most lines of one listing: a maildrop of a million messages.
const ENTRIES: u32 = 1_000_000;

/// Most lines of CAPA.
const CAPABILITIES: u32 = 1_000;

/// Longest unique-id that is taken, octets (RFC 1939 section 7 has 70).
const UNIQUE_ID: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    /// CAPA was sent; then its lines come.
    Capa(When),
    CapaList(When),
    StartTls,
    Handshake,
    Credentials,
    User,
    Pass,
    Apop,
    /// AUTH was sent, or its response.
    Auth(ClientMechanism),
    Ready,
    Stat,
    Uidl,
    UidlList,
    List,
    Retrieve,
    Data,
    Dele,
    Quit,
    Over,
}

/// When CAPA was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    First,
    AfterTls,
    AfterLogin,
}

/// One session.
pub struct Session {
    settings: Settings,
    state: State,
    /// Of the greeting, with its angle brackets.
    stamp: Option<String>,
    /// In capitals; `None` where the server does not know CAPA.
    capabilities: Option<Vec<String>>,
    /// What is sent after the next reply of a login.
    secret: Option<Vec<u8>>,
    /// The status of a refused token.
    status: Option<String>,
    lines: u32,
    is_secure: bool,
}

impl Session {
    /// Before the greeting: [`Step::Line`] is next.
    pub fn new(settings: Settings) -> Session {
        Session {
            is_secure: settings.implicit_tls,
            settings,
            state: State::Greeting,
            stamp: None,
            capabilities: None,
            secret: None,
            status: None,
            lines: 0,
        }
    }

    /// Takes a line without its end.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        match self.state {
            State::CapaList(when) => self.capability(line, when, out),
            State::UidlList => self.entry(line),
            State::Auth(mechanism) if line.starts_with(b"+") && !line.starts_with(b"+OK") => {
                self.challenge(mechanism, line.trim_ascii_start().get(1..).unwrap_or_default(), out)
            }
            _ => match (strip(line, b"+OK"), strip(line, b"-ERR")) {
                (Some(text), _) => self.accepted(text, out),
                (_, Some(text)) => self.refused(text, out),
                _ => self.fail(Failure::Protocol("a line that is neither +OK nor -ERR")),
            },
        }
    }

    /// A line was longer than [`super::LINE`].
    pub fn line_too_long(&mut self) -> Step {
        self.fail(Failure::Flood("a line of more than 4 KiB"))
    }

    /// Answers [`Step::StartTls`]: everything that was said in clear is forgotten.
    pub fn secured(&mut self, out: &mut Vec<u8>) -> Step {
        self.is_secure = true;
        self.capabilities = None;
        self.enter(State::Capa(When::AfterTls));
        send("CAPA", out)
    }

    /// How many messages there are.
    pub fn stat(&mut self, out: &mut Vec<u8>) -> Step {
        self.enter(State::Stat);
        send("STAT", out)
    }

    /// The unique-id of every message.
    pub fn uidl(&mut self, out: &mut Vec<u8>) -> Step {
        self.enter(State::Uidl);
        send("UIDL", out)
    }

    /// The size of a message; message-numbers count from 1.
    pub fn list(&mut self, number: u32, out: &mut Vec<u8>) -> Step {
        self.enter(State::List);
        send(&format!("LIST {number}"), out)
    }

    /// A message.
    pub fn retr(&mut self, number: u32, out: &mut Vec<u8>) -> Step {
        self.enter(State::Retrieve);
        send(&format!("RETR {number}"), out)
    }

    /// The header of a message.
    pub fn top(&mut self, number: u32, out: &mut Vec<u8>) -> Step {
        self.enter(State::Retrieve);
        send(&format!("TOP {number} 0"), out)
    }

    /// Answers [`Step::Data`].
    pub fn data_ended(&mut self) -> Step {
        self.enter(State::Ready);
        Step::Done(Outcome::Ok)
    }

    /// Marks a message as deleted.
    pub fn dele(&mut self, number: u32, out: &mut Vec<u8>) -> Step {
        self.enter(State::Dele);
        send(&format!("DELE {number}"), out)
    }

    /// Says goodbye; the server deletes what was marked.
    pub fn quit(&mut self, out: &mut Vec<u8>) -> Step {
        self.enter(State::Quit);
        send("QUIT", out)
    }

    /// Whether the server says that it knows TOP (optional in RFC 1939).
    pub fn has_top(&self) -> bool {
        self.capabilities.is_none() || self.can("TOP")
    }

    /// LOGIN-DELAY (RFC 2449 section 6.5): least seconds between two logins.
    pub fn login_delay(&self) -> Option<u32> {
        self.argument("LOGIN-DELAY")?.parse().ok()
    }

    /// EXPIRE (RFC 2449 section 6.7): days that the server keeps a message; `None` without a limit.
    pub fn expire(&self) -> Option<u32> {
        self.argument("EXPIRE")?.parse().ok()
    }

    /// What the server can, in capitals.
    pub fn capabilities(&self) -> &[String] {
        self.capabilities.as_deref().unwrap_or_default()
    }

    /// The first word after a capability's name.
    fn argument(&self, name: &str) -> Option<&str> {
        let mut all = self.capabilities().iter().map(|line| line.split_ascii_whitespace());
        all.find_map(|mut words| words.next().filter(|word| *word == name).and_then(|_| words.next()))
    }

    fn can(&self, name: &str) -> bool {
        self.capabilities().iter().any(|line| line.split_ascii_whitespace().next() == Some(name))
    }

    fn has_mechanism(&self, name: &str) -> bool {
        self.capabilities().iter().any(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next() == Some("SASL") && words.any(|word| word == name)
        })
    }

    fn enter(&mut self, state: State) {
        log::trace!("pop3 client: {:?} -> {state:?}", self.state);
        self.state = state;
        self.lines = 0;
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.enter(State::Over);
        Step::Failed(failure)
    }

    fn done(&mut self, outcome: Outcome) -> Step {
        self.enter(State::Ready);
        Step::Done(outcome)
    }

    /// +OK.
    fn accepted(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        match self.state {
            State::Greeting => {
                self.stamp = stamp(text);
                self.enter(State::Capa(When::First));
                send("CAPA", out)
            }
            State::Capa(when) => {
                self.capabilities = Some(Vec::new());
                self.enter(State::CapaList(when));
                Step::Line
            }
            State::StartTls => {
                self.enter(State::Handshake);
                Step::StartTls
            }
            State::User => {
                self.enter(State::Pass);
                out.extend_from_slice(b"PASS ");
                out.extend(self.secret.take().unwrap_or_default());
                out.extend_from_slice(b"\r\n");
                Step::Line
            }
            State::Pass | State::Apop | State::Auth(_) => {
                self.secret = None;
                self.enter(State::Capa(When::AfterLogin));
                send("CAPA", out)
            }
            State::Stat => match number(text) {
                Some(count) => {
                    self.enter(State::Ready);
                    Step::Count(count)
                }
                None => self.fail(Failure::Protocol("STAT without a number")),
            },
            State::Uidl => {
                self.enter(State::UidlList);
                Step::Line
            }
            State::List => {
                let text = text.trim_ascii();
                let size = text.iter().position(|&octet| octet == b' ').and_then(|blank| number(&text[blank..]));
                match size {
                    Some(size) => {
                        self.enter(State::Ready);
                        Step::Size(size)
                    }
                    None => self.fail(Failure::Protocol("LIST without a number")),
                }
            }
            State::Retrieve => {
                self.enter(State::Data);
                Step::Data
            }
            State::Dele => self.done(Outcome::Ok),
            State::Quit => {
                self.enter(State::Over);
                Step::Over { confirmed: true }
            }
            _ => self.fail(Failure::Protocol("a reply without a command")),
        }
    }

    /// -ERR.
    fn refused(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        match self.state {
            State::Greeting => self.fail(Failure::Temporary(Text::new(text))),
            State::Capa(when) => self.after_capa(when, out),
            State::StartTls => self.fail(Failure::NoTls(Text::new(text))),
            State::User | State::Pass | State::Apop | State::Auth(_) => {
                self.secret = None;
                let status = self.status.take().map(|status| format!("status {status}").into_bytes());
                self.fail(refused_login(status.as_deref().unwrap_or(text)))
            }
            State::Stat => self.fail(Failure::Temporary(Text::new(text))),
            State::Uidl | State::List | State::Retrieve | State::Dele => self.done(Outcome::Refused(Text::new(text))),
            State::Quit => {
                self.enter(State::Over);
                Step::Over { confirmed: false }
            }
            _ => self.fail(Failure::Protocol("a reply without a command")),
        }
    }

    /// A line of CAPA's list.
    fn capability(&mut self, line: &[u8], when: When, out: &mut Vec<u8>) -> Step {
        if line == b"." {
            return self.after_capa(when, out);
        }
        self.lines += 1;
        if self.lines > CAPABILITIES {
            return self.fail(Failure::Flood("more than 1,000 capabilities"));
        }
        let line = String::from_utf8_lossy(line).to_ascii_uppercase();
        self.capabilities.get_or_insert_default().push(line);
        Step::Line
    }

    fn after_capa(&mut self, when: When, out: &mut Vec<u8>) -> Step {
        match when {
            When::First if self.settings.starttls => {
                self.enter(State::StartTls);
                send("STLS", out)
            }
            When::First | When::AfterTls => {
                self.enter(State::Credentials);
                Step::Credentials
            }
            When::AfterLogin => {
                self.enter(State::Ready);
                Step::Ready
            }
        }
    }

    /// A line of UIDL's list.
    fn entry(&mut self, line: &[u8]) -> Step {
        if line == b"." {
            return self.done(Outcome::Ok);
        }
        self.lines += 1;
        if self.lines > ENTRIES {
            return self.fail(Failure::Flood("more than 1,000,000 messages"));
        }
        let line = line.trim_ascii();
        let blank = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
        let unique_id = line[blank..].trim_ascii();
        match number(line) {
            Some(number) if number > 0 && matches!(unique_id.len(), 1..=UNIQUE_ID) => {
                Step::Entry { number, unique_id: unique_id.to_vec() }
            }
            _ => self.fail(Failure::Protocol("a line of UIDL that is none")),
        }
    }
}

impl fmt::Debug for Session {
    /// Without what a login has yet to send.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("state", &self.state).finish_non_exhaustive()
    }
}

fn send(command: &str, out: &mut Vec<u8>) -> Step {
    out.extend_from_slice(command.as_bytes());
    out.extend_from_slice(b"\r\n");
    Step::Line
}

/// What follows the status indicator, in any case.
fn strip<'a>(line: &'a [u8], indicator: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = line.split_at_checked(indicator.len())?;
    (first.eq_ignore_ascii_case(indicator) && !rest.first().is_some_and(u8::is_ascii_alphanumeric)).then_some(rest)
}

/// The number that a text begins with.
fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|octet| !octet.is_ascii_digit()).unwrap_or(text.len());
    if text.get(end).is_some_and(|&octet| octet != b' ') {
        return None;
    }
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}
