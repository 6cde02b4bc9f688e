//! The SMTP server without its socket: RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152),
//! SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC 2034), CHUNKING (RFC 3030), STARTTLS (RFC 3207), AUTH (RFC 4954), LIMITS
//! (RFC 9422) and HELP; LMTP (RFC 2033) besides. It does no I/O, knows no clock, no account and no password: a command
//! goes in, replies are appended to a buffer, and a `Step` says what the driver has to do.
//!
//! ```text
//!             HELO EHLO LHLO           MAIL            sender_checked(Ok)
//!    Start ------------------> Ready --------> Sender -------------------> Transaction <--- RCPT ---> Recipient
//!      ^                       |  ^                                         |    |      recipient_checked
//!      |                       |  |<----- RSET, HELO, EHLO, refused --------+    |
//!      |  AUTH: Exchange, Login|  |                                    DATA |    | BDAT
//!      +------ STARTTLS -------+  |                                         v    v
//!                                 +<---------------- stored ------------- Data  Chunks <--- BDAT, chunk_received
//! ```
//!
//! Closed comes after QUIT, after too many errors, and when nobody can tell any more what is command and what is data.
//!
//! A worked exchange, with the driver's part on the right:
//!
//! ```text
//!   EHLO client.example        Step::Continue    write `out`
//!   MAIL FROM:<a@b.example>    Step::Sender      is there room? session.sender_checked(Ok(()), out)
//!   RCPT TO:<c@here.example>   Step::Recipient   look up session.recipient(), session.recipient_checked(Ok(users), out)
//!   DATA                       Step::Data        read to the dot through the decoder, store for session.transaction(),
//!                                                session.stored(Ok(..), out)
//!   QUIT                       Step::Close       write `out`, close
//! ```
//!
//! RCPT is answered by the driver and not here, so that whoever has something to ask before a recipient is accepted (a
//! block list, a policy) can be asked at that place: all of the envelope is known there, and no data has come yet.
//!
//! Replies wait in `out`; the driver writes it when it is about to block on input, so PIPELINING needs no code here. A
//! message is part of its transaction; who drops the transaction drops the message with it, and that is what RSET does.

mod auth;
mod mail;
mod parameter;
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
mod smuggling_tests;
#[cfg(test)]
mod tests;

pub use session::{Helo, Session};
pub use step::{Auth, Failure, Farewell, Protocol, RecipientRefusal, SenderRefusal, Settings, Step, Stored};
pub use transaction::{Recipient, Transaction};
