//! Sockets: bounded lines, deadlines, TLS, and the PROXY protocol.

pub mod by_address;
pub mod conn;
pub mod line;
pub mod proxy;
#[cfg(any(feature = "remote", feature = "mqtt", feature = "http"))]
pub mod remote;
pub mod tls;
#[cfg(feature = "tls")]
mod x509;
