//! The HTTP server's side of HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), as far as GET and HEAD need it: requests in, the heads
//! of replies out. It knows no socket and no page; `httpd` has both.
//!
//! ```text
//!            ""                    field
//!          .----.                 .-----.
//!          v    |                 v     |
//!  line -> Begin ----------------> Fields ----> Serve(request), then Begin: the next request
//!             |    request line      |     ""
//!             '---> Refuse <---------'          the connection ends
//! ```
//!
//! It is strict on purpose. A request that two programs could read in two ways is refused, and so is a body: then nothing
//! can hide behind a request.

#[cfg(test)]
mod dialogue_tests;
mod guard;
mod query;
mod reply;
mod request;
mod session;

pub use guard::{Host, is_foreign};
pub use reply::{Head, Refusal, reason};
pub use request::{Method, Request, Version};
pub use session::{Session, Step};

/// Longest head of a request, octets with its line ends: request line and fields. A browser sends some 1,000.
pub const LONGEST_HEAD: usize = 8 * 1024;
