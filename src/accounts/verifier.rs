//! Checks credentials against the accounts of the moment.

use super::Accounts;
use super::cache::Cache;
use super::digest::{hexadecimal, hmac};
use super::gate::Gate;
use super::secret::{Secret, equal};
use crate::sasl::Credentials;
use md5::{Digest, Md5};
use std::time::Instant;

/// Checks credentials: one for the process. It costs the same for users that do not exist, runs few argon2 at once
/// (memory!), and remembers recent successes for some minutes as a keyed hash.
#[derive(Debug, Default)]
pub struct Verifier {
    cache: Cache,
    gate: Gate,
}

impl Verifier {
    /// The user's name when the credentials are right. A client may log in as `alice`, or as `alice@` one of our domains.
    pub fn verify(&self, accounts: &Accounts, credentials: &Credentials) -> Option<String> {
        let account = accounts.login(credentials.name());
        // A name that nobody has is checked against somebody's secret, of the kind that most have, to take its time.
        let secret = account.map_or_else(|| accounts.usual_secret(), |(_, secret)| Some(secret))?;
        let right = match credentials {
            Credentials::Password { password, .. } => self.password(account.map(|(name, _)| name), password, secret),
            Credentials::CramMd5 { challenge, digest, .. } => secret
                .plain()
                .is_some_and(|secret| answers(digest, &hexadecimal(&hmac::<Md5>(secret, &[challenge.as_bytes()])))),
            Credentials::Apop { stamp, digest, .. } => secret.plain().is_some_and(|secret| {
                answers(digest, &hexadecimal(&Md5::new_with_prefix(stamp).chain_update(secret).finalize()))
            }),
        };
        account.filter(|_| right).map(|(name, _)| name.to_owned())
    }

    /// Whether the password is right. Without a name the secret is somebody else's, so nothing is remembered.
    fn password(&self, name: Option<&str>, password: &[u8], secret: &Secret) -> bool {
        if secret.plain().is_some() {
            return secret.verify(password);
        }
        let digest = name.and_then(|name| self.cache.digest(name, password, secret.text()));
        if digest.as_ref().is_some_and(|digest| self.cache.knows(digest, Instant::now())) {
            return true;
        }
        let pass = self.gate.enter(secret.memory());
        let right = secret.verify(password);
        drop(pass);
        if let Some(digest) = digest
            && right
        {
            self.cache.insert(digest, Instant::now());
        }
        right
    }
}

/// RFC 2195 and RFC 1939 write the digest in lower case; who writes it in upper case means the same.
fn answers(given: &str, wanted: &str) -> bool {
    equal(given.to_ascii_lowercase().as_bytes(), wanted.as_bytes())
}
