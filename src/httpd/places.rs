//! Places for streams. While there is room every client gets one. When all are taken, a client from somewhere else still
//! does: the one that has most places gives up its oldest stream, and goes on later behind the last id that it has. So nobody
//! keeps others out, and one client alone may have them all.
//!
//! Streams count for their address (of IPv6 the whole site), those of this machine for the user that opened them.

use crate::limits::HTTP_STREAMS;
use crate::net::by_address;
use crate::net::conn::{Client, Conn, Peer};
use crate::service::admission::Origin;
use crate::sys::TcpUsers;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Streams that are open now, in this process, the oldest first.
static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

/// Which user of this machine has which connection.
static USERS: OnceLock<TcpUsers> = OnceLock::new();

struct Open {
    from: From,
    peer: Arc<Peer>,
}

/// Where a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Known(Origin),
    /// This machine: client and server of the connection. The user is looked for when it matters.
    Here(SocketAddr, SocketAddr),
}

/// Opens what tells users of this machine apart, before the sandbox.
pub fn prepare() {
    USERS.get_or_init(TcpUsers::open);
}

/// How many streams are open.
pub fn open_streams() -> u64 {
    lock().len() as u64
}

/// The most streams where so many connections may be open: a quarter of these is kept for everything else.
pub(super) fn most(connections: usize) -> usize {
    HTTP_STREAMS.min(connections - connections / 4)
}

/// The right to one stream; dropping it gives the place back.
pub(super) struct Place(Arc<Peer>);

impl Place {
    /// One of `most` places; `None` where all are taken and no client has more of them than this one would have.
    pub(super) fn take(conn: &Conn, client: &Client, most: usize) -> Option<Place> {
        let peer = conn.peer();
        let from = match (client.ip(), peer.addresses()) {
            (None, _) => From::Known(Origin::User(conn.peer_uid().unwrap_or(u32::MAX))),
            (Some(ip), Some((client, server))) if ip.is_loopback() => From::Here(client, server),
            (Some(ip), _) => From::Known(Origin::Address(by_address::site(ip, 64))),
        };
        let mut open = lock();
        if open.len() >= most {
            let mut from_all: Vec<From> = open.iter().map(|open| open.from).collect();
            from_all.push(from);
            let oldest = to_give_up(&origins(&from_all))?;
            open.remove(oldest).peer.end();
        }
        open.push(Open { from, peer: peer.clone() });
        Some(Place(peer.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock().retain(|open| !Arc::ptr_eq(&open.peer, &self.0));
    }
}

/// What each stream counts for. Without a user, this machine is one address.
fn origins(from: &[From]) -> Vec<Origin> {
    let here = |from: &From| match *from {
        From::Known(_) => None,
        From::Here(client, server) => Some((client, server)),
    };
    let connections: Vec<_> = from.iter().map(here).collect();
    let users = USERS.get().map(|users| users.of(&connections)).unwrap_or_default();
    let origin = |(index, from): (usize, &From)| match (from, users.get(index)) {
        (From::Known(origin), _) => *origin,
        (From::Here(..), Some(Some(user))) => Origin::User(*user),
        (From::Here(..), _) => Origin::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    from.iter().enumerate().map(origin).collect()
}

/// The stream that ends for the last one: the oldest of the origin that has most, if that is more than the last one's has with
/// its new one.
fn to_give_up(origins: &[Origin]) -> Option<usize> {
    let (last, open) = origins.split_last()?;
    let mut counts: HashMap<Origin, usize> = HashMap::new();
    open.iter().for_each(|origin| *counts.entry(*origin).or_default() += 1);
    let ours = counts.get(last).copied().unwrap_or_default();
    let most = counts.values().copied().max().filter(|most| *most > ours + 1)?;
    open.iter().position(|origin| counts[origin] == most)
}

fn lock() -> MutexGuard<'static, Vec<Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_with_most_streams_gives_up_its_oldest() {
        let (one, two) = (Origin::User(1), Origin::Address("192.0.2.1".parse().unwrap()));
        for (open, last, ends) in [
            (&[one, one, two][..], two, None),
            (&[one, one, one][..], one, None),
            (&[two, one, one][..], Origin::User(2), Some(1)),
            (&[two, one, two, one, one][..], two, None),
            (&[two, one, one, one][..], two, Some(1)),
            (&[one][..], two, None),
        ] {
            assert_eq!(to_give_up(&[open, &[last]].concat()), ends, "{open:?} {last:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_one_address() {
        let here = |port| From::Here(SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 2], 1)));
        let all = origins(&[here(1), here(2), From::Known(Origin::User(7))]);
        assert!(all[0] == all[1] && all[2] == Origin::User(7), "{all:?}");
    }

    #[test]
    fn a_quarter_of_few_connections_is_no_stream() {
        assert_eq!([1, 4, 40, 512].map(most), [1, 3, 30, HTTP_STREAMS]);
    }
}
