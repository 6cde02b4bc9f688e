//! The POP3 server without its socket: RFC 1939 whole, LAST (RFC 1460), CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC
//! 5034), response codes (RFC 2449, RFC 3206), UTF8 and LANG (RFC 6856). It does no I/O, reads no clock and checks no
//! password: it takes a command, appends replies to a buffer, and returns a `Step` that says what the driver has to do.
//!
//! ```text
//!                 +---------------------------- STLS, refused log-ins ---+
//!                 v                                                      |
//!   greeting -> Authorization -- PASS, APOP, AUTH -> Login -> opened(Ok) |
//!                 |                                              |
//!                 | QUIT                                         v
//!                 v               too many errors           Transaction --- QUIT ---> Update
//!               Closed <-----------------------------------------+                      |
//!                 ^------------------------------------------------------ updated ------+
//! ```
//!
//! A worked exchange, with the driver's part on the right:
//!
//! ```text
//!   PASS secret-a   Step::Login(..)          verify, open the maildrop, session.opened(Ok(maildrop), out)
//!   UIDL            Step::More               write `out`, session.more(out), until it is Step::Continue
//!   RETR 1          Step::Send(part)         open it, session.message_opened(Ok(()), out), send through the encoder
//!   QUIT            Step::Update             session.updating(), apply, session.updated(failed, out)
//! ```
//!
//! Replies wait in `out`; the driver writes it when it is about to block on input, so PIPELINING needs no code here. A
//! connection that ends in any other way than QUIT drops the session, and nothing is deleted.

mod argument;
mod capa;
pub mod client;
mod marks;
mod reply;
mod session;
mod step;
mod transaction;
mod verb;

#[cfg(test)]
mod dialogue_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use marks::Marks;
pub use session::Session;
pub use step::{Login, Part, Refusal, Settings, Step, Unavailable, Updating};

/// What the session asks of a maildrop that is open. Message-numbers count from 1; sizes are octets as RETR sends
/// them. Nothing of it changes while the session lasts.
pub trait Maildrop {
    /// How many messages there are.
    fn count(&self) -> u32;

    /// The size of a message in octets with CRLF line ends; `message_number` is 1 to `count`.
    fn size(&self, message_number: u32) -> u64;

    /// Appends the unique-id of a message: 1 to 70 characters in 0x21 to 0x7E (RFC 1939 section 7).
    fn unique_id(&self, message_number: u32, out: &mut Vec<u8>);
}
