//! Who may do what: logins, senders, recipients.

use super::Driver;
use crate::accounts::Unknown;
use crate::limits;
use crate::net::conn::Error;
use crate::sasl::{Credentials, Mechanism};
use crate::service::Door;
use crate::service::login;
use crate::smtp::{RecipientRefusal, SenderRefusal, Step};
use std::time::Duration;

impl Driver<'_> {
    /// AUTH.
    pub(super) fn log_in(&mut self, mechanism: Mechanism, credentials: &Credentials) -> Result<Step, Error> {
        let verified =
            login::log_in(self.service, &mut self.conn, self.client, self.door, credentials, mechanism.name())?;
        Ok(self.session.logged_in(verified, self.conn.output()))
    }

    /// MAIL: may he send as this address, is there room, and does he come too often? The transaction keeps the accounts of this moment.
    pub(super) fn check_sender(&mut self) -> Step {
        self.live = self.service.live();
        let Some(transaction) = self.session.transaction() else { return Step::Close };
        let own = |user| self.live.accounts.may_send_as(user, &transaction.reverse_path);
        let outcome = if !self.session.user().is_none_or(own) {
            Err((SenderRefusal::NotYours, "not-your-address"))
        } else if !self.service.delivery.has_room(transaction.size) {
            Err((SenderRefusal::NoRoom, "no-room"))
        } else if self.door != Door::Lmtp && !self.service.admission.may_send(self.client.ip()) {
            Err((SenderRefusal::TooOften, "too-often"))
        } else {
            Ok(())
        };
        if let Err((_, why)) = outcome {
            self.log_line("refused").field("why", why).info();
        }
        self.session.sender_checked(outcome.map_err(|(refusal, _)| refusal), self.conn.output())
    }

    /// RCPT: whose mail is it, and has he room? Who names one stranger after the other is answered ever more slowly.
    pub(super) fn look_up(&mut self) -> Result<Step, Error> {
        let (Some(path), Some(transaction)) = (self.session.recipient(), self.session.transaction()) else {
            return Ok(Step::Close);
        };
        let delivery = &self.service.delivery;
        let unwritable = |user: &String| delivery.is_unwritable(user);
        let full = |user: &String| delivery.over_quota(user, transaction.size);
        let outcome = match self.live.accounts.resolve(path) {
            Ok(users) if users.iter().any(unwritable) => Err((RecipientRefusal::Unavailable, "mailbox-unavailable")),
            Ok(users) if users.iter().any(full) => Err((RecipientRefusal::OverQuota, "over-quota")),
            Ok(users) => Ok(users),
            Err(Unknown::NotOurDomain) => Err((RecipientRefusal::NotOurDomain, "not-our-domain")),
            Err(Unknown::NoSuchUser) => Err((RecipientRefusal::NoSuchUser, "no-such-user")),
        };
        if let Err((refusal, why)) = outcome {
            self.log_line("refused").field("to", &path.text).field("why", why).info();
            self.service.counters.recipients_refused.one();
            if refusal == RecipientRefusal::NoSuchUser && self.door != Door::Lmtp {
                self.strangers += 1;
                let pause = pause_for(self.strangers);
                if !pause.is_zero() {
                    self.conn.pause(pause)?;
                }
            }
        }
        Ok(self.session.recipient_checked(outcome.map_err(|(refusal, _)| refusal), self.conn.output()))
    }
}

/// How long one waits for the reply to his `strangers`-th unknown recipient.
fn pause_for(strangers: u32) -> Duration {
    let seconds = strangers.saturating_sub(limits::UNKNOWN_RECIPIENTS);
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
