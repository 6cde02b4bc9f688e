//! A maildrop in memory and a driver around the session, for the tests of this room.

use super::*;
use crate::message::dot::encode::{LineEnds, WireSize};
use crate::sasl::{Credentials, Exchange, Fault, Progress};

/// Messages as they would be stored, with LF line ends, and their unique-ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    pub(super) messages: Vec<(String, Vec<u8>)>,
    /// Messages that another program removed.
    pub(super) gone: Vec<u32>,
}

impl Fake {
    pub(super) fn with(messages: &[&str]) -> Fake {
        let message = |(index, text): (usize, &&str)| (format!("id-{}", index + 1), text.as_bytes().to_vec());
        Fake { messages: messages.iter().enumerate().map(message).collect(), gone: Vec::new() }
    }
}

impl Maildrop for Fake {
    fn count(&self) -> u32 {
        self.messages.len() as u32
    }

    fn size(&self, message_number: u32) -> u64 {
        let mut size = WireSize::new(LineEnds::Mixed);
        size.add(&self.messages[message_number as usize - 1].1);
        size.octets_sent()
    }

    fn unique_id(&self, message_number: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(self.messages[message_number as usize - 1].0.as_bytes());
    }
}

/// The settings of a connection from loopback with all that can be offered.
pub(super) fn settings() -> Settings {
    Settings {
        stamp: Some("<1.2@mailbell>".into()),
        tls_available: true,
        expire: None,
        tls_active: false,
        cleartext_allowed: true,
        cram_md5: false,
    }
}

/// Does what a driver does: checks passwords, sends messages, applies updates.
pub(super) struct Driver {
    pub(super) session: Session<Fake>,
    pub(super) maildrop: Fake,
    pub(super) closed: bool,
    /// What was applied at QUIT.
    pub(super) applied: Option<(Vec<u32>, Vec<u32>)>,
    exchange: Option<Exchange>,
}

impl Driver {
    pub(super) fn new(settings: Settings, maildrop: Fake) -> Driver {
        Driver { session: Session::new(settings), maildrop, closed: false, applied: None, exchange: None }
    }

    /// One line without its end; gives the reply.
    pub(super) fn line(&mut self, line: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let too_long = line.len() + 2 > self.session.line_limit();
        let mut step = match too_long {
            true => self.session.line_too_long(&mut out),
            false => self.session.command(line, &mut out),
        };
        loop {
            step = match step {
                Step::Continue => return out,
                Step::More => self.session.more(&mut out),
                Step::Close => {
                    self.closed = true;
                    return out;
                }
                Step::StartTls => {
                    self.session.tls_started();
                    return out;
                }
                Step::Login(Login::Password { name, password }) => self.check(&name, &password, &mut out),
                Step::Login(Login::Apop { .. }) => self.session.opened(Err(Refusal::Auth), &mut out),
                Step::Auth { mechanism, initial } => {
                    let begun = Exchange::begin(mechanism, initial.as_deref(), || "<1.2@mailbell>".into());
                    self.exchanged(begun, &mut out)
                }
                Step::AuthResponse => {
                    let mut exchange = self.exchange.take().expect("an exchange was begun");
                    let progress = exchange.respond(line);
                    self.exchanged(progress.map(|progress| (exchange, progress)), &mut out)
                }
                Step::Send(part) => self.send(part, &mut out),
                Step::Update => {
                    let updating = self.session.updating().expect("QUIT led to Update");
                    self.applied = Some((updating.deleted.iter().collect(), updating.seen.iter().collect()));
                    self.session.updated(0, &mut out)
                }
            };
        }
    }

    fn exchanged(&mut self, outcome: Result<(Exchange, Progress), Fault>, out: &mut Vec<u8>) -> Step {
        match outcome {
            Ok((exchange, Progress::Challenge(text))) => {
                self.exchange = Some(exchange);
                self.session.challenge(&text, out)
            }
            Ok((_, Progress::Done(Credentials::Password { name, password }))) => self.check(&name, &password, out),
            Ok(_) | Err(_) => self.session.opened(Err(Refusal::Auth), out),
        }
    }

    fn check(&mut self, name: &str, password: &[u8], out: &mut Vec<u8>) -> Step {
        let outcome = match (name, password) {
            ("alice", b"secret-a") => Ok(self.maildrop.clone()),
            ("bob", b"secret-b") => Ok(Fake::default()),
            _ => Err(Refusal::Auth),
        };
        self.session.opened(outcome, out)
    }

    fn send(&mut self, part: Part, out: &mut Vec<u8>) -> Step {
        if self.maildrop.gone.contains(&part.message_number) {
            return self.session.message_opened(part, Err(Unavailable::Gone), out);
        }
        let step = self.session.message_opened(part, Ok(()), out);
        let mut encoder = part.encoder(LineEnds::Mixed);
        encoder.encode(&self.maildrop.messages[part.message_number as usize - 1].1, out);
        encoder.finish(out);
        step
    }
}
