//! The events that a subscriber gave up, with the reason: the last ones, in `STATE/given_up/NAME`, so that a person can
//! see them and hand them over again. The file is written before the cursor passes the event, so a crash repeats an entry
//! and loses none.

use crate::journal::{Record, encode};
use crate::message::date;
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most events of one subscriber.
const MOST: usize = 100;

/// Longest reason that is kept, octets.
const REASON: usize = 300;

/// Longest file that is read, octets.
const LONGEST: u64 = 1 << 20;

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its number.
    pub seq: u64,
    /// The owner of the Maildir.
    pub user: String,
    /// The message's id.
    pub id: String,
    /// When it was given up, microseconds since 1970.
    pub time: u64,
    /// Failed tries.
    pub tries: u64,
    /// Why the last one failed.
    pub why: String,
}

impl GivenUp {
    /// Of a record, now.
    pub(super) fn now(record: &Record, tries: u32, why: &str) -> GivenUp {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let why = why[..why.floor_char_boundary(REASON)].to_owned();
        let (user, id) = (record.user.clone(), record.id.clone());
        GivenUp { seq: record.seq, user, id, time, tries: tries.into(), why }
    }

    /// As an object, for the file and for `mailbell status`.
    pub fn json(&self) -> Value {
        json!({
            "seq": self.seq, "user": self.user, "id": self.id, "time": date::rfc3339_micros(self.time),
            "tries": self.tries, "why": self.why,
        })
    }

    fn parse(value: &Value) -> Option<GivenUp> {
        let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        let number = |name: &str| value.get(name)?.as_u64();
        let time = date::parse_rfc3339(&text("time")?)?;
        let (seq, tries) = (number("seq")?, number("tries")?);
        Some(GivenUp { seq, user: text("user")?, id: text("id")?, time, tries, why: text("why")? })
    }
}

/// What the subscriber of this name gave up, the oldest first; nothing where the file cannot be read.
pub fn given_up(state: &Path, name: &str) -> Vec<GivenUp> {
    let mut text = String::new();
    let read = File::open(path(state, name)).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let value = read.ok().and_then(|_| serde_json::from_str::<Value>(&text).ok());
    value.iter().filter_map(Value::as_array).flatten().filter_map(GivenUp::parse).collect()
}

fn path(state: &Path, name: &str) -> PathBuf {
    state.join("given_up").join(encode(name))
}

/// The list of one subscriber, which alone writes it.
#[derive(Debug)]
pub(super) struct List {
    path: PathBuf,
    events: Vec<GivenUp>,
}

impl List {
    /// As the file has it.
    pub(super) fn open(state: &Path, name: &str) -> List {
        List { path: path(state, name), events: given_up(state, name) }
    }

    /// Adds an event; the oldest goes where there are too many.
    pub(super) fn add(&mut self, event: GivenUp) {
        self.events.retain(|other| other.seq != event.seq);
        self.events.push(event);
        let over = self.events.len().saturating_sub(MOST);
        self.events.drain(..over);
        self.save();
    }

    /// The event was acknowledged after all.
    pub(super) fn remove(&mut self, seq: u64) {
        let before = self.events.len();
        self.events.retain(|event| event.seq != seq);
        if self.events.len() < before {
            self.save();
        }
    }

    fn save(&self) {
        if let Err(error) = self.write() {
            log::error!("{}: {error}; the list of what was given up is not complete", self.path.display());
        }
    }

    fn write(&self) -> io::Result<()> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let list: Value = self.events.iter().map(GivenUp::json).collect();
        // No subscriber's file begins with a dot.
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let new = folder.join(format!(".{name}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o640).open(&new)?;
        file.write_all(format!("{list}\n").as_bytes())?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use crate::notify::testing::Scratch;

    #[test]
    fn the_last_ones_are_kept_over_a_restart() {
        let scratch = Scratch::new("given-up");
        let mut list = List::open(&scratch.0, "hook:a/b");
        for seq in 1..=150 {
            list.add(GivenUp::now(&sample(seq, "alice", "1.M1"), 3, &"ä".repeat(1_000)));
        }
        let mut list = List::open(&scratch.0, "hook:a/b");
        let seqs: Vec<u64> = list.events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (51..=150).collect::<Vec<_>>());
        assert_eq!((list.events[0].why.len(), list.events[0].tries), (REASON, 3));
        list.remove(60);
        list.add(GivenUp::now(&sample(70, "alice", "1.M1"), 4, "again"));
        let found = given_up(&scratch.0, "hook:a/b");
        assert_eq!((found.len(), found[98].seq, found[98].why.as_str()), (99, 70, "again"));
        fs::write(path(&scratch.0, "hook:a/b"), "damage").unwrap();
        assert_eq!(given_up(&scratch.0, "hook:a/b"), []);
    }
}
