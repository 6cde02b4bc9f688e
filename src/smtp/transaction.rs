//! A transaction: from MAIL to the end of the message. It knows nothing of the session; RSET drops it.

use super::dsn::{Notify, Ret};
use super::parameter::{OfRecipient, Parameters};
use crate::message::address::{self, ForwardPath, ReversePath};
use std::collections::HashSet;

/// A mailbox on another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The address, without brackets.
    pub address: String,
    /// The envelope sender that an alias gives; `None`: that of the transaction, for a recipient that the client named.
    pub sender: Option<String>,
}

/// Where mail for a recipient goes: users here, mailboxes elsewhere, or both by an alias. At least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The users that get the mail: one, or all users of an alias.
    pub users: Vec<String>,
    /// The recipient itself where its domain is not ours, or the outside addresses of an alias.
    pub outside: Vec<Outside>,
}

impl From<Vec<String>> for Route {
    fn from(users: Vec<String>) -> Route {
        Route { users, outside: Vec::new() }
    }
}

/// A recipient that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// As RCPT had it.
    pub path: ForwardPath,
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT, in xtext.
    pub orcpt: Option<String>,
    /// Where its mail goes.
    pub route: Route,
}

impl Recipient {
    /// The client named a mailbox on another server.
    pub fn is_elsewhere(&self) -> bool {
        self.route.outside.iter().any(|to| to.sender.is_none())
    }
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
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, in xtext.
    pub envid: Option<String>,
    /// The recipients in the order of RCPT; one that was named twice is here twice.
    pub recipients: Vec<Recipient>,
    /// The parameters of the recipient that is looked up.
    pub(super) of_recipient: OfRecipient,
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
    pub(super) fn new(reverse_path: ReversePath, parameters: Parameters) -> Transaction<M> {
        let Parameters { size, smtputf8, ret, envid } = parameters;
        Transaction {
            reverse_path,
            size,
            smtputf8,
            ret,
            envid,
            recipients: Vec::new(),
            of_recipient: OfRecipient::default(),
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
            .flat_map(|recipient| recipient.route.users.iter().map(|user| (user.as_str(), &recipient.path)));
        // Most messages have one recipient, which needs no set.
        if let [Recipient { route, .. }] = &self.recipients[..]
            && route.users.len() == 1
        {
            return all.collect();
        }
        let mut known = HashSet::new();
        all.filter(|(user, _)| known.insert(*user)).collect()
    }

    /// The mailboxes elsewhere that get the message, each once, with the first recipient that named it.
    pub fn outside(&self) -> Vec<(&Outside, &Recipient)> {
        let all = self
            .recipients
            .iter()
            .flat_map(|recipient| recipient.route.outside.iter().map(move |outside| (outside, recipient)));
        let mut known = HashSet::new();
        all.filter(|(outside, _)| known.insert(address::key(&outside.address))).collect()
    }
}
