//! The sessions that are open, for those who must end them: a clean stop, and the lack of room.

use crate::net::conn::Peer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
struct Open {
    peers: HashMap<u64, Arc<Peer>>,
    next: u64,
    stopping: bool,
}

/// Every session's [`Peer`].
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
        let mut open = self.lock();
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
        let mut open = self.lock();
        open.stopping = true;
        open.peers.values().for_each(|peer| peer.stop());
    }

    /// Cuts every connection.
    pub fn cut_all(&self) {
        self.lock().peers.values().for_each(|peer| peer.cut());
    }

    /// Ends the session that has been silent the longest, if that is longer than `patience`.
    pub fn make_room(&self, patience: Duration) {
        let open = self.lock();
        let longest = open.peers.values().filter_map(|peer| Some((peer.idle()?, peer))).max_by_key(|(idle, _)| *idle);
        if let Some((idle, peer)) = longest
            && idle >= patience
        {
            peer.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sessions.lock().peers.remove(&self.number);
    }
}
