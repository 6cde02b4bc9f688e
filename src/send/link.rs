//! One connection with the smarthost: does what the steps of the SMTP client say.

use super::trouble::{Kind, Trouble};
use super::wire::Encoder;
use crate::config::{Encryption, Relay};
use crate::net::remote::conn::{Conn, Signal};
use crate::net::remote::dial;
use crate::net::remote::secret::Secret;
use crate::net::remote::tls::Client;
use crate::net::remote::{Error, tls};
use crate::smtp::client::{LINE, Message, Session, Settings, Step, Verdict};
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One read of the message, octets.
const BLOCK: usize = 32 * 1024;

/// For one block of a message to be taken (RFC 5321 section 4.5.3.2.5).
const BLOCK_PATIENCE: Duration = Duration::from_secs(180);

/// Slowest smarthost that a message is sent to, octets a second, after the first block's patience.
const RATE: u64 = 500;

/// How long the answer to a whole message is waited for during a stop: without it, the message is sent again.
const LAST_ANSWER: Duration = Duration::from_secs(3);

/// How long the end of a session may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What is had before the sandbox.
pub(super) struct Dialled {
    stream: TcpStream,
    client: Option<Client>,
    secret: Option<Secret>,
}

/// Reads the secret and connects. `client` makes what the certificates are checked by.
pub(super) fn dial(relay: &Relay, client: impl FnOnce() -> Result<Client, String>) -> Result<Dialled, Trouble> {
    let is_clear = relay.encryption == Encryption::Off;
    let client = if is_clear { None } else { Some(client().map_err(|why| Trouble::new(Kind::Setup, why))?) };
    let secret = relay.login.as_ref().map(|(_, source)| source.read()).transpose()?;
    let stream = dial::dial(&relay.host, relay.port, is_clear)?;
    Ok(Dialled { stream, client, secret })
}

/// A session that is logged in.
pub(super) struct Link {
    conn: Conn,
    session: Session,
    out: Vec<u8>,
    host: String,
    /// For STARTTLS.
    client: Option<Client>,
    /// The smarthost has answered since the message began.
    has_answered: bool,
    /// Messages so far.
    messages: u32,
}

impl Link {
    /// From the greeting to the login.
    pub(super) fn open(relay: &Relay, hostname: &str, dialled: Dialled, stop: Signal) -> Result<Link, Trouble> {
        let Dialled { stream, client, secret } = dialled;
        let mut conn = Conn::new(stream, stop).map_err(Error::from)?;
        if let (Encryption::Implicit, Some(client)) = (relay.encryption, &client) {
            conn.start_tls(client, &relay.host)?;
        }
        let session = Session::new(Settings {
            hostname: hostname.to_owned(),
            account: relay.account(),
            starttls: relay.encryption == Encryption::StartTls,
        });
        let host = relay.host.clone();
        let mut link = Link { conn, session, out: Vec::new(), host, client, has_answered: false, messages: 0 };
        let mut step = link.run(Step::Line)?;
        if step == Step::Credentials {
            let secret = secret.ok_or_else(|| Trouble::new(Kind::Setup, "there is no secret"))?;
            step = link.session.credentials(secret.octets(), &mut link.out);
            step = link.run(step).map_err(|trouble| trouble.without(secret.octets(), relay))?;
        }
        match step {
            Step::Ready => Ok(link),
            _ => Err(Trouble::new(Kind::Temporary, "the smarthost broke the protocol")),
        }
    }

    /// Sends one message: what became of each recipient.
    ///
    /// # Errors
    ///
    /// No recipient is decided then, and the connection is of no use.
    pub(super) fn transact(&mut self, message: &Message, octets: impl Read) -> Result<Vec<Verdict>, Trouble> {
        self.has_answered = false;
        let step = self.session.mail(message, &mut self.out);
        let mut step = self.run(step)?;
        let encoder = match step {
            Step::Data => Some(Encoder::stuffed()),
            Step::Chunk => Some(Encoder::plain()),
            _ => None,
        };
        if let Some(encoder) = encoder {
            step = match self.body(octets, encoder) {
                Ok(()) => {
                    let step = self.session.body_sent();
                    self.run(step)?
                }
                // A smarthost that refuses the message in its middle has said why.
                Err(Error::Closed) => self.last_words()?,
                Err(error) => return Err(error.into()),
            };
        }
        match step {
            Step::Done(verdicts) => {
                self.messages += 1;
                Ok(verdicts)
            }
            _ => Err(Trouble::new(Kind::Temporary, "the smarthost broke the protocol")),
        }
    }

    fn body(&mut self, mut octets: impl Read, mut encoder: Encoder) -> Result<(), Error> {
        let (began, mut sent) = (Instant::now(), 0_u64);
        let mut block = vec![0; BLOCK];
        loop {
            let count = octets.read(&mut block).map_err(Error::Io)?;
            if count == 0 {
                break;
            }
            encoder.encode(&block[..count], &mut self.out);
            sent += self.out.len() as u64;
            self.conn.send_within(&self.out, BLOCK_PATIENCE)?;
            self.out.clear();
            if began.elapsed() > BLOCK_PATIENCE + Duration::from_secs(sent / RATE) {
                return Err(Error::Timeout("the smarthost takes less than 500 octets a second"));
            }
        }
        encoder.finish(&mut self.out);
        self.conn.send_within(&self.out, BLOCK_PATIENCE)?;
        self.out.clear();
        Ok(())
    }

    /// A reply that came before the connection broke.
    fn last_words(&mut self) -> Result<Step, Trouble> {
        self.out.clear();
        let end = Instant::now() + GOODBYE;
        loop {
            let line = self.conn.line(LINE, end, "the last reply", &[])?;
            match line.map(|line| self.session.line(line, &mut self.out)) {
                Some(Step::Line) => {}
                Some(Step::Done(verdicts)) => return Ok(Step::Done(verdicts)),
                _ => return Err(Error::Closed.into()),
            }
        }
    }

    /// Goes on until the session wants something else than a line.
    fn run(&mut self, mut step: Step) -> Result<Step, Trouble> {
        loop {
            if !self.out.is_empty() {
                self.conn.send(&self.out)?;
                self.out.clear();
            }
            step = match step {
                Step::Line => self.line()?,
                Step::StartTls => {
                    let client = self.client.clone().ok_or_else(|| Trouble::new(Kind::Setup, "no TLS"))?;
                    self.conn.start_tls(&client, &self.host)?;
                    self.session.secured(&mut self.out)
                }
                Step::Failed(failure) => return Err(failure.into()),
                other => return Ok(other),
            };
        }
    }

    /// One reply, of one line or of several, within one deadline.
    fn line(&mut self) -> Result<Step, Trouble> {
        let (patience, what) = self.session.patience();
        let mut end = Instant::now() + patience;
        loop {
            let line = match self.conn.line(LINE, end, what, &[]) {
                Err(Error::Interrupted) if self.session.is_in_body() => {
                    // The whole message was sent: without its answer it would be sent again.
                    self.conn.heed(Signal::new().map_err(Error::from)?);
                    end = end.min(Instant::now() + LAST_ANSWER);
                    continue;
                }
                line => line?,
            };
            self.has_answered = true;
            let step = match line {
                Some(line) => self.session.line(line, &mut self.out),
                None => self.session.line_too_long(),
            };
            if step != Step::Line || !self.session.is_in_reply() {
                return Ok(step);
            }
        }
    }

    /// Says goodbye, and closes.
    pub(super) fn quit(mut self) {
        if self.session.is_over() {
            return self.conn.close();
        }
        // A stop is no reason not to say it.
        if let Ok(never) = Signal::new() {
            self.conn.heed(never);
        }
        self.session.quit(&mut self.out);
        if self.conn.send_within(&self.out, GOODBYE).is_ok() {
            let _ = self.conn.line(LINE, Instant::now() + GOODBYE, "the reply to QUIT", &[]);
        }
        self.conn.close();
    }

    /// Nothing more can be sent on it.
    pub(super) fn is_over(&self) -> bool {
        self.session.is_over() || self.session.most_messages().is_some_and(|most| self.messages >= most)
    }

    /// The smarthost closed a connection that had served before, and has said nothing of the message that just began.
    pub(super) fn was_closed_between(&self) -> bool {
        self.messages > 0 && !self.has_answered
    }

    /// Messages so far.
    pub(super) fn messages(&self) -> u32 {
        self.messages
    }

    /// What the smarthost can.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Address, TLS and fingerprint, for people.
    pub(super) fn description(&self) -> String {
        self.conn.description()
    }
}

/// Certificates that are trusted, read once and again after a reload.
#[derive(Debug, Default)]
pub(super) struct Trusted(Option<(tls::Trust, Client)>);

impl Trusted {
    /// What `trust` names.
    pub(super) fn client(&mut self, trust: &tls::Trust) -> Result<Client, String> {
        if let Some((known, client)) = &self.0
            && known == trust
        {
            return Ok(client.clone());
        }
        let client = Client::new(trust)?;
        self.0 = Some((trust.clone(), client.clone()));
        Ok(client)
    }
}
