//! /events: the journal as Server-Sent Events (the WHATWG HTML standard, section 9.2).
//!
//! Each stream follows the journal by itself, up to what is safe, and keeps one block in memory, however far behind its
//! client is. A client that reads is kept. One that reads nothing for `limits.command_timeout` is closed, and goes on later
//! behind the last id that it has.

use super::places::{self, Place};
use super::{now, refuse};
use crate::http::{Head, Refusal, Version};
use crate::journal::{self, Follower, Item, Record};
use crate::net::conn::{Client, Conn, Error};
use crate::notify::Filter;
use crate::service::Service;
use std::io;
use std::time::{Duration, Instant};

/// A line that says nothing is sent so often, so that no proxy and no router takes the stream for a dead one.
const BEAT: Duration = Duration::from_secs(15);

/// How soon the journal is tried again when it could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// Octets that are put together before they are sent.
const BLOCK: usize = 16 * 1024;

/// What a client is told first: after how many milliseconds to come back when the connection is lost.
const HELLO: &str = "retry: 2000\n";

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the next event.
    Now,
    /// With the oldest event of the journal.
    All,
    /// With this `seq`.
    At(u64),
    /// Behind this `seq`, which the client has.
    After(u64),
}

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) begin: Begin,
    pub(super) filter: Filter,
}

/// Sends events until the client leaves or the server stops.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
pub(super) fn serve(
    service: &Service,
    conn: &mut Conn,
    client: &Client,
    version: Version,
    wanted: &Wanted,
    is_head: bool,
) -> Result<(), Error> {
    let content_type = "text/event-stream";
    let head = Head { now: now(), version, code: 200, content_type, length: None, keeps: false, more: "" };
    if is_head {
        head.write(conn.output());
        return Ok(());
    }
    let most = places::most(service.config.limits.connections);
    let Some(_place) = Place::take(conn, client, most) else {
        let refusal = Refusal::new(503, format!("{most} streams are open; try again later"));
        return refuse(conn, &refusal, version, false, false);
    };
    let (follower, note) = match follow(service, wanted.begin) {
        Ok(following) => following,
        Err(error) => {
            log::warn!("http: the journal cannot be read for a stream: {error}");
            let refusal = Refusal::new(503, "the journal cannot be read now; try again later");
            return refuse(conn, &refusal, version, false, false);
        }
    };
    // nginx holds an answer back otherwise.
    Head { more: "X-Accel-Buffering: no\r\n", ..head }.write(conn.output());
    conn.output().extend_from_slice(HELLO.as_bytes());
    conn.output().extend_from_slice(note.as_bytes());
    conn.become_stream();
    Stream { conn, follower, filter: &wanted.filter, told_id: 0, passed: 0, beat: Instant::now() + BEAT }.run()
}

/// Goes to the place where the stream begins; with a comment that says which it is.
fn follow(service: &Service, begin: Begin) -> io::Result<(Follower, String)> {
    let (dir, told) = (service.config.journal(), service.ledger.told());
    let end = told.seq();
    let after = match begin {
        Begin::Now => end,
        // `all` means all that there is: what the journal dropped is not lost.
        Begin::All => journal::first_seq(&dir)?.saturating_sub(1),
        Begin::At(seq) => seq.saturating_sub(1),
        // An id that no event has yet is of another journal: its client would wait for ever.
        Begin::After(seq) => seq.min(end),
    };
    Ok((Follower::inside(&dir, after, &told)?, format!(": events after {after}\n\n")))
}

struct Stream<'a> {
    conn: &'a mut Conn,
    follower: Follower,
    filter: &'a Filter,
    /// The last id that the client was told.
    told_id: u64,
    /// The last event that was looked at.
    passed: u64,
    /// When the next line that says nothing is due.
    beat: Instant,
}

impl Stream<'_> {
    fn run(&mut self) -> Result<(), Error> {
        loop {
            self.follower.drain_events();
            let is_readable = self.catch_up()?;
            self.beat_if_due()?;
            let until = if is_readable { self.beat } else { self.beat.min(Instant::now() + AGAIN) };
            self.conn.flush()?;
            self.conn.wait_beside(self.follower.fd(), until)?;
        }
    }

    /// Sends all that is there; false when the journal cannot be read just now.
    fn catch_up(&mut self) -> Result<bool, Error> {
        loop {
            match self.follower.next_item() {
                Ok(Some(Item::Record(record))) => {
                    self.passed = record.seq;
                    if self.filter.wants(&record) {
                        self.told_id = record.seq;
                        write_event(&record, self.conn.output());
                    }
                }
                Ok(Some(Item::Lost { from, to })) => {
                    (self.passed, self.told_id) = (to, to);
                    let text = format!("id: {to}\nevent: lost\ndata: {{\"from\":{from},\"to\":{to}}}\n\n");
                    self.conn.output().extend_from_slice(text.as_bytes());
                }
                Ok(None) => return Ok(true),
                Err(error) => {
                    log::warn!("http: a stream cannot read the journal: {error}");
                    return Ok(false);
                }
            }
            if self.conn.output().len() >= BLOCK {
                self.conn.flush()?;
                self.conn.mark_progress();
            }
            // A long way through a journal may bring nothing for this client.
            self.beat_if_due()?;
        }
    }

    /// The line that says nothing. Where events were passed over, the client is given their id, so that it does not come
    /// back behind them.
    fn beat_if_due(&mut self) -> Result<(), Error> {
        self.conn.check()?;
        if Instant::now() < self.beat {
            return Ok(());
        }
        self.beat = Instant::now() + BEAT;
        let text = match std::mem::replace(&mut self.told_id, self.passed) == self.passed {
            true => ": nothing new\n\n".to_owned(),
            false => format!(": nothing new\nid: {}\n\n", self.passed),
        };
        self.conn.output().extend_from_slice(text.as_bytes());
        self.conn.flush()?;
        self.conn.mark_progress();
        Ok(())
    }
}

/// One event. Its JSON has no line end in it.
fn write_event(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("id: {}\nevent: MessageNew\ndata: ", record.seq).as_bytes());
    record.write_json(out);
    out.extend_from_slice(b"\n\n");
}
