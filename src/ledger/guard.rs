//! What a delivery holds while its message becomes known: an expectation before the rename, then the records, until the
//! message's folder is synced.

use super::{Identity, Ledger};
use crate::journal::Record;
use std::sync::Arc;

/// One recipient's part of a record; the rest is the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The user with the Maildir.
    pub user: String,
    /// The file's absolute path.
    pub path: String,
    /// The recipient as the sender typed it.
    pub rcpt_to: Option<String>,
}

/// A message that is to be recorded. When it is dropped, the message is unknown again.
#[derive(Debug)]
#[must_use]
pub struct Expected {
    ledger: Arc<Ledger>,
    copies: Vec<Copy>,
    identity: Identity,
}

impl Expected {
    pub(super) fn new(ledger: Arc<Ledger>, copies: Vec<Copy>, identity: Identity) -> Expected {
        Expected { ledger, copies, identity }
    }

    /// There will be a record.
    pub(super) fn keep(mut self) -> Identity {
        self.copies.clear();
        self.identity
    }

    /// Records the message for each of its recipients: `record` has what is the same for all of them. It never fails: what
    /// the journal does not take follows later.
    pub fn record(mut self, record: Record) -> Recorded {
        let (ledger, mut copies) = (self.ledger.clone(), std::mem::take(&mut self.copies));
        let last = copies.pop();
        let mut guard = ledger.lock();
        let state = &mut *guard;
        let first = state.writer.last() + 1;
        let of =
            |copy: Copy, record: Record| Record { user: copy.user, path: copy.path, rcpt_to: copy.rcpt_to, ..record };
        copies.into_iter().for_each(|copy| ledger.push(state, of(copy, record.clone()), self.identity));
        if let Some(copy) = last {
            ledger.push(state, of(copy, record), self.identity);
        }
        ledger.write(state);
        let ticket = (state.writer.last() >= first).then_some(state.ticket);
        if let Some(ticket) = ticket {
            state.open.push((ticket, first));
            state.ticket += 1;
        }
        ledger.wake(guard);
        Recorded { ledger, ticket }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.copies.iter().for_each(|copy| self.ledger.known.remove(&copy.user, self.identity));
    }
}

/// A message with records that nobody is told of before its folder is synced: they may be told when this is dropped.
///
/// The records stay where the folder cannot be synced and the message is taken away again. A subscriber is told of a
/// message that is gone, as of one that somebody has removed.
#[derive(Debug)]
#[must_use]
pub struct Recorded {
    ledger: Arc<Ledger>,
    /// `None` when all records wait.
    ticket: Option<u64>,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.ledger.lock().open.retain(|(other, _)| *other != ticket);
            self.ledger.tell();
        }
    }
}
