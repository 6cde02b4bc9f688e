//! Looks at files and records those that are messages, some at a time.

use super::look::{Look, Way, look};
use super::target::{LONGEST_WAIT, Target, Unsure, Unsures};
use super::watches::Key;
use crate::delivery::Delivery;
use crate::journal::Record;
use crate::ledger::Expected;
use crate::maildir::folder::{Folder, Refused};
use crate::maildir::name;
use crate::maildir::name::Place;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Files that are looked at before their records are written.
const BATCH: usize = 64;

/// A file of this process's user that still has a second name after looks with waits up to this is a hard link to another.
const SETTLED: Duration = Duration::from_secs(2);

/// A file that is to be looked at.
pub struct Candidate {
    pub key: Key,
    pub file_name: OsString,
    pub way: Way,
    pub expected: Expected,
    /// When to look again if it is unsure.
    pub wait: Duration,
}

/// Looks at all of these files, and records the messages in this order.
pub fn record(
    targets: &mut BTreeMap<Key, Target>,
    unsure: &mut Unsures,
    delivery: &Delivery,
    candidates: Vec<Candidate>,
) {
    let mut candidates = candidates.into_iter().peekable();
    while candidates.peek().is_some() {
        record_batch(targets, unsure, delivery, candidates.by_ref().take(BATCH).collect());
    }
}

/// Looks at some files. What has left `new/` is looked for in `cur/` when all of
/// `new/` was looked at: one reading of `cur/` for all of them.
fn record_batch(
    targets: &mut BTreeMap<Key, Target>,
    unsure: &mut Unsures,
    delivery: &Delivery,
    candidates: Vec<Candidate>,
) {
    let mut found: BTreeMap<usize, (Expected, Record)> = BTreeMap::new();
    let mut missing: HashMap<Key, HashMap<String, (usize, Candidate)>> = HashMap::new();
    let mut folders: HashMap<Key, Option<Folder>> = HashMap::new();
    let mut recipients = Vec::new();
    let event = delivery.event();
    for (at, candidate) in candidates.into_iter().enumerate() {
        let Some(target) = targets.get_mut(&candidate.key) else { continue };
        let file_name = &candidate.file_name;
        let looked = match folders.entry(candidate.key).or_insert_with(|| target.open_new()) {
            Some(new) => look(&target.watched, target.is_own, new, file_name, file_name, candidate.way, &event),
            None => Ok(Look::Missing),
        };
        if matches!(looked, Ok(Look::Missing)) {
            missing.entry(candidate.key).or_default().insert(known_text(file_name), (at, candidate));
            continue;
        }
        if matches!(&looked, Ok(Look::Message(record)) if record.rcpt_to.is_some()) {
            recipients.push((candidate.key, file_name.clone()));
        }
        found.extend(decide(target, unsure, candidate, looked).map(|record| (at, record)));
    }
    for (key, mut missing) in missing {
        let Some(target) = targets.get_mut(&key) else { continue };
        let Ok(cur) = target.open(Place::Cur) else { continue };
        for there in cur.names().unwrap_or_default() {
            if let Some((at, candidate)) = missing.remove(&known_text(&there)) {
                let looked =
                    look(&target.watched, target.is_own, &cur, &there, &candidate.file_name, Way::Renamed, &event);
                found.extend(decide(target, unsure, candidate, looked).map(|record| (at, record)));
            }
        }
    }
    delivery.ledger().inspect(|ledger| ledger.found(found.into_values().collect()));
    for (key, file_name) in recipients {
        targets.get(&key).inspect(|target| target.forget_recipient(&file_name));
    }
}

/// The result of a look is a record, or the file is looked at again later, or it is no message.
fn decide(
    target: &mut Target,
    unsure: &mut Unsures,
    candidate: Candidate,
    looked: io::Result<Look>,
) -> Option<(Expected, Record)> {
    let Candidate { key, file_name, expected, wait, .. } = candidate;
    let wait = match looked {
        Ok(Look::Message(record)) => return Some((expected, *record)),
        Ok(Look::Nothing | Look::Missing) => return None,
        Ok(Look::Unsure) => wait,
        // A delivery by link(2) and unlink(2), as procmail does it, gives the file a second name for a moment.
        Ok(Look::Refused(Refused::OfOther(uid))) if is_ours(uid) && wait < SETTLED => wait,
        // It may be given to the right owner later.
        Ok(Look::Refused(why)) => {
            target.refuse(&file_name, &why);
            LONGEST_WAIT
        }
        // A chown(2) may follow, or a descriptor become free.
        Err(error) => {
            target.complain(&format!("new/{file_name:?}"), &error);
            wait
        }
    };
    unsure.insert((key, file_name), Unsure::after(wait, expected));
    None
}

fn is_ours(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw()
}

fn known_text(file_name: &OsStr) -> String {
    name::text(name::known_as(file_name.as_bytes())).into_owned()
}
