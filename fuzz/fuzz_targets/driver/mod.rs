//! An SMTP driver in memory: octets in, replies out. What it answers the session depends on names alone, so that the same
//! octets have the same end however they are split.

use mailbell::message::dot::decode::{Decoder, LineEnds};
use mailbell::smtp::{Auth, Failure, Protocol, RecipientRefusal, SenderRefusal, Session, Settings, Step, Stored};

const LARGEST: u64 = 2_000;

pub fn settings(bits: u8) -> Settings {
    Settings {
        hostname: "mail.example.org".into(),
        protocol: if bits & 1 != 0 { Protocol::Lmtp } else { Protocol::Smtp },
        max_message_size: LARGEST,
        max_recipients: 3,
        auth: [Auth::Off, Auth::Optional, Auth::Optional, Auth::Required][usize::from(bits >> 1 & 3)],
        cleartext_allowed: bits & 8 != 0,
        stamp: (bits & 16 != 0).then(|| "1.2@mail.example.org".into()),
        tls_available: bits & 32 != 0,
        tls_active: bits & 64 != 0,
        dsn: bits & 128 != 0,
    }
}

enum Mode {
    Lines,
    Data(Decoder, Vec<u8>),
    Chunk { octets: u64, left: u64, last: bool },
    Discard(u64),
}

#[derive(Default)]
struct Chunks {
    ends: LineEnds,
    text: Vec<u8>,
}

pub struct Driver {
    session: Session<Chunks>,
    input: Vec<u8>,
    mode: Mode,
    pub closed: bool,
    pub replies: Vec<u8>,
    /// The messages that came whole.
    pub stored: Vec<Vec<u8>>,
}

impl Driver {
    pub fn new(settings: Settings) -> Driver {
        Driver {
            session: Session::new(settings),
            input: Vec::new(),
            mode: Mode::Lines,
            closed: false,
            replies: Vec::new(),
            stored: Vec::new(),
        }
    }

    pub fn feed(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        while !self.closed {
            let available = self.input.len() as u64;
            let (taken, waits) = match std::mem::replace(&mut self.mode, Mode::Lines) {
                Mode::Lines => self.line(),
                Mode::Data(mut decoder, mut text) => {
                    let (taken, ended) = decoder.decode(&self.input, &mut text);
                    match ended {
                        true => self.store(text),
                        false => self.mode = Mode::Data(decoder, text),
                    }
                    (taken, !ended)
                }
                Mode::Chunk { octets, left, last } => self.chunk(octets, left, last),
                Mode::Discard(left) => {
                    let taken = left.min(available);
                    if taken < left {
                        self.mode = Mode::Discard(left - taken);
                    }
                    (taken as usize, taken < left)
                }
            };
            self.input.drain(..taken);
            if waits {
                break;
            }
        }
    }

    fn line(&mut self) -> (usize, bool) {
        let Some(lf) = self.input.iter().position(|octet| *octet == b'\n') else { return (0, true) };
        let line = self.input[..lf].strip_suffix(b"\r").unwrap_or(&self.input[..lf]).to_vec();
        let step = match lf + 1 > self.session.line_limit() {
            true => self.session.line_too_long(&mut self.replies),
            false => self.session.command(&line, &mut self.replies),
        };
        self.step(step);
        (lf + 1, false)
    }

    fn step(&mut self, mut step: Step) {
        loop {
            let out = &mut self.replies;
            step = match step {
                Step::Continue => return,
                Step::Close => {
                    self.closed = true;
                    return;
                }
                Step::StartTls => return self.session.tls_started(),
                Step::Login { credentials, .. } => {
                    let user = (credentials.name().len() % 2 == 1).then(|| credentials.name().to_owned());
                    self.session.logged_in(user, out)
                }
                Step::Sender => {
                    let sender = self.session.transaction().expect("a sender is checked").reverse_path.to_string();
                    let outcome = match sender.len() % 8 {
                        5 => Err(SenderRefusal::NotYours),
                        6 => Err(SenderRefusal::NoRoom),
                        7 => Err(SenderRefusal::TooOften),
                        _ => Ok(()),
                    };
                    self.session.sender_checked(outcome, out)
                }
                Step::Recipient => {
                    let path = self.session.recipient().expect("a recipient is looked up");
                    let outcome = match path.local_part.len() % 7 {
                        0 => Err(RecipientRefusal::NoSuchUser),
                        1 => Err(RecipientRefusal::NotOurDomain),
                        2 => Err(RecipientRefusal::OverQuota),
                        4 => Ok(vec!["alice".into(), "bob".into()]),
                        _ => Ok(vec!["alice".into()]),
                    };
                    self.session.recipient_checked(outcome.map(Into::into), out)
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
                    self.mode = Mode::Discard(octets);
                    return;
                }
            };
        }
    }

    fn chunk(&mut self, octets: u64, left: u64, last: bool) -> (usize, bool) {
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
            self.store(message.text);
        } else {
            let step = self.session.chunk_received(octets, message, &mut self.replies);
            self.step(step);
        }
        (taken as usize, false)
    }

    fn store(&mut self, text: Vec<u8>) {
        let transaction = self.session.transaction().expect("a message came");
        assert!(!transaction.mailboxes().is_empty(), "a message for nobody");
        assert!(transaction.recipients.len() <= 3);
        let over_quota = if text.ends_with(b"Q\n") { vec!["bob".to_owned()] } else { Vec::new() };
        let outcome = match text.first() {
            _ if text.len() as u64 > LARGEST => Err(Failure::TooLarge),
            Some(b'L') => Err(Failure::Loop),
            Some(b'N') => Err(Failure::NoRoom),
            Some(b'S') => Err(Failure::System),
            _ => Ok(Stored { id: "1.2.3", only_queued: false, over_quota: &over_quota }),
        };
        if outcome.is_ok() {
            self.stored.push(text);
        }
        let step = self.session.stored(outcome, &mut self.replies);
        self.step(step);
    }
}
