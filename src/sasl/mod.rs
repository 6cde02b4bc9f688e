//! SASL for SMTP (RFC 4954) and POP3 (RFC 5034): PLAIN, LOGIN and CRAM-MD5, without their transport. Checks no password:
//! the credentials go to `accounts`.

pub mod client;

use crate::message::base64;
use std::fmt;

/// Longest name and longest password, octets. RFC 4616 section 2 wants 255 at least; sha-crypt takes the square of a
/// password's length, so a password that fills a line is refused.
const LONGEST: usize = 1_024;

/// A mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Without a specification, and known to all clients.
    Login,
    /// RFC 2195.
    CramMd5,
}

impl Mechanism {
    /// Its name in AUTH and in capabilities.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
        }
    }

    /// The mechanism of this name, in any case (RFC 4422 section 3.1).
    pub fn named(name: &[u8]) -> Option<Mechanism> {
        let all = [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5];
        all.into_iter().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A client's name and proof. Octets that are not UTF-8 make a name that no account has.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password in clear.
    Password {
        /// The account.
        name: String,
        /// As it came.
        password: Vec<u8>,
    },
    /// HMAC-MD5 of the challenge, keyed with the secret, in lower-case hexadecimal.
    CramMd5 {
        /// The account.
        name: String,
        /// The challenge with its angle brackets.
        challenge: String,
        /// 32 hexadecimal digits as they came.
        digest: String,
    },
    /// POP3's APOP: MD5 of the stamp and the secret (RFC 1939 section 7).
    Apop {
        /// The account.
        name: String,
        /// The stamp with its angle brackets.
        stamp: String,
        /// 32 hexadecimal digits as they came.
        digest: String,
    },
}

impl fmt::Debug for Credentials {
    /// Prints the name, never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.name())
    }
}

impl Credentials {
    /// The account's name as the client gave it.
    pub fn name(&self) -> &str {
        match self {
            Credentials::Password { name, .. } | Credentials::CramMd5 { name, .. } | Credentials::Apop { name, .. } => {
                name
            }
        }
    }
}

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not base64 (RFC 4954: 501 5.5.2).
    Encoding,
    /// Base64 of a text that the mechanism does not have.
    Syntax,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send this challenge (base64 already) and give the answer to [`Exchange::respond`].
    Challenge(String),
    /// The exchange is complete.
    Done(Credentials),
}

/// An exchange.
#[derive(Debug)]
pub struct Exchange {
    awaited: Awaited,
}

/// What the next response is.
#[derive(Debug)]
enum Awaited {
    /// PLAIN's only message.
    Plain,
    /// LOGIN's name.
    Name,
    /// LOGIN's password for this name.
    Password(String),
    /// The answer to this challenge of CRAM-MD5.
    Digest(String),
    /// Nothing: the exchange is complete.
    Nothing,
}

impl Exchange {
    /// Begins. `initial` is the initial response as it came: base64, or `=` for an empty one. `challenge` makes the challenge
    /// of CRAM-MD5, with its angle brackets; the driver makes it unique.
    ///
    /// # Errors
    ///
    /// When the initial response is damaged, or when the mechanism has none (CRAM-MD5, RFC 4954 section 4).
    pub fn begin(
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        challenge: impl FnOnce() -> String,
    ) -> Result<(Exchange, Progress), Fault> {
        let (awaited, first) = match mechanism {
            Mechanism::Plain => (Awaited::Plain, String::new()),
            Mechanism::Login => (Awaited::Name, base64::encode(b"Username:")),
            Mechanism::CramMd5 if initial.is_some() => return Err(Fault::Syntax),
            Mechanism::CramMd5 => {
                let challenge = challenge();
                let first = base64::encode(challenge.as_bytes());
                (Awaited::Digest(challenge), first)
            }
        };
        let mut exchange = Exchange { awaited };
        let progress = match initial {
            None => Progress::Challenge(first),
            Some(b"=") => exchange.respond(b"")?,
            Some(initial) => exchange.respond(initial)?,
        };
        Ok((exchange, progress))
    }

    /// Takes the answer to the last challenge, in base64 (the caller handles `*`).
    ///
    /// # Errors
    ///
    /// When it is damaged; then the exchange has ended.
    pub fn respond(&mut self, line: &[u8]) -> Result<Progress, Fault> {
        let awaited = std::mem::replace(&mut self.awaited, Awaited::Nothing);
        let response = base64::decode(line).ok_or(Fault::Encoding)?;
        match awaited {
            Awaited::Plain => plain(&response).map(Progress::Done),
            Awaited::Name => {
                self.awaited = Awaited::Password(name(&response)?);
                Ok(Progress::Challenge(base64::encode(b"Password:")))
            }
            Awaited::Password(name) => {
                Ok(Progress::Done(Credentials::Password { name, password: password(&response)? }))
            }
            Awaited::Digest(challenge) => digest(&response, challenge).map(Progress::Done),
            Awaited::Nothing => Err(Fault::Syntax),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2). Acting for another user is not supported.
fn plain(response: &[u8]) -> Result<Credentials, Fault> {
    let mut parts = response.split(|&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(passwd), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Syntax);
    };
    if !authzid.is_empty() && !authzid.eq_ignore_ascii_case(authcid) {
        return Err(Fault::Syntax);
    }
    Ok(Credentials::Password { name: name(authcid)?, password: password(passwd)? })
}

/// `NAME SP DIGEST` (RFC 2195 section 2); the name may hold spaces.
fn digest(response: &[u8], challenge: String) -> Result<Credentials, Fault> {
    let space = response.iter().rposition(|&octet| octet == b' ').ok_or(Fault::Syntax)?;
    let digest = std::str::from_utf8(&response[space + 1..]).map_err(|_| Fault::Syntax)?;
    if digest.len() != 32 || !digest.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return Err(Fault::Syntax);
    }
    Ok(Credentials::CramMd5 { name: name(&response[..space])?, challenge, digest: digest.to_owned() })
}

fn name(octets: &[u8]) -> Result<String, Fault> {
    if octets.is_empty() || octets.len() > LONGEST || octets.contains(&0) {
        return Err(Fault::Syntax);
    }
    Ok(String::from_utf8_lossy(octets).into_owned())
}

fn password(octets: &[u8]) -> Result<Vec<u8>, Fault> {
    if octets.len() > LONGEST || octets.contains(&0) {
        return Err(Fault::Syntax);
    }
    Ok(octets.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(mechanism: Mechanism, initial: Option<&[u8]>) -> Result<(Exchange, Progress), Fault> {
        Exchange::begin(mechanism, initial, || "<1896.697170952@postoffice.example.net>".to_owned())
    }

    fn password(name: &str, password: &[u8]) -> Progress {
        Progress::Done(Credentials::Password { name: name.to_owned(), password: password.to_vec() })
    }

    #[test]
    fn plain_in_every_shape() {
        let long = [b'x'; LONGEST];
        for (message, expected) in [
            (&b"\0tim\0tanstaaftanstaaf"[..], Ok(password("tim", b"tanstaaftanstaaf"))),
            (b"tim\0tim\0p", Ok(password("tim", b"p"))),
            (b"TIM\0tim\0p", Ok(password("tim", b"p"))),
            (b"\0tim\0", Ok(password("tim", b""))),
            (b"\0tim\0 p\xff ", Ok(password("tim", b" p\xff "))),
            ("\0j\u{fc}rgen\0p".as_bytes(), Ok(password("j\u{fc}rgen", b"p"))),
            (b"\0\xff\0p", Ok(password("\u{fffd}", b"p"))),
            (&[b"\0tim\0", &long[..]].concat(), Ok(password("tim", &long))),
            (b"ursel\0kurt\0p", Err(Fault::Syntax)),
            (b"\0\0p", Err(Fault::Syntax)),
            (b"tim\0p", Err(Fault::Syntax)),
            (b"\0tim\0p\0", Err(Fault::Syntax)),
            (b"\0tim\0p\0q", Err(Fault::Syntax)),
            (b"", Err(Fault::Syntax)),
            (&[b"\0tim\0x", &long[..]].concat(), Err(Fault::Syntax)),
            (&[b"\0x", &long[..], b"\0p"].concat(), Err(Fault::Syntax)),
        ] {
            let encoded = base64::encode(message);
            let initial = if message.is_empty() { "=" } else { &encoded };
            let at_once = begin(Mechanism::Plain, Some(initial.as_bytes())).map(|(_, progress)| progress);
            assert_eq!(at_once, expected, "{}", message.escape_ascii());
            let (mut exchange, first) = begin(Mechanism::Plain, None).unwrap();
            assert_eq!(first, Progress::Challenge(String::new()));
            assert_eq!(exchange.respond(encoded.as_bytes()), expected, "{}", message.escape_ascii());
            assert_eq!(exchange.respond(encoded.as_bytes()), Err(Fault::Syntax), "it is over");
        }
        assert_eq!(begin(Mechanism::Plain, Some(b"AHRpbQBw!")).unwrap_err(), Fault::Encoding);
    }

    #[test]
    fn login_asks_for_what_is_missing() {
        let (mut exchange, first) = begin(Mechanism::Login, None).unwrap();
        assert_eq!(first, Progress::Challenge("VXNlcm5hbWU6".into()));
        assert_eq!(exchange.respond(b"dGlt"), Ok(Progress::Challenge("UGFzc3dvcmQ6".into())));
        assert_eq!(exchange.respond(b"cA=="), Ok(password("tim", b"p")));
        let (mut exchange, first) = begin(Mechanism::Login, Some(b"dGlt")).unwrap();
        assert_eq!(first, Progress::Challenge("UGFzc3dvcmQ6".into()));
        assert_eq!(exchange.respond(b""), Ok(password("tim", b"")));
        assert_eq!(exchange.respond(b"cA=="), Err(Fault::Syntax));
        for (initial, fault) in
            [(&b"="[..], Fault::Syntax), (b"", Fault::Syntax), (b"dGl", Fault::Encoding), (b"AA==", Fault::Syntax)]
        {
            assert_eq!(begin(Mechanism::Login, Some(initial)).unwrap_err(), fault);
        }
    }

    #[test]
    fn cram_md5_as_in_its_rfc() {
        let (mut exchange, first) = begin(Mechanism::CramMd5, None).unwrap();
        let challenge = "<1896.697170952@postoffice.example.net>";
        assert_eq!(first, Progress::Challenge(base64::encode(challenge.as_bytes())));
        let credentials = Credentials::CramMd5 {
            name: "tim".into(),
            challenge: challenge.into(),
            digest: "b913a602c7eda7a495b4e6e7334d3890".into(),
        };
        let answer = exchange.respond(b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw");
        assert_eq!(answer, Ok(Progress::Done(credentials)));
        for bad in ["tim", "tim b913", " b913a602c7eda7a495b4e6e7334d3890", "tim g913a602c7eda7a495b4e6e7334d3890", ""]
        {
            let (mut exchange, _) = begin(Mechanism::CramMd5, None).unwrap();
            assert_eq!(exchange.respond(base64::encode(bad.as_bytes()).as_bytes()), Err(Fault::Syntax), "{bad}");
        }
        assert_eq!(begin(Mechanism::CramMd5, Some(b"=")).unwrap_err(), Fault::Syntax);
    }

    #[test]
    fn mechanisms_are_named_in_any_case() {
        for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5] {
            assert_eq!(Mechanism::named(mechanism.name().to_ascii_lowercase().as_bytes()), Some(mechanism));
        }
        assert_eq!(Mechanism::named(b"CRAM-MD5X"), None);
        assert_eq!(Mechanism::named(b""), None);
    }

    #[test]
    fn debug_texts_hold_no_secret() {
        let (mut exchange, _) = begin(Mechanism::Login, Some(b"dGlt")).unwrap();
        let done = exchange.respond(base64::encode(b"secret").as_bytes());
        assert_eq!(format!("{done:?}"), "Ok(Done(Credentials(\"tim\")))");
    }
}
