//! Recent successful logins, so that a client that polls each minute does not cost a password hash each minute.
//!
//! What is kept is a keyed digest of name, password and stored secret, with a key that only this process has and
//! never stores. A changed secret makes another digest, so it counts at once. Failures are never kept.

use super::digest::hmac;
use super::random;
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a success is good for after its last use.
const LIFETIME: Duration = Duration::from_secs(600);

/// Most entries; each takes some 100 octets.
const MOST: usize = 4_096;

type Digest = Vec<u8>;

/// The successes.
pub(super) struct Cache {
    /// `None` when the system had no random numbers: then nothing is kept.
    key: Option<[u8; 32]>,
    until: Mutex<HashMap<Digest, Instant>>,
}

impl Default for Cache {
    fn default() -> Cache {
        let mut key = [0; 32];
        Cache { key: random::fill(&mut key).is_ok().then_some(key), until: Mutex::default() }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    /// The key of this login in the cache; `None` when nothing can be kept.
    pub(super) fn digest(&self, name: &str, password: &[u8], secret: &[u8]) -> Option<Digest> {
        // Each length goes before its field, so that no two logins run together to the same octets.
        let lengths = [name.len(), password.len()].map(|length| (length as u64).to_be_bytes());
        let parts = [&lengths[0], name.as_bytes(), &lengths[1], password, secret];
        Some(hmac::<Sha256>(self.key.as_ref()?, &parts))
    }

    /// Whether this login succeeded lately; if so, it did again.
    pub(super) fn knows(&self, digest: &Digest, now: Instant) -> bool {
        match self.until.lock().unwrap_or_else(PoisonError::into_inner).get_mut(digest) {
            Some(until) if *until > now => {
                *until = now + LIFETIME;
                true
            }
            _ => false,
        }
    }

    /// This login succeeded.
    pub(super) fn insert(&self, digest: Digest, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= MOST {
            until.retain(|_, until| *until > now);
        }
        // All are in use: one is dropped, and its next login costs a hash.
        if until.len() >= MOST
            && let Some(oldest) = until.iter().min_by_key(|(_, until)| **until).map(|(digest, _)| digest.clone())
        {
            until.remove(&oldest);
        }
        until.insert(digest, now + LIFETIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(cache: &Cache, name: &str, password: &str, secret: &str) -> Digest {
        cache.digest(name, password.as_bytes(), secret.as_bytes()).unwrap()
    }

    #[test]
    fn only_the_very_same_login_is_known() {
        let (cache, now) = (Cache::default(), Instant::now());
        cache.insert(login(&cache, "alice", "pw", "hash"), now);
        assert!(cache.knows(&login(&cache, "alice", "pw", "hash"), now));
        for (name, password, secret) in
            [("bob", "pw", "hash"), ("alice", "PW", "hash"), ("alice", "pw", "other"), ("alicep", "w", "hash")]
        {
            assert!(!cache.knows(&login(&cache, name, password, secret), now), "{name} {password} {secret}");
        }
        // Another process has another key.
        assert!(!cache.knows(&login(&Cache::default(), "alice", "pw", "hash"), now));
    }

    #[test]
    fn it_is_forgotten_when_it_is_not_used() {
        let (cache, start) = (Cache::default(), Instant::now());
        let digest = login(&cache, "alice", "pw", "hash");
        cache.insert(digest.clone(), start);
        let almost = LIFETIME - Duration::from_secs(1);
        assert!(cache.knows(&digest, start + almost));
        assert!(cache.knows(&digest, start + 2 * almost));
        assert!(!cache.knows(&digest, start + 2 * almost + LIFETIME));
    }

    #[test]
    fn it_is_bounded_and_keeps_the_latest() {
        let (cache, start) = (Cache::default(), Instant::now());
        let digest = |number: usize| login(&cache, &number.to_string(), "pw", "hash");
        let at = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..MOST + 100 {
            cache.insert(digest(number), at(number));
        }
        assert_eq!(cache.until.lock().unwrap().len(), MOST);
        assert!(!cache.knows(&digest(99), at(MOST + 100)));
        assert!(cache.knows(&digest(100), at(MOST + 100)));
    }
}
