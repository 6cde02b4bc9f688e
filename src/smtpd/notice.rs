//! The notice that a message was delivered (RFC 3461 section 5.2.6), where its sender asked for one with NOTIFY=SUCCESS and
//! mail is sent elsewhere, so that DSN is offered. What goes to other servers has its notices from `send`.

use super::Driver;
use crate::config::ListenerKind;
use crate::delivery::Stored;
use crate::message::address::ReversePath;

impl Driver<'_> {
    /// Whether a notice will be due when the message is stored. A sender elsewhere is told only if this client may send
    /// there itself: a stranger can write any address.
    pub(super) fn owes_notice(&self) -> bool {
        // By LMTP another mail server hands the message in, which sends the notices itself.
        let is_offered = self.service.config.relays() && self.kind != ListenerKind::Lmtp;
        let Some(transaction) = self.session.transaction().filter(|_| is_offered) else { return false };
        let ReversePath::Mailbox(sender) = &transaction.reverse_path else { return false };
        let is_asked = transaction.recipients.iter().any(|to| to.notify.on_success() && !to.is_elsewhere());
        is_asked && (self.live.accounts.is_ours(sender) || self.sender().is_some())
    }

    /// Sends the notice about the recipients that are here.
    #[cfg(feature = "relay")]
    pub(super) fn tell_delivered(&self, stored: &Stored) {
        let Some(transaction) = self.session.transaction() else { return };
        let asked = transaction.recipients.iter().filter(|to| to.notify.on_success() && !to.is_elsewhere());
        let recipients: Vec<_> = asked
            .map(|to| crate::queue::Recipient {
                address: match to.path.domain {
                    Some(_) => to.path.text.clone(),
                    None => format!("{}@{}", to.path.text, self.service.config.home_domain()),
                },
                notify: to.notify,
                orcpt: to.orcpt.clone(),
            })
            .collect();
        let message = crate::send::Delivered {
            id: &stored.id,
            reverse_path: &transaction.reverse_path.to_string(),
            user: self.session.user(),
            envid: transaction.envid.as_deref(),
            recipients: &recipients,
            header: stored.header.clone(),
        };
        crate::send::delivered(self.service, message);
    }

    /// No notice is due.
    #[cfg(not(feature = "relay"))]
    pub(super) fn tell_delivered(&self, _: &Stored) {}
}
