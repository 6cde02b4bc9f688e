//! How often one address may do something: a bucket that holds a number of permissions and fills again in its period.

use crate::config::Rate;
use crate::net::by_address;
use crate::sys::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

/// The buckets of all addresses that were seen lately. Of each one only the moment is kept at which its bucket will be
/// full again (the generic cell rate algorithm of ITU-T I.371).
#[derive(Debug)]
pub(super) struct Buckets {
    rate: Rate,
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Buckets {
    /// A full bucket for each address.
    pub(super) fn new(rate: Rate) -> Buckets {
        Buckets { rate, full_at: Mutex::default() }
    }

    /// Takes one out of the bucket of `address`; false when it is empty.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> bool {
        let mut all = lock(&self.full_at);
        by_address::make_room(&mut all, &address, |full_at| *full_at <= now, |full_at| *full_at);
        let full_at = all.entry(address).or_insert(now);
        let part = self.rate.period / self.rate.count;
        let one_less = (*full_at).max(now) + part;
        // Not the period itself, of which the division left some nanoseconds over.
        let allowed = one_less.duration_since(now) <= part * self.rate.count;
        if allowed {
            *full_at = one_less;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::by_address::MOST;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(number: usize) -> IpAddr {
        IpAddr::from((number as u32).to_be_bytes())
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_fills_again_in_its_period() {
        for count in [1, 3, 7, 1_000_000] {
            let (buckets, start) = (Buckets::new(Rate { count, period: 60 * SECOND }), Instant::now());
            assert!((0..count).all(|_| buckets.take(ip(1), start)), "{count}");
            assert!(!buckets.take(ip(1), start), "{count}");
            assert!(buckets.take(ip(2), start), "another address has a bucket of its own");
            // A refusal costs nothing: the next one is there when it would have been.
            let part = 60 * SECOND / count;
            assert!(!buckets.take(ip(1), start + part / 2), "{count}");
            assert!(buckets.take(ip(1), start + part), "{count}");
            assert!(!buckets.take(ip(1), start + part), "{count}");
            let later = start + 121 * SECOND;
            assert!((0..count).all(|_| buckets.take(ip(1), later)), "{count}");
            assert!(!buckets.take(ip(1), later), "{count}");
        }
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_pushes_the_most_modest_out() {
        let (buckets, start) = (Buckets::new(Rate { count: 2, period: 60 * SECOND }), Instant::now());
        let greedy = ip(0);
        assert!(buckets.take(greedy, start) && buckets.take(greedy, start));
        assert!((1..2 * MOST).all(|number| buckets.take(ip(number), start)));
        assert_eq!(buckets.full_at.lock().unwrap().len(), MOST);
        assert!(!buckets.take(greedy, start));
        assert!(buckets.take(ip(3 * MOST), start + 61 * SECOND));
        assert_eq!(buckets.full_at.lock().unwrap().len(), 1, "the full ones are forgotten");
    }
}
