//! The IMAP client without its socket: RFC 3501 as far as it takes to watch a folder and to fetch from it, with IDLE
//! (RFC 2177), UIDPLUS (RFC 4315), MOVE (RFC 6851), ID (RFC 2971) and SASL-IR (RFC 4959). It does no I/O and knows no
//! clock: a line of the server's goes in, commands are appended to a buffer, and a [`Step`] says what the driver does next.
//!
//! ```text
//! Greeting -> [StartTls] -> Capability -> Login -> Capability -> Id -> Ready -> command -> Ready -> ... -> Logout -> Over
//!                                                                       |  ^
//!                                                                  IDLE v  | DONE
//!                                                                      Idle
//! ```
//!
//! A worked exchange, with the driver's part on the right:
//!
//! ```text
//!   * OK ready                 session.line(..)      Step::Line: send `out`, read the next line
//!   a1 OK (CAPABILITY)         session.line(..)      Step::Credentials: session.credentials(secret, out)
//!   a3 OK (LOGIN, CAPABILITY)  session.line(..)      Step::Ready: session.select("INBOX", true, out)
//!   * 3 FETCH (... {120}       session.line(..)      Step::Literal: read 120 octets and keep them
//!    UID 7)                    session.line(..)      Step::Item: the attributes; then read the next line
//!   a5 OK done                 session.line(..)      Step::Done: only now is the message whole
//! ```
//!
//! A server may end the session at any time (BYE): that is a [`Failure`], as is everything that breaks the protocol or a
//! bound. After a failure the session says nothing more.

mod assemble;
mod command;
#[cfg(test)]
mod dialogue_tests;
mod response;
mod session;
mod state;
mod step;
pub mod utf7;

pub use crate::sasl::client::{Account, Failure, Secret};
pub use assemble::LINE;
pub use response::{Body, Fetched};
pub use session::Session;
pub use step::{Folder, Outcome, Settings, Step};
