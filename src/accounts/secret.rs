//! Secrets: the `{SCHEME}hash` of a passwd-file, read, written and compared. None of it is ever printed.

use super::random;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, Salt, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use sha_crypt::{Sha256Params, Sha512Params};
use std::fmt;
use std::io;

/// Longest password, octets. It must fit in a POP3 command line (`limits::POP3_COMMAND_LINE`), and SHA-crypt takes time
/// that grows with its square.
pub(super) const LONGEST_PASSWORD: usize = 512;

/// Memory of a new hash, KiB. OWASP's second choice for argon2id (19 MiB, two passes, one lane): as strong as
/// its first with 46 MiB, and two at once leave room on a machine of 256 MB.
pub(super) const OWN_MEMORY: u32 = 19 * 1024;
const OWN_PASSES: u32 = 2;

/// More memory than this for one login, KiB, is a mistake in the file or an attack by it.
const MOST_MEMORY: u32 = 1 << 20;

/// More rounds of SHA-crypt than this take seconds.
const MOST_ROUNDS: usize = 10_000_000;

/// One account's secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Secret {
    /// In PHC form, and how much memory it takes, KiB.
    Argon2id { text: String, memory: u32 },
    /// crypt(3)'s `$5$`.
    Sha256Crypt(Crypt),
    /// crypt(3)'s `$6$`.
    Sha512Crypt(Crypt),
    /// The password itself.
    Plain(Vec<u8>),
}

/// `$6$rounds=5000$salt$hash`, parsed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Crypt {
    rounds: usize,
    salt: String,
    hash: String,
}

impl fmt::Debug for Secret {
    /// Says which scheme, nothing else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.scheme())
    }
}

impl Secret {
    /// Reads the second field of a passwd-file.
    ///
    /// # Errors
    ///
    /// Says what is wrong without quoting any of it.
    pub(super) fn parse(field: &[u8]) -> Result<Secret, String> {
        let Some((scheme, value)) = split(field) else { return Err(no_scheme(field)) };
        let text = || std::str::from_utf8(value).map_err(|_| damaged(scheme));
        match scheme.to_ascii_uppercase().as_str() {
            "PLAIN" => plain(value),
            "ARGON2ID" => argon2id(text()?),
            "SHA256-CRYPT" => Crypt::parse(text()?, "$5$", 43).map(Secret::Sha256Crypt).ok_or_else(|| damaged(scheme)),
            "SHA512-CRYPT" => Crypt::parse(text()?, "$6$", 86).map(Secret::Sha512Crypt).ok_or_else(|| damaged(scheme)),
            // Dovecot's name for all schemes of crypt(3).
            "CRYPT" if value.starts_with(b"$5$") => {
                Crypt::parse(text()?, "$5$", 43).map(Secret::Sha256Crypt).ok_or_else(|| damaged(scheme))
            }
            "CRYPT" if value.starts_with(b"$6$") => {
                Crypt::parse(text()?, "$6$", 86).map(Secret::Sha512Crypt).ok_or_else(|| damaged(scheme))
            }
            _ => Err(format!("is of a scheme that is not read; there are {SCHEMES}")),
        }
    }

    /// Hashes a new password, as ARGON2ID; gives the field for a passwd-file.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub(super) fn hash(password: &[u8]) -> io::Result<String> {
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        random::fill(&mut salt)?;
        // unwrap: the parameters and the salt's length are constants that the crate's own limits allow, and the
        // password is far shorter than 2^32 octets.
        let salt = SaltString::encode_b64(&salt).expect("16 octets are a salt");
        let params = Params::new(OWN_MEMORY, OWN_PASSES, 1, None).expect("OWASP's parameters");
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = hasher.hash_password(password, &salt).expect("a short password");
        Ok(format!("{{ARGON2ID}}{hash}"))
    }

    /// Whether this is the password. It takes the same time for every wrong one of the same length.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        if password.len() > LONGEST_PASSWORD {
            return false;
        }
        match self {
            Secret::Plain(secret) => equal(secret, password),
            hashed => hashed.verify_hash(password),
        }
    }

    // Not inlined: only the memory of a session that has logged in depends on it.
    #[inline(never)]
    fn verify_hash(&self, password: &[u8]) -> bool {
        match self {
            Secret::Argon2id { text, .. } => {
                PasswordHash::new(text).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
            Secret::Sha256Crypt(crypt) => Sha256Params::new(crypt.rounds)
                .and_then(|params| sha_crypt::sha256_crypt_b64(password, crypt.salt.as_bytes(), &params))
                .is_ok_and(|hash| equal(hash.as_bytes(), crypt.hash.as_bytes())),
            Secret::Sha512Crypt(crypt) => Sha512Params::new(crypt.rounds)
                .and_then(|params| sha_crypt::sha512_crypt_b64(password, crypt.salt.as_bytes(), &params))
                .is_ok_and(|hash| equal(hash.as_bytes(), crypt.hash.as_bytes())),
            Secret::Plain(_) => false,
        }
    }

    /// Memory that [`Secret::verify`] takes, KiB.
    pub(super) fn memory(&self) -> u32 {
        match self {
            Secret::Argon2id { memory, .. } => *memory,
            _ => 0,
        }
    }

    /// The password itself, where it is known.
    pub(super) fn plain(&self) -> Option<&[u8]> {
        match self {
            Secret::Plain(secret) => Some(secret),
            _ => None,
        }
    }

    /// A text that changes whenever the secret does.
    pub(super) fn text(&self) -> &[u8] {
        match self {
            Secret::Argon2id { text, .. } => text.as_bytes(),
            Secret::Sha256Crypt(crypt) | Secret::Sha512Crypt(crypt) => crypt.hash.as_bytes(),
            Secret::Plain(secret) => secret,
        }
    }

    /// The scheme's name.
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Secret::Argon2id { .. } => "ARGON2ID",
            Secret::Sha256Crypt(_) => "SHA256-CRYPT",
            Secret::Sha512Crypt(_) => "SHA512-CRYPT",
            Secret::Plain(_) => "PLAIN",
        }
    }
}

const SCHEMES: &str = "ARGON2ID, SHA512-CRYPT, SHA256-CRYPT, PLAIN";

/// `{SCHEME}` and the rest.
fn split(field: &[u8]) -> Option<(&str, &[u8])> {
    let rest = field.strip_prefix(b"{")?;
    let end = rest.iter().position(|octet| *octet == b'}')?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
}

fn no_scheme(field: &[u8]) -> String {
    let meant = [(&b"$argon2id$"[..], "ARGON2ID"), (b"$6$", "SHA512-CRYPT"), (b"$5$", "SHA256-CRYPT")];
    match meant.into_iter().find(|(start, _)| field.starts_with(start)) {
        Some((_, scheme)) => format!("has no scheme in front; write {{{scheme}}} before it"),
        None => format!("has no {{SCHEME}} in front; there are {SCHEMES}"),
    }
}

fn damaged(scheme: &str) -> String {
    format!("is not what a {} secret looks like", scheme.to_ascii_uppercase())
}

fn plain(value: &[u8]) -> Result<Secret, String> {
    match value.len() {
        0 => Err("is empty, and an empty password is not accepted".into()),
        1..=LONGEST_PASSWORD => Ok(Secret::Plain(value.to_owned())),
        _ => Err(format!("is longer than {LONGEST_PASSWORD} octets")),
    }
}

fn argon2id(text: &str) -> Result<Secret, String> {
    let wrong = || damaged("ARGON2ID");
    let hash = PasswordHash::new(text).map_err(|_| wrong())?;
    let complete = hash.salt.is_some() && hash.hash.is_some();
    if !complete || Algorithm::try_from(hash.algorithm).ok() != Some(Algorithm::Argon2id) {
        return Err(wrong());
    }
    let params = Params::try_from(&hash).map_err(|_| wrong())?;
    if params.m_cost() > MOST_MEMORY {
        return Err("asks for more than 1 GiB of memory at each login".into());
    }
    Ok(Secret::Argon2id { text: text.to_owned(), memory: params.m_cost() })
}

impl Crypt {
    /// Reads `$6$[rounds=N$]salt$hash` with a hash of the given length.
    fn parse(text: &str, prefix: &str, letters: usize) -> Option<Crypt> {
        let (mut rest, mut rounds) = (text.strip_prefix(prefix)?, sha_crypt::ROUNDS_DEFAULT);
        if let Some(counted) = rest.strip_prefix("rounds=") {
            let (number, after) = counted.split_once('$')?;
            rounds = number.parse().ok().filter(|rounds| (sha_crypt::ROUNDS_MIN..=MOST_ROUNDS).contains(rounds))?;
            rest = after;
        }
        let (salt, hash) = rest.split_once('$')?;
        let alphabet = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'.' || letter == b'/';
        let valid = salt.len() <= 16 && hash.len() == letters && hash.bytes().all(alphabet);
        valid.then(|| Crypt { rounds, salt: salt.to_owned(), hash: hash.to_owned() })
    }
}

/// Compares in a time that tells only the lengths.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (one, other)| std::hint::black_box(all | (one ^ other)));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by other programs: crypt(3) of glibc and Dovecot's `doveadm pw`.
    const SAMPLES: [(&str, &str); 8] = [
        ("{PLAIN}secret", "secret"),
        ("{plain}with spaces ", "with spaces "),
        (
            "{SHA512-CRYPT}$6$mailbellsalt16ch$zOMDvVIf0/rggW.gjipdLvM/0rNdN3Tfu9M5EI9Defx1jqPeu5u0FSQZfCxVsBwVS.5qajT2onF5EsFNhyYf8.",
            "secret",
        ),
        (
            "{CRYPT}$6$rounds=1000$s$jWKWW4frHd2UJCMnzN3684fspPDUebzE6OnlK.F/bIYlUl9ch1/YyU4YMwEz1ya6974pdkzQ/w/5/LikcSsVm.",
            "secret",
        ),
        ("{sha256-crypt}$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", "secret"),
        ("{CRYPT}$5$rounds=1234$abc/.def$AB2Mt.pc1SmcHBdgCyrhJocYybGF8Iu2ksJHDTds8w2", "secret"),
        (
            "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$HNBIYs1M+MZtHINdZh8Wmg$jwcJegY5/FvtrXHFX/mPR1edqK6z7dWOjcnfBJYhtf4",
            "secret",
        ),
        (
            "{Argon2id}$argon2id$v=19$m=65536,t=3,p=1$PSogArx/HIOd0R6lvfPq/w$xmnReOhmTjI5a0cnqTw838SaYJ5AhP2zDINTWqm/OZI",
            "pässwörd",
        ),
    ];

    #[test]
    fn secrets_of_other_programs_are_read() {
        for (field, password) in SAMPLES {
            let secret = Secret::parse(field.as_bytes()).unwrap();
            assert!(secret.verify(password.as_bytes()), "{field}");
            for wrong in ["", "Secret", "secret ", &"x".repeat(LONGEST_PASSWORD + 1)] {
                assert!(!secret.verify(wrong.as_bytes()), "{field} {wrong}");
            }
        }
    }

    #[test]
    fn own_hashes_are_argon2id_with_a_salt_each() {
        let (one, other) = (Secret::hash(b"secret").unwrap(), Secret::hash(b"secret").unwrap());
        assert!(one.starts_with("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, other);
        let secret = Secret::parse(one.as_bytes()).unwrap();
        assert_eq!((secret.scheme(), secret.memory()), ("ARGON2ID", OWN_MEMORY));
        assert!(secret.verify(b"secret") && !secret.verify(b"Secret"));
    }

    #[test]
    fn what_is_no_secret_is_told_without_quoting_it() {
        for (field, why) in [
            ("hunter2", "no {SCHEME} in front"),
            ("", "no {SCHEME} in front"),
            ("{hunter2", "no {SCHEME} in front"),
            ("$6$salt$hunter2", "write {SHA512-CRYPT} before it"),
            ("$argon2id$hunter2", "write {ARGON2ID} before it"),
            ("{hunter2}x", "scheme that is not read"),
            ("{SSHA}hunter2", "scheme that is not read"),
            ("{CRYPT}$1$hunter2", "scheme that is not read"),
            ("{PLAIN}", "empty"),
            ("{SHA512-CRYPT}$6$salt$hunter2", "SHA512-CRYPT"),
            ("{SHA512-CRYPT}$5$salt$hunter2", "SHA512-CRYPT"),
            ("{SHA256-CRYPT}$5$rounds=10$salt$0123456789012345678901234567890123456789012", "SHA256-CRYPT"),
            ("{ARGON2ID}hunter2", "ARGON2ID"),
            ("{ARGON2ID}$argon2i$v=19$m=16,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo", "ARGON2ID"),
            ("{ARGON2ID}$argon2id$v=19$m=16,t=1,p=1$c29tZXNhbHQ", "ARGON2ID"),
            ("{ARGON2ID}$argon2id$v=19$m=4000000,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo", "1 GiB"),
        ] {
            let said = Secret::parse(field.as_bytes()).unwrap_err();
            assert!(said.contains(why) && !said.contains("hunter2"), "{field}: {said}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::parse(b"{PLAIN}hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "{PLAIN}");
    }

    #[test]
    fn a_worker_s_stack_is_enough() {
        let secrets: Vec<_> = SAMPLES.iter().map(|(field, _)| Secret::parse(field.as_bytes()).unwrap()).collect();
        let worker = std::thread::Builder::new().stack_size(crate::limits::WORKER_STACK);
        let verify = move || secrets.iter().filter(|secret| secret.verify(b"secret")).count();
        assert_eq!(worker.spawn(verify).unwrap().join().unwrap(), 6);
    }
}
