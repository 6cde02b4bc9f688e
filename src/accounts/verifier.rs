//! Checks credentials against the accounts of the moment.

use super::Accounts;
use super::cache::Cache;
use super::digest::{hexadecimal, hmac};
use super::gate::Gate;
use super::secret::{Secret, equal};
use crate::sasl::Credentials;
use md5::{Digest, Md5};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Checks credentials: one for the process. A failed check costs the same whether the user exists or not, few hashes run at
/// once (memory), and recent successes are remembered for some minutes as a keyed hash.
#[derive(Debug, Default)]
pub struct Verifier {
    cache: Cache,
    gate: Gate,
    /// Password hashes that were run.
    hash_runs: AtomicU64,
}

impl Verifier {
    /// The user's name when the credentials are right. A client may log in as `alice`, or as `alice@` one of our domains.
    pub fn verify(&self, accounts: &Accounts, credentials: &Credentials) -> Option<String> {
        let account = accounts.login(credentials.name());
        let is_right = match credentials {
            Credentials::Password { password, .. } => self.password(accounts, account, password),
            Credentials::CramMd5 { challenge, digest, .. } => {
                let secret = account.and_then(|(_, secret)| secret.plain());
                let wanted = hexadecimal(&hmac::<Md5>(secret.unwrap_or_default(), &[challenge.as_bytes()]));
                answers(digest, &wanted) && secret.is_some()
            }
            Credentials::Apop { stamp, digest, .. } => {
                let secret = account.and_then(|(_, secret)| secret.plain());
                let md5 = Md5::new_with_prefix(stamp).chain_update(secret.unwrap_or_default());
                answers(digest, &hexadecimal(&md5.finalize())) && secret.is_some()
            }
        };
        account.filter(|_| is_right).map(|(name, _)| name.to_owned())
    }

    /// Whether the password is right. Where it is not, a hash of every other scheme that some account has is run too: the
    /// time does not tell which scheme the user has, or whether there is such a user.
    fn password(&self, accounts: &Accounts, account: Option<(&str, &Secret)>, password: &[u8]) -> bool {
        if account.is_some_and(|(name, secret)| self.is_known(name, secret, password)) {
            return true;
        }
        for other in accounts.samples().filter(|other| account.is_none_or(|(_, own)| own.scheme() != other.scheme())) {
            self.run(other, password);
        }
        false
    }

    /// Whether this is the user's password.
    fn is_known(&self, name: &str, secret: &Secret, password: &[u8]) -> bool {
        if secret.plain().is_some() {
            return secret.verify(password);
        }
        let digest = self.cache.digest(name, password, secret.text());
        if digest.as_ref().is_some_and(|digest| self.cache.knows(digest, Instant::now())) {
            return true;
        }
        let is_right = self.run(secret, password);
        if let Some(digest) = digest
            && is_right
        {
            self.cache.insert(digest, Instant::now());
        }
        is_right
    }

    fn run(&self, secret: &Secret, password: &[u8]) -> bool {
        let _pass = self.gate.enter(secret.memory());
        self.hash_runs.fetch_add(1, Relaxed);
        secret.verify(password)
    }

    /// How many password hashes were run.
    #[cfg(test)]
    pub(super) fn hash_runs(&self) -> u64 {
        self.hash_runs.load(Relaxed)
    }
}

/// RFC 2195 and RFC 1939 write the digest in lower case. Upper case means the same.
fn answers(given: &str, wanted: &str) -> bool {
    equal(given.to_ascii_lowercase().as_bytes(), wanted.as_bytes())
}
