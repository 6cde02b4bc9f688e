//! What passes between a session and its driver.

use super::reply::Reply;
use crate::sasl::client::{Account, Failure};
use crate::smtp::dsn::{Notify, Ret};

/// What the session needs to know from the beginning.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own name, for EHLO.
    pub hostname: String,
    /// The account on the server; `None`: no login.
    pub account: Option<Account>,
    /// STARTTLS comes before everything else.
    pub starttls: bool,
}

/// One recipient of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// Without brackets.
    pub address: String,
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT, as the client wrote it.
    pub orcpt: Option<String>,
}

/// One message, without its octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Without brackets; `""` is the null path.
    pub reverse_path: String,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// Octets with CRLF line ends, without dot-stuffing.
    pub size: u64,
    /// It has octets beyond ASCII.
    pub eight_bit: bool,
    /// Its header has octets beyond ASCII, and the client asked for SMTPUTF8.
    pub utf8_header: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, in xtext.
    pub envid: Option<String>,
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send what was appended, read a line, give it to `Session::line`.
    Line,
    /// Drop what was received, do the handshake, then `Session::secured`.
    StartTls,
    /// `Session::credentials` is next.
    Credentials,
    /// `Session::mail` or `Session::quit` is next.
    Ready,
    /// Send what was appended and the message: CRLF line ends, dot-stuffed, with the line of the dot at its end. Then
    /// `Session::body_sent`.
    Data,
    /// Send what was appended and the octets of the message with CRLF line ends, as many as `Message::size` says. Then
    /// `Session::body_sent`.
    Chunk,
    /// The transaction is over: what became of each recipient, in the order of the message. `Session::mail` or
    /// `Session::quit` is next, unless `Session::is_over`.
    Done(Vec<Verdict>),
    /// Close the connection.
    Over,
    /// Close the connection. In a transaction, no recipient is decided.
    Failed(Failure),
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server took the message for it.
    Sent(Reply),
    /// To be tried again later.
    Deferred(Reply),
    /// The server takes no more recipients in this transaction; another one may follow at once.
    TooMany(Reply),
    /// It will not be delivered.
    Failed(Reply),
}
