//! Mail to other servers: which clients may send it, from which address, and how much; and what of a transaction goes there.

use super::Driver;
use crate::accounts;
use crate::config::ListenerKind;
use crate::delivery::{Asked, Elsewhere, Onward};
use crate::message::address::{Mailbox, ReversePath};
use crate::message::idn::same_domain;
use crate::service::Live;
use crate::service::maillog::Line;
use crate::service::sending::Limit;
use crate::smtp::{Outside, RecipientRefusal, Route};

/// A client that may send to other domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// It logged in as this user.
    User(String),
    /// A user of this machine, by `sendmail`; the name is the system's.
    Local(String),
    /// Root or the server's own user, by `sendmail`: they reach the queue anyway.
    Administrator,
}

impl Sender {
    /// The limits of this user count; `None`: no limit.
    fn counted(&self) -> Option<&str> {
        match self {
            Sender::User(name) | Sender::Local(name) => Some(name),
            Sender::Administrator => None,
        }
    }
}

impl Driver<'_> {
    /// The client, if it may send to other domains at all. An anonymous one never may; LMTP has no login.
    pub(super) fn sender(&self) -> Option<Sender> {
        if !self.service.config.relays() {
            return None;
        }
        match self.kind {
            ListenerKind::Local => self.local_sender(),
            ListenerKind::Smtp | ListenerKind::Submission | ListenerKind::Smtps => {
                self.session.user().map(|user| Sender::User(user.to_owned()))
            }
            _ => None,
        }
    }

    /// The system's user at the other end of the socket for local users.
    fn local_sender(&self) -> Option<Sender> {
        let uid = self.conn.peer_uid()?;
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            return Some(Sender::Administrator);
        }
        let known = self.live.system_users.get(&uid).cloned();
        Some(Sender::Local(known.unwrap_or_else(|| format!("uid{uid}"))))
    }

    /// A recipient at another domain.
    pub(super) fn elsewhere(&self, path: &Mailbox) -> Result<Route, (RecipientRefusal, &'static str)> {
        let (Some(sender), Some(transaction)) = (self.sender(), self.session.transaction()) else {
            return Err((RecipientRefusal::NotOurDomain, "not-our-domain"));
        };
        if let Sender::Local(name) = &sender
            && !may_send_locally(&self.live, &self.service.config.hostname, name, &transaction.reverse_path)
            && !self.may_send_as_any(name)
        {
            return Err((RecipientRefusal::NotYours, "not-your-address"));
        }
        if let Some(user) = sender.counted() {
            self.within_limits(user)?;
        }
        Ok(Route { users: Vec::new(), outside: vec![Outside { address: path.text.clone(), sender: None }] })
    }

    /// Counts one recipient more of this user.
    fn within_limits(&self, user: &str) -> Result<(), (RecipientRefusal, &'static str)> {
        let client = self.client.to_string();
        let Err(reached) = self.service.sending.take(user, &client, self.service.delivery.waiting(user)) else {
            return Ok(());
        };
        let (refusal, why) = match reached.limit {
            Limit::Waiting => (RecipientRefusal::TooManyWaiting, "relay.waiting_per_user"),
            Limit::Hour => (RecipientRefusal::TooManySent, "relay.recipients_per_hour"),
        };
        if reached.is_news {
            // In this order: fail2ban looks for the client.
            let line = Line::new("sending-limit").field("user", user).field("client", self.client);
            line.field("listener", self.kind).field("why", why).field("limit", reached.most).warn();
        }
        Err((refusal, why))
    }

    /// What of the transaction goes to other servers.
    pub(super) fn outgoing(&self) -> Option<Elsewhere> {
        let transaction = self.session.transaction()?;
        let outside = transaction.outside();
        if outside.is_empty() {
            return None;
        }
        let user = match self.sender() {
            Some(Sender::User(name)) => Some(name),
            Some(Sender::Local(name)) => self.live.accounts.user(&name).map(str::to_owned),
            Some(Sender::Administrator) | None => None,
        };
        let (ret, envid) = (transaction.ret, transaction.envid.clone());
        let asked = Asked { ret, envid, smtputf8: transaction.smtputf8, user };
        let recipients = outside.into_iter().map(|(to, recipient)| Onward {
            address: to.address.clone(),
            alias_sender: to.sender.clone(),
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
        });
        Elsewhere::new(&transaction.reverse_path.to_string(), recipients, &asked)
    }
}

/// Where mail for an address here goes: an alias may lead to other servers.
pub(super) fn by_alias(route: accounts::Route) -> Route {
    let outside = route.outside.into_iter();
    let outside = outside.map(|to| Outside { address: to.address, sender: Some(to.sender) }).collect();
    Route { users: route.users, outside }
}

/// Whether a user of this machine may send from this address: the null path, the name at a domain of this server or at
/// its host, with subaddress, or what the account of that name may use.
fn may_send_locally(live: &Live, hostname: &str, name: &str, path: &ReversePath) -> bool {
    let ReversePath::Mailbox(mailbox) = path else { return true };
    let accounts = &live.accounts;
    let at_host = |domain: &String| same_domain(domain, hostname);
    let mut here = mailbox.clone();
    here.domain = here.domain.filter(|domain| accounts.is_ours(mailbox) || !at_host(domain));
    match accounts.user(name) {
        Some(user) => accounts.may_send_as(user, &ReversePath::Mailbox(here)),
        None => accounts.is_ours(&here) && accounts.has_name(&here, name),
    }
}
