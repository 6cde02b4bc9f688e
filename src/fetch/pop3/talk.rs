//! The conversation of a POP3 session: the login, and a reply or the data for each command.

use crate::config::{After, Encryption};
use crate::fetch::end::{End, Kind};
use crate::fetch::job::{Connected, Job};
use crate::message::dot::decode::Decoder;
use crate::net::remote::conn::Conn;
use crate::pop3::client::{LINE, Outcome, Session, Settings, Step};
use crate::sasl::client::Failure;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// For the greeting, and for each reply.
pub(super) const REPLY: Duration = Duration::from_secs(60);

/// For a whole session.
const SESSION: Duration = Duration::from_secs(3_600);

/// A session, its connection, and what is to be sent.
pub(super) struct Talk<'j> {
    pub(super) job: &'j Job,
    pub(super) conn: Conn,
    pub(super) session: Session,
    pub(super) out: Vec<u8>,
    end: Instant,
}

/// Comes to a session that takes commands.
pub(super) fn login(job: &Job, connected: Connected) -> Result<Talk<'_>, End> {
    let Connected { conn, secret, tls } = connected;
    let account = job.remote.account();
    let session = Session::new(Settings {
        account: account.clone(),
        starttls: job.remote.encryption == Encryption::StartTls,
        implicit_tls: job.remote.encryption == Encryption::Implicit,
    });
    let mut talk = Talk { job, conn, session, out: Vec::new(), end: Instant::now() + SESSION };
    let (mut step, mut has_tried) = (Step::Line, false);
    loop {
        let next = talk.run(step, REPLY).inspect_err(|end| {
            // Several servers send a stamp and can do APOP for few accounts: the other way is next, on a connection of its own.
            if end.kind == Kind::Credentials {
                job.without_apop.store(has_tried, Ordering::Relaxed);
            }
        });
        let next = next.map_err(|end| end.without(secret.octets(), &account))?;
        step = match next {
            Step::StartTls => {
                let client = tls.as_ref().ok_or_else(|| End::new(Kind::Temporary, "no TLS"))?;
                talk.conn.start_tls(client, &job.remote.host)?;
                talk.session.secured(&mut talk.out)
            }
            Step::Credentials => {
                if job.without_apop.load(Ordering::Relaxed) {
                    talk.session.forget_apop();
                }
                has_tried = talk.session.has_apop();
                talk.session.credentials(secret.octets(), &mut talk.out)
            }
            Step::Ready => return Ok(talk),
            _ => return Err(unexpected()),
        };
    }
}

pub(super) fn unexpected() -> End {
    Failure::Protocol("a reply that was not asked for").into()
}

impl Talk<'_> {
    /// Goes on until the driver has something else to do than to read lines.
    pub(super) fn run(&mut self, mut step: Step, patience: Duration) -> Result<Step, End> {
        let until = (Instant::now() + patience).min(self.end);
        loop {
            match step {
                Step::Line => {}
                Step::Failed(failure) => return Err(failure.into()),
                step => return Ok(step),
            }
            if !self.out.is_empty() {
                self.conn.send(&self.out)?;
                self.out.clear();
            }
            step = match self.conn.line(LINE, until, "a reply", &[])? {
                Some(line) => self.session.line(line, &mut self.out),
                None => self.session.line_too_long(),
            };
        }
    }

    pub(super) fn simple(&mut self, step: Step) -> Result<Outcome, End> {
        match self.run(step, REPLY)? {
            Step::Done(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    /// A server that deletes messages before `after` would.
    pub(super) fn warn_of_expiry(&self) {
        if let (Some(days), After::Age(age)) = (self.session.expire(), &self.job.remote.after)
            && u64::from(days) * 86_400 < age.as_secs()
        {
            log::warn!("remote {}: the server itself deletes messages after {days} days (EXPIRE)", self.job.label());
        }
    }

    /// The answer to RETR or TOP.
    pub(super) fn data(&mut self, step: Step, take: &mut dyn FnMut(&[u8])) -> Result<Outcome, End> {
        match self.run(step, REPLY)? {
            Step::Data => {}
            Step::Done(outcome) => return Ok(outcome),
            _ => return Err(unexpected()),
        }
        let (began, mut taken) = (Instant::now(), 0);
        let (mut decoder, mut block) = (Decoder::new(), Vec::new());
        loop {
            let octets = self.conn.data(began, taken)?;
            block.clear();
            let (count, has_ended) = decoder.decode(octets, &mut block);
            self.conn.consume(count);
            taken += count as u64;
            take(&block);
            if has_ended {
                break;
            }
        }
        match self.session.data_ended() {
            Step::Done(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }
}
