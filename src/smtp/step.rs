//! What passes between a session and its driver: the settings, the next step, and its result.

use crate::sasl::{Credentials, Mechanism};

/// The protocol of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP and submission.
    Smtp,
    /// LMTP: LHLO, and a reply for each recipient after the data.
    Lmtp,
}

/// Whether clients log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Not offered.
    Off,
    /// Offered.
    Optional,
    /// Needed before MAIL.
    Required,
}

/// What the driver knows when the connection begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own name.
    pub hostname: String,
    /// The protocol.
    pub protocol: Protocol,
    /// Octets of a message as they come; exactly this many pass.
    pub max_message_size: u64,
    /// Recipients of one message.
    pub max_recipients: usize,
    /// Whether clients log in.
    pub auth: Auth,
    /// Passwords may be sent without TLS: from loopback, or where `tls.required_for_auth` is false.
    pub cleartext_allowed: bool,
    /// A text that no other connection has, for the challenges of CRAM-MD5. `None`: no CRAM-MD5.
    pub stamp: Option<String>,
    /// A certificate is configured, so STARTTLS can be offered.
    pub tls_available: bool,
    /// The connection is inside TLS from its beginning (smtps).
    pub tls_active: bool,
    /// Mail is sent to other servers, and notices about it come back: DSN (RFC 3461) is offered.
    pub dsn: bool,
}

/// What the driver does next. It may always write `out` first.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The reply is in `out`; the next line is a command.
    Continue,
    /// Write `out` and close the connection.
    Close,
    /// Write `out`, discard what was read after this line, do the TLS handshake, then call `tls_started`.
    StartTls,
    /// Check these credentials, then call `logged_in`.
    Login {
        /// The mechanism that brought them.
        mechanism: Mechanism,
        /// The client's name and proof.
        credentials: Credentials,
    },
    /// Check `transaction().reverse_path` and whether there is room, then call `sender_checked`.
    Sender,
    /// Look up `recipient()`, then call `recipient_checked`.
    Recipient,
    /// Read message data to its end, store it for `transaction()`, then call `stored`.
    Data,
    /// Read this number of octets of message data and add them to `take_message()`, or to a new message. After the last
    /// chunk store it and call `stored`, else call `chunk_received`.
    Chunk {
        /// The number of octets.
        octets: u64,
        /// The message ends with them.
        last: bool,
    },
    /// Read this number of octets and drop them; the reply is in `out`. Then the next line is a command.
    Discard {
        /// The number of octets.
        octets: u64,
    },
}

/// Why a sender is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderRefusal {
    /// The user that logged in may not send from this address.
    NotYours,
    /// The disk is full, or as full as it may become.
    NoRoom,
    /// The client sends more messages than its address may.
    TooOften,
}

/// Why a recipient is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientRefusal {
    /// The domain is not ours, and nothing is sent elsewhere for this client.
    NotOurDomain,
    /// The domain is not ours, and this client may not send elsewhere from the address of MAIL.
    NotYours,
    /// As many messages of this user as may be wait to be sent.
    TooManyWaiting,
    /// This user has sent to as many recipients elsewhere in the last hour as may be.
    TooManySent,
    /// The domain is ours, and no user has the local part.
    NoSuchUser,
    /// The user's Maildir cannot be written.
    Unavailable,
    /// The user's quota has no room for the message.
    OverQuota,
}

/// A message that was stored.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its id.
    pub id: &'a str,
    /// It waits to be sent, and went to no user here.
    pub only_queued: bool,
    /// Users that did not get it, because their quota was reached.
    pub over_quota: &'a [String],
}

/// Why a message was stored for no recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// More octets than `max_message_size`.
    TooLarge,
    /// Too many Received fields, or too many of our own.
    Loop,
    /// The disk is full.
    NoRoom,
    /// The quota of a recipient was reached.
    OverQuota,
    /// The system failed.
    System,
}

/// Why the server ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The client sent data before the greeting.
    TalksEarly,
    /// The client missed a deadline.
    Timeout,
    /// The server stops, or needs the connection for another client.
    Stopping,
}
