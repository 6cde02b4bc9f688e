//! One message on its way in: bounded, counted, and stored for all its recipients or for none.
//!
//! A small message stays in memory until it is whole, and is then written with one write(2). A larger one goes to
//! `tmp/` in blocks, so that a client that stops in the middle costs little memory. What goes wrong is sticky: the rest is dropped, and the answer comes with `commit`.

use super::head::Head;
use super::{Delivery, Envelope, Failure, Recipient, Stored};
use crate::journal::Record;
use crate::limits;
use crate::maildir::failpoint;
use crate::maildir::quota::Claim;
use crate::maildir::store::Draft;
use crate::maildir::typed;
use crate::maildir::unique::Id;
use crate::message::date;
use crate::message::header::Summary;
use crate::message::trace::{self, Trace};
use memchr::memchr_iter;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// A message of up to this many octets is kept in memory; a larger one is written in blocks of this size. The header of a
/// message is kept until it has ended, up to [`limits::HEADER_OCTETS`].
const BLOCK: usize = 24 * 1024;

/// A message that is coming in. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Incoming<'a> {
    delivery: &'a Delivery,
    envelope: Envelope,
    head: Head,
    /// What is not written yet.
    buffer: Vec<u8>,
    /// As they came, with LF line ends.
    octets: u64,
    lines: u64,
    last: Option<u8>,
    begun: Option<Begun>,
    failure: Option<Failure>,
}

/// The file that the message is written to.
#[derive(Debug)]
struct Begun {
    draft: Draft,
    id: Id,
    /// Lines that we put above the message.
    lines: u64,
    summary: Summary,
}

/// Who gets the message, and who has no room for it.
#[derive(Debug, Default)]
struct Room<'a> {
    recipients: Vec<&'a Recipient>,
    claims: Vec<Claim>,
    over_quota: Vec<String>,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(delivery: &'a Delivery, envelope: Envelope) -> Incoming<'a> {
        debug_assert!(!envelope.recipients.is_empty());
        Incoming {
            delivery,
            envelope,
            head: Head::default(),
            buffer: Vec::new(),
            octets: 0,
            lines: 0,
            last: None,
            begun: None,
            failure: None,
        }
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
        self.buffer.extend_from_slice(octets);
        let is_header = self.begun.is_none() && self.head.has().is_none();
        let enough = if is_header { limits::HEADER_OCTETS } else { BLOCK };
        if self.buffer.len() >= enough { self.flush() } else { Ok(()) }
    }

    /// Makes it last, then records it: fsync, rename, fsync of the directories, journal.
    ///
    /// # Errors
    ///
    /// Nothing is stored then.
    pub fn commit(mut self) -> Result<Stored, Failure> {
        let outcome = self.store();
        // A disk that is full although there is room in `mail.root` is one user's own.
        let is_ours = |failure: &Failure| match failure {
            Failure::System(_) => true,
            Failure::DiskFull => self.delivery.has_room(0),
            _ => false,
        };
        if outcome.as_ref().is_err_and(is_ours) {
            self.delivery.examine(self.envelope.recipients.iter().map(|to| to.user.as_str()));
        }
        outcome
    }

    fn store(&mut self) -> Result<Stored, Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.head.finish();
        // A message without a last line end is given one, so that its size is the same however it is counted.
        if self.last.is_some_and(|last| last != b'\n') {
            self.buffer.push(b'\n');
            self.lines += 1;
        }
        self.flush()?;
        // unwrap: flush() has begun the file, or has failed.
        let Begun { draft, id, lines, summary } = self.begun.take().unwrap();
        let size = draft.size() + lines + self.lines;
        let file_name = format!("{},S={},W={size}", id.text, draft.size());
        let Room { recipients, claims, over_quota } = self.claim(draft.size())?;
        let maildirs: Vec<PathBuf> = recipients.iter().map(|to| self.delivery.maildir(&to.user)).collect();
        let staged = draft.stage(&id.text, &maildirs)?;
        let recorder = self.delivery.recorder();
        // Before the rename, so that who watches the folder finds that it is known. The records are made here, too: who
        // waits for the message has to wait for nothing but the disk.
        recorder.inspect(|recorder| recorder.announce(&recipients, &id.text));
        let record = |(to, maildir): (&&Recipient, &PathBuf)| Record {
            seq: 0,
            timestamp: 0,
            user: to.user.clone(),
            id: id.text.clone(),
            path: maildir.join("new").join(&file_name).to_string_lossy().into_owned(),
            size,
            origin: self.envelope.origin.clone(),
            rcpt_to: Some(to.typed.clone()),
            summary: summary.clone(),
            duplicate_of: None,
        };
        let mut records: Vec<Record> = recipients.iter().zip(&maildirs).map(record).collect();
        if let Err(error) = staged.publish(&file_name) {
            recorder.inspect(|recorder| recorder.withdraw(&recipients, &id.text));
            return Err(error.into());
        }
        claims.into_iter().for_each(Claim::keep);
        failpoint::reach("before-journal");
        if let Some(recorder) = recorder {
            let stored = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
            records.iter_mut().for_each(|record| record.timestamp = stored);
            let first = (records.len() > 1).then(|| PathBuf::from(&records[0].path));
            recorder.record(records);
            // The records say it now.
            first.inspect(|path| typed::forget(path));
        }
        failpoint::reach("after-journal");
        Ok(Stored { id: id.text, size, over_quota })
    }

    /// Writes what is in memory.
    fn flush(&mut self) -> Result<(), Failure> {
        if !self.delivery.has_room(self.buffer.len() as u64) {
            return Err(Failure::DiskFull);
        }
        if self.begun.is_none() {
            self.begun = Some(self.begin()?);
        }
        if let Some(begun) = &mut self.begun
            && !self.buffer.is_empty()
        {
            begun.draft.write(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Begins the file, and puts our own fields above what is in memory.
    fn begin(&mut self) -> io::Result<Begun> {
        let id = self.delivery.ids.next();
        let seconds = id.microseconds / 1_000_000;
        let Envelope { origin, facts, recipients, .. } = &self.envelope;
        let recipient = if let [only] = recipients.as_slice() { Some(only.typed.as_str()) } else { None };
        let hostname = self.delivery.hostname.as_str();
        let mut above = trace::prefix(&Trace { origin, facts: *facts, hostname, id: &id.text, recipient, seconds });
        // A header that does not end within a block is left as it is.
        if let Some((date, message_id)) = self.head.has().filter(|_| self.envelope.complete_header) {
            if !date {
                above.extend_from_slice(format!("Date: {}\n", date::rfc5322(seconds)).as_bytes());
            }
            if !message_id {
                above.extend_from_slice(format!("Message-ID: <{}@{hostname}>\n", id.unique()).as_bytes());
            }
        }
        let lines = memchr_iter(b'\n', &above).count() as u64;
        self.buffer.splice(..0, above);
        let summary = Summary::parse(&self.buffer);
        // The first recipient is as good as any other to write at.
        let first = recipients.first().ok_or_else(|| io::Error::other("a message without recipients"))?;
        let draft = Draft::create(&self.delivery.maildir(&first.user), &id.text, &self.delivery.modes)?;
        if recipient.is_none() {
            draft.tell_recipients(recipients.iter().map(|to| (to.user.as_str(), to.typed.as_str())));
        }
        Ok(Begun { draft, id, lines, summary })
    }

    /// Room in the Maildirs of those who get the message for `octets`. One reply stands for all who are behind one
    /// address: when one of them has no room, none of them gets it.
    fn claim(&self, octets: u64) -> Result<Room<'_>, Failure> {
        let claim = |to: &Recipient| self.delivery.quota.claim(&self.delivery.maildir(&to.user), octets);
        let claims: Vec<_> = self.envelope.recipients.iter().map(|to| (to, claim(to))).collect();
        let full = claims.iter().filter(|(_, claim)| claim.is_none()).map(|(to, _)| to.typed.as_str());
        let full: HashSet<&str> = full.collect();
        let mut room = Room::default();
        for (to, claim) in claims {
            match claim {
                Some(claim) if !full.contains(to.typed.as_str()) => {
                    room.recipients.push(to);
                    room.claims.push(claim);
                }
                _ => room.over_quota.push(to.user.clone()),
            }
        }
        if !room.over_quota.is_empty() && (room.recipients.is_empty() || !self.envelope.answers_each()) {
            return Err(Failure::OverQuota);
        }
        Ok(room)
    }
}
