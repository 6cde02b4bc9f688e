//! A deletion: STORE, then UID EXPUNGE (RFC 4315), or EXPUNGE where no other message is marked.

use super::Session;
use crate::imap::state::{Deletion, State};
use crate::imap::step::{Outcome, Step};
use crate::sasl::client::Text;

impl Session {
    /// Deletes a message and no other.
    pub fn delete(&mut self, uid: u32, out: &mut Vec<u8>) -> Step {
        self.enter(State::Deletion(Deletion::Mark(uid)));
        self.send(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"), out)
    }

    /// The end of one of its commands.
    pub(super) fn deletion(&mut self, deletion: Deletion, is_ok: bool, text: Text, out: &mut Vec<u8>) -> Step {
        if !is_ok {
            return Step::Done(Outcome::Refused(text));
        }
        let (next, command) = match deletion {
            Deletion::Mark(uid) if self.can("UIDPLUS") => (Deletion::Expunge, format!("UID EXPUNGE {uid}")),
            Deletion::Mark(uid) => {
                (Deletion::Search { uid, alone: true, found: false }, "UID SEARCH DELETED".to_owned())
            }
            // EXPUNGE removes every marked message, also those that another program marked.
            Deletion::Search { alone: true, found: true, .. } => (Deletion::Expunge, "EXPUNGE".to_owned()),
            Deletion::Search { .. } => return Step::Done(Outcome::LeftMarked),
            Deletion::Expunge => return Step::Done(Outcome::Ok),
        };
        self.enter(State::Deletion(next));
        self.send(&command, out)
    }
}
