//! What a session and its driver exchange: settings at the beginning, the next step, and its result.

use super::Marks;
use crate::message::dot::encode::{Encoder, LineEnds};
use crate::sasl::Mechanism;

/// What the driver knows of the connection when it begins.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The APOP timestamp with its angle brackets, new for each connection (RFC 1939 section 7). `None`: no APOP.
    pub stamp: Option<String>,
    /// A certificate is configured, so STLS can be offered.
    pub tls_available: bool,
    /// Days that a message stays at least (RFC 2449 section 6.7); `None`: for ever.
    pub expire: Option<u64>,
    /// The connection is inside TLS from its beginning (pop3s).
    pub tls_active: bool,
    /// Passwords may be sent without TLS: from loopback, or where `tls.required_for_auth` is false.
    pub cleartext_allowed: bool,
    /// Every account has a secret that CRAM-MD5 can use.
    pub cram_md5: bool,
}

/// What the driver does next. It may write `out` first, except where a step says otherwise.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The reply is in `out`; the next line is a command.
    Continue,
    /// Part of a long listing is in `out`: write it, then call `more`.
    More,
    /// Write `out` and close the connection.
    Close,
    /// Write `out`, discard what was read after this line, do the TLS handshake, then call `tls_started`.
    StartTls,
    /// Check these credentials, open the maildrop, then call `opened`.
    Login(Login),
    /// Begin a SASL exchange; answer with `challenge` or `opened`.
    Auth {
        /// One that is offered.
        mechanism: Mechanism,
        /// The initial response as it came: base64, or `=` for an empty one (RFC 5034 section 4).
        initial: Option<Vec<u8>>,
    },
    /// This line answers the last challenge; answer with `challenge` or `opened`.
    AuthResponse,
    /// Open this message, call `message_opened`, and after Ok(()) append it by `part.encoder(..)`.
    Send(Part),
    /// Apply `updating()`, then call `updated`.
    Update,
}

/// Credentials of PASS or APOP. Octets that are not UTF-8 make a name that no account has.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// USER and PASS.
    Password {
        /// The argument of USER.
        name: String,
        /// The argument of PASS, as it came.
        password: Vec<u8>,
    },
    /// APOP: `digest` is to be the MD5 of the stamp and the secret, 32 hexadecimal digits as they came.
    Apop {
        /// The name.
        name: String,
        /// The digest.
        digest: String,
    },
}

impl std::fmt::Debug for Login {
    /// Shows the name, never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Login::Password { name, .. } => write!(f, "Password({name:?})"),
            Login::Apop { name, .. } => write!(f, "Apop({name:?})"),
        }
    }
}

/// Which message is to be sent, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The message, counted from 1.
    pub message_number: u32,
    /// `None` for RETR; for TOP, the lines of the body.
    pub lines: Option<u64>,
}

impl Part {
    /// The encoder for this part of a message with these line ends.
    pub fn encoder(&self, line_ends: LineEnds) -> Encoder {
        self.lines.map_or_else(|| Encoder::whole(line_ends), |lines| Encoder::top(line_ends, lines))
    }
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The credentials are wrong.
    Auth,
    /// Another session has the maildrop.
    InUse,
    /// The system fails now; it may work later.
    Temporary,
    /// The system will fail until an administrator mends it.
    Permanent,
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Another program removed it.
    Gone,
    /// The system fails.
    Failed,
}

/// What the driver applies in the Update state.
#[derive(Debug)]
pub struct Updating<'a, M> {
    /// The maildrop.
    pub maildrop: &'a mut M,
    /// To be removed.
    pub deleted: &'a Marks,
    /// Sent by RETR; some may be deleted too.
    pub seen: &'a Marks,
}
