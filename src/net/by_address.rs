//! What is remembered by address: which addresses count as one, and room for a fixed number of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// Most entries that are remembered for one purpose, at some 50 octets each.
pub const MOST: usize = 10_000;

/// The address that stands for all of one site: an IPv4 address itself, of IPv6 the first `prefix` bits (1 to 128).
pub fn site(address: IpAddr, prefix: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << (128 - prefix)))),
        v4 => v4,
    }
}

/// Makes room for `key` where there are [`MOST`]: all entries that are over are removed; if none is, the one with the
/// earliest `moment`, so that a flood of addresses takes no more memory.
pub fn make_room<K: Clone + Eq + Hash, T>(
    all: &mut HashMap<K, T>,
    key: &K,
    is_over: impl Fn(&T) -> bool,
    moment: impl Fn(&T) -> Instant,
) {
    if all.len() < MOST || all.contains_key(key) {
        return;
    }
    all.retain(|_, remembered| !is_over(remembered));
    if all.len() >= MOST
        && let Some(earliest) = all.iter().min_by_key(|(_, remembered)| moment(remembered)).map(|(key, _)| key.clone())
    {
        all.remove(&earliest);
    }
}
