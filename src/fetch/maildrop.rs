//! What is known of one POP3 maildrop: unique-ids, each as 64 bits of a digest. Pure.

use super::folder::{Failing, Verdict};
use crate::message::trace::comment;
use md5::{Digest, Md5};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// How long a unique-id that vanished is kept, seconds.
const KEPT: u64 = 7 * 86_400;

/// A message, by its unique-id and its place among those with the same.
pub type Id = u64;

/// What is known of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When it was stored here, seconds since 1970; 0 for what was not stored.
    pub stored: u64,
    /// Since when it is not listed; 0 while it is.
    pub vanished: u64,
    /// We deleted it.
    pub deleted: bool,
}

/// One maildrop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// When the first run began; 0 where it fetched everything.
    pub first: u64,
    /// The last good pass.
    pub passed: u64,
    /// The ids must be compared with the journal.
    pub needs_resync: bool,
    /// At least one pass was begun.
    pub is_begun: bool,
    /// By their ids.
    pub known: BTreeMap<Id, Known>,
    /// Not fetched yet.
    pub failing: BTreeMap<Id, Failing>,
    /// Failed for 7 days, since the start.
    pub given_up: u64,
}

/// The id of the `nth` message with this unique-id in a listing, counted from 1.
pub fn id(unique_id: &[u8], nth: u32) -> Id {
    let mut digest = Md5::new_with_prefix(unique_id);
    if nth > 1 {
        digest.update([0]);
        digest.update(nth.to_string());
    }
    let mut octets = [0; 8];
    octets.copy_from_slice(&digest.finalize()[..8]);
    Id::from_be_bytes(octets)
}

/// The ids of a listing, in its order.
pub fn ids<'a>(unique_ids: impl Iterator<Item = &'a [u8]>) -> Vec<Id> {
    let mut seen: HashMap<Id, u32> = HashMap::new();
    unique_ids
        .map(|unique_id| {
            let nth = seen.entry(id(unique_id, 1)).or_insert(0);
            *nth += 1;
            id(unique_id, *nth)
        })
        .collect()
}

impl Maildrop {
    /// Of a file that could not be read.
    pub fn damaged(since: u64) -> Maildrop {
        Maildrop { first: since, passed: since, needs_resync: true, is_begun: true, ..Maildrop::default() }
    }

    /// A record of this maildrop, found in the journal at the start.
    pub fn replay(&mut self, unique_id: &[u8], stored: bool, when: u64) {
        let known = Known { stored: if stored { when } else { 0 }, ..Known::default() };
        // The next one with this unique-id that is not known yet.
        let Some(new) = (1..1_000).map(|nth| id(unique_id, nth)).find(|id| !self.known.contains_key(id)) else {
            return;
        };
        self.failing.remove(&new);
        self.known.insert(new, known);
    }

    /// Whether a listed message is known. What a trace field says of a unique-id is not always exact.
    pub fn is_known(&self, listed: Id, unique_id: &[u8]) -> bool {
        let text = String::from_utf8_lossy(unique_id);
        let traced = comment(&text);
        self.known.contains_key(&listed) || (traced != text && self.known.contains_key(&id(traced.as_bytes(), 1)))
    }

    /// Whether the server's unique-ids have changed: of at least 10 that were listed, more than half vanished, and
    /// unknown ones came. What we deleted ourselves does not count.
    pub fn has_new_ids(&self, listed: &[Id]) -> bool {
        let there: std::collections::HashSet<Id> = listed.iter().copied().collect();
        let were: Vec<Id> =
            self.known.iter().filter(|(_, known)| known.vanished == 0 && !known.deleted).map(|(id, _)| *id).collect();
        let vanished = were.iter().filter(|id| !there.contains(id)).count();
        were.len() >= 10 && vanished * 2 > were.len() && listed.iter().any(|id| !self.known.contains_key(id))
    }

    /// A listed message that was not fetched yet and may be tried now.
    pub fn is_to_fetch(&self, listed: Id, unique_id: &[u8], now: u64) -> bool {
        !self.is_known(listed, unique_id) && self.failing.get(&listed).is_none_or(|failing| failing.next <= now)
    }

    /// A message was fetched; `stored` is 0 where only its header was.
    pub fn succeeded(&mut self, id: Id, stored: u64) {
        self.failing.remove(&id);
        self.known.insert(id, Known { stored, ..Known::default() });
    }

    /// A message was not.
    pub fn failed(&mut self, id: Id, points: u32, now: u64) -> Verdict {
        let verdict = self.failing.entry(id).or_default().failed(points, now);
        if verdict == Verdict::GivenUp {
            self.succeeded(id, 0);
            self.given_up += 1;
        }
        verdict
    }

    /// How many are parked.
    pub fn parked(&self) -> u64 {
        self.failing.values().filter(|failing| failing.is_parked()).count() as u64
    }

    /// A listing was dealt with: notes what vanished, and forgets what vanished long ago.
    pub fn passed(&mut self, listed: &[Id], now: u64) {
        let there: std::collections::HashSet<Id> = listed.iter().copied().collect();
        for (id, known) in &mut self.known {
            match (there.contains(id), known.vanished) {
                (true, _) => known.vanished = 0,
                (false, 0) => known.vanished = now,
                (false, _) => {}
            }
        }
        self.known.retain(|_, known| known.vanished == 0 || now.saturating_sub(known.vanished) < KEPT);
        self.failing.retain(|id, _| there.contains(id));
        self.passed = now;
    }

    /// Appends it as lines of a checkpoint.
    pub fn write(&self, text: &mut String) {
        let Maildrop { first, passed, .. } = self;
        // unwrap: writing to a string cannot fail; so below, too.
        writeln!(text, "maildrop {first} {passed} {} {}", u8::from(self.needs_resync), u8::from(self.is_begun))
            .unwrap();
        for (id, Known { stored, vanished, deleted }) in &self.known {
            writeln!(text, "known {id:016x} {stored} {vanished} {}", u8::from(*deleted)).unwrap();
        }
        for (id, Failing { tries, since, next }) in &self.failing {
            writeln!(text, "unfetched {id:016x} {tries} {since} {next}").unwrap();
        }
    }

    /// Reads one of these lines.
    pub fn read(&mut self, word: &str, rest: &str) -> Option<()> {
        let numbers = |rest: &str| rest.split(' ').map(|digits| digits.parse().ok()).collect::<Option<Vec<u64>>>();
        if word == "maildrop" {
            let [first, passed, worthless, begun] = numbers(rest)?[..] else { return None };
            (self.first, self.passed, self.needs_resync, self.is_begun) = (first, passed, worthless != 0, begun != 0);
            return Some(());
        }
        let (id, rest) = rest.split_once(' ')?;
        let id = Id::from_str_radix(id, 16).ok()?;
        let [a, b, c] = numbers(rest)?[..] else { return None };
        match word {
            "known" => drop(self.known.insert(id, Known { stored: a, vanished: b, deleted: c != 0 })),
            "unfetched" => drop(self.failing.insert(id, Failing { tries: a as u32, since: b, next: c })),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unique_id_twice_is_two_messages() {
        let listed = ids([&b"a"[..], b"b", b"a"].into_iter());
        assert_eq!(listed, [id(b"a", 1), id(b"b", 1), id(b"a", 2)]);
        let mut maildrop = Maildrop::default();
        maildrop.replay(b"a", true, 5);
        assert!(maildrop.is_known(listed[0], b"a") && !maildrop.is_known(listed[2], b"a"));
        maildrop.replay(b"a", true, 5);
        assert!(maildrop.is_known(listed[2], b"a"));
        maildrop.replay(b"x?y", true, 5);
        assert!(maildrop.is_known(id(b"x(y", 1), b"x(y"));
    }

    #[test]
    fn ids_are_worthless_when_most_vanished_and_others_came() {
        let all: Vec<Id> = (1..=10).collect();
        let known = all.iter().map(|id| (*id, Known::default())).collect();
        let mut maildrop = Maildrop { known, ..Maildrop::default() };
        assert!(!maildrop.has_new_ids(&all));
        assert!(!maildrop.has_new_ids(&[1, 2]), "nothing new came");
        assert!(!maildrop.has_new_ids(&[1, 2, 3, 4, 5, 11]), "half is not more than half");
        assert!(maildrop.has_new_ids(&[1, 2, 3, 4, 11]));
        (1..=6).for_each(|id| maildrop.known.get_mut(&id).unwrap().deleted = true);
        assert!(!maildrop.has_new_ids(&[11]), "we deleted most of them");
    }

    #[test]
    fn what_vanished_is_kept_for_a_week() {
        let mut maildrop = Maildrop::default();
        maildrop.known.insert(1, Known::default());
        maildrop.passed(&[1], 100);
        maildrop.passed(&[], 200);
        maildrop.passed(&[], 200 + KEPT - 1);
        assert!(maildrop.is_known(1, b""));
        maildrop.passed(&[], 200 + KEPT);
        assert!(!maildrop.is_known(1, b""));
    }
}
