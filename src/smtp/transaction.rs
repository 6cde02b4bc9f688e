//! A transaction: from MAIL to the end of the message. It knows nothing of the session; RSET drops it.

use crate::message::address::{ForwardPath, ReversePath};
use std::collections::HashSet;

/// A recipient that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The path of RCPT, as typed.
    pub path: ForwardPath,
    /// The users that get the mail: one, or all users of an alias.
    pub users: Vec<String>,
}

/// The envelope of a message, and its data as it comes. `M` is the message itself.
#[derive(Debug)]
pub struct Transaction<M> {
    /// The envelope sender.
    pub reverse_path: ReversePath,
    /// Octets that the client announced; 0 where it did not.
    pub size: u64,
    /// The client asked for SMTPUTF8.
    pub smtputf8: bool,
    /// The recipients in the order of RCPT; one that was named twice is here twice.
    pub recipients: Vec<Recipient>,
    /// RCPT was said, accepted or not.
    pub(super) tried: bool,
    /// The message as far as it came by BDAT.
    pub(super) message: Option<M>,
    /// Octets of the chunks so far.
    pub(super) received: u64,
    /// The refusal of a chunk; all later chunks get the same.
    pub(super) failed: Option<&'static str>,
}

impl<M> Transaction<M> {
    pub(super) fn new(reverse_path: ReversePath, size: u64, smtputf8: bool) -> Transaction<M> {
        Transaction {
            reverse_path,
            size,
            smtputf8,
            recipients: Vec::new(),
            tried: false,
            message: None,
            received: 0,
            failed: None,
        }
    }

    /// The users that get the message, each once, with the first address that named the user.
    pub fn mailboxes(&self) -> Vec<(&str, &ForwardPath)> {
        let all = self
            .recipients
            .iter()
            .flat_map(|recipient| recipient.users.iter().map(|user| (user.as_str(), &recipient.path)));
        // Most messages have one recipient, which needs no set.
        if let [Recipient { users, .. }] = &self.recipients[..]
            && users.len() == 1
        {
            return all.collect();
        }
        let mut known = HashSet::new();
        all.filter(|(user, _)| known.insert(*user)).collect()
    }
}
