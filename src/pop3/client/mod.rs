//! The POP3 client without its socket: RFC 1939 with CAPA (RFC 2449), STLS (RFC 2595) and AUTH (RFC 5034), as far as it
//! takes to fetch mail. It does no I/O and knows no clock: a line of the server's goes in, commands are appended to a
//! buffer, and a [`Step`] says what the driver does next.
//!
//! ```text
//! Greeting -> Capa -> [StartTls -> Capa] -> Login -> Capa -> Ready -> STAT, UIDL, LIST, RETR, TOP, DELE ... -> QUIT -> Over
//! ```
//!
//! AUTH always takes two steps, since Office 365 wants it so: the mechanism first, the response after the server's `+`.

#[cfg(test)]
mod dialogue_tests;
mod session;
mod step;

pub use crate::sasl::client::{Account, Secret};
pub use session::Session;
pub use step::{Outcome, Settings, Step};

/// Longest line, octets with its end. RFC 2449 section 4 has 512; servers are not exact.
pub const LINE: usize = 4_096;
