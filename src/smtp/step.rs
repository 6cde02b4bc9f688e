//! What passes between a session and its driver: what is known at the beginning, what is to be done next, and how it
//! came out.

use crate::sasl::{Credentials, Mechanism};

/// Which of the two languages is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP and submission.
    Smtp,
    /// LMTP: LHLO, and a reply for each recipient after the data.
    Lmtp,
}

/// What is wanted of AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Not offered.
    Off,
    /// Offered.
    Optional,
    /// Needed before MAIL.
    Required,
}

/// What the driver knows of the connection when it begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own name.
    pub hostname: String,
    /// The language.
    pub protocol: Protocol,
    /// Octets of a message as they come; exactly this many pass.
    pub max_message_size: u64,
    /// Recipients of one message.
    pub max_recipients: usize,
    /// What is wanted of AUTH.
    pub auth: Auth,
    /// Passwords may be sent without TLS: from loopback, or where `tls.required_for_auth` is false.
    pub cleartext_allowed: bool,
    /// What no other connection has: the middle of CRAM-MD5's challenges. `None`: no CRAM-MD5.
    pub stamp: Option<String>,
    /// A certificate is configured, so STARTTLS can be offered.
    pub tls_available: bool,
    /// The connection is inside TLS from its beginning (smtps).
    pub tls_active: bool,
}

/// What the driver does next. It may always write `out` first.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The reply is in `out`; the next line is a command.
    Continue,
    /// Write `out` and close the connection.
    Close,
    /// Write `out`, throw away what was read after this line, shake hands, then call `tls_started`.
    StartTls,
    /// Check these credentials, then call `logged_in`.
    Login {
        /// How they came.
        mechanism: Mechanism,
        /// What the client wants to be believed.
        credentials: Credentials,
    },
    /// Check `transaction().reverse_path` and whether there is room, then call `sender_checked`.
    Sender,
    /// Look up `recipient()`, then call `recipient_checked`.
    Recipient,
    /// Read message data to its end, store it for `transaction()`, then call `stored`.
    Data,
    /// Read exactly so many octets of message data and add them to `take_message()`, or to a new message. After the last
    /// chunk store it and call `stored`, else call `chunk_received`.
    Chunk {
        /// How many.
        octets: u64,
        /// The message ends with them.
        last: bool,
    },
    /// Read exactly so many octets and forget them; the reply is in `out`. Then the next line is a command.
    Discard {
        /// How many.
        octets: u64,
    },
}

/// Why a sender is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderRefusal {
    /// The user who logged in may not send as this address.
    NotYours,
    /// The disk is full, or as full as it may become.
    NoRoom,
    /// The client sends more messages than its address may.
    TooOften,
}

/// Why a recipient is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientRefusal {
    /// The domain is not ours.
    NotOurDomain,
    /// The domain is ours, the local part is nobody's.
    NoSuchUser,
    /// His Maildir cannot be written.
    Unavailable,
    /// His quota has no room for the message.
    OverQuota,
}

/// A message that was stored.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its id.
    pub id: &'a str,
    /// Users who did not get it, for their quota was reached.
    pub over_quota: &'a [String],
}

/// Why a message was not stored for anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// More octets than `max_message_size`.
    TooLarge,
    /// Too many Received fields.
    Loop,
    /// The disk is full.
    NoRoom,
    /// Somebody's quota was reached.
    OverQuota,
    /// The system failed.
    System,
}

/// Why the server ends a session by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The client spoke before it was greeted.
    TalksEarly,
    /// The client let a deadline pass.
    Timeout,
    /// The server stops, or needs the place.
    Stopping,
}
