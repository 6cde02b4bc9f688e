//! One message on its way in: bounded, counted, and stored for all its recipients or for none.
//!
//! A small message stays in memory until it is whole, and is then written with one write(2). A larger one goes to
//! `tmp/` in blocks, so that a client that stops in the middle costs little memory. What goes wrong is sticky: the rest is
//! dropped, and the answer comes with `commit`.

use super::outgoing::OWN_PASSES;
use super::{Delivery, Elsewhere, Envelope, Failure, Outgoing, Recipient, Stored, unwritable};
use crate::journal::Record;
use crate::ledger::Copy;
use crate::limits;
use crate::maildir::failpoint;
use crate::maildir::quota::Claim;
use crate::maildir::store::{self, Draft};
use crate::maildir::typed;
use crate::maildir::unique::Id;
use crate::message::date;
use crate::message::header::{self, Scan, Summary};
use crate::message::trace::{self, Trace};
use memchr::memchr_iter;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A message of up to this many octets is kept in memory; a larger one is written in blocks of this size. The header of a
/// message is kept until it has ended, up to [`limits::HEADER_OCTETS`].
const BLOCK: usize = 16 * 1024;

/// A message that is coming in. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Incoming<'a> {
    delivery: &'a Delivery,
    envelope: Envelope,
    /// What goes to other servers, until the message has begun.
    elsewhere: Option<Elsewhere>,
    head: Scan,
    /// What is not written yet.
    buffer: Vec<u8>,
    /// As they came, with LF line ends.
    octets: u64,
    lines: u64,
    last: Option<u8>,
    begun: Option<Begun<'a>>,
    /// The header, where it is to be kept.
    header: Option<Vec<u8>>,
    failure: Option<Failure>,
}

/// The files that the message is written to.
#[derive(Debug)]
struct Begun<'a> {
    /// For the users here, if it goes to any.
    local: Option<Local>,
    /// For other servers.
    outgoing: Option<Outgoing<'a>>,
}

/// The file for the Maildirs.
#[derive(Debug)]
struct Local {
    draft: Draft,
    id: Id,
    /// Lines that we put above the message.
    lines: u64,
    summary: Summary,
}

/// The users that get the message, and those without room for it.
#[derive(Debug, Default)]
struct Room {
    copies: Vec<Copy>,
    maildirs: Vec<PathBuf>,
    claims: Vec<Claim>,
    over_quota: Vec<String>,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(delivery: &'a Delivery, envelope: Envelope, elsewhere: Option<Elsewhere>) -> Incoming<'a> {
        debug_assert!(!envelope.recipients.is_empty() || elsewhere.is_some());
        Incoming {
            delivery,
            envelope,
            elsewhere,
            head: Scan::default(),
            buffer: Vec::new(),
            octets: 0,
            lines: 0,
            last: None,
            begun: None,
            header: None,
            failure: None,
        }
    }

    /// Gives the header back with [`Stored`], as far as it is kept in memory.
    pub fn keep_header(&mut self) {
        self.header = Some(Vec::new());
    }

    /// Takes decoded octets (LF line ends, dots removed). After a failure they are dropped.
    pub fn write(&mut self, octets: &[u8]) {
        if self.failure.is_none()
            && let Err(failure) = self.take(octets)
        {
            // What there is of it goes at once: the peer may take its time to send the rest.
            self.begun = None;
            self.buffer = Vec::new();
            self.failure = Some(failure);
        }
    }

    fn take(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.octets += octets.len() as u64;
        self.lines += memchr_iter(b'\n', octets).count() as u64;
        self.last = octets.last().copied().or(self.last);
        self.head.add(octets);
        if self.octets + self.lines > self.envelope.max_size {
            return Err(Failure::TooLarge);
        }
        if self.head.received() > limits::RECEIVED_FIELDS {
            return Err(Failure::Loop);
        }
        // A buffer that has grown to its size grows no further: there may be hundreds of such messages.
        if self.begun.is_some() && self.buffer.len() + octets.len() > BLOCK {
            self.flush()?;
        }
        self.buffer.extend_from_slice(octets);
        let is_header = self.begun.is_none() && self.head.has().is_none();
        let enough = if is_header { limits::HEADER_OCTETS } else { BLOCK };
        if self.buffer.len() >= enough { self.flush() } else { Ok(()) }
    }

    /// Stores it for good, and records it.
    ///
    /// # Errors
    ///
    /// Nothing is stored then.
    pub fn commit(mut self) -> Result<Stored, Failure> {
        let outcome = self.store();
        // A disk that is full although there is room in `mail.root` is one user's own.
        let is_users = |failure: &Failure| match failure {
            Failure::System(error) => !unwritable::is_ours(error),
            Failure::DiskFull(_) => self.delivery.has_room(0),
            _ => false,
        };
        if outcome.as_ref().is_err_and(is_users) {
            self.delivery.examine(self.envelope.recipients.iter().map(|to| to.user.as_str()));
        }
        outcome
    }

    /// The way of a message: prepare, publish, record. What goes to other servers is safe, and waits to be sent, before the
    /// message is safe for the users here; a failure after that takes it back.
    fn store(&mut self) -> Result<Stored, Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.finish()?;
        // unwrap: finish() has begun the files, or has failed.
        let Begun { local, outgoing } = self.begun.take().unwrap();
        let Some(Local { draft, id, lines, summary }) = local else {
            return self.queue(outgoing);
        };
        let size = draft.size() + lines + self.lines;
        let file_name = format!("{},S={},W={size}", id.text, draft.size());
        let Room { copies, maildirs, claims, over_quota } = self.claim(draft.size(), &file_name, outgoing.is_some())?;
        let origin = self.envelope.origin.clone();
        let mut record = Record { id: id.text.clone(), size, origin, summary, ..Record::default() };

        // The files are synced in tmp/. What watches new/ must find the message known when it comes there.
        let ready = outgoing.map(Outgoing::stage).transpose()?;
        let staged = draft.stage(&id.text, &maildirs)?;
        let first = copies.first().filter(|_| copies.len() > 1).map(|copy| copy.path.clone());
        let expected = self.delivery.ledger().map(|ledger| ledger.expect(copies, &file_name));

        let published = staged.publish(&file_name)?;
        let waiting = ready.map(|ready| ready.publish(self.delivery)).transpose()?;
        failpoint::reach("before-journal");

        // The journal is synced by another thread while this one syncs the folders. A record is told when both are done.
        record.timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let recorded = expected.map(|expected| expected.record(record));
        failpoint::reach("after-journal");
        published.make_safe()?;
        let queued = waiting.map(|waiting| waiting.keep()).unwrap_or_default();
        if let Some(recorded) = recorded {
            drop(recorded);
            // The records say it now.
            first.inspect(|path| typed::forget(path.as_ref()));
        }
        claims.into_iter().for_each(Claim::keep);
        Ok(Stored { id: id.text, queued, size, header: self.header.take().unwrap_or_default(), over_quota })
    }

    /// The way of a message that goes to no user here.
    fn queue(&mut self, outgoing: Option<Outgoing<'_>>) -> Result<Stored, Failure> {
        let outgoing = outgoing.ok_or_else(|| io::Error::other("a message without recipients"))?;
        let size = outgoing.size();
        let queued = outgoing.stage()?.publish(self.delivery)?.keep();
        let id = queued.first().cloned().unwrap_or_default();
        Ok(Stored { id, queued, size, header: self.header.take().unwrap_or_default(), over_quota: Vec::new() })
    }

    /// Writes all that is to be in the files.
    fn finish(&mut self) -> Result<(), Failure> {
        self.head.finish();
        // A message without a last line end is given one, so that its size is the same however it is counted.
        if self.last.is_some_and(|last| last != b'\n') {
            self.buffer.push(b'\n');
            self.lines += 1;
        }
        self.flush()
    }

    /// Writes what is in memory.
    fn flush(&mut self) -> Result<(), Failure> {
        if !self.delivery.has_room(self.buffer.len() as u64) {
            return Err(Failure::DiskFull("disk full: less than mail.min_free is left"));
        }
        let is_first = self.begun.is_none();
        if is_first {
            self.begun = Some(self.begin()?);
        }
        if let Some(Begun { local, outgoing }) = &mut self.begun
            && !self.buffer.is_empty()
        {
            local.iter_mut().try_for_each(|local| local.draft.write(&self.buffer))?;
            if !is_first {
                outgoing.iter_mut().try_for_each(|outgoing| outgoing.write(&self.buffer))?;
            }
            self.buffer.clear();
            self.buffer.shrink_to(BLOCK);
        }
        Ok(())
    }

    /// Begins the files. Each has our own fields on top. What is in memory then goes to other servers at once, and to the
    /// users here with the next write.
    fn begin(&mut self) -> Result<Begun<'a>, Failure> {
        let id = self.delivery.ids.next();
        let seconds = id.microseconds / 1_000_000;
        let Envelope { origin, facts, recipients, .. } = &self.envelope;
        let hostname = self.delivery.hostname.as_str();
        // A message that was fetched came with no address.
        let recipient = match recipients.as_slice() {
            [only] => Some(only.typed.as_str()).filter(|typed| !typed.is_empty()),
            _ => None,
        };
        let trace = Trace { origin, facts: *facts, hostname, id: &id.text, recipient, seconds };
        let mut added = Vec::new();
        // A header that does not end within a block is left as it is.
        if let Some((date, message_id)) = self.head.has().filter(|_| self.envelope.complete_header) {
            if !date {
                added.extend_from_slice(format!("Date: {}\n", date::rfc5322(seconds)).as_bytes());
            }
            if !message_id {
                added.extend_from_slice(format!("Message-ID: <{}@{hostname}>\n", id.unique()).as_bytes());
            }
        }
        if let Some(header) = &mut self.header {
            let end = memchr::memmem::find(&self.buffer, b"\n\n").map_or(self.buffer.len(), |at| at + 1);
            header.extend_from_slice(&added);
            header.extend_from_slice(&self.buffer[..end]);
        }
        let outgoing = match self.elsewhere.take() {
            None => None,
            Some(_) if header::passes(&self.buffer, hostname) >= OWN_PASSES => return Err(Failure::Loop),
            Some(elsewhere) => {
                let trace = Trace { recipient: None, ..trace };
                let mut outgoing = Outgoing::begin(self.delivery, elsewhere, &trace, &added)?;
                outgoing.write(&self.buffer)?;
                Some(outgoing)
            }
        };
        // The first recipient is as good as any other to write at.
        let Some(first) = recipients.first() else {
            self.buffer.clear();
            return Ok(Begun { local: None, outgoing });
        };
        let mut above = trace::prefix(&trace);
        let own = above.len();
        above.extend_from_slice(&added);
        let lines = memchr_iter(b'\n', &above).count() as u64;
        let event = self.delivery.event();
        if let Some(authserv) = &event.authserv {
            self.lines -= header::strip(&mut self.buffer, authserv, origin.via);
        }
        above.append(&mut self.buffer);
        self.buffer = above;
        let summary = Summary::of_header(&self.buffer[own..], &event, origin.via);
        let draft = Draft::create(&self.delivery.maildir(&first.user), &id.text, &self.delivery.modes)?;
        if recipients.len() > 1 {
            draft.tell_recipients(recipients.iter().map(|to| (to.user.as_str(), to.typed.as_str())));
        }
        Ok(Begun { local: Some(Local { draft, id, lines, summary }), outgoing })
    }

    /// Room for `octets` in the Maildirs of the recipients. One reply stands for all users of one address: when one of
    /// them has no room, none of them gets the message.
    fn claim(&self, octets: u64, file_name: &str, has_outgoing: bool) -> Result<Room, Failure> {
        let claim = |to: &Recipient| {
            let maildir = self.delivery.maildir(&to.user);
            let claim = self.delivery.quota.claim(&maildir, octets);
            (maildir, claim)
        };
        let recipients = &self.envelope.recipients;
        let claims: Vec<_> = recipients.iter().map(claim).collect();
        let full = recipients.iter().zip(&claims).filter(|(_, (_, claim))| claim.is_none());
        let full: HashSet<&str> = full.map(|(to, _)| to.typed.as_str()).collect();
        let mut room = Room::default();
        for (to, (maildir, claim)) in recipients.iter().zip(claims) {
            match claim {
                Some(claim) if !full.contains(to.typed.as_str()) => {
                    room.copies.push(copy(to, &maildir, file_name));
                    room.maildirs.push(maildir);
                    room.claims.push(claim);
                }
                _ => room.over_quota.push(to.user.clone()),
            }
        }
        if !room.over_quota.is_empty() && (room.copies.is_empty() || !self.envelope.answers_each()) {
            return Err(Failure::OverQuota);
        }
        // What an alias sends elsewhere is not told apart by recipient, so it would be sent again.
        if !room.over_quota.is_empty() && has_outgoing {
            return Err(Failure::DiskFull("mailbox full"));
        }
        Ok(room)
    }
}

/// One recipient's part of the record.
fn copy(to: &Recipient, maildir: &Path, file_name: &str) -> Copy {
    let path = store::below(maildir, "new", file_name)
        .into_os_string()
        .into_string()
        .unwrap_or_else(|path| path.to_string_lossy().into_owned());
    Copy { user: to.user.clone(), path, rcpt_to: Some(to.typed.clone()).filter(|typed| !typed.is_empty()) }
}
