//! Addresses as SMTP writes them (RFC 5321 section 4.1.2), parsed once, at the door.

use std::fmt;

/// A mailbox: `local-part@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The local-part, quotes and backslashes resolved.
    pub local_part: String,
    /// The domain as typed, or an address literal with its brackets; `None` where none was given.
    pub domain: Option<String>,
    /// The whole address as typed, without angle brackets and source route.
    pub text: String,
}

/// MAIL FROM's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`.
    Null,
    /// Anything else.
    Mailbox(Mailbox),
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => f.write_str(&mailbox.text),
        }
    }
}

/// RCPT TO's path. `<postmaster>` alone is a mailbox without domain.
pub type ForwardPath = Mailbox;

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// Reads a mailbox that stands alone, without brackets, as the command line of `deliver` has it.
///
/// # Errors
///
/// Says what is wrong.
pub fn mailbox(_text: &str) -> Result<Mailbox, Fault> {
    unimplemented!("address")
}
