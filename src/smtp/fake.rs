//! A driver around the session for the tests of this room: octets in, replies out, messages in memory.

use super::*;
use crate::message::address::{ForwardPath, ReversePath};
use crate::message::dot::decode::{Decoder, LineEnds};
use crate::sasl::Credentials;

/// The settings of a connection from loopback to a server without a certificate.
pub(super) fn settings() -> Settings {
    Settings {
        hostname: "mail.example.org".into(),
        protocol: Protocol::Smtp,
        max_message_size: 100 * 1024,
        max_recipients: 5,
        auth: Auth::Optional,
        cleartext_allowed: true,
        stamp: Some("1.2@mail.example.org".into()),
        tls_available: false,
        tls_active: false,
        dsn: false,
    }
}

/// What the next octets are.
enum Mode {
    Lines,
    Data(Decoder, Vec<u8>),
    Chunk { octets: u64, left: u64, last: bool },
    Discard { left: u64 },
}

/// A message as it comes by BDAT.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    ends: LineEnds,
    text: Vec<u8>,
}

/// A message that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) sender: String,
    pub(super) users: Vec<String>,
    pub(super) text: Vec<u8>,
}

/// Does the work of a driver.
pub(super) struct Driver {
    pub(super) session: Session<Chunks>,
    pub(super) stored: Vec<Message>,
    pub(super) closed: bool,
    /// The failure that the store gives instead of storing.
    pub(super) failure: Option<Failure>,
    /// Users that get nothing.
    pub(super) over_quota: Vec<String>,
    input: Vec<u8>,
    mode: Mode,
}

impl Driver {
    pub(super) fn new(settings: Settings) -> Driver {
        Driver {
            session: Session::new(settings),
            stored: Vec::new(),
            closed: false,
            failure: None,
            over_quota: Vec::new(),
            input: Vec::new(),
            mode: Mode::Lines,
        }
    }

    /// One line without its end; gives the reply as text.
    pub(super) fn line(&mut self, line: &str) -> String {
        String::from_utf8(self.feed(&[line.as_bytes(), b"\r\n"].concat())).unwrap()
    }

    /// Takes octets as they come from the socket; gives what is answered.
    pub(super) fn feed(&mut self, octets: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(octets);
        let mut out = Vec::new();
        while !self.closed {
            let taken = match std::mem::replace(&mut self.mode, Mode::Lines) {
                Mode::Lines => self.command(&mut out),
                Mode::Data(decoder, text) => self.data(decoder, text, &mut out),
                Mode::Chunk { octets, left, last } => self.chunk(octets, left, last, &mut out),
                Mode::Discard { left } => {
                    let taken = left.min(self.input.len() as u64);
                    if taken < left {
                        self.mode = Mode::Discard { left: left - taken };
                    }
                    (taken as usize, taken < left)
                }
            };
            self.input.drain(..taken.0);
            if taken.1 {
                break;
            }
        }
        out
    }

    /// How many octets were taken, and whether more are needed before anything happens.
    fn command(&mut self, out: &mut Vec<u8>) -> (usize, bool) {
        let Some(lf) = self.input.iter().position(|&octet| octet == b'\n') else { return (0, true) };
        let line = self.input[..lf].strip_suffix(b"\r").unwrap_or(&self.input[..lf]).to_vec();
        let step = match lf + 1 > self.session.line_limit() {
            true => self.session.line_too_long(out),
            false => self.session.command(&line, out),
        };
        self.step(step, out);
        (lf + 1, false)
    }

    fn step(&mut self, step: Step, out: &mut Vec<u8>) {
        let next = match step {
            Step::Continue => return,
            Step::Close => {
                self.closed = true;
                return;
            }
            Step::StartTls => return self.session.tls_started(),
            Step::Login { credentials, .. } => self.session.logged_in(check(&credentials), out),
            Step::Sender => {
                let path = &self.session.transaction().expect("a sender is checked").reverse_path;
                let is_submission = self.session.settings.auth == Auth::Required;
                let own = !is_submission || self.session.user().is_none_or(|user| may_send_as(user, path));
                self.session.sender_checked(if own { Ok(()) } else { Err(SenderRefusal::NotYours) }, out)
            }
            Step::Recipient => {
                let outcome = resolve(self.session.recipient().expect("a recipient is looked up"));
                self.session.recipient_checked(outcome.map(Route::from), out)
            }
            Step::Data => {
                self.mode = Mode::Data(Decoder::new(), Vec::new());
                return;
            }
            Step::Chunk { octets, last } => {
                self.mode = Mode::Chunk { octets, left: octets, last };
                return;
            }
            Step::Discard { octets } => {
                self.mode = Mode::Discard { left: octets };
                return;
            }
        };
        self.step(next, out);
    }

    fn data(&mut self, mut decoder: Decoder, mut text: Vec<u8>, out: &mut Vec<u8>) -> (usize, bool) {
        let (taken, ended) = decoder.decode(&self.input, &mut text);
        if ended {
            self.store(text, out);
        } else {
            self.mode = Mode::Data(decoder, text);
        }
        (taken, !ended)
    }

    fn chunk(&mut self, octets: u64, left: u64, last: bool, out: &mut Vec<u8>) -> (usize, bool) {
        let taken = left.min(self.input.len() as u64);
        let mut message = self.session.take_message().unwrap_or_default();
        message.ends.decode(&self.input[..taken as usize], &mut message.text);
        if taken < left {
            self.session.chunk_received(octets, message, &mut Vec::new());
            self.mode = Mode::Chunk { octets, left: left - taken, last };
            return (taken as usize, true);
        }
        if last {
            message.ends.finish(&mut message.text);
            self.store(message.text, out);
        } else {
            let step = self.session.chunk_received(octets, message, out);
            self.step(step, out);
        }
        (taken as usize, false)
    }

    fn store(&mut self, text: Vec<u8>, out: &mut Vec<u8>) {
        let transaction = self.session.transaction().expect("a message came");
        let users = transaction.mailboxes().iter().map(|(user, _)| (*user).to_owned()).collect();
        let message = Message { sender: transaction.reverse_path.to_string(), users, text };
        let crlf = message.text.iter().filter(|&&octet| octet == b'\n').count() + message.text.len();
        let outcome = match self.failure {
            Some(failure) => Err(failure),
            None if crlf > 100 * 1024 => Err(Failure::TooLarge),
            None if message
                .text
                .split(|&octet| octet == b'\n')
                .filter(|line| line.starts_with(b"Received:"))
                .count()
                > 100 =>
            {
                Err(Failure::Loop)
            }
            None => {
                self.stored.push(message);
                Ok(Stored { id: "1.2.3", only_queued: false, over_quota: &self.over_quota })
            }
        };
        let step = self.session.stored(outcome, out);
        self.step(step, out);
    }
}

/// alice, bob and carol with the secrets `secret-a` and so on; CRAM-MD5 is accepted when it names one of them.
fn check(credentials: &Credentials) -> Option<String> {
    let name = credentials.name().to_owned();
    let known = ["alice", "bob", "carol"].contains(&name.as_str());
    let right = match credentials {
        Credentials::Password { password, .. } => *password == format!("secret-{}", &name[..1]).as_bytes(),
        Credentials::CramMd5 { .. } => true,
        Credentials::Apop { .. } => false,
    };
    (known && right).then_some(name)
}

/// Example.org is ours; `team` is alice and bob.
fn resolve(path: &ForwardPath) -> Result<Vec<String>, RecipientRefusal> {
    if path.domain.as_ref().is_some_and(|domain| !domain.eq_ignore_ascii_case("example.org")) {
        return Err(RecipientRefusal::NotOurDomain);
    }
    let name = path.local_part.to_ascii_lowercase();
    let name = name.split_once('+').map_or(name.as_str(), |(name, _)| name);
    match name {
        "alice" | "bob" | "carol" => Ok(vec![name.into()]),
        "postmaster" => Ok(vec!["alice".into()]),
        "team" => Ok(vec!["alice".into(), "bob".into()]),
        _ => Err(RecipientRefusal::NoSuchUser),
    }
}

fn may_send_as(user: &str, path: &ReversePath) -> bool {
    match path {
        ReversePath::Null => true,
        ReversePath::Mailbox(mailbox) => resolve(mailbox).is_ok_and(|users| users.iter().any(|known| known == user)),
    }
}
