//! The delay against guessing of passwords, as Dovecot's `auth-penalty`: after a failed login the next try has to wait
//! before its credentials are looked at.
//!
//! Two delays hold at once. That of one user at one address is long; that of the address is moderate, so that a webmail with
//! one address does not shut out all its users for the failures of one. Tries are counted when they begin and take turns,
//! so that many connections guess no faster than one.

use crate::config::Network;
use crate::net::by_address;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Seconds before the next try of one user at one address, by the number of failures in a row.
const OF_USER: [u64; 5] = [0, 2, 4, 8, 15];

/// Seconds from a failure at an address to the next try there, for whatever user.
const OF_ADDRESS: [u64; 5] = [0, 2, 4, 4, 4];

/// After this time without a failure all is forgotten, as in Dovecot: the sum of the delays. It is longer than the longest of
/// them, or a guesser that waits would never be delayed.
const QUIET: Duration = Duration::from_secs(2 + 4 + 8 + 15);

/// How soon a try asks again when another one of the same kind is being looked at.
const AGAIN: Duration = Duration::from_millis(20);

/// Counts failed logins by address (/32, IPv6 /48), and by user at an address.
#[derive(Debug, Default)]
pub struct Penalties {
    exempt: Vec<Network>,
    counts: Mutex<Counts>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Counts {
    by_user: HashMap<(IpAddr, u64), Failures>,
    by_address: HashMap<IpAddr, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    /// In a row; no more than the delays tell apart.
    count: usize,
    /// Tries that are being looked at now.
    running: usize,
    /// The last failure, or the time of the first try where there is none.
    last: Instant,
}

/// One try to log in, from its beginning.
#[derive(Debug)]
pub struct Try {
    key: Option<(IpAddr, u64)>,
    began: Instant,
}

/// What a try may do now.
#[derive(Debug)]
pub enum Turn<'p> {
    /// Look at the credentials, then report the result.
    Now(Permit<'p>),
    /// Wait, then ask again.
    In(Duration),
}

/// The right to look at the credentials of one try. It counts as a failure unless [`Permit::succeeded`] is called.
#[derive(Debug)]
pub struct Permit<'p> {
    penalties: &'p Penalties,
    key: Option<(IpAddr, u64)>,
}

impl Penalties {
    /// No delays for addresses in these networks.
    pub fn new(exempt: Vec<Network>) -> Penalties {
        Penalties { exempt, ..Penalties::default() }
    }

    /// A try begins. A unix socket has no address and no delays.
    pub fn begin(&self, address: Option<IpAddr>, user: &str) -> Try {
        self.begin_at(address, user, Instant::now())
    }

    /// Whether it is this try's turn.
    pub fn turn(&self, this: &Try) -> Turn<'_> {
        self.turn_at(this, Instant::now())
    }

    fn begin_at(&self, address: Option<IpAddr>, user: &str, began: Instant) -> Try {
        let address = address.filter(|address| !self.exempt.iter().any(|network| network.contains(*address)));
        // A client chooses the name, which may be long. Its hash is enough here.
        let key = address.map(|address| (network(address), self.hasher.hash_one(user.to_lowercase())));
        Try { key, began }
    }

    fn turn_at(&self, this: &Try, now: Instant) -> Turn<'_> {
        let Some(key) = this.key else { return Turn::Now(Permit { penalties: self, key: None }) };
        let mut counts = self.lock();
        let Counts { by_user, by_address } = &mut *counts;
        let user = entry(by_user, key, now);
        let address = entry(by_address, key.0, now);
        // A user's delay counts from the try, as in Dovecot; the address' only keeps tries apart.
        let wait_of_user = user.wait(&OF_USER, this.began.max(user.last), now);
        let wait_of_address = address.wait(&OF_ADDRESS, address.last, now);
        let wait = wait_of_user.max(wait_of_address);
        if !wait.is_zero() {
            return Turn::In(wait);
        }
        user.running += 1;
        address.running += 1;
        Turn::Now(Permit { penalties: self, key: this.key })
    }

    fn ended(&self, key: (IpAddr, u64), failed: bool, now: Instant) {
        let mut counts = self.lock();
        let Counts { by_user, by_address } = &mut *counts;
        let user = entry(by_user, key, now);
        user.end(failed, now);
        if !failed {
            user.count = 0;
        }
        entry(by_address, key.0, now).end(failed, now);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The credentials were right: the failures of this user at this address are forgotten. Those of the address are not,
    /// or a guesser with one password of its own could have them forgotten.
    pub fn succeeded(mut self) {
        if let Some(key) = self.key.take() {
            self.penalties.ended(key, false, Instant::now());
        }
    }

    #[cfg(test)]
    fn failed_at(mut self, now: Instant) {
        if let Some(key) = self.key.take() {
            self.penalties.ended(key, true, now);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.penalties.ended(key, true, Instant::now());
        }
    }
}

impl Failures {
    fn is_old(&self, now: Instant) -> bool {
        self.running == 0 && now.saturating_duration_since(self.last) >= QUIET
    }

    /// How long a try has to wait: until no other one is being looked at, and until its delay after `since` is over.
    fn wait(&self, delays: &[u64; 5], since: Instant, now: Instant) -> Duration {
        if self.running > 0 {
            return AGAIN;
        }
        (since + Duration::from_secs(delays[self.count])).saturating_duration_since(now)
    }

    fn end(&mut self, failed: bool, now: Instant) {
        self.running = self.running.saturating_sub(1);
        if failed {
            *self = Failures { count: (self.count + 1).min(OF_USER.len() - 1), last: now, ..*self };
        }
    }
}

/// What is known for a key, without what is too old.
fn entry<K: Clone + Eq + Hash>(all: &mut HashMap<K, Failures>, key: K, now: Instant) -> &mut Failures {
    by_address::make_room(all, &key, |failures| failures.is_old(now), |failures| failures.last);
    let failures = all.entry(key).or_insert(Failures { count: 0, running: 0, last: now });
    if failures.is_old(now) {
        failures.count = 0;
    }
    failures
}

/// An IPv4 address, or the /48 that one IPv6 site may be given.
fn network(address: IpAddr) -> IpAddr {
    by_address::site(address, 48)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::by_address::MOST;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Seconds until a try that begins now has its turn, without others.
    fn seconds(penalties: &Penalties, address: &str, user: &str, now: Instant) -> u64 {
        let this = penalties.begin_at(ip(address), user, now);
        match penalties.turn_at(&this, now) {
            Turn::In(wait) => wait.as_secs(),
            Turn::Now(permit) => {
                // As if it had never been.
                let (address, user) = permit.key.unwrap();
                penalties.lock().by_user.get_mut(&(address, user)).unwrap().running -= 1;
                penalties.lock().by_address.get_mut(&address).unwrap().running -= 1;
                std::mem::forget(permit);
                0
            }
        }
    }

    /// A try that waits for its turn and fails; gives the moment at which it was looked at.
    fn fail(penalties: &Penalties, address: &str, user: &str, began: Instant) -> Instant {
        let this = penalties.begin_at(ip(address), user, began);
        let mut now = began;
        loop {
            match penalties.turn_at(&this, now) {
                Turn::Now(permit) => {
                    permit.failed_at(now);
                    return now;
                }
                Turn::In(wait) => now += wait,
            }
        }
    }

    #[test]
    fn delays_grow_to_their_greatest_and_are_not_forgotten_while_they_last() {
        let (penalties, mut now) = (Penalties::default(), Instant::now());
        for wanted in [0, 2, 4, 8, 15, 15, 15] {
            assert_eq!(seconds(&penalties, "127.0.0.1", "alice", now), wanted);
            now = fail(&penalties, "127.0.0.1", "ALICE", now);
        }
        assert_eq!(seconds(&penalties, "127.0.0.2", "alice", now), 0);
    }

    #[test]
    fn failures_of_one_user_delay_another_one_only_moderately() {
        let (penalties, mut now) = (Penalties::default(), Instant::now());
        for _ in 0..35 {
            now = fail(&penalties, "127.0.0.1", "alice", now);
        }
        assert_eq!(seconds(&penalties, "127.0.0.1", "bob", now), 4);
        assert_eq!(seconds(&penalties, "127.0.0.1", "bob", now + Duration::from_secs(4)), 0);
        assert_eq!(seconds(&penalties, "127.0.0.1", "alice", now + Duration::from_secs(4)), 15);
    }

    #[test]
    fn tries_side_by_side_take_turns_and_count_when_they_begin() {
        for users in [1, 100] {
            let (penalties, start) = (Penalties::default(), Instant::now());
            let mut waiting: Vec<Try> =
                (0..32).map(|n| penalties.begin_at(ip("192.0.2.1"), &format!("u{}", n % users), start)).collect();
            let mut looked_at = 0;
            for second in 0..60 {
                let now = start + Duration::from_secs(second);
                let mut permits = Vec::new();
                waiting.retain(|this| match penalties.turn_at(this, now) {
                    Turn::Now(permit) => {
                        permits.push(permit);
                        false
                    }
                    Turn::In(_) => true,
                });
                assert!(permits.len() <= 1, "{} at once", permits.len());
                looked_at += permits.len();
                permits.into_iter().for_each(|permit| permit.failed_at(now));
            }
            // At 0, 2, 6, 14, 29, 44 and 59 s for one user; each 4 s for the address.
            assert_eq!(looked_at, if users == 1 { 7 } else { 16 });
        }
    }

    #[test]
    fn success_forgets_the_user_s_failures_and_quiet_all() {
        let (penalties, start) = (Penalties::default(), Instant::now());
        let later = fail(&penalties, "192.0.2.1", "alice", start) + Duration::from_secs(5);
        match penalties.turn_at(&penalties.begin_at(ip("192.0.2.1"), "alice", start), later) {
            Turn::Now(permit) => permit.succeeded(),
            Turn::In(wait) => panic!("{wait:?}"),
        }
        assert_eq!(seconds(&penalties, "192.0.2.1", "alice", later), 0);
        let now = fail(&penalties, "192.0.2.1", "alice", later);
        let now = fail(&penalties, "192.0.2.1", "alice", now);
        assert_eq!(seconds(&penalties, "192.0.2.1", "alice", now + QUIET - Duration::from_secs(1)), 4);
        assert_eq!(seconds(&penalties, "192.0.2.1", "alice", now + QUIET), 0);
    }

    #[test]
    fn networks_fail_as_one_and_exempt_ones_not_at_all() {
        let penalties = Penalties::new(vec![Network::parse("127.0.0.0/8").unwrap()]);
        let now = Instant::now();
        fail(&penalties, "2001:db8:1:2::1", "alice", now);
        fail(&penalties, "::ffff:192.0.2.1", "alice", now);
        for (address, wanted) in [("2001:db8:1:ffff::9", 2), ("2001:db8:2::1", 0), ("192.0.2.1", 2), ("192.0.2.2", 0)] {
            assert_eq!(seconds(&penalties, address, "alice", now), wanted, "{address}");
        }
        for address in [None, ip("127.0.0.1")] {
            for _ in 0..10 {
                let this = penalties.begin_at(address, "alice", now);
                assert!(matches!(penalties.turn_at(&this, now), Turn::Now(_)));
            }
        }
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_pushes_the_quietest_out() {
        let (penalties, start) = (Penalties::default(), Instant::now());
        let address = |number: usize| IpAddr::from((number as u32).to_be_bytes()).to_string();
        for number in 0..MOST + 10 {
            fail(&penalties, &address(number), "alice", start + Duration::from_micros(number as u64));
        }
        let now = start + Duration::from_secs(1);
        assert_eq!(penalties.lock().by_user.len(), MOST);
        assert_eq!(penalties.lock().by_address.len(), MOST);
        assert_eq!(seconds(&penalties, &address(MOST + 9), "alice", now), 2);
        assert_eq!(seconds(&penalties, &address(9), "alice", now), 0);
    }
}
