//! SMTP, submission and LMTP over a connection: does what the session's steps say. Message data streams from socket to
//! store through the dot decoder in large blocks. The text of replies and the order of commands are in `smtp`.
//!
//! A thousand sessions may wait for their clients, each on a stack of its own. So the driver is on the heap, and what a
//! session does between two waits runs in frames that are gone when it waits again.

mod check;
mod notice;
mod onward;
mod receive;

use crate::config::{AuthPolicy, ListenerKind};
use crate::limits;
use crate::net::conn::{Client, Command, Conn, Early, Error};
use crate::service::login;
use crate::service::maillog::Line;
use crate::service::{Live, Service};
use crate::smtp::{self, Auth, Farewell, Protocol, Session, Settings, Step};
use receive::Message;
use std::sync::Arc;

/// An idle session keeps a buffer of so many octets for its line: most commands fit.
const KEPT_LINE: usize = 128;

/// Serves one connection until it ends. Implicit TLS and the PROXY header are dealt with already; `client` is the true one.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
pub fn serve(service: &Service, conn: Conn, client: &Client, kind: ListenerKind) {
    service.counters.smtp_sessions.one();
    let mut driver = Driver::new(service, conn, client, kind);
    let end = driver.run();
    driver.end(&end);
}

/// What a session may offer on this connection.
fn settings(service: &Service, live: &Live, client: &Client, kind: ListenerKind) -> Settings {
    let config = &service.config;
    let auth = match (kind, config.smtp.auth) {
        (ListenerKind::Lmtp, _) | (ListenerKind::Smtp | ListenerKind::Local, AuthPolicy::Off) => Auth::Off,
        // The user id of the other end tells the local user.
        (ListenerKind::Local, _) => Auth::Optional,
        (ListenerKind::Smtp, AuthPolicy::Optional) => Auth::Optional,
        // Over a unix socket: a user of this machine. Local users need no password to send to local users.
        (ListenerKind::Smtp, AuthPolicy::Required) if client.ip().is_none() => Auth::Optional,
        _ => Auth::Required,
    };
    Settings {
        hostname: config.hostname.clone(),
        protocol: if kind == ListenerKind::Lmtp { Protocol::Lmtp } else { Protocol::Smtp },
        max_message_size: config.smtp.max_message_size,
        max_recipients: config.smtp.max_recipients,
        auth,
        cleartext_allowed: client.is_local() || !config.tls.required_for_auth,
        stamp: (auth != Auth::Off && live.accounts.all_plain()).then(|| login::stamp(&config.hostname)),
        tls_available: live.tls.is_some(),
        tls_active: kind.is_implicit_tls(),
        dsn: config.relays(),
    }
}

struct Driver<'a> {
    service: &'a Service,
    conn: Conn,
    client: &'a Client,
    kind: ListenerKind,
    /// A message that comes in chunks is on the heap: the session is moved around, and small most of the time.
    session: Session<Box<Message<'a>>>,
    /// Accounts and certificate, the same for a transaction's time.
    live: Arc<Live>,
    /// Unknown recipients so far.
    unknown_recipients: u32,
    /// The command of the moment.
    line: Vec<u8>,
    /// A block of message data for the store. Empty while the session waits: an idle one keeps no buffer.
    decoded: Vec<u8>,
}

impl<'a> Driver<'a> {
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn new(service: &'a Service, conn: Conn, client: &'a Client, kind: ListenerKind) -> Box<Driver<'a>> {
        let live = service.live();
        let session = Session::new(settings(service, &live, client, kind));
        Box::new(Driver {
            service,
            conn,
            client,
            kind,
            session,
            live,
            unknown_recipients: 0,
            line: Vec::new(),
            decoded: Vec::new(),
        })
    }
}

impl Driver<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let mut goes_on = self.greet()?;
        while goes_on {
            let is_whole = self.await_line()?;
            goes_on = self.answer(is_whole)?;
        }
        Ok(())
    }

    /// Greets the client; false when the session ends with that.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn greet(&mut self) -> Result<bool, Error> {
        if self.is_early()? {
            log::info!(
                "{}: {} refused: sent data before the greeting (smtp.early_talkers = \"refuse\")",
                self.kind,
                self.client
            );
            self.session.farewell(Farewell::TalksEarly, self.conn.output());
            return Ok(false);
        }
        self.session.greeting(self.conn.output());
        Ok(true)
    }

    /// Waits for a line and puts it into `line`; false when it was too long.
    fn await_line(&mut self) -> Result<bool, Error> {
        self.line.clear();
        if !self.conn.has_input() {
            self.decoded = Vec::new();
            self.line.shrink_to(KEPT_LINE);
            let usual = self.service.config.limits.command_timeout;
            self.conn.set_command_timeout(self.service.admission.patience(usual, limits::CROWDED_SMTP_COMMAND));
        }
        match self.conn.command(self.session.line_limit())? {
            Command::Line(line) => self.line.extend_from_slice(line),
            Command::TooLong => return Ok(false),
        }
        Ok(true)
    }

    /// Gives the line to the session and does what it says, until the session wants the next line; false when it ends.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn answer(&mut self, is_whole: bool) -> Result<bool, Error> {
        let before = self.conn.output().len();
        let mut step = match is_whole {
            true => self.session.command(&self.line, self.conn.output()),
            false => self.session.line_too_long(self.conn.output()),
        };
        if let Some(why) = self.conn.output().get(before..).and_then(smtp::login_trouble) {
            self.log_line("refused").field("why", why).info();
        }
        loop {
            self.conn.flush_blocks()?;
            step = match step {
                Step::Continue => return Ok(true),
                Step::Close => return Ok(false),
                step => self.act(step)?,
            };
        }
    }

    /// Does what a step says and answers the session.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn act(&mut self, step: Step) -> Result<Step, Error> {
        match step {
            Step::Continue | Step::Close => Ok(step),
            Step::StartTls => self.start_tls(),
            Step::Login { mechanism, credentials } => self.log_in(mechanism, &credentials),
            Step::Sender => Ok(self.check_sender()),
            Step::Recipient => self.look_up(),
            Step::Data => self.receive_data(),
            Step::Chunk { octets, last } => self.receive_chunk(octets, last),
            Step::Discard { octets } => self.discard(octets),
        }
    }

    /// Whether the client is refused because it sent something before the greeting. A mail server waits for the greeting
    /// (RFC 5321 section 4.3.1), and a program that sends spam often does not. Nothing is delayed for this: only what has
    /// come already counts. Programs of this machine and clients of submission are not asked.
    fn is_early(&mut self) -> Result<bool, Error> {
        if self.kind != ListenerKind::Smtp || self.client.is_local() || self.service.config.smtp.allows_early_talkers {
            return Ok(false);
        }
        match self.conn.early()? {
            Early::Silent => Ok(false),
            Early::Sent => Ok(true),
            Early::Left => Err(Error::Closed),
        }
    }

    /// Whether this is submission: a listener for it, or one for SMTP where all clients must log in.
    fn is_submission(&self) -> bool {
        match self.kind {
            ListenerKind::Submission | ListenerKind::Smtps => true,
            ListenerKind::Smtp => self.service.config.smtp.auth == AuthPolicy::Required,
            _ => false,
        }
    }

    fn start_tls(&mut self) -> Result<Step, Error> {
        login::start_tls(self.service, &mut self.conn, self.client, self.kind)?;
        self.session.tls_started();
        Ok(Step::Continue)
    }

    /// Sends the last reply where there is one. An unfinished message is removed before the client can see the end.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn end(mut self: Box<Self>, end: &Result<(), Error>) {
        if let (Err(error), Some(transaction)) = (end, self.session.transaction())
            && !transaction.recipients.is_empty()
        {
            self.service.counters.messages_refused.one();
            self.log_line("refused").field("why", error).info();
        }
        match end {
            Err(Error::Timeout) => self.session.farewell(Farewell::Timeout, self.conn.output()),
            Err(Error::Stopping) => self.session.farewell(Farewell::Stopping, self.conn.output()),
            Err(Error::Io(error)) => log::info!("{}: {}: {error}", self.kind, self.client),
            Ok(()) | Err(Error::Closed) => {}
        }
        drop(self.session);
        self.conn.close();
    }

    /// A line of the mail log about what is going on.
    fn log_line(&self, event: &str) -> Line {
        let sender = self.session.transaction().map(|transaction| &transaction.reverse_path);
        Line::new(event)
            .field("client", self.client)
            .field("listener", self.kind)
            .maybe("helo", self.session.helo().map(|helo| &helo.name))
            .maybe("auth", self.session.user())
            .maybe("tls", self.conn.tls_description())
            .maybe("from", sender)
    }
}
