//! Limits of connections: how many in all, how many from one address or local user, and how often.
//!
//! A [`Ticket`] is the right to one connection; dropping it gives the place back. Nothing waits here: a connection without
//! a place is refused.

mod rate;

use crate::config::Limits;
use crate::net::by_address;
use crate::sys::lock;
use rate::Buckets;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
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
    /// The system has no thread or no descriptor for the connection.
    NoResources,
}

impl Refusal {
    /// The limit that was reached.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Full => "limits.connections",
            Refusal::TooManyFromAddress => "limits.connections_per_ip",
            Refusal::TooOften => "limits.connection_rate_per_ip",
            Refusal::NoResources => "the system's limit of threads or descriptors",
        }
    }
}

/// One place of so many is kept for POP3 and submission, where clients log in.
const KEPT: usize = 32;

/// What a limit of connections counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An address; of IPv6 the whole site.
    Address(IpAddr),
    /// A user id of this machine, over a unix socket.
    User(u32),
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_origin: HashMap<Origin, usize>,
}

/// Counts open connections, in total and by origin.
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
    origin: Option<Origin>,
}

impl Admission {
    /// Admits `most` connections, and `most_per_address` from one origin, however often.
    pub fn new(most: usize, most_per_address: usize) -> Admission {
        Admission { counts: Arc::default(), most, most_per_address, connections: None, messages: None }
    }

    /// All of `[limits]`.
    pub fn by(limits: &Limits) -> Admission {
        let buckets = |rate| Arc::new(Buckets::new(rate));
        Admission {
            connections: limits.connection_rate_per_ip.map(buckets),
            messages: limits.message_rate_per_ip.map(buckets),
            ..Admission::new(limits.connections, limits.connections_per_ip)
        }
    }

    /// Admits a connection. `None` is one that counts for no origin: a proxy of which the client is not known yet. The last
    /// places are kept for listeners where clients log in.
    ///
    /// # Errors
    ///
    /// When there is no place.
    pub fn admit(&self, origin: Option<Origin>, logs_in: bool) -> Result<Ticket, Refusal> {
        let mut counts = lock(&self.counts);
        let kept = if logs_in { 0 } else { self.most / KEPT };
        if counts.all >= self.most - kept {
            return Err(Refusal::Full);
        }
        let origin = origin.map(site);
        self.enter(&mut counts, origin)?;
        counts.all += 1;
        Ok(Ticket { admission: self.clone(), origin })
    }

    /// Whether this address may send one more message now (`limits.message_rate_per_ip`).
    pub fn may_send(&self, address: Option<IpAddr>) -> bool {
        may(&self.messages, address.map(|address| by_address::site(address, 64)))
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        lock(&self.counts).all
    }

    /// True when so few places are left that idle sessions are ended.
    pub fn is_crowded(&self) -> bool {
        self.open() >= self.most - self.most / 8
    }

    /// How long a client may be silent: `usual`, or no longer than `crowded` while places are few.
    pub fn patience(&self, usual: Duration, crowded: Duration) -> Duration {
        if self.is_crowded() { usual.min(crowded) } else { usual }
    }

    fn enter(&self, counts: &mut Counts, origin: Option<Origin>) -> Result<(), Refusal> {
        let Some(origin) = origin else { return Ok(()) };
        let here = counts.by_origin.get(&origin).copied().unwrap_or_default();
        if here >= self.most_per_address {
            return Err(Refusal::TooManyFromAddress);
        }
        if let Origin::Address(address) = origin
            && !may(&self.connections, Some(address))
        {
            return Err(Refusal::TooOften);
        }
        counts.by_origin.insert(origin, here + 1);
        Ok(())
    }

    fn leave(counts: &mut Counts, origin: Option<Origin>) {
        if let Some(origin) = origin
            && let Some(here) = counts.by_origin.get_mut(&origin)
        {
            *here -= 1;
            if *here == 0 {
                counts.by_origin.remove(&origin);
            }
        }
    }
}

impl Ticket {
    /// The connection turns out to come from `origin`, as a proxy said. It counts there from now on.
    ///
    /// # Errors
    ///
    /// When that origin has all its places taken; the ticket then counts for none.
    pub fn move_to(&mut self, origin: Origin) -> Result<(), Refusal> {
        let mut counts = lock(&self.admission.counts);
        Admission::leave(&mut counts, self.origin.take());
        let origin = Some(site(origin));
        self.admission.enter(&mut counts, origin)?;
        self.origin = origin;
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = lock(&self.admission.counts);
        counts.all -= 1;
        Admission::leave(&mut counts, self.origin);
    }
}

/// Takes one from the bucket of an address; without an address there is no limit.
fn may(buckets: &Option<Arc<Buckets>>, address: Option<IpAddr>) -> bool {
    buckets.as_ref().zip(address).is_none_or(|(buckets, address)| buckets.take(address, Instant::now()))
}

/// The unit that is counted: an IPv4 address, the /64 that one IPv6 site is given at least (RFC 6177), or a user.
fn site(origin: Origin) -> Origin {
    match origin {
        Origin::Address(address) => Origin::Address(by_address::site(address, 64)),
        user => user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<Origin> {
        Some(Origin::Address(text.parse().unwrap()))
    }

    #[test]
    fn places_are_counted_in_all_and_by_address_and_come_back() {
        let admission = Admission::new(3, 2);
        let first = admission.admit(ip("192.0.2.1"), false).unwrap();
        let _second = admission.admit(ip("::ffff:192.0.2.1"), false).unwrap();
        assert_eq!(admission.admit(ip("192.0.2.1"), false).unwrap_err(), Refusal::TooManyFromAddress);
        let _third = admission.admit(None, false).unwrap();
        assert_eq!(admission.admit(None, false).unwrap_err(), Refusal::Full);
        drop(first);
        assert!(admission.admit(ip("192.0.2.1"), false).is_ok());
        assert_eq!(admission.open(), 2);
    }

    #[test]
    fn one_ipv6_site_is_one_address_and_each_local_user_is_one() {
        let admission = Admission::new(9, 1);
        let _one = admission.admit(ip("2001:db8::1"), false).unwrap();
        assert!(admission.admit(ip("2001:db8::2"), false).is_err());
        assert!(admission.admit(ip("2001:db8:0:1::2"), false).is_ok());
        let _user = admission.admit(Some(Origin::User(1000)), false).unwrap();
        assert!(admission.admit(Some(Origin::User(1000)), false).is_err());
        assert!(admission.admit(Some(Origin::User(1001)), false).is_ok());
    }

    #[test]
    fn the_last_places_are_kept_for_clients_that_log_in() {
        let admission = Admission::new(64, 64);
        let _most: Vec<_> = (0..62).map(|_| admission.admit(None, false).unwrap()).collect();
        assert_eq!(admission.admit(None, false).unwrap_err(), Refusal::Full);
        let _kept: Vec<_> = (0..2).map(|_| admission.admit(None, true).unwrap()).collect();
        assert_eq!(admission.admit(None, true).unwrap_err(), Refusal::Full);
    }

    #[test]
    fn a_proxied_connection_counts_for_its_client() {
        let admission = Admission::new(9, 1);
        let mut one = admission.admit(None, false).unwrap();
        let mut two = admission.admit(None, false).unwrap();
        one.move_to(ip("192.0.2.1").unwrap()).unwrap();
        assert_eq!(two.move_to(ip("192.0.2.1").unwrap()), Err(Refusal::TooManyFromAddress));
        drop(one);
        two.move_to(ip("192.0.2.1").unwrap()).unwrap();
        drop(two);
        assert!(lock(&admission.counts).by_origin.is_empty());
    }
}
