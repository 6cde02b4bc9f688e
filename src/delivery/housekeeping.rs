//! What is to be done beside the mail: soon after a record, each hour, and at the end. Threads and timers are the
//! server's.

use super::{Delivery, Recorder, Stir};
use crate::journal::{KnownIds, Present};
use crate::maildir::litter;
use crate::maildir::name;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

impl Delivery {
    /// `stir` is called after records were appended (from any thread, cheap); the loop then calls [`Delivery::tick`] soon.
    pub fn on_record(&mut self, stir: Stir) {
        if let Some(recorder) = self.recorder.get_mut() {
            recorder.on_record(stir);
        }
    }

    /// `scan` is called when Maildirs must be looked at again, because messages could not be recorded when they came.
    /// The first one counts.
    pub fn on_missed(&self, scan: Stir) {
        let _ = self.scan.set(scan);
    }

    /// The Maildirs whose messages are recorded, each with its user.
    pub fn watch(&self, maildirs: Vec<(String, PathBuf)>) {
        if let Some(recorder) = self.recorder()
            && let Err(error) = recorder.known().watched(&maildirs, today())
        {
            log::error!("which Maildirs are watched cannot be saved: {error}");
        }
        *self.maildirs.lock().unwrap_or_else(PoisonError::into_inner) = maildirs;
    }

    /// Makes the journal safe against a power cut, and records what could not be recorded before. Costs nothing when there
    /// is nothing to do. Called within half a second of a record.
    pub fn tick(&self) {
        if let Some(recorder) = self.recorder()
            && recorder.flush()
            && let Some(scan) = self.scan.get()
        {
            scan();
        }
    }

    /// The work of each hour, in a thread of its own: the journal's `maintain`, litter in `tmp/`, what is known saved.
    pub fn housekeep(&self) {
        let Some(recorder) = self.recorder() else { return };
        let now = SystemTime::now();
        for (user, maildir) in self.watched() {
            // What lies in others' Maildirs is theirs to clean up.
            if self.is_own(&user, &maildir) {
                match litter::clean(&maildir, now) {
                    Ok(0) => {}
                    Ok(count) => log::info!("{}: {count} old files removed from tmp/", maildir.display()),
                    Err(error) => log::warn!("{}: {error}", maildir.join("tmp").display()),
                }
            }
        }
        // First: of what the journal drops, nothing else knows that it was recorded.
        self.save_known();
        if let Err(error) = recorder.journal().maintain(now, self.journal_keep) {
            log::error!("journal: {error}");
        }
    }

    /// Writes down which messages are recorded, so that the next start need not read the whole journal, and forgets
    /// those that are not there any more.
    pub fn save_known(&self) {
        if let Some(recorder) = self.recorder()
            && let Err(error) = self.save(recorder)
        {
            log::error!("what is known cannot be saved: {error}");
        }
    }

    fn save(&self, recorder: &Recorder) -> io::Result<()> {
        let _alone = recorder.known().saving();
        let seq = recorder.settle();
        // Before the files that rest on it: a message that is known without a record would never be recorded.
        recorder.journal().sync()?;
        let (known, watched) = (recorder.known(), self.watched());
        known.watched(&watched, today())?;
        let users: BTreeSet<&str> = watched.iter().map(|(user, _)| user.as_str()).collect();
        for user in &users {
            known.save(user, present(&known.maildirs(user)))?;
        }
        // Whose Maildirs are not watched any more is not forgotten either.
        for user in known.users().iter().filter(|user| !users.contains(user.as_str())) {
            known.save(user, Present::default())?;
        }
        known.cover(seq)
    }

    fn watched(&self) -> Vec<(String, PathBuf)> {
        self.maildirs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a user's Maildirs hold. One that cannot be read or is not there just now may be on a disk that is not mounted:
/// nobody must forget its messages then.
fn present(maildirs: &[PathBuf]) -> Present {
    let mut present = Present { is_all: true, ..Present::default() };
    for maildir in maildirs {
        // Twice: a message may be moved to either side meanwhile.
        for place in ["new", "cur", "new"] {
            let folder = maildir.join(place);
            let is_new = place == "new";
            let found = if is_new { &mut present.new } else { &mut present.cur };
            match read(&folder, is_new, found) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_new => {}
                Err(error) => {
                    log::debug!("{}: {error}; nothing is forgotten", folder.display());
                    present.is_all = false;
                }
                Ok(()) => {}
            }
        }
    }
    present
}

/// Days since 1970.
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

fn read(folder: &Path, is_new: bool, found: &mut Vec<u64>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file_name = entry?.file_name();
        // By a name that is not unique, another message may come when this one has gone to cur/.
        if name::is_message(file_name.as_bytes()) && (is_new || name::is_unique(file_name.as_bytes())) {
            found.push(KnownIds::digest(name::known_as(file_name.as_bytes())));
        }
    }
    Ok(())
}
