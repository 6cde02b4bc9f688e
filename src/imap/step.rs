//! What goes between the session and its driver.

use super::response::Fetched;
use crate::sasl::client::{Account, Failure, Text};

/// What the session needs to know from the beginning.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account on the server.
    pub account: Account,
    /// STARTTLS comes before everything else.
    pub starttls: bool,
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send what was appended, read a line, give it to `Session::line`.
    Line,
    /// Read so many octets, then go on with a line. `is_body`: they are of a message's section that was asked for; others
    /// go to `Session::octets`.
    Literal {
        /// Exactly so many.
        octets: u64,
        /// The message's.
        is_body: bool,
    },
    /// Drop what was received, do the handshake, then `Session::secured`.
    StartTls,
    /// `Session::credentials` is next.
    Credentials,
    /// Logged in: any command is next.
    Ready,
    /// The folder is open: any command is next.
    Selected(Folder),
    /// Attributes of a message; then go on as with [`Step::Line`].
    Item(Fetched),
    /// The command is over: any command is next.
    Done(Outcome),
    /// The server waits. Read lines until the time is up, then `Session::done`.
    Idling,
    /// After `Session::logout`: close the connection.
    Over,
    /// Close the connection.
    Failed(Failure),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server did it.
    Ok,
    /// The server refused.
    Refused(Text),
    /// The message is marked as deleted and not expunged: the server lacks UIDPLUS, and others' messages are marked too.
    LeftMarked,
}

/// An open folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// 0 where the server gives none.
    pub uid_validity: u32,
    /// `None` where the server gives none.
    pub uid_next: Option<u32>,
    /// Messages in it.
    pub exists: u32,
}
