//! The open sessions, so that a stop, or a lack of places, can end them.

use crate::net::conn::Peer;
use crate::sys::lock;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Clients that have logged in may be idle this many times longer than others before they lose their place.
const LOGGED_IN: u32 = 3;

#[derive(Debug, Default)]
struct Open {
    peers: HashMap<u64, Arc<Peer>>,
    next: u64,
    stopping: bool,
}

/// The [`Peer`] of every session.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<Open>>);

/// Takes a session off the list when it is dropped.
#[derive(Debug)]
pub struct Entry {
    sessions: Sessions,
    number: u64,
}

impl Sessions {
    /// Puts a session on the list. One that comes during a stop is told to stop at once.
    pub fn enter(&self, peer: Arc<Peer>) -> Entry {
        let mut open = lock(&self.0);
        if open.stopping {
            peer.stop();
        }
        open.next += 1;
        let number = open.next;
        open.peers.insert(number, peer);
        Entry { sessions: self.clone(), number }
    }

    /// Tells every session to end at its next command.
    pub fn stop_all(&self) {
        let mut open = lock(&self.0);
        open.stopping = true;
        open.peers.values().for_each(|peer| peer.stop());
    }

    /// Ends every session in which nothing has moved for `patience`.
    pub fn end_silent(&self, patience: Duration) {
        let open = lock(&self.0);
        let is_silent = |peer: &&Arc<Peer>| peer.silence().is_some_and(|silence| silence >= patience);
        open.peers.values().filter(is_silent).for_each(|peer| peer.end());
    }

    /// Cuts every connection.
    pub fn cut_all(&self) {
        lock(&self.0).peers.values().for_each(|peer| peer.cut());
    }

    /// Ends up to `count` sessions that have made no progress for `patience` while they wait for their client: sessions
    /// without a login go first, and of these the ones that have been idle for the longest time.
    pub fn make_room(&self, patience: Duration, count: usize) {
        let open = lock(&self.0);
        let idle = |peer: &Arc<Peer>| {
            let idle = peer.idle()?;
            let patience = if peer.is_logged_in() { patience * LOGGED_IN } else { patience };
            (idle >= patience).then(|| (peer.is_logged_in(), Reverse(idle), peer.clone()))
        };
        let mut idle: Vec<_> = open.peers.values().filter_map(idle).collect();
        for _ in 0..count {
            let first = (0..idle.len()).min_by_key(|at| (idle[*at].0, idle[*at].1));
            first.into_iter().for_each(|at| idle.swap_remove(at).2.end());
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.sessions.0).peers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::conn::{Conn, Error, Timeouts};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn sessions_without_a_login_lose_their_places_first() {
        let sessions = Sessions::default();
        let mut open = Vec::new();
        for is_logged_in in [true, false, false] {
            let (client, ours) = UnixStream::pair().unwrap();
            let peer = Arc::new(Peer::new(OwnedFd::from(ours)));
            let mut conn = Conn::new(peer.clone(), Timeouts { command: HOUR, session: HOUR });
            if is_logged_in {
                conn.mark_login();
            }
            let entry = sessions.enter(peer.clone());
            let worker = std::thread::spawn(move || conn.command(100).map(drop));
            while peer.idle().is_none() {
                std::thread::yield_now();
            }
            open.push((worker, client, entry));
        }
        sessions.make_room(HOUR, 3);
        assert!(open.iter().all(|(worker, ..)| !worker.is_finished()), "nobody is idle for an hour");
        sessions.make_room(Duration::ZERO, 2);
        for (worker, client, entry) in open.drain(1..) {
            assert!(matches!(worker.join().unwrap(), Err(Error::Stopping)));
            drop((client, entry));
        }
        assert!(!open[0].0.is_finished());
        sessions.make_room(Duration::ZERO, 2);
        let (worker, ..) = open.pop().unwrap();
        assert!(matches!(worker.join().unwrap(), Err(Error::Stopping)));
    }
}
