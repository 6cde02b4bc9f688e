//! From a host's name to a TCP connection: all its addresses are tried, within one deadline.

use super::Error;
use rustix::net::sockopt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// For the name and for all connection attempts together.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Least time for one address.
const LEAST: Duration = Duration::from_secs(2);

/// connect(2) takes no timeout of zero.
const SOON: Duration = Duration::from_millis(1);

/// Most addresses that are tried.
const ADDRESSES: usize = 16;

/// How long sent octets may stay unacknowledged until the kernel gives the connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Stack of the thread that looks a name up, octets: the resolver keeps answers on it.
const STACK: usize = 256 * 1024;

/// Connects to the first address that answers. `private_only`: public addresses are refused, because nothing would be
/// encrypted.
///
/// # Errors
///
/// When the name has no address or none answers.
pub fn dial(host: &str, port: u16, private_only: bool) -> Result<TcpStream, Error> {
    dial_until(host, port, private_only, Instant::now() + PATIENCE)
}

/// The same with another deadline, for the name and for all connection attempts together.
///
/// # Errors
///
/// As [`dial`].
pub fn dial_until(host: &str, port: u16, private_only: bool, end: Instant) -> Result<TcpStream, Error> {
    let addresses = look_up_until(host, port, end)?;
    let mut last = Error::Name(format!("{host} has no address"));
    for (index, address) in addresses.iter().enumerate() {
        if private_only && !is_private(address.ip()) {
            last = Error::NotPrivate(address.ip().to_string());
            continue;
        }
        let left = end.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        match TcpStream::connect_timeout(address, share.max(LEAST.min(left)).max(SOON)) {
            Ok(stream) => return prepare(&stream).map(|()| stream).map_err(Error::from),
            Err(error) => last = Error::Connect(format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// The addresses of a host. The resolver has deadlines of its own, which may be longer than ours, so it runs in a thread
/// and no caller waits longer than that.
pub fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    look_up_until(host, port, Instant::now() + PATIENCE)
}

fn look_up_until(host: &str, port: u16, end: Instant) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = channel();
    let name = host.to_owned();
    std::thread::Builder::new().name("resolver".into()).stack_size(STACK).spawn(move || {
        let _ = sender.send((name.as_str(), port).to_socket_addrs().map(|all| all.take(ADDRESSES).collect::<Vec<_>>()));
    })?;
    match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(Error::Name(format!("{host} has no address"))),
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(Error::Name(format!("{host}: {error}"))),
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout("the name's look-up")),
        Err(RecvTimeoutError::Disconnected) => Err(Error::Name(format!("{host}: the resolver failed"))),
    }
}

/// Whether the address is on this machine or its network: loopback, private, link-local.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_private(IpAddr::V4(mapped)),
            None => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
        },
    }
}

/// A connection that died without a word is found: keepalive after 60 s, every 15 s, 4 times.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED.as_millis() as u32)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn private_addresses() {
        for (address, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("192.168.1.1", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("169.254.1.1", true),
            ("8.8.8.8", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
            ("::ffff:127.0.0.1", true),
            ("::ffff:8.8.8.8", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }

    #[test]
    fn a_connection_is_watched_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // `localhost` may have an IPv6 address first, at which no program listens.
        let stream = dial("localhost", port, true).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap() && sockopt::tcp_nodelay(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(60));
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 60_000);
        drop(listener);
        assert!(matches!(dial("127.0.0.1", port, true), Err(Error::Connect(_))));
        assert!(matches!(dial("192.0.2.1", port, true), Err(Error::NotPrivate(_))));
        assert!(matches!(dial("no-such-name.invalid", port, true), Err(Error::Name(_) | Error::Timeout(_))));
    }
}
