//! Which messages of a Maildir are recorded already, so that each becomes one event however often its folder is read.
//!
//! Known is what the journal holds and what a compact file per user holds, `STATE/seen/USER`, for what the journal has
//! dropped. A message is kept as 64 bits of a digest of its id, or of its name where the id is not its alone
//! ([`name::known_as`]): 8 octets for each that is still there. The files are a cache with a promise: `STATE/seen/.seq`
//! says up to which `seq` the journal is in them, and what comes after is read from the journal. Hence no file may hold
//! what the journal does not: a message that was made known and is not recorded yet is *fresh*, and stays out of the
//! files until it is.

use super::Journal;
use super::homes::Homes;
use super::record::Record;
use super::segment;
use crate::maildir::name::{self, Name};
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a seen file begins; the digests follow, little-endian 64 bits.
const MAGIC: &[u8; 8] = b"mbseen1\n";

/// The file that says what the others cover. No user's name begins with a dot.
const COVERED: &str = ".seq";

/// The file with the [`Homes`].
const HOMES: &str = ".maildirs";

/// The known messages of every user.
#[derive(Debug)]
pub struct KnownIds {
    dir: PathBuf,
    homes: Mutex<Homes>,
    users: Mutex<HashMap<String, Ids>>,
    saving: Mutex<()>,
}

#[derive(Debug, Default)]
struct Ids {
    /// Recorded, or never to be recorded; sorted.
    settled: Vec<u64>,
    /// Known since the last [`KnownIds::settle`]; true: recorded.
    fresh: HashMap<u64, bool>,
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

/// The digests of the messages that a user's Maildirs hold now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// In `new/`.
    pub new: Vec<u64>,
    /// In `cur/`: they make no event any more, so they become known.
    pub cur: Vec<u64>,
    /// Whether these are all of them: only then is what is missing gone.
    pub is_all: bool,
}

impl KnownIds {
    /// Reads the files and what the journal has beyond them.
    ///
    /// # Errors
    ///
    /// When the state folder or the journal cannot be read.
    pub fn load(state: &Path, journal: &Journal) -> io::Result<KnownIds> {
        let dir = state.join("seen");
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&dir)?;
        let mut users: HashMap<String, Ids> = HashMap::new();
        let covered = fs::read_to_string(dir.join(COVERED)).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
        let mut covered: u64 = covered.unwrap_or(0);
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            match parse(&fs::read(entry.path())?) {
                Some(settled) => drop(users.insert(name, Ids { settled, ..Ids::default() })),
                None => {
                    log::warn!("{}: damaged; read from the journal instead", entry.path().display());
                    covered = 0;
                }
            }
        }
        // The journal lost its end, or is another one. As long as it has its beginning, it alone tells what is recorded.
        if covered > journal.last_seq() {
            covered = 0;
            if segment::list(journal.dir())?.first().is_some_and(|oldest| oldest.first == 1) {
                users.values_mut().for_each(|ids| *ids = Ids { changed: true, ..Ids::default() });
            }
        }
        for (user, digest) in recorded_after(covered, journal)? {
            users.entry(user).or_default().settled.push(digest);
        }
        users.values_mut().for_each(Ids::sort);
        let homes = fs::read(dir.join(HOMES)).map(|octets| Homes::parse(&octets)).unwrap_or_default();
        Ok(KnownIds { dir, homes: Mutex::new(homes), users: Mutex::new(users), saving: Mutex::default() })
    }

    /// Nothing is known, and nothing will be saved: for one delivery, whose id is new.
    pub fn none() -> KnownIds {
        KnownIds { dir: PathBuf::new(), homes: Mutex::default(), users: Mutex::default(), saving: Mutex::default() }
    }

    /// The id under which the message of a record is known.
    pub fn id_of(record: &Record) -> &[u8] {
        let file_name = record.path.rsplit('/').next().unwrap_or_default().as_bytes();
        if Name::parse(file_name).id == record.id.as_bytes() { name::known_as(file_name) } else { record.id.as_bytes() }
    }

    /// What stands for an id.
    pub fn digest(id: &[u8]) -> u64 {
        // As the record says it, so that what was read from the journal is the same.
        let text = name::text(id);
        let mut number = [0; 8];
        number.copy_from_slice(&Md5::digest(text.as_bytes())[..8]);
        u64::from_le_bytes(number)
    }

    /// Makes an id known; true when it was not. To be followed by [`KnownIds::recorded`] or [`KnownIds::remove`].
    pub fn insert(&self, user: &str, id: &[u8]) -> bool {
        let digest = KnownIds::digest(id);
        let mut users = self.lock();
        if !users.contains_key(user) {
            users.insert(user.to_owned(), Ids::default());
        }
        // unwrap: it was inserted, if it was not there.
        let ids = users.get_mut(user).unwrap();
        let known = ids.settled.binary_search(&digest).is_ok() || ids.fresh.contains_key(&digest);
        if !known {
            ids.fresh.insert(digest, false);
        }
        !known
    }

    /// Makes an id unknown again that was inserted: there will be no record of it.
    pub fn remove(&self, user: &str, id: &[u8]) {
        if let Some(ids) = self.lock().get_mut(user) {
            ids.fresh.remove(&KnownIds::digest(id));
        }
    }

    /// Makes an id unknown again, recorded or not: its message is no more.
    pub fn forget(&self, user: &str, id: &[u8]) {
        let digest = KnownIds::digest(id);
        if let Some(ids) = self.lock().get_mut(user) {
            ids.fresh.remove(&digest);
            if let Ok(at) = ids.settled.binary_search(&digest) {
                ids.settled.remove(at);
                ids.changed = true;
            }
        }
    }

    /// The journal holds the record of an id that was inserted.
    pub fn recorded(&self, user: &str, id: &[u8]) {
        if let Some(recorded) = self.lock().get_mut(user).and_then(|ids| ids.fresh.get_mut(&KnownIds::digest(id))) {
            *recorded = true;
        }
    }

    /// Everything that is recorded now may go into the files. The caller sees to it that no record is being written,
    /// takes the journal's `seq` for [`KnownIds::cover`], and makes the journal last before anything is saved.
    pub fn settle(&self) {
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

    /// For who calls [`KnownIds::settle`] and then [`KnownIds::save`]: nobody else must settle in between, or what came
    /// meanwhile would be taken for gone.
    pub fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for who need not; `None` while somebody saves.
    pub fn try_saving(&self) -> Option<MutexGuard<'_, ()>> {
        self.saving.try_lock().ok()
    }

    /// These Maildirs are watched on this day since 1970. To be told before anything in them becomes known.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; it is as if they were not told, and nothing may be forgotten.
    pub fn watched(&self, maildirs: &[(String, PathBuf)], today: u64) -> io::Result<()> {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = homes.clone();
        now.watched(maildirs, today);
        if now == *homes {
            return Ok(());
        }
        self.write(HOMES, &now.octets()).inspect(|()| *homes = now)
    }

    /// The Maildirs that hold what is known of a user; some may be watched no more.
    pub fn maildirs(&self, user: &str) -> Vec<PathBuf> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).of(user).map(Path::to_owned).collect()
    }

    /// Forgets the messages of a user that are not there any more, and writes his file. `present` was read after
    /// [`KnownIds::settle`], in all of [`KnownIds::maildirs`].
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; the old file stays then.
    pub fn save(&self, user: &str, mut present: Present) -> io::Result<()> {
        let mut octets = MAGIC.to_vec();
        {
            let mut users = self.lock();
            let ids = users.entry(user.to_owned()).or_default();
            present.new.sort_unstable();
            let is_there = |digest: &u64| !present.is_all || present.new.binary_search(digest).is_ok();
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
            ids.settled.iter().for_each(|digest| octets.extend_from_slice(&digest.to_le_bytes()));
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

    /// The files hold what the journal has up to `seq`.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; the old promise stays then.
    pub fn cover(&self, seq: u64) -> io::Result<()> {
        self.write(COVERED, format!("{seq}\n").as_bytes())
    }

    /// Every user of whom something is known.
    pub fn users(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
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

/// The messages of the journal's records after `seq`. A damaged line is passed over: its message is recorded again.
fn recorded_after(seq: u64, journal: &Journal) -> io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    if seq == journal.last_seq() {
        return Ok(found);
    }
    let segments = segment::list(journal.dir())?;
    let next = segments.partition_point(|segment| segment.first <= seq + 1);
    for segment in &segments[next.saturating_sub(1)..] {
        let (mut lines, mut line) = (segment.lines()?, Vec::new());
        while lines.next(&mut line)? {
            if let Ok(record) = Record::parse(&line)
                && record.seq > seq
            {
                let digest = KnownIds::digest(KnownIds::id_of(&record));
                found.push((record.user, digest));
            }
        }
    }
    Ok(found)
}

fn parse(octets: &[u8]) -> Option<Vec<u64>> {
    let (numbers, []) = octets.strip_prefix(MAGIC)?.as_chunks::<8>() else { return None };
    Some(numbers.iter().map(|digest| u64::from_le_bytes(*digest)).collect())
}
