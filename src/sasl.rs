//! SASL as SMTP (RFC 4954) and POP3 (RFC 5034) share it: PLAIN, LOGIN, CRAM-MD5, without their transport.

use std::fmt;

/// A mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Never specified, and spoken by everybody.
    Login,
    /// RFC 2195.
    CramMd5,
}

/// What a client wants to be believed. Octets that are not UTF-8 make a name that no account has.
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
    /// Says who, never with what.
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

/// Why an exchange cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not base64 (RFC 4954: 501 5.5.2).
    Encoding,
    /// Base64 of something that the mechanism does not mean.
    Syntax,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send this challenge (base64 already) and give the answer to [`Exchange::respond`].
    Challenge(String),
    /// The client has said all.
    Done(Credentials),
}

/// One exchange under way.
#[derive(Debug)]
pub struct Exchange {
    // private state to be built
}

impl Exchange {
    /// Begins. `initial` is the initial response as it came: base64, or `=` for an empty one. `challenge` is what
    /// CRAM-MD5 sends, with its angle brackets; the driver makes it unique.
    ///
    /// # Errors
    ///
    /// When the initial response is damaged.
    pub fn begin(
        _mechanism: Mechanism,
        _initial: Option<&[u8]>,
        _challenge: impl FnOnce() -> String,
    ) -> Result<(Exchange, Progress), Fault> {
        unimplemented!("sasl")
    }

    /// Takes the answer to the last challenge, base64 (`*` was dealt with before).
    ///
    /// # Errors
    ///
    /// When it is damaged.
    pub fn respond(&mut self, _line: &[u8]) -> Result<Progress, Fault> {
        unimplemented!("sasl")
    }
}
