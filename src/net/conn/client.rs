//! Where a connection comes from.

use std::fmt;
use std::net::IpAddr;

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// Over TCP, from this address (IPv4-mapped addresses are IPv4).
    Net(IpAddr),
    /// Over a unix socket.
    Local,
}

impl Client {
    /// The IP address, where there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Client::Net(ip) => Some(*ip),
            Client::Local => None,
        }
    }

    /// True for the machine itself: loopback, or a unix socket.
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Net(ip) => write!(f, "{ip}"),
            Client::Local => f.write_str("local"),
        }
    }
}
