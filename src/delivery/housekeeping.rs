//! What is to be done beside the mail: each hour, and at the end. Threads and timers are the server's.

use super::Delivery;
use crate::ledger::Callback;
use crate::maildir::litter;
use std::path::PathBuf;
use std::time::SystemTime;

impl Delivery {
    /// `callback` is called when Maildirs must be looked at again, because messages could not be recorded when they came.
    /// The first one counts.
    pub fn on_missed(&self, callback: Callback) {
        self.ledger().inspect(|ledger| ledger.on_missed(callback));
    }

    /// Messages in these Maildirs are recorded; each Maildir with its user.
    pub fn watch(&self, maildirs: Vec<(String, PathBuf)>) {
        self.ledger().inspect(|ledger| ledger.watch(maildirs));
    }

    /// Records what could not be recorded before, and makes all that was told safe against a power cut.
    pub fn tick(&self) {
        self.ledger().inspect(|ledger| ledger.tick());
    }

    /// The work of each hour, in a thread of its own: the journal's old segments, litter in `tmp/`, what is known saved.
    /// It never overlaps itself.
    pub fn housekeep(&self) {
        let (Some(ledger), Ok(_alone)) = (self.ledger(), self.housekeeping.try_lock()) else { return };
        let now = SystemTime::now();
        for (user, maildir) in ledger.watched() {
            // What lies in the Maildirs of other programs is theirs to clean up.
            if self.is_own(&user, &maildir) {
                match litter::clean(&maildir, now) {
                    Ok(0) => {}
                    Ok(count) => log::info!("{}: {count} old files removed from tmp/", maildir.display()),
                    Err(error) => log::warn!("{}: {error}", maildir.join("tmp").display()),
                }
            }
        }
        ledger.housekeep(now);
    }

    /// Writes down which messages are recorded, so that the next start need not read the whole journal.
    pub fn save_known(&self) {
        self.ledger().inspect(|ledger| ledger.save_known());
    }
}
