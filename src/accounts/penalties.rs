//! The brute-force delay, as Dovecot's `auth-penalty` has it: who fails waits before his next try is looked at.

use crate::net::by_address;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Seconds before the next try, by how many failed in a row.
const DELAYS: [u64; 5] = [0, 2, 4, 8, 15];

/// After so long without a failure all is forgotten: one round of the delays, as in Dovecot. Longer than the longest of
/// them, or a patient guesser would never meet it.
const QUIET: Duration = Duration::from_secs(2 + 4 + 8 + 15);

/// The brute-force delay by network (/32, IPv6 /48): 0, 2, 4, 8, 15 seconds, forgotten after quiet. Loopback too.
///
/// A success forgets the network's failures. As in Dovecot, tries that run side by side do not wait for each other; the
/// limit of connections by address bounds them.
#[derive(Debug, Default)]
pub struct Penalties {
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    /// In a row; no more than the delays tell apart.
    count: usize,
    last: Instant,
}

impl Penalties {
    /// How long the next try from there has to wait before its credentials are looked at. Nobody waits who has no
    /// address (a unix socket).
    pub fn delay(&self, address: Option<IpAddr>) -> Duration {
        self.delay_at(address, Instant::now())
    }

    /// A login failed.
    pub fn failed(&self, address: Option<IpAddr>) {
        self.failed_at(address, Instant::now());
    }

    /// A login succeeded.
    pub fn succeeded(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.lock().remove(&network(address));
        }
    }

    fn delay_at(&self, address: Option<IpAddr>, now: Instant) -> Duration {
        let count = address.and_then(|address| {
            let failures = self.lock().get(&network(address)).copied();
            failures.filter(|failures| !failures.is_old(now)).map(|failures| failures.count)
        });
        Duration::from_secs(DELAYS[count.unwrap_or(0)])
    }

    fn failed_at(&self, address: Option<IpAddr>, now: Instant) {
        let Some(address) = address.map(network) else { return };
        let mut all = self.lock();
        by_address::make_room(&mut all, address, |failures| failures.is_old(now), |failures| failures.last);
        let failures = all.entry(address).or_insert(Failures { count: 0, last: now });
        let before = if failures.is_old(now) { 0 } else { failures.count };
        *failures = Failures { count: (before + 1).min(DELAYS.len() - 1), last: now };
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= QUIET
    }
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

    fn seconds(penalties: &Penalties, address: &str, now: Instant) -> u64 {
        penalties.delay_at(ip(address), now).as_secs()
    }

    #[test]
    fn delays_grow_to_their_greatest() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        for wanted in [0, 2, 4, 8, 15, 15, 15] {
            assert_eq!(seconds(&penalties, "127.0.0.1", now), wanted);
            penalties.failed_at(ip("127.0.0.1"), now);
        }
        assert_eq!(seconds(&penalties, "127.0.0.2", now), 0);
    }

    #[test]
    fn success_and_quiet_forget() {
        let (penalties, start) = (Penalties::default(), Instant::now());
        penalties.failed_at(ip("192.0.2.1"), start);
        penalties.succeeded(ip("192.0.2.1"));
        assert_eq!(seconds(&penalties, "192.0.2.1", start), 0);

        penalties.failed_at(ip("192.0.2.1"), start);
        penalties.failed_at(ip("192.0.2.1"), start);
        assert_eq!(seconds(&penalties, "192.0.2.1", start + QUIET - Duration::from_secs(1)), 4);
        assert_eq!(seconds(&penalties, "192.0.2.1", start + QUIET), 0);
        penalties.failed_at(ip("192.0.2.1"), start + QUIET);
        assert_eq!(seconds(&penalties, "192.0.2.1", start + QUIET), 2);
    }

    #[test]
    fn the_longest_delay_is_not_forgotten_while_it_is_waited_for() {
        let (penalties, mut now) = (Penalties::default(), Instant::now());
        for wanted in [0, 2, 4, 8, 15, 15, 15, 15] {
            let delay = penalties.delay_at(ip("192.0.2.1"), now);
            assert_eq!(delay.as_secs(), wanted);
            now += delay;
            penalties.failed_at(ip("192.0.2.1"), now);
        }
    }

    #[test]
    fn networks_fail_as_one() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        penalties.failed_at(ip("2001:db8:1:2::1"), now);
        penalties.failed_at(ip("::ffff:192.0.2.1"), now);
        penalties.failed_at(None, now);
        for (address, wanted) in [("2001:db8:1:ffff::9", 2), ("2001:db8:2::1", 0), ("192.0.2.1", 2), ("192.0.2.2", 0)] {
            assert_eq!(seconds(&penalties, address, now), wanted, "{address}");
        }
        assert_eq!(penalties.delay(None), Duration::ZERO);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_pushes_the_quietest_out() {
        let (penalties, start) = (Penalties::default(), Instant::now());
        let address = |number: usize| Some(IpAddr::from((number as u32).to_be_bytes()));
        for number in 0..MOST + 10 {
            penalties.failed_at(address(number), start + Duration::from_micros(number as u64));
        }
        let now = start + Duration::from_secs(1);
        assert_eq!(penalties.lock().len(), MOST);
        assert_eq!(penalties.delay_at(address(9), now), Duration::ZERO);
        assert_eq!(penalties.delay_at(address(10), now).as_secs(), 2);
    }
}
