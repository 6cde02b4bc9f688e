//! The SMTP server without its socket: RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152),
//! SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC 2034), CHUNKING (RFC 3030), STARTTLS (RFC 3207), AUTH (RFC 4954), LIMITS
//! (RFC 9422), DSN (RFC 3461) where mail is sent elsewhere, and HELP; and LMTP (RFC 2033). It does no I/O and knows no clock, no account and no password: a command
//! goes in, replies are appended to a buffer, and a `Step` says what the driver must do.
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
//! Closed follows QUIT, too many errors, and an error after which commands and data cannot be told apart.
//!
//! A worked exchange, with the driver's part on the right:
//!
//! ```text
//!   EHLO client.example        Step::Continue    write `out`
//!   MAIL FROM:<a@b.example>    Step::Sender      is there room? session.sender_checked(Ok(()), out)
//!   RCPT TO:<c@here.example>   Step::Recipient   look up session.recipient(), session.recipient_checked(Ok(route), out)
//!   DATA                       Step::Data        read to the dot through the decoder, store for session.transaction(),
//!                                                session.stored(Ok(..), out)
//!   QUIT                       Step::Close       write `out`, close
//! ```
//!
//! The driver answers RCPT, so that it can ask others (a block list, a policy) before a recipient is accepted: at that
//! point the envelope is known, and no data has come yet.
//!
//! Replies wait in `out`; the driver writes it when it is about to block on input, so PIPELINING needs no code here. A
//! message is part of its transaction; RSET drops the transaction, and the message with it.

mod auth;
pub mod client;
pub mod dsn;
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

pub use reply::login_trouble;
pub use session::{Helo, Session};
pub use step::{Auth, Failure, Farewell, Protocol, RecipientRefusal, SenderRefusal, Settings, Step, Stored};
pub use transaction::{Outside, Recipient, Route, Transaction};
