//! The checks of a session: logins, senders, recipients.

use super::{Driver, onward};
use crate::accounts::Unknown;
use crate::config::ListenerKind;
use crate::limits;
use crate::message::address::ReversePath;
use crate::net::conn::Error;
use crate::sasl::{Credentials, Mechanism};
use crate::service::login;
use crate::smtp::{RecipientRefusal, SenderRefusal, Step};
use std::time::Duration;

impl Driver<'_> {
    /// AUTH.
    pub(super) fn log_in(&mut self, mechanism: Mechanism, credentials: &Credentials) -> Result<Step, Error> {
        let verified =
            login::log_in(self.service, &mut self.conn, self.client, self.kind, credentials, mechanism.name())?;
        Ok(self.session.logged_in(verified, self.conn.output()))
    }

    /// MAIL: is the address the client's own, is there room, and does the client send too often? The transaction keeps the
    /// accounts of this moment.
    pub(super) fn check_sender(&mut self) -> Step {
        self.live = self.service.live();
        let Some(transaction) = self.session.transaction() else { return Step::Close };
        let outcome = if !self.may_send_as(&transaction.reverse_path) {
            Err((SenderRefusal::NotYours, "not-your-address"))
        } else if !self.service.delivery.has_room(transaction.size) {
            Err((SenderRefusal::NoRoom, "no-room"))
        } else if self.kind != ListenerKind::Lmtp && !self.service.admission.may_send(self.client.ip()) {
            Err((SenderRefusal::TooOften, "too-often"))
        } else {
            Ok(())
        };
        if let Err((_, why)) = outcome {
            self.log_line("refused").field("why", why).info();
        }
        self.session.sender_checked(outcome.map_err(|(refusal, _)| refusal), self.conn.output())
    }

    /// Submission asks for the sender's own address. The port for other servers does not, whether the client has logged in or
    /// not: a device that logs in there may do what it may without.
    fn may_send_as(&self, path: &ReversePath) -> bool {
        let Some(user) = self.session.user().filter(|_| self.is_submission()) else { return true };
        self.may_send_as_any(user) || self.live.accounts.may_send_as(user, path)
    }

    /// `submission.any_sender` has this user.
    pub(super) fn may_send_as_any(&self, user: &str) -> bool {
        self.service.config.any_sender.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(user))
    }

    /// RCPT: where does it go, and is there room? After several unknown recipients, each further reply is delayed.
    pub(super) fn look_up(&mut self) -> Result<Step, Error> {
        let (Some(path), Some(transaction)) = (self.session.recipient(), self.session.transaction()) else {
            return Ok(Step::Close);
        };
        let delivery = &self.service.delivery;
        let unwritable = |user: &String| delivery.is_unwritable(user);
        let full = |user: &String| delivery.over_quota(user, transaction.size);
        let outcome = match self.live.accounts.route(path) {
            Ok(route) if route.users.iter().any(unwritable) => {
                Err((RecipientRefusal::Unavailable, "mailbox-unavailable"))
            }
            Ok(route) if route.users.iter().any(full) => Err((RecipientRefusal::OverQuota, "over-quota")),
            Ok(route) => Ok(onward::by_alias(route)),
            Err(Unknown::NotOurDomain) => self.elsewhere(path),
            Err(Unknown::NoSuchUser) => Err((RecipientRefusal::NoSuchUser, "no-such-user")),
        };
        if let Err((refusal, why)) = &outcome {
            let mut delay = Duration::ZERO;
            if *refusal == RecipientRefusal::NoSuchUser && self.kind != ListenerKind::Lmtp {
                self.unknown_recipients += 1;
                delay = pause_for(self.unknown_recipients);
            }
            let line = self.log_line("refused").field("to", &path.text).field("why", *why);
            line.maybe("delay", (!delay.is_zero()).then(|| format!("{}s", delay.as_secs()))).info();
            self.service.counters.recipients_refused.one();
            if !delay.is_zero() {
                self.conn.pause(delay)?;
            }
        }
        Ok(self.session.recipient_checked(outcome.map_err(|(refusal, _)| refusal), self.conn.output()))
    }
}

/// The delay of the reply to the unknown recipient of this number.
fn pause_for(unknown_recipients: u32) -> Duration {
    let seconds = unknown_recipients.saturating_sub(limits::UNKNOWN_RECIPIENTS);
    Duration::from_secs(seconds.into()).min(limits::UNKNOWN_RECIPIENT_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_recipients_takes_ever_longer() {
        let seconds: Vec<u64> = [1, 10, 11, 12, 15, 16, u32::MAX].map(|count| pause_for(count).as_secs()).to_vec();
        assert_eq!(seconds, [0, 0, 1, 2, 5, 5, 5]);
    }
}
