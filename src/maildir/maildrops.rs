//! What the POP3 sessions of a process share: which maildrops are open, the listings of maildrops that did not change
//! since they were read, and where measured sizes are kept. It holds no message and no descriptor.

use crate::sys::lock;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

use super::folder::{Folder, Refused};
use super::kept::Kept;
use super::listing::{Listing, UNMEASURED};
use super::name::Place;
use super::reader::MessageReader;
use super::sizes::{Shape, Sizes};
use crate::limits;

/// How long a log-in waits for another session to end.
const PATIENCE: Duration = Duration::from_millis(250);

/// And for a few old messages to be deleted: some milliseconds, unless the disk is busy.
const UPKEEP: Duration = Duration::from_secs(30);

/// All maildrops of the process.
#[derive(Debug)]
pub struct Maildrops {
    sizes: PathBuf,
    /// Users, and whether it is open for upkeep and not in a session.
    open: Mutex<HashMap<String, bool>>,
    /// Notified when a maildrop is closed.
    closed: Condvar,
    kept: Mutex<Kept>,
}

/// The lock of a maildrop. It is released when the session ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    maildrops: Arc<Maildrops>,
    user: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        lock(&self.maildrops.open).remove(&self.user);
        self.maildrops.closed.notify_all();
    }
}

impl Lock {
    pub(super) fn maildrops(&self) -> &Maildrops {
        &self.maildrops
    }
}

impl Maildrops {
    /// `sizes` is the folder STATE/sizes; it is made when it is needed.
    pub fn new(sizes: PathBuf) -> Maildrops {
        Maildrops {
            sizes,
            open: Mutex::default(),
            closed: Condvar::new(),
            kept: Mutex::new(Kept::within(limits::LISTINGS)),
        }
    }

    /// How many maildrops are open.
    pub fn open_count(&self) -> usize {
        lock(&self.open).len()
    }

    /// `None` while another session has the maildrop. It waits for a moment first, so that a client that hangs up
    /// without QUIT and connects again at once finds the maildrop free.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    pub fn lock(self: &Arc<Maildrops>, user: &str) -> Option<Lock> {
        self.lock_for(user, false)
    }

    /// The same for work of the server that ends soon: a log-in waits for its end.
    pub fn lock_for_upkeep(self: &Arc<Maildrops>, user: &str) -> Option<Lock> {
        self.lock_for(user, true)
    }

    fn lock_for(self: &Arc<Maildrops>, user: &str, is_upkeep: bool) -> Option<Lock> {
        let began = Instant::now();
        let mut open = lock(&self.open);
        while let Some(for_upkeep) = open.get(user) {
            let left = if *for_upkeep { UPKEEP } else { PATIENCE }.checked_sub(began.elapsed())?;
            open = self.closed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        open.insert(user.to_owned(), is_upkeep);
        Some(Lock { maildrops: Arc::clone(self), user: user.to_owned() })
    }

    /// The messages of a Maildir with all their sizes. The caller has the lock of `user`.
    pub(super) fn listing(&self, maildir: &Path, user: &str) -> io::Result<Arc<Listing>> {
        if let Some(listing) = self.kept(maildir) {
            return Ok(listing);
        }
        let mut listing = Listing::read(maildir)?;
        measure(&mut listing, maildir, &self.sizes.join(user));
        let listing = Arc::new(listing);
        self.keep(maildir, &listing);
        Ok(listing)
    }

    /// The listing of an earlier session, if it is still right.
    pub(super) fn kept(&self, maildir: &Path) -> Option<Arc<Listing>> {
        let listing = lock(&self.kept).get(maildir)?;
        // The lock is not held while the file system is asked.
        listing.is_current(maildir).then_some(listing)
    }

    /// Keeps a listing for the next session.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn keep(&self, maildir: &Path, listing: &Arc<Listing>) {
        lock(&self.kept).put(maildir, listing);
    }
}

/// Fills in the sizes that are not in the names: from the file of sizes, else by reading the messages once.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
fn measure(listing: &mut Listing, maildir: &Path, file: &Path) {
    let unmeasured: Vec<usize> = (0..listing.len()).filter(|&index| listing.wire(index) == UNMEASURED).collect();
    if unmeasured.is_empty() {
        return;
    }
    let known = Sizes::load(file);
    let (mut sizes, mut gone) = (Sizes::default(), Vec::new());
    let (mut block, mut unique_id) = (Vec::new(), Vec::new());
    let mut measured = 0_u32;
    let folders = [Place::New, Place::Cur].map(|place| Folder::of_ours(maildir, place));
    for index in unmeasured {
        unique_id.clear();
        listing.unique_id(index, &mut unique_id);
        let folder = &folders[usize::from(listing.place(index) == Place::Cur)];
        let folder = folder.as_ref().map_err(|error| Refused::Io(error.kind().into()));
        let file_name = OsStr::from_bytes(listing.file_name(index));
        let size = folder.and_then(|folder| {
            let shape = Shape::of(&folder.stat(file_name).map_err(Refused::Io)?);
            if let Some(octets) = known.get(&unique_id, shape) {
                return Ok((octets, shape));
            }
            block.resize(64 * 1024, 0);
            measured += 1;
            let reader = MessageReader::of(folder.message(file_name)?.0, file_name.as_bytes());
            Ok((reader.measure(file_name.as_bytes(), &mut block).map_err(Refused::Io)?, shape))
        });
        match size {
            Ok((octets, shape)) => {
                sizes.insert(&unique_id, octets, shape);
                listing.set_wire(index, octets);
            }
            Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => gone.push(index),
            // It stays in the list, and RETR answers that it cannot be read.
            Err(refused) => {
                warn!("{}: its size cannot be measured: {refused}", listing.path(maildir, index).display());
                listing.set_wire(index, 0);
                listing.distrust();
            }
        }
    }
    listing.remove(&gone);
    if (measured > 0 || sizes.count() != known.count())
        && let Err(error) = sizes.store(file)
    {
        warn!("{}: measured sizes cannot be saved: {error}", file.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_log_in_waits_for_upkeep_and_not_long_for_a_session() {
        let maildrops = Arc::new(Maildrops::new(PathBuf::new()));
        let session = maildrops.lock("alice").unwrap();
        assert!(maildrops.lock("alice").is_none() && maildrops.lock_for_upkeep("alice").is_none());
        assert!(maildrops.lock("bob").is_some());
        drop(session);
        let upkeep = maildrops.lock_for_upkeep("alice").unwrap();
        let log_in = thread::spawn({
            let maildrops = maildrops.clone();
            move || maildrops.lock("alice").is_some()
        });
        // Longer than it would wait for a session.
        thread::sleep(2 * PATIENCE);
        drop(upkeep);
        assert!(log_in.join().unwrap());
        assert_eq!(maildrops.open_count(), 0);
    }
}
