//! Connections to other servers: one dialler, one TLS client, one connection with deadlines, and the secrets of logins.
//! The rooms above know the protocols.

#[cfg(feature = "tls")]
pub mod conn;
#[cfg(feature = "tls")]
pub mod dial;
pub mod secret;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tls")]
pub mod url;

use std::fmt;
use std::io;

/// Why there is no connection, or no more.
#[derive(Debug)]
pub enum Error {
    /// The name has no address, or cannot be looked up.
    Name(String),
    /// No address answered; the last error.
    Connect(String),
    /// Without TLS mailbell speaks to loopback and private addresses only.
    NotPrivate(String),
    /// The server's certificate is not trusted.
    Certificate(String),
    /// The TLS handshake failed, or TLS broke later.
    Tls(String),
    /// The server did not do this in time.
    Timeout(&'static str),
    /// The server closed the connection.
    Closed,
    /// The server sent data more slowly than 500 octets a second.
    TooSlow,
    /// This process asked for the end of the session, or for a look at the folder.
    Interrupted,
    /// The system.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Name(why) => write!(f, "the name cannot be looked up: {why}"),
            Error::Connect(why) => write!(f, "cannot connect: {why}"),
            Error::NotPrivate(address) => {
                write!(f, "{address} is a public address, and tls = \"off\" is for loopback and private addresses only")
            }
            Error::Certificate(why) => write!(f, "the certificate is not trusted: {why}"),
            Error::Tls(why) => write!(f, "TLS: {why}"),
            Error::Timeout(what) => write!(f, "no answer in time: {what}"),
            Error::Closed => f.write_str("the server closed the connection"),
            Error::TooSlow => f.write_str("the server sends less than 500 octets a second"),
            Error::Interrupted => f.write_str("interrupted"),
            Error::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Error::Closed,
            io::ErrorKind::TimedOut => Error::Timeout("the network"),
            _ => Error::Io(error),
        }
    }
}
