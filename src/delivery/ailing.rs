//! Whose Maildir cannot be written, for a reason of its own: a wrong owner, a file in its place, a disk that went
//! read-only. Such a user is refused at RCPT, so that he holds up nobody else's mail; and it is tried again each time
//! that he is asked for. While all is well, this costs nothing.

use super::Delivery;
use crate::maildir::store::probe;
use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Users, as many as there are at the most.
#[derive(Debug, Default)]
pub(super) struct Ailing(Mutex<HashSet<String>>);

impl Ailing {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// Whether the last try to write to the user's Maildir failed, and one more does: RCPT TO's 450 4.2.0.
    pub fn is_ailing(&self, user: &str) -> bool {
        if !self.ailing.lock().contains(user) {
            return false;
        }
        let is_well = self.try_maildir(user).is_ok();
        if is_well && self.ailing.lock().remove(user) {
            log::info!("{user}: the Maildir can be written again");
        }
        !is_well
    }

    /// A message could not be stored: finds out for whom.
    pub(super) fn examine<'a>(&self, users: impl Iterator<Item = &'a str>) {
        for user in users {
            if let Err(error) = self.try_maildir(user)
                && self.ailing.lock().insert(user.to_owned())
            {
                log::error!("{user}: no mail for this user until the Maildir can be written: {error}");
            }
        }
    }

    fn try_maildir(&self, user: &str) -> io::Result<()> {
        probe(&self.maildir(user), &self.ids.next().text, &self.modes)
    }
}
