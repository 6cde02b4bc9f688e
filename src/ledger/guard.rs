//! What a delivery holds while its message becomes known: an expectation before the rename, then the records, until the
//! message's folder is synced.

use super::{Identity, Ledger, Unsafe};
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
    users: Vec<String>,
    identity: Identity,
}

impl Expected {
    pub(super) fn new(ledger: Arc<Ledger>, users: Vec<String>, identity: Identity) -> Expected {
        Expected { ledger, users, identity }
    }

    /// There will be a record.
    pub(super) fn keep(mut self) -> Identity {
        self.users.clear();
        self.identity
    }

    /// Records the message for each of its recipients. It never fails: what the journal does not take follows later.
    pub fn record(mut self, mut record: Record, copies: Vec<Copy>) -> Recorded {
        let (ledger, users) = (self.ledger.clone(), std::mem::take(&mut self.users));
        let ticket = {
            let mut guard = ledger.lock();
            let state = &mut *guard;
            let before = (state.writer.last(), state.writer.end, state.writer.first);
            for copy in copies {
                (record.user, record.path, record.rcpt_to) = (copy.user, copy.path, copy.rcpt_to);
                ledger.push(state, &mut record, self.identity);
            }
            ledger.write(state);
            let (first, last, segment) = (before.0 + 1, state.writer.last(), state.writer.first);
            let place = if segment == before.2 { before.1 } else { 0 };
            let ticket = (last >= first).then_some(state.ticket);
            if let Some(ticket) = ticket {
                state.open.push(Unsafe { ticket, first, last, place, segment });
                state.ticket += 1;
            }
            ledger.wake(guard);
            ticket
        };
        Recorded { ledger, ticket, users, identity: self.identity, is_safe: false }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.users.iter().for_each(|user| self.ledger.known.remove(user, self.identity));
    }
}

/// A message with records that nobody is told of before its folder is synced. When it is dropped before, the records are
/// taken out again.
#[derive(Debug)]
#[must_use]
pub struct Recorded {
    ledger: Arc<Ledger>,
    /// `None` when all records wait.
    ticket: Option<u64>,
    users: Vec<String>,
    identity: Identity,
    is_safe: bool,
}

impl Recorded {
    /// The folders of the message are synced.
    pub fn is_safe(mut self) {
        self.is_safe = true;
        if let Some(ticket) = self.ticket {
            let safe = {
                let mut state = self.ledger.lock();
                state.open.retain(|entry| entry.ticket != ticket);
                state.safe()
            };
            self.ledger.tell_soon(safe);
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if !self.is_safe {
            self.ledger.take_out(self.ticket, &self.users, self.identity);
        }
    }
}
