//! One transaction: from MAIL to the message's end. It knows nothing of the session around it, and dropping it is RSET.

use crate::message::address::{ForwardPath, ReversePath};
use std::collections::HashSet;

/// A recipient that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// As RCPT had it.
    pub path: ForwardPath,
    /// Whose mail it is: one user, or all those behind an alias.
    pub users: Vec<String>,
}

/// What is known of a message before and while its data comes. `M` is the message itself.
#[derive(Debug)]
pub struct Transaction<M> {
    /// Who sends it.
    pub reverse_path: ReversePath,
    /// Octets that the client announced; 0 where it did not.
    pub size: u64,
    /// The client asked for SMTPUTF8.
    pub smtputf8: bool,
    /// Who gets it, in the order of RCPT; one who was named twice stands here twice.
    pub recipients: Vec<Recipient>,
    /// RCPT was said, whatever came of it.
    pub(super) tried: bool,
    /// The message as far as it came by BDAT.
    pub(super) message: Option<M>,
    /// Octets of the chunks so far.
    pub(super) received: u64,
    /// What went wrong with a chunk. It is said to every later one, whose octets belong to nothing.
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

    /// Whose Maildirs the message goes to, each once, with the address that was named for it first.
    pub fn mailboxes(&self) -> Vec<(&str, &ForwardPath)> {
        let mut known = HashSet::new();
        let all = self
            .recipients
            .iter()
            .flat_map(|recipient| recipient.users.iter().map(|user| (user.as_str(), &recipient.path)));
        all.filter(|(user, _)| known.insert(*user)).collect()
    }
}
