//! POP3 over a connection: does what the session's steps say. Messages go from file to socket through the dot encoder in
//! large blocks. The text of replies and the order of commands are in `pop3`.
//!
//! A session that ends without QUIT leaves the maildrop as it was (RFC 1939 section 6).

mod authorization;

use std::io::Read;

use crate::config::ListenerKind;
use crate::limits;
use crate::maildir::drop::{self, Maildrop};
use crate::maildir::reader::MessageReader;
use crate::message::dot::encode::LineEnds;
use crate::net::conn::{Client, Command, Conn, Error};
use crate::pop3::{Maildrop as _, Marks, Part, Session, Step, Unavailable, Updating};
use crate::sasl::{Exchange, Mechanism};
use crate::service::Service;
use crate::service::login;
use crate::service::maillog::Line;

/// Most octets that are read of a message at once. The block and the output that it becomes stay in a core's cache.
const BLOCK: usize = 64 * 1024;

/// The same for TOP, by which clients ask for headers.
const TOP_BLOCK: usize = 8 * 1024;

/// Serves one connection until it ends. Implicit TLS and the PROXY header are dealt with already; `client` is the true one.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
pub fn serve(service: &Service, conn: Conn, client: &Client, kind: ListenerKind) {
    service.counters.pop3_sessions.one();
    let mut driver = Driver::new(service, conn, client, kind);
    let end = driver.run();
    driver.end(&end);
}

/// What a session has sent: messages by RETR, and octets on disk by RETR and TOP.
#[derive(Default)]
struct Sent {
    messages: u64,
    octets: u64,
}

struct Driver<'a> {
    service: &'a Service,
    conn: Conn,
    client: &'a Client,
    kind: ListenerKind,
    session: Session<Maildrop>,
    /// What APOP digests begin with; only where APOP is offered.
    stamp: Option<String>,
    /// The SASL exchange under way.
    exchange: Option<(Mechanism, Exchange)>,
    /// The user that logged in.
    user: Option<String>,
    /// The present command. Empty while the session waits, as is `block`: an idle one keeps no buffer.
    line: Vec<u8>,
    /// The block of a message that was read last.
    block: Vec<u8>,
    sent: Sent,
    /// Messages that the update removed.
    deleted: usize,
}

impl<'a> Driver<'a> {
    /// On the heap, so that the stack of a session that waits stays small.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn new(service: &'a Service, conn: Conn, client: &'a Client, kind: ListenerKind) -> Box<Driver<'a>> {
        let stamp = service.live().accounts.all_plain().then(|| authorization::stamp(&service.config.hostname));
        let session = Session::new(authorization::settings(service, client, kind, stamp.clone()));
        Box::new(Driver {
            service,
            conn,
            client,
            kind,
            session,
            stamp,
            exchange: None,
            user: None,
            line: Vec::new(),
            block: Vec::new(),
            sent: Sent::default(),
            deleted: 0,
        })
    }

    fn run(&mut self) -> Result<(), Error> {
        self.session.greeting(self.conn.output());
        let mut goes_on = true;
        while goes_on {
            let is_whole = self.await_line()?;
            goes_on = self.answer(is_whole)?;
        }
        Ok(())
    }

    /// Waits for a line and puts it into `line`; false when it was too long.
    fn await_line(&mut self) -> Result<bool, Error> {
        self.line.clear();
        if !self.conn.has_input() {
            (self.block, self.line) = (Vec::new(), Vec::new());
            let usual = self.service.config.pop3.command_timeout;
            self.conn.set_command_timeout(self.service.admission.patience(usual, limits::CROWDED_COMMAND));
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
        let mut step = self.first_step(is_whole);
        loop {
            self.conn.flush_blocks()?;
            step = match step {
                Step::Continue => return Ok(true),
                Step::Close => return Ok(false),
                Step::Login(_) | Step::Auth { .. } | Step::AuthResponse => self.authorize(step)?,
                step => self.act(step)?,
            };
        }
    }

    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn first_step(&mut self, is_whole: bool) -> Step {
        if is_whole {
            return self.session.command(&self.line, self.conn.output());
        }
        self.exchange = None;
        self.session.line_too_long(self.conn.output())
    }

    /// Does what a step says and answers the session.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn act(&mut self, step: Step) -> Result<Step, Error> {
        match step {
            Step::More => Ok(self.session.more(self.conn.output())),
            Step::StartTls => self.start_tls(),
            Step::Send(part) => self.send(part),
            Step::Update => Ok(self.update()),
            step => Ok(step),
        }
    }

    fn start_tls(&mut self) -> Result<Step, Error> {
        login::start_tls(self.service, &mut self.conn, self.client, self.kind)?;
        self.session.tls_started();
        Ok(Step::Continue)
    }

    /// Sends a message, or replies why not.
    fn send(&mut self, part: Part) -> Result<Step, Error> {
        let (mut reader, mut octets) = match self.open(part) {
            Ok(opened) => opened,
            Err(why) => return Ok(self.session.message_opened(part, Err(why), self.conn.output())),
        };
        let step = self.session.message_opened(part, Ok(()), self.conn.output());
        let maildrop = self.session.maildrop();
        let line_ends = maildrop.map(|open| open.line_ends(part.message_number, &self.block[..octets]));
        let mut encoder = part.encoder(line_ends.unwrap_or(LineEnds::Mixed));
        while octets > 0 && encoder.encode(&self.block[..octets], self.conn.output()) {
            self.sent.octets += octets as u64;
            self.conn.flush_blocks()?;
            octets = reader.read(&mut self.block).inspect_err(|error| {
                log::error!("pop3: message {} cannot be read to its end: {error}", part.message_number);
            })?;
        }
        encoder.finish(self.conn.output());
        if part.lines.is_none() {
            self.service.counters.messages_retrieved.one();
            self.sent.messages += 1;
        }
        Ok(step)
    }

    /// Opens a message and reads its first block before the reply: a file that cannot be read gets an -ERR and does not
    /// end the session.
    fn open(&mut self, part: Part) -> Result<(MessageReader, usize), Unavailable> {
        let maildrop = self.session.maildrop().ok_or(Unavailable::Failed)?;
        let mut reader = maildrop.open_message(part.message_number).map_err(|error| match error {
            drop::Error::Gone => Unavailable::Gone,
            error => {
                log::error!("pop3: {error}");
                Unavailable::Failed
            }
        })?;
        // With room for one octet more than all of a small message, one read(2) tells that it was all.
        let most = if part.lines.is_some() { TOP_BLOCK } else { BLOCK };
        let room = usize::try_from(maildrop.size(part.message_number)).map_or(most, |size| most.min(size + 1));
        if self.block.len() < room {
            self.block.resize(room, 0);
        }
        let octets = reader.read(&mut self.block).map_err(|error| {
            log::error!("pop3: message {} cannot be read: {error}", part.message_number);
            Unavailable::Failed
        })?;
        Ok((reader, octets))
    }

    /// QUIT: removes the deleted messages, and marks those that were sent as seen.
    fn update(&mut self) -> Step {
        let (mark_seen, nothing) = (self.service.config.pop3.mark_seen, Marks::new());
        let report = self.session.updating().map(|Updating { maildrop, deleted, seen }| {
            maildrop.update(deleted, if mark_seen { seen } else { &nothing })
        });
        let report = report.unwrap_or_default();
        self.service.counters.messages_deleted.add(report.removed as u64);
        self.deleted = report.removed;
        self.session.updated(report.failed, self.conn.output())
    }

    /// Says that the server stops, where it does, and releases the maildrop before the client can see the end.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn end(mut self: Box<Self>, end: &Result<(), Error>) {
        // RFC 1939 section 3: the connection of a silent client is closed without a reply.
        if matches!(end, Err(Error::Stopping)) {
            self.session.stopping(self.conn.output());
        }
        std::mem::drop(self.session);
        self.conn.close();
        if let Err(Error::Io(error)) = &end {
            log::info!("{}: {}: {error}", self.kind, self.client);
        }
        if let Some(user) = &self.user {
            Line::new("session-end")
                .field("user", user)
                .field("client", self.client)
                .field("listener", self.kind)
                .field("retrieved", self.sent.messages)
                .field("octets", self.sent.octets)
                .field("deleted", self.deleted)
                .field("why", why(end))
                .info();
        }
    }
}

fn why(end: &Result<(), Error>) -> &'static str {
    match end {
        Ok(()) => "quit",
        Err(Error::Closed) => "closed",
        Err(Error::Timeout) => "timeout",
        Err(Error::Stopping) => "stopping",
        Err(Error::Io(_)) => "error",
    }
}
