//! Who may come in: how many connections in all, how many from one address, and how often.
//!
//! A [`Ticket`] is the right to one connection; dropping it gives the place back. Nothing waits here: who finds no
//! place is told so and sent away.

mod rate;

use crate::config::Limits;
use crate::net::by_address;
use rate::Buckets;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `limits.connections` are open.
    Full,
    /// `limits.connections_per_ip` are open from this address.
    TooManyFromAddress,
    /// This address came more often than `limits.connection_rate_per_ip`.
    TooOften,
}

impl Refusal {
    /// The setting that is the reason.
    pub fn limit(self) -> &'static str {
        match self {
            Refusal::Full => "limits.connections",
            Refusal::TooManyFromAddress => "limits.connections_per_ip",
            Refusal::TooOften => "limits.connection_rate_per_ip",
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The doorman.
#[derive(Clone, Debug)]
pub struct Admission {
    counts: Arc<Mutex<Counts>>,
    most: usize,
    most_per_address: usize,
    connections: Option<Arc<Buckets>>,
    messages: Option<Arc<Buckets>>,
}

/// One admitted connection.
#[derive(Debug)]
pub struct Ticket {
    admission: Admission,
    address: Option<IpAddr>,
}

impl Admission {
    /// A doorman who lets in `most` connections, and `most_per_address` from one address, however often.
    pub fn new(most: usize, most_per_address: usize) -> Admission {
        Admission { counts: Arc::default(), most, most_per_address, connections: None, messages: None }
    }

    /// A doorman who knows all of `[limits]`.
    pub fn by(limits: &Limits) -> Admission {
        let buckets = |rate| Arc::new(Buckets::new(rate));
        Admission {
            connections: limits.connection_rate_per_ip.map(buckets),
            messages: limits.message_rate_per_ip.map(buckets),
            ..Admission::new(limits.connections, limits.connections_per_ip)
        }
    }

    /// Lets a connection in; `None` is an address that does not count for the limit by address (a unix socket, or a
    /// proxy whose client is not known yet).
    ///
    /// # Errors
    ///
    /// When there is no place.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<Ticket, Refusal> {
        let mut counts = self.lock();
        if counts.all >= self.most {
            return Err(Refusal::Full);
        }
        let address = address.map(site);
        self.enter(&mut counts, address)?;
        counts.all += 1;
        Ok(Ticket { admission: self.clone(), address })
    }

    /// Whether this address may send one more message now (`limits.message_rate_per_ip`).
    pub fn may_send(&self, address: Option<IpAddr>) -> bool {
        may(&self.messages, address.map(site))
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.lock().all
    }

    /// True when so few places are left that nobody may take his time any more.
    pub fn is_crowded(&self) -> bool {
        self.open() >= self.most - self.most / 8
    }

    /// How long a client may be silent: `usual`, or no longer than `crowded` while places are few.
    pub fn patience(&self, usual: Duration, crowded: Duration) -> Duration {
        if self.is_crowded() { usual.min(crowded) } else { usual }
    }

    fn enter(&self, counts: &mut Counts, address: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(address) = address else { return Ok(()) };
        let here = counts.by_address.entry(address).or_default();
        if *here >= self.most_per_address {
            return Err(Refusal::TooManyFromAddress);
        }
        if !may(&self.connections, Some(address)) {
            // It is not there for its own sake: who is refused leaves nothing behind.
            if *here == 0 {
                counts.by_address.remove(&address);
            }
            return Err(Refusal::TooOften);
        }
        *here += 1;
        Ok(())
    }

    fn leave(counts: &mut Counts, address: Option<IpAddr>) {
        if let Some(address) = address
            && let Some(here) = counts.by_address.get_mut(&address)
        {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&address);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The connection turns out to come from `address`: a proxy said so. It counts there from now on.
    ///
    /// # Errors
    ///
    /// When that address has all its places taken; the ticket then counts for no address.
    pub fn move_to(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let mut counts = self.admission.lock();
        Admission::leave(&mut counts, self.address.take());
        let address = Some(site(address));
        self.admission.enter(&mut counts, address)?;
        self.address = address;
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.all -= 1;
        Admission::leave(&mut counts, self.address);
    }
}

/// Takes one from the bucket of an address; whoever has no address may do as he likes.
fn may(buckets: &Option<Arc<Buckets>>, address: Option<IpAddr>) -> bool {
    buckets.as_ref().zip(address).is_none_or(|(buckets, address)| buckets.take(address, Instant::now()))
}

/// The unit that is counted: an IPv4 address, or the /64 that one IPv6 site is given at least (RFC 6177).
fn site(address: IpAddr) -> IpAddr {
    by_address::site(address, 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_in_all_and_by_address_and_come_back() {
        let admission = Admission::new(3, 2);
        let first = admission.admit(Some(ip("192.0.2.1"))).unwrap();
        let _second = admission.admit(Some(ip("::ffff:192.0.2.1"))).unwrap();
        assert_eq!(admission.admit(Some(ip("192.0.2.1"))).unwrap_err(), Refusal::TooManyFromAddress);
        let _third = admission.admit(None).unwrap();
        assert_eq!(admission.admit(None).unwrap_err(), Refusal::Full);
        drop(first);
        assert!(admission.admit(Some(ip("192.0.2.1"))).is_ok());
        assert_eq!(admission.open(), 2);
    }

    #[test]
    fn one_ipv6_site_is_one_address() {
        let admission = Admission::new(9, 1);
        let _one = admission.admit(Some(ip("2001:db8::1"))).unwrap();
        assert!(admission.admit(Some(ip("2001:db8::2"))).is_err());
        assert!(admission.admit(Some(ip("2001:db8:0:1::2"))).is_ok());
    }

    #[test]
    fn a_proxied_connection_counts_for_its_client() {
        let admission = Admission::new(9, 1);
        let mut one = admission.admit(None).unwrap();
        let mut two = admission.admit(None).unwrap();
        one.move_to(ip("192.0.2.1")).unwrap();
        assert_eq!(two.move_to(ip("192.0.2.1")), Err(Refusal::TooManyFromAddress));
        drop(one);
        two.move_to(ip("192.0.2.1")).unwrap();
        drop(two);
        assert!(admission.lock().by_address.is_empty());
    }
}
