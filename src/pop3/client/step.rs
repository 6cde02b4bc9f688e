//! What goes between the session and its driver.

use crate::sasl::client::{Account, Failure, Text};

/// What the session needs to know from the beginning.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account on the server.
    pub account: Account,
    /// STLS comes before the login.
    pub starttls: bool,
    /// The connection is TLS from its beginning.
    pub implicit_tls: bool,
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
    /// Logged in: any command is next.
    Ready,
    /// STAT: how many messages there are.
    Count(u32),
    /// UIDL: one message; then go on as with [`Step::Line`].
    Entry {
        /// Counts from 1.
        number: u32,
        /// As the server wrote it.
        unique_id: Vec<u8>,
    },
    /// LIST: the size of the message in octets.
    Size(u64),
    /// Dot-stuffed octets follow up to their end; then `Session::data_ended`.
    Data,
    /// The command is over: any command is next.
    Done(Outcome),
    /// Close the connection. `confirmed`: the server has deleted what was marked.
    Over {
        /// QUIT was answered with +OK.
        confirmed: bool,
    },
    /// Close the connection.
    Failed(Failure),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// +OK.
    Ok,
    /// -ERR.
    Refused(Text),
}
