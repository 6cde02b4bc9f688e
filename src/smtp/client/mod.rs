//! The SMTP client without its socket: RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8
//! (RFC 6531), CHUNKING (RFC 3030), DSN (RFC 3461), STARTTLS (RFC 3207), AUTH (RFC 4954) and LIMITS (RFC 9422), as far as a
//! server has them. It does no I/O and knows no clock: a line of the server's goes in, commands are appended to a buffer,
//! and a [`Step`] says what the driver does next.
//!
//! ```text
//! Greeting -> Ehlo -> [StartTls -> Handshake -> Ehlo] -> [Credentials -> Auth] -> Ready
//!                                                                                 |  ^
//!                     .------------------------------ mail() --------------------'  |
//!                     v                                                             |
//!                 Envelope --- a recipient is accepted ---> [Data] -> Body -> Final -+
//!                     '--- none ----------------------------------------------------'
//! ```
//!
//! MAIL and all RCPT go out at once where the server has PIPELINING, else one after the other. DATA waits for their replies,
//! so a message without an accepted recipient is never sent. Nothing is converted: a server without 8BITMIME or SMTPUTF8
//! does not get what needs it, and the recipients fail with 5.6.3 or 5.6.7. Only a domain is written in A-labels, which is
//! the same domain.

mod capabilities;
#[cfg(test)]
mod dialogue_tests;
mod envelope;
mod reply;
mod session;
mod step;

pub use crate::sasl::client::{Account, Secret};
pub use reply::Reply;
pub use session::Session;
pub use step::{Message, Recipient, Settings, Step, Verdict};

/// Longest line, octets with its end. RFC 5321 section 4.5.3.1.5 has 512; servers are not exact.
pub const LINE: usize = 4_096;

/// Most recipients of one transaction. RFC 5321 section 4.5.3.1.8: every server takes 100.
pub const RECIPIENTS: usize = 100;
