//! One session's connection: lines and literals between the server and `imap::Session`.

use crate::config::Encryption;
use crate::fetch::end::{End, Kind};
use crate::fetch::job::{Connected, Job};
use crate::imap::{Failure, Fetched, Folder, LINE, Outcome, Session, Settings, Step};
use crate::net::remote::conn::{Conn, Signal};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For the greeting, and for each reply.
pub const REPLY: Duration = Duration::from_secs(60);

/// For SELECT: a large folder may have to be indexed first.
const SELECT: Duration = Duration::from_secs(300);

/// For LOGOUT.
const GOODBYE: Duration = Duration::from_secs(2);

/// For a whole session.
const SESSION: Duration = Duration::from_secs(24 * 3_600);

/// A connection and its session.
pub struct Talk<'j> {
    pub job: &'j Job,
    pub conn: Conn,
    pub session: Session,
    pub out: Vec<u8>,
    /// When the session ends at the latest.
    pub end: Instant,
    /// UIDVALIDITY of the open folder.
    pub validity: u32,
    /// Messages that this session has fetched.
    pub fetched: u32,
}

/// Comes to a session that takes commands.
pub fn login(job: &Job, connected: Connected) -> Result<Talk<'_>, End> {
    let Connected { conn, secret, tls } = connected;
    let account = job.remote.account();
    let session =
        Session::new(Settings { account: account.clone(), starttls: job.remote.encryption == Encryption::StartTls });
    let end = Instant::now() + SESSION;
    let mut talk = Talk { job, conn, session, out: Vec::new(), end, validity: 0, fetched: 0 };
    let mut step = Step::Line;
    loop {
        let next = talk.run(step, REPLY).map_err(|end| end.without(secret.octets(), &account))?;
        step = match next {
            Step::StartTls => {
                let client = tls.as_ref().ok_or_else(|| End::new(Kind::Temporary, "no TLS"))?;
                talk.conn.start_tls(client, &job.remote.host)?;
                talk.session.secured(&mut talk.out)
            }
            Step::Credentials => talk.session.credentials(secret.octets(), &mut talk.out),
            Step::Ready => return Ok(talk),
            _ => return Err(unexpected()),
        };
    }
}

/// A step that no command of this room can lead to.
pub fn unexpected() -> End {
    Failure::Protocol("a reply that was not asked for").into()
}

impl Talk<'_> {
    /// Goes on until the driver has something else to do than to read lines.
    pub(super) fn run(&mut self, step: Step, patience: Duration) -> Result<Step, End> {
        self.run_heeding(step, Instant::now() + patience, &[])
    }

    pub(super) fn run_heeding(&mut self, mut step: Step, until: Instant, also: &[&Signal]) -> Result<Step, End> {
        loop {
            match step {
                Step::Line => {}
                Step::Literal { octets, is_body: false } => {
                    self.conn.exactly(octets, &mut |octets| self.session.octets(octets))?;
                }
                Step::Failed(failure) => return Err(failure.into()),
                step => return Ok(step),
            }
            if !self.out.is_empty() {
                self.conn.send(&self.out)?;
                self.out.clear();
            }
            let line = self.conn.line(LINE, until.min(self.end), "a reply", also)?;
            step = match line {
                Some(line) => self.session.line(line, &mut self.out),
                None => self.session.line_too_long(),
            };
        }
    }

    /// Opens the job's folder.
    pub(super) fn select(&mut self, read_only: bool) -> Result<Folder, End> {
        let step = self.session.select(self.job.folder_name(), read_only, &mut self.out);
        match self.run(step, SELECT)? {
            Step::Selected(folder) => Ok(folder),
            _ => Err(unexpected()),
        }
    }

    /// A command that gives no items.
    pub(super) fn simple(&mut self, step: Step) -> Result<Outcome, End> {
        let mut step = self.run(step, REPLY)?;
        loop {
            step = match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Item(_) => self.run(Step::Line, REPLY)?,
                _ => return Err(unexpected()),
            };
        }
    }

    /// Says goodbye, and waits for the answer for 2 s at most.
    pub(super) fn goodbye(&mut self) {
        // A stop was given, and must not end this, too.
        let Ok(never) = Signal::new() else { return };
        self.conn.heed(never);
        self.end = Instant::now() + GOODBYE;
        // Only then can IDLE be ended.
        if self.session.is_about_to_idle() && self.run(Step::Line, GOODBYE).is_err() {
            return;
        }
        let step = match self.session.is_idle() {
            true => {
                let step = self.session.done(&mut self.out);
                self.run(step, GOODBYE)
            }
            false => Ok(Step::Done(Outcome::Ok)),
        };
        if let Ok(Step::Done(_)) = step {
            let step = self.session.logout(&mut self.out);
            let _ = self.run(step, GOODBYE);
        }
    }

    /// UIDs from `first` on, with their sizes.
    pub(super) fn list(&mut self, first: u32) -> Result<BTreeMap<u32, u64>, End> {
        let mut listed = BTreeMap::new();
        let mut step = self.session.list(first, &mut self.out);
        loop {
            step = match self.run(step, REPLY)? {
                Step::Item(Fetched { uid: Some(uid), size, .. }) if uid >= first => {
                    listed.insert(uid, size.unwrap_or(0));
                    Step::Line
                }
                // A server always gives the last message, also one before `first`.
                Step::Item(_) => Step::Line,
                // Some servers refuse to list an empty folder.
                Step::Done(_) => return Ok(listed),
                _ => return Err(unexpected()),
            };
        }
    }
}
