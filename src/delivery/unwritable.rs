//! Users with a Maildir that cannot be written, for a reason of its own: a wrong owner, a file in its place, a disk that
//! went read-only. Mail to such a user is refused at RCPT, so that other mail is not held up; and the Maildir is tried
//! again each time that the user is asked for. While all is well, this costs nothing.

use super::Delivery;
use crate::maildir::store::{self, probe};
use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Users, as many as there are at the most.
#[derive(Debug, Default)]
pub(super) struct Unwritable(Mutex<HashSet<String>>);

impl Unwritable {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// Whether the last try to write to the user's Maildir failed, and one more does: RCPT TO's 450 4.2.0.
    pub fn is_unwritable(&self, user: &str) -> bool {
        if !self.unwritable.lock().contains(user) {
            return false;
        }
        let can_be_written = self.try_maildir(user).is_ok();
        if can_be_written && self.unwritable.lock().remove(user) {
            log::info!("{user}: the Maildir can be written again");
        }
        !can_be_written
    }

    /// A message could not be stored: finds out for which users.
    pub(super) fn examine<'a>(&self, users: impl Iterator<Item = &'a str>) {
        for user in users {
            if let Err(error) = self.try_maildir(user)
                && !is_ours(&error)
                && self.unwritable.lock().insert(user.to_owned())
            {
                log::error!("{user}: no mail for this user until the Maildir can be written: {error}");
            }
        }
    }

    fn try_maildir(&self, user: &str) -> io::Result<()> {
        probe(&self.maildir(user), &self.ids.next().text, &self.modes)
    }
}

/// Whether the process or the system has run out of something: that says nothing of a Maildir.
pub(super) fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of = |errno: Errno| store::errno(error) == Some(errno.raw_os_error());
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS].into_iter().any(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_has_run_out_of_says_nothing_of_a_maildir() {
        for (errno, ours) in [(libc::EMFILE, true), (libc::ENFILE, true), (libc::ENOMEM, true), (libc::EACCES, false)] {
            assert_eq!(is_ours(&io::Error::from_raw_os_error(errno)), ours, "{errno}");
        }
    }
}
