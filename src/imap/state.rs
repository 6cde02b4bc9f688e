//! The session's states.

use super::command::Pieces;
use super::step::Folder;
use crate::sasl::client::ClientMechanism;

/// Where the session stands.
#[derive(Debug)]
pub enum State {
    Greeting,
    StartTls,
    Handshake,
    /// Before the login, or after it.
    Capability {
        logged_in: bool,
    },
    Credentials,
    Login(Login),
    Id,
    /// Between commands.
    Ready,
    Select(Folder),
    /// LIST or FETCH: gives items.
    Fetch,
    Deletion(Deletion),
    /// COPY, of which deletion follows.
    Copy(u32),
    /// STORE, MOVE, NOOP.
    Simple,
    /// IDLE was sent.
    IdleSent,
    Idle,
    /// DONE was sent.
    IdleDone,
    Logout,
    Over,
}

/// What is under way in a login.
#[derive(Debug)]
pub enum Login {
    /// LOGIN in pieces.
    Command(Pieces),
    /// AUTHENTICATE; `response` is sent at the first challenge.
    Sasl { mechanism: ClientMechanism, response: Option<String>, status: Option<String> },
}

/// What is under way in a deletion of this UID.
#[derive(Clone, Copy, Debug)]
pub enum Deletion {
    /// STORE.
    Mark(u32),
    /// UID EXPUNGE, or EXPUNGE after a SEARCH that found no other.
    Expunge,
    /// SEARCH DELETED; `alone` is true while no other was found.
    Search { uid: u32, alone: bool, found: bool },
}

impl State {
    /// Its name, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            State::Greeting => "Greeting",
            State::StartTls => "StartTls",
            State::Handshake => "Handshake",
            State::Capability { .. } => "Capability",
            State::Credentials => "Credentials",
            State::Login(_) => "Login",
            State::Id => "Id",
            State::Ready => "Ready",
            State::Select(_) => "Select",
            State::Fetch => "Fetch",
            State::Deletion(_) => "Deletion",
            State::Copy(_) => "Copy",
            State::Simple => "Simple",
            State::IdleSent => "IdleSent",
            State::Idle => "Idle",
            State::IdleDone => "IdleDone",
            State::Logout => "Logout",
            State::Over => "Over",
        }
    }
}
