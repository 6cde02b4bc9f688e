//! SMTP, submission and LMTP over a connection: does what the session's steps say.

use crate::conn::{Client, Conn};
use crate::service::{Door, Service};

/// Serves one connection until it ends. Implicit TLS and the PROXY header are dealt with already; `client` is the true one.
pub fn serve(_service: &Service, _conn: Conn, _client: &Client, _door: Door) {
    unimplemented!("smtpd")
}
