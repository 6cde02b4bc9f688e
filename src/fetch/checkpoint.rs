//! What is known of a remote: `STATE/remote/NAME`, one file for all its folders, written whole. The journal is the state;
//! this file says up to which `seq` it was read, so that a start reads no more than what came after.
//!
//! | it ends after | the next start |
//! |---|---|
//! | a message was stored | the scan of the Maildir finds it and records it, with its trace field |
//! | its record | `Checkpoint::open` finds the record: it is known, and the action is done again where it is listed |
//! | the action | gone or listed, either is right |

use super::folder::{Failing, Folder};
use super::maildrop::Maildrop;
use crate::journal::{Item, Reader, Record};
use crate::sys::folder::make_folder;
use crate::sys::read_regular;
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How the file begins.
const MAGIC: &str = "mailbell remote 1";

/// Octets of a file that can be ours: a maildrop of a million messages.
const LONGEST: u64 = 256 << 20;

/// What is known of one remote.
#[derive(Debug, Default)]
pub struct Checkpoint {
    path: PathBuf,
    name: String,
    /// The account there; when it changes, the server's ids mean other messages.
    pub host: String,
    /// The login there.
    pub login: String,
    /// IMAP.
    pub folders: BTreeMap<String, Folder>,
    /// POP3.
    pub maildrop: Option<Maildrop>,
    /// Records up to this one are in here.
    seq: u64,
    /// For each folder that is storing a message: the latest record before.
    storing: BTreeMap<String, u64>,
    /// The digest of what was written last.
    written: Option<[u8; 16]>,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Checkpoint {
    /// Reads the file of a remote below `state`, and what the journal has of it after that.
    ///
    /// # Errors
    ///
    /// When a file cannot be read. A damaged one is no error: the folders are compared with the journal then.
    pub fn open(state: &Path, name: &str) -> io::Result<Checkpoint> {
        let path = state.join("remote").join(name);
        let mut checkpoint = match read(&path)? {
            Some(text) => parse(&text).unwrap_or_else(|| {
                log::error!("{}: damaged; the folders are compared with the journal", path.display());
                let written = fs::metadata(&path).and_then(|found| found.modified()).ok();
                let since =
                    written.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |time| time.as_secs());
                Checkpoint { maildrop: Some(Maildrop::damaged(since)), ..Checkpoint::default() }.with_damage(since)
            }),
            None => Checkpoint::default(),
        };
        (checkpoint.path, checkpoint.name) = (path, name.to_owned());
        let mut reader = Reader::new(&state.join("journal"), checkpoint.seq);
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Record(record) => checkpoint.replay(&record),
                Item::Lost { to, .. } => checkpoint.seq = to,
            }
        }
        Ok(checkpoint)
    }

    /// A folder that must be compared with the journal, under the name that stands for all folders.
    fn with_damage(mut self, since: u64) -> Checkpoint {
        let folder = Folder { first: since, passed: since, needs_resync: true, ..Folder::default() };
        self.folders.insert(String::new(), folder);
        self
    }

    /// A record that came after the file was written.
    fn replay(&mut self, record: &Record) {
        self.seq = record.seq;
        if record.origin.remote.as_deref() != Some(&self.name) {
            return;
        }
        let Some(uid) = record.origin.uid.as_deref() else { return };
        let (stored, when) = (!record.path.is_empty(), record.timestamp / 1_000_000);
        match record.origin.folder.as_deref() {
            Some(name) => {
                let is_it = |known: &str| known == name || crate::message::trace::comment(known) == name;
                if let Some((_, folder)) = self.folders.iter_mut().find(|(known, _)| is_it(known)) {
                    folder.replay(uid, stored, when);
                }
            }
            None => self.maildrop.get_or_insert_default().replay(uid.as_bytes(), stored, when),
        }
    }

    /// The remote has this account from now on. Ids of an earlier account are not used.
    pub fn belong_to(&mut self, host: &str, login: &str) {
        if !self.host.is_empty() && (self.host != host || self.login != login) {
            log::info!("remote {}: host or login changed; its folders are compared with the journal", self.name);
            self.folders.values_mut().for_each(|folder| folder.needs_resync = true);
            self.maildrop.iter_mut().for_each(|maildrop| maildrop.needs_resync = true);
        }
        (self.host, self.login) = (host.to_owned(), login.to_owned());
    }

    /// Whether a folder was looked at before.
    pub fn has_folder(&self, name: &str) -> bool {
        self.folders.contains_key(name) || self.folders.contains_key("")
    }

    /// A folder.
    pub fn folder(&mut self, name: &str) -> &mut Folder {
        let damaged = self.folders.get("").cloned();
        self.folders.entry(name.to_owned()).or_insert_with(|| damaged.unwrap_or_default())
    }

    /// The POP3 maildrop.
    pub fn maildrop(&mut self) -> &mut Maildrop {
        self.maildrop.get_or_insert_default()
    }

    /// A message of this folder is about to be recorded; `seq` is that of the latest record.
    pub fn begin(&mut self, folder: &str, seq: u64) {
        self.storing.insert(folder.to_owned(), seq);
    }

    /// What became of it is in here.
    pub fn end(&mut self, folder: &str) {
        self.storing.remove(folder);
    }

    /// Writes the file, unless it says the same already. `last` is the `seq` of the latest record.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn save(&mut self, last: u64) -> io::Result<()> {
        let seq = self.storing.values().copied().min().unwrap_or(last);
        let text = self.to_text();
        // The number alone is worth a write only when a start would have to read much.
        let digest: [u8; 16] = Md5::digest(&text).into();
        if self.written == Some(digest) && seq < self.seq + 1_000 {
            return Ok(());
        }
        self.seq = seq;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_folder(folder, 0o750, None)?;
        let temporary = self.path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
        file.write_all(format!("{MAGIC}\nseq {seq}\n").as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"end\n")?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(folder)?.sync_all()?;
        self.written = Some(digest);
        Ok(())
    }

    fn to_text(&self) -> String {
        let mut text = format!("host {}\nlogin {}\n", self.host, self.login);
        // unwrap: writing to a string cannot fail; so below, too.
        for (name, folder) in &self.folders {
            let Folder { validity, last, first, passed, .. } = folder;
            let worthless = u8::from(folder.needs_resync);
            writeln!(text, "folder {validity} {last} {first} {passed} {worthless} {name}").unwrap();
            for (uid, Failing { tries, since, next }) in &folder.failing {
                writeln!(text, "failing {uid} {tries} {since} {next}").unwrap();
            }
            for (uid, stored) in &folder.pending {
                writeln!(text, "pending {uid} {stored}").unwrap();
            }
            for uid in &folder.done {
                writeln!(text, "done {uid}").unwrap();
            }
        }
        if let Some(maildrop) = &self.maildrop {
            maildrop.write(&mut text);
        }
        text
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match read_regular(path, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(String::from_utf8_lossy(&read?).into_owned())),
    }
}

/// `None` for a file that is not whole.
fn parse(text: &str) -> Option<Checkpoint> {
    let mut lines = text.strip_suffix("end\n")?.lines();
    if lines.next()? != MAGIC {
        return None;
    }
    let mut checkpoint = Checkpoint::default();
    let mut folder: Option<&mut Folder> = None;
    for line in lines {
        let (word, rest) = line.split_once(' ')?;
        let numbers = || rest.split(' ').map(|digits| digits.parse::<u64>().ok()).collect::<Option<Vec<u64>>>();
        match word {
            "seq" => checkpoint.seq = rest.parse().ok()?,
            "host" => checkpoint.host = rest.to_owned(),
            "login" => checkpoint.login = rest.to_owned(),
            "folder" => {
                let mut words = rest.splitn(6, ' ');
                let mut number = || words.next()?.parse::<u64>().ok();
                let (validity, last, first) = (number()? as u32, number()? as u32, number()?);
                let (passed, worthless) = (number()?, number()?);
                let known = Folder { validity, last, first, passed, needs_resync: worthless != 0, ..Folder::default() };
                let name = words.next()?.to_owned();
                folder = Some(checkpoint.folders.entry(name).or_insert(known));
            }
            "failing" => {
                let [uid, tries, since, next] = numbers()?[..] else { return None };
                folder.as_mut()?.failing.insert(uid as u32, Failing { tries: tries as u32, since, next });
            }
            "pending" => {
                let [uid, stored] = numbers()?[..] else { return None };
                folder.as_mut()?.pending.insert(uid as u32, stored);
            }
            "done" => _ = folder.as_mut()?.done.insert(rest.parse().ok()?),
            _ => checkpoint.maildrop.get_or_insert_default().read(word, rest)?,
        }
    }
    Some(checkpoint)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
