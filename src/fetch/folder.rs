//! What is known of one IMAP folder: which UIDs are known, which fail, and for which `after` is still to be done. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A message with so many points is parked. A refusal by the server counts three times as much as a connection that ends
/// within the message, because that can have other causes.
const PARKED: u32 = 9;

/// Points of a refusal: three of them.
pub const REFUSED: u32 = 3;

/// Points of a message that no later try can fetch, such as one with too many Received fields.
pub const HOPELESS: u32 = 9;

/// Points of a connection that ended.
pub const CUT_OFF: u32 = 1;

const DAY: u64 = 86_400;

/// A message that could not be fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// Points.
    pub tries: u32,
    /// Of the first failure, seconds since 1970.
    pub since: u64,
    /// Not before this time.
    pub next: u64,
}

/// What becomes of a message that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next pass tries it again.
    Again,
    /// It is parked from now on: tried once a day.
    ParkedNow,
    /// It was parked before.
    Parked,
    /// It failed for 7 days.
    GivenUp,
}

impl Failing {
    /// It failed once more.
    pub fn failed(&mut self, points: u32, now: u64) -> Verdict {
        if self.tries == 0 {
            self.since = now;
        }
        let was_parked = self.is_parked();
        self.tries += points;
        if !self.is_parked() {
            return Verdict::Again;
        }
        self.next = now + DAY;
        match was_parked {
            _ if now.saturating_sub(self.since) >= 7 * DAY => Verdict::GivenUp,
            true => Verdict::Parked,
            false => Verdict::ParkedNow,
        }
    }

    /// Whether it is tried once a day only.
    pub fn is_parked(&self) -> bool {
        self.tries >= PARKED
    }
}

/// One folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// UIDVALIDITY.
    pub validity: u32,
    /// Every UID up to this one is known, but for `failing`.
    pub last: u32,
    /// When the first run began, seconds since 1970; 0 where it fetched everything.
    pub first: u64,
    /// The last good pass.
    pub passed: u64,
    /// The ids must be compared with the journal.
    pub needs_resync: bool,
    /// To be fetched, up to `last` or the message that is fetched now. With 0 points: not tried yet.
    pub failing: BTreeMap<u32, Failing>,
    /// Stored here, with the time; the action there is still to be done.
    pub pending: BTreeMap<u32, u64>,
    /// Above `last`, known from the journal.
    pub done: BTreeSet<u32>,
    /// Failed for 7 days, since the start.
    pub given_up: u64,
}

impl Folder {
    /// A record of this folder, found in the journal at the start.
    pub fn replay(&mut self, uid: &str, stored: bool, when: u64) {
        let Some((validity, uid)) = uid.split_once('.') else { return };
        let (Ok(validity), Ok(uid)) = (validity.parse::<u32>(), uid.parse::<u32>()) else { return };
        if validity != self.validity {
            return;
        }
        self.failing.remove(&uid);
        if uid > self.last {
            self.done.insert(uid);
        }
        if stored {
            self.pending.insert(uid, when);
        }
    }

    /// What is to be fetched, in ascending order: of `listed`, those above `last` that are not known, and those that failed
    /// before and are due.
    pub fn to_fetch(&self, listed: &[u32], now: u64) -> Vec<u32> {
        let new = listed.iter().copied().filter(|uid| *uid > self.last && !self.done.contains(uid));
        let new = new.filter(|uid| !self.failing.contains_key(uid));
        let due = self.failing.iter().filter(|(_, failing)| failing.next <= now).map(|(uid, _)| *uid);
        let mut all = BTreeSet::new();
        all.extend(new.chain(due));
        all.into_iter().collect()
    }

    /// A message was stored or recorded.
    pub fn succeeded(&mut self, uid: u32) {
        self.failing.remove(&uid);
        self.pass(uid);
    }

    /// A message was not.
    pub fn failed(&mut self, uid: u32, points: u32, now: u64) -> Verdict {
        let verdict = self.failing.entry(uid).or_default().failed(points, now);
        if verdict == Verdict::GivenUp {
            self.failing.remove(&uid);
            self.given_up += 1;
        }
        if points >= REFUSED || verdict != Verdict::Again {
            self.pass(uid);
        }
        verdict
    }

    /// How many are parked.
    pub fn parked(&self) -> u64 {
        self.failing.values().filter(|failing| failing.is_parked()).count() as u64
    }

    /// Everything that was listed has been dealt with.
    pub fn passed(&mut self, highest: u32, now: u64) {
        self.pass(highest);
        self.passed = now;
    }

    fn pass(&mut self, uid: u32) {
        // Fetched in ascending order, so all below were dealt with.
        if uid > self.last {
            self.last = uid;
            self.done = self.done.split_off(&uid);
            self.done.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_is_what_is_above_the_last_and_not_in_the_journal() {
        let mut folder = Folder { validity: 7, last: 10, ..Folder::default() };
        folder.replay("7.12", true, 5);
        folder.replay("6.13", true, 5);
        folder.replay("nonsense", true, 5);
        assert_eq!(folder.to_fetch(&[9, 10, 11, 12, 13], 100), [11, 13]);
        assert_eq!(folder.pending, BTreeMap::from([(12, 5)]));
        folder.succeeded(11);
        folder.succeeded(13);
        assert_eq!((folder.last, folder.done.len()), (13, 0));
    }

    #[test]
    fn three_refusals_park_a_message_and_the_rest_goes_on() {
        let mut folder = Folder::default();
        for (pass, verdict) in [(1, Verdict::Again), (2, Verdict::Again), (3, Verdict::ParkedNow)] {
            assert_eq!(folder.to_fetch(&[5], pass), [5]);
            assert_eq!(folder.failed(5, REFUSED, pass), verdict);
        }
        folder.succeeded(6);
        assert_eq!((folder.last, folder.parked()), (6, 1));
        assert_eq!(folder.to_fetch(&[5, 6], 10), [0_u32; 0]);
        assert_eq!(folder.to_fetch(&[5, 6], 3 + DAY), [5]);
        assert_eq!(folder.failed(5, REFUSED, 3 + DAY), Verdict::Parked);
        assert_eq!(folder.failed(5, REFUSED, 3 + 7 * DAY), Verdict::GivenUp);
        assert_eq!((folder.given_up, folder.parked()), (1, 0));
        assert_eq!(folder.to_fetch(&[5, 6], u64::MAX), [0_u32; 0]);
    }

    #[test]
    fn connections_that_end_park_a_message_later() {
        let mut folder = Folder::default();
        for _ in 0..8 {
            assert_eq!(folder.failed(5, CUT_OFF, 1), Verdict::Again);
        }
        assert_eq!(folder.last, 0);
        assert_eq!(folder.failed(5, CUT_OFF, 1), Verdict::ParkedNow);
        assert_eq!(folder.last, 5);
    }
}
