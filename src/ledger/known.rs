//! Which messages are recorded already, so that each becomes one event however often its folder is read.
//!
//! Known is what the journal holds and what a compact file per user holds, `STATE/seen/USER`, for what the journal has
//! dropped. A message is kept as 64 bits of a digest, its [`Identity`]: 8 octets for each that is still there. The files
//! are a cache: `STATE/seen/.seq` says up to which `seq` the journal is in them, and later records are read from the
//! journal. So no file may hold what the journal does not: a message that is known and not recorded yet is *fresh*, and
//! stays out of the files until it is recorded.

use super::homes::Homes;
use super::writer::Writer;
use crate::journal::{Record, segment};
use crate::maildir::name;
use md5::{Digest, Md5};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a seen file begins; the digests follow, little-endian 64 bits.
const MAGIC: &[u8; 8] = b"mbseen1\n";

/// The file that says up to which `seq` the others are complete. No user's name begins with a dot.
const COVERED: &str = ".seq";

/// The file with the [`Homes`].
const HOMES: &str = ".maildirs";

/// What tells a message from all others of its user, whatever flags its name is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(u64);

impl Identity {
    /// Of the message with this file name.
    pub fn of(file_name: &[u8]) -> Identity {
        // As a record says it, so that what was read from the journal is the same.
        let text = name::text(name::known_as(file_name));
        let mut number = [0; 8];
        number.copy_from_slice(&Md5::digest(text.as_bytes())[..8]);
        Identity(u64::from_le_bytes(number))
    }

    /// Of the message of a record.
    pub(super) fn of_record(record: &Record) -> Identity {
        // A message that is not stored here has no file name.
        let name = if record.path.is_empty() { Some(record.id.as_str()) } else { record.path.rsplit('/').next() };
        Identity::of(name.unwrap_or_default().as_bytes())
    }
}

/// The known messages of every user.
#[derive(Debug)]
pub(super) struct KnownIds {
    dir: PathBuf,
    homes: Mutex<Homes>,
    users: Mutex<HashMap<String, Ids>>,
}

#[derive(Debug, Default)]
struct Ids {
    /// Recorded, or never to be recorded; sorted.
    settled: Vec<Identity>,
    /// Known since the last `settle`; true: recorded.
    fresh: HashMap<Identity, bool>,
    /// `settled` is not what the file says.
    changed: bool,
}

impl Ids {
    /// Sorts what was added, each once.
    fn sort(&mut self) {
        self.settled.sort_unstable();
        self.settled.dedup();
        self.settled.shrink_to_fit();
        self.changed = true;
    }
}

/// The messages that a user's Maildirs hold now.
#[derive(Debug, Default)]
struct Present {
    /// In `new/`.
    new: Vec<Identity>,
    /// In `cur/`: they make no event any more, so they become known.
    cur: Vec<Identity>,
    /// Whether these are all of them: only then is what is missing gone.
    is_all: bool,
}

impl KnownIds {
    /// Reads the files and what the journal of `writer` has beyond them.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or read.
    pub(super) fn load(state: &Path, writer: &Writer) -> io::Result<KnownIds> {
        let dir = state.join("seen");
        DirBuilder::new().recursive(true).mode(0o750).create(&dir)?;
        let mut users: HashMap<String, Ids> = HashMap::new();
        let mut covered = covered(state);
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            match fs::read(entry.path()).ok().and_then(|octets| parse(&octets)) {
                Some(settled) => drop(users.insert(name, Ids { settled, ..Ids::default() })),
                None => {
                    log::warn!("{}: damaged; read from the journal instead", entry.path().display());
                    covered = 0;
                }
            }
        }
        // The journal lost its end, or is another one. As long as it has its beginning, it alone tells what is recorded.
        if covered > writer.last() {
            covered = 0;
            if segment::list(writer.dir())?.first().is_some_and(|oldest| oldest.first == 1) {
                users.values_mut().for_each(|ids| *ids = Ids { changed: true, ..Ids::default() });
            }
        }
        for (user, identity) in recorded_after(covered, writer)? {
            users.entry(user).or_default().settled.push(identity);
        }
        users.values_mut().for_each(Ids::sort);
        let homes = fs::read(dir.join(HOMES)).map(|octets| Homes::parse(&octets)).unwrap_or_default();
        Ok(KnownIds { dir, homes: Mutex::new(homes), users: Mutex::new(users) })
    }

    /// Nothing is known, and nothing will be saved: for one delivery, which has a new id.
    pub(super) fn none() -> KnownIds {
        KnownIds { dir: PathBuf::new(), homes: Mutex::default(), users: Mutex::default() }
    }

    /// Makes a message known; true when it was not. To be followed by `recorded` or `remove`.
    pub(super) fn insert(&self, user: &str, identity: Identity) -> bool {
        let mut users = self.lock();
        if !users.contains_key(user) {
            users.insert(user.to_owned(), Ids::default());
        }
        // unwrap: it was inserted, if it was not there.
        let ids = users.get_mut(user).unwrap();
        let known = ids.settled.binary_search(&identity).is_ok() || ids.fresh.contains_key(&identity);
        if !known {
            ids.fresh.insert(identity, false);
        }
        !known
    }

    /// Whether the journal holds the record of a message.
    pub(super) fn is_recorded(&self, user: &str, identity: Identity) -> bool {
        let users = self.lock();
        let is_in = |ids: &Ids| ids.settled.binary_search(&identity).is_ok() || ids.fresh.get(&identity) == Some(&true);
        users.get(user).is_some_and(is_in)
    }

    /// Makes a message unknown again that was inserted: there will be no record of it.
    pub(super) fn remove(&self, user: &str, identity: Identity) {
        if let Some(ids) = self.lock().get_mut(user) {
            ids.fresh.remove(&identity);
        }
    }

    /// Makes a message unknown again, recorded or not: it is no more.
    pub(super) fn forget(&self, user: &str, identity: Identity) {
        if let Some(ids) = self.lock().get_mut(user) {
            ids.fresh.remove(&identity);
            if let Ok(at) = ids.settled.binary_search(&identity) {
                ids.settled.remove(at);
                ids.changed = true;
            }
        }
    }

    /// Whether the journal holds the record of a message that was inserted.
    pub(super) fn recorded(&self, user: &str, identity: Identity, is_recorded: bool) {
        if let Some(recorded) = self.lock().get_mut(user).and_then(|ids| ids.fresh.get_mut(&identity)) {
            *recorded = is_recorded;
        }
    }

    /// Everything that is recorded now may go into the files. The caller sees to it that no record is being written,
    /// takes the journal's `seq` for `cover`, and makes the journal safe before anything is saved.
    pub(super) fn settle(&self) {
        for ids in self.lock().values_mut() {
            let before = ids.settled.len();
            ids.settled.extend(ids.fresh.iter().filter(|(_, recorded)| **recorded).map(|(digest, _)| digest));
            if ids.settled.len() > before {
                ids.fresh.retain(|_, recorded| !*recorded);
                ids.fresh.shrink_to_fit();
                ids.sort();
            }
        }
    }

    /// These Maildirs are watched on this day since 1970. To be told before anything in them becomes known.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; it is as if they were not told, and nothing may be forgotten.
    pub(super) fn watched(&self, maildirs: &[(String, PathBuf)], today: u64) -> io::Result<()> {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = homes.clone();
        now.watched(maildirs, today);
        if now == *homes {
            return Ok(());
        }
        self.write(HOMES, &now.octets()).inspect(|()| *homes = now)
    }

    /// Writes every user's file, without the messages that are not there any more, and then that the files hold what the
    /// journal has up to `seq`. To be called after `settle`; only the users of `watched` have something to forget.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; the old files stay then, or the old promise.
    pub(super) fn save(&self, watched: &[(String, PathBuf)], seq: u64) -> io::Result<()> {
        let mut users: BTreeSet<String> = self.lock().keys().cloned().collect();
        let is_watched: BTreeSet<&str> = watched.iter().map(|(user, _)| user.as_str()).collect();
        users.extend(is_watched.iter().map(|user| (*user).to_owned()));
        for user in &users {
            let homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let maildirs: Vec<PathBuf> = homes.of(user).map(Path::to_owned).collect();
            let present = if is_watched.contains(user.as_str()) { present(&maildirs) } else { Present::default() };
            self.save_user(user, present)?;
        }
        self.write(COVERED, format!("{seq}\n").as_bytes())
    }

    fn save_user(&self, user: &str, mut present: Present) -> io::Result<()> {
        let mut octets = MAGIC.to_vec();
        {
            let mut users = self.lock();
            let ids = users.entry(user.to_owned()).or_default();
            present.new.sort_unstable();
            let is_there = |identity: &Identity| !present.is_all || present.new.binary_search(identity).is_ok();
            let mut settled = present.cur;
            settled.extend(ids.settled.iter().copied().filter(is_there));
            settled.sort_unstable();
            settled.dedup();
            if settled != ids.settled {
                ids.settled = settled;
                ids.sort();
            }
            if !ids.changed {
                return Ok(());
            }
            ids.settled.iter().for_each(|identity| octets.extend_from_slice(&identity.0.to_le_bytes()));
            ids.changed = false;
        }
        let written = self.write(user, &octets);
        if written.is_err()
            && let Some(ids) = self.lock().get_mut(user)
        {
            ids.changed = true;
        }
        written
    }

    fn write(&self, name: &str, octets: &[u8]) -> io::Result<()> {
        let tmp = self.dir.join(format!(".{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&tmp)?;
        file.write_all(octets)?;
        file.sync_data()?;
        fs::rename(tmp, self.dir.join(name))?;
        // The next file may promise more only when this one is there to stay.
        File::open(&self.dir)?.sync_all()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ids>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to which `seq` the journal was in the files.
pub(super) fn covered(state: &Path) -> u64 {
    let text = fs::read_to_string(state.join("seen").join(COVERED)).unwrap_or_default();
    text.strip_suffix('\n').and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The messages of the journal's records after `seq`, as far as they can be read: others are recorded again.
fn recorded_after(seq: u64, writer: &Writer) -> io::Result<Vec<(String, Identity)>> {
    let mut found = Vec::new();
    if seq == writer.last() {
        return Ok(found);
    }
    let segments = segment::list(writer.dir())?;
    let next = segments.partition_point(|segment| segment.first <= seq + 1);
    for segment in &segments[next.saturating_sub(1)..] {
        let outcome = segment.records(|record, _, _| {
            if record.seq > seq {
                let identity = Identity::of_record(&record);
                found.push((record.user, identity));
            }
        });
        if let Err(error) = outcome {
            log::error!("{}: {error}", segment.path.display());
        }
    }
    Ok(found)
}

fn parse(octets: &[u8]) -> Option<Vec<Identity>> {
    let (numbers, []) = octets.strip_prefix(MAGIC)?.as_chunks::<8>() else { return None };
    Some(numbers.iter().map(|digest| Identity(u64::from_le_bytes(*digest))).collect())
}

/// What a user's Maildirs hold. One that cannot be read or is not there just now may be on a disk that is not mounted:
/// nothing of it is forgotten then.
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

fn read(folder: &Path, is_new: bool, found: &mut Vec<Identity>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file_name = entry?.file_name();
        // By a name that is not unique, another message may come when this one has gone to cur/.
        if name::is_message(file_name.as_bytes()) && (is_new || name::is_unique(file_name.as_bytes())) {
            found.push(Identity::of(file_name.as_bytes()));
        }
    }
    Ok(())
}
