//! Sockets: bounded lines, deadlines, TLS, and the PROXY protocol.

pub mod answer;
pub mod by_address;
pub mod conn;
pub mod line;
pub mod proxy;
#[cfg(feature = "tls")]
pub mod remote;
pub mod tls;
#[cfg(feature = "tls")]
mod x509;
