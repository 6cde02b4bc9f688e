//! Who has mail here, under which addresses, and how a login is believed.

use crate::address::{ForwardPath, ReversePath};
use crate::config::{Config, Problem};
use crate::sasl::Credentials;
use std::net::IpAddr;
use std::time::Duration;

/// The users and aliases files as they were read: one moment, never changed. A reload makes a new one.
#[derive(Debug)]
pub struct Accounts {}

/// Why there is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The domain is not ours: 550 5.7.1.
    NotOurDomain,
    /// The domain is ours, the local part is nobody's: 550 5.1.1.
    NoSuchUser,
}

impl Accounts {
    /// Reads and checks both files.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: bad lines, bad names, alias loops, unknown targets.
    pub fn load(_config: &Config) -> Result<Accounts, Vec<Problem>> {
        unimplemented!("accounts")
    }

    /// The users in the order of their file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// The user of that name, in the spelling of the file, without regard to case.
    pub fn user(&self, _name: &str) -> Option<&str> {
        unimplemented!("accounts")
    }

    /// Whose Maildirs mail for this address goes to: each user once, at least one.
    ///
    /// # Errors
    ///
    /// When it is nobody's.
    pub fn resolve(&self, _path: &ForwardPath) -> Result<Vec<String>, Unknown> {
        unimplemented!("accounts")
    }

    /// Whether this user may send as this address: the null path, his own, with subaddress, or an alias of his.
    pub fn may_send_as(&self, _user: &str, _path: &ReversePath) -> bool {
        unimplemented!("accounts")
    }

    /// Whether every account has a {PLAIN} secret, so that CRAM-MD5 and APOP may be offered. False without accounts.
    pub fn all_plain(&self) -> bool {
        unimplemented!("accounts")
    }
}

/// Checks credentials: one for the process. It costs the same for users that do not exist, runs few argon2 at once
/// (memory!), and remembers recent successes for some minutes as a keyed hash.
#[derive(Debug, Default)]
pub struct Verifier {}

impl Verifier {
    /// The user's name when the credentials are right.
    pub fn verify(&self, _accounts: &Accounts, _credentials: &Credentials) -> Option<String> {
        unimplemented!("accounts")
    }
}

/// The brute-force delay by network (/32, IPv6 /48): 0, 2, 4, 8, 15 seconds, forgotten after quiet. Loopback too.
#[derive(Debug, Default)]
pub struct Penalties {}

impl Penalties {
    /// How long the next try from there has to wait before its credentials are looked at.
    pub fn delay(&self, _address: Option<IpAddr>) -> Duration {
        unimplemented!("accounts")
    }

    /// A login failed.
    pub fn failed(&self, _address: Option<IpAddr>) {
        unimplemented!("accounts")
    }

    /// A login succeeded.
    pub fn succeeded(&self, _address: Option<IpAddr>) {
        unimplemented!("accounts")
    }
}

/// The passwd-file as it is changed: by `mailbell user`, and at the first start of the embedded default.
#[derive(Debug)]
pub struct Passwd {}

impl Passwd {
    /// Adds a user with an ARGON2ID hash of the password; makes the file (0600) and its folder where they do not exist.
    ///
    /// # Errors
    ///
    /// As a sentence.
    pub fn add(_file: &std::path::Path, _name: &str, _password: &[u8]) -> Result<(), String> {
        unimplemented!("accounts")
    }
}

/// A password that nobody guesses, easy to type.
///
/// # Errors
///
/// When the system has no random numbers.
pub fn random_password() -> std::io::Result<String> {
    unimplemented!("accounts")
}
