//! Listening sockets, and how a connection comes out of one. Who is let in is decided elsewhere.
//!
//! What every accepted socket needs is set once on the listener, because Linux hands it down: TCP_NODELAY and both
//! timeouts. So accepting costs one system call and nothing more.

use crate::config::Place;
use crate::limits::LISTEN_BACKLOG;
use crate::net::conn::Client;
use rustix::fs::{FileType, Mode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A socket that listens without blocking.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    place: Place,
    /// Made by us, so it goes with us.
    own_path: Option<PathBuf>,
}

impl Listener {
    /// Binds and listens. A unix socket that nobody serves any more is replaced.
    ///
    /// # Errors
    ///
    /// As bind(2) and listen(2) say; a path that is something else than a socket is never replaced.
    pub fn bind(place: &Place) -> io::Result<Listener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, own_path) = match place {
            Place::Tcp(address) => {
                let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
                let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
                sockopt::set_socket_reuseaddr(&socket, true)?;
                if address.is_ipv6() {
                    sockopt::set_ipv6_v6only(&socket, true)?;
                }
                rustix::net::bind(&socket, address)?;
                (socket, None)
            }
            Place::Unix(path) => {
                remove_stale(path)?;
                let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
                rustix::fs::chmod(path, Mode::from_raw_mode(0o660))?;
                (socket, Some(path.clone()))
            }
        };
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
        Listener::over(socket, own_path)
    }

    /// Binds an abstract unix socket and listens.
    ///
    /// # Errors
    ///
    /// As bind(2) and listen(2) say.
    pub fn bind_abstract(name: &rustix::net::SocketAddrUnix) -> io::Result<Listener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, name)?;
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
        Listener::over(socket, None)
    }

    /// Takes over a listening socket that systemd opened.
    ///
    /// # Errors
    ///
    /// When it is not a listening stream socket.
    pub fn inherit(socket: OwnedFd) -> io::Result<Listener> {
        if sockopt::socket_type(&socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Listener::over(socket, None)
    }

    fn over(socket: OwnedFd, own_path: Option<PathBuf>) -> io::Result<Listener> {
        let address = rustix::net::getsockname(&socket)?;
        let place = match SocketAddr::try_from(address.clone()) {
            Ok(address) => {
                sockopt::set_tcp_nodelay(&socket, true)?;
                Place::Tcp(address)
            }
            Err(_) => match own_path.clone().or_else(|| unix_path(&address)) {
                Some(path) => Place::Unix(path),
                None => Place::Unix(PathBuf::from("@")),
            },
        };
        Ok(Listener { socket, place, own_path })
    }

    /// Makes every connection accepted from now on time out so in recv(2) and send(2).
    ///
    /// # Errors
    ///
    /// As setsockopt(2) says.
    pub fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(timeout))?;
        Ok(sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Send, Some(timeout))?)
    }

    /// Where it really listens: the port is the true one.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// For the event loop.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The next connection, as a blocking socket.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; otherwise what accept4(2) says: about the connection or about the system.
    pub fn accept(&self) -> io::Result<(OwnedFd, Client)> {
        let (socket, address) = rustix::net::acceptfrom_with(&self.socket, SocketFlags::CLOEXEC)?;
        let client = address
            .and_then(|address| SocketAddr::try_from(address).ok())
            .map_or(Client::Local, |address| Client::Net(address.ip().to_canonical()));
        Ok((socket, client))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.own_path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn unix_path(address: &rustix::net::SocketAddrAny) -> Option<PathBuf> {
    let address = rustix::net::SocketAddrUnix::try_from(address.clone()).ok()?;
    Some(PathBuf::from(address.path()?.to_string_lossy().into_owned()))
}

/// Removes a socket file that a dead process left; one that answers is somebody's.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(stat) = rustix::fs::lstat(path) else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves this socket"));
    }
    std::fs::remove_file(path)
}

/// True for what is wrong with one connection and not with the listener: try the next one (accept(2), "Error
/// handling").
pub fn is_about_the_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let Some(errno) = Errno::from_io_error(error) else { return false };
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

/// The socket as the event loop wants it.
impl std::os::fd::AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn accepted_sockets_inherit_what_every_session_needs() {
        let listener = Listener::bind(&Place::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        listener.set_timeouts(Duration::from_millis(50)).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let Place::Tcp(address) = listener.place() else { panic!() };
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (socket, client) = listener.accept().unwrap();
        assert_eq!(client, Client::Net("127.0.0.1".parse().unwrap()));
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        let error = std::net::TcpStream::from(socket).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_file_is_not() {
        let path = std::env::temp_dir().join(format!("mailbell-listener-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let place = Place::Unix(path.clone());
        let listener = Listener::bind(&place).unwrap();
        assert_eq!(listener.place(), &place);
        assert_eq!(Listener::bind(&place).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert_eq!(Listener::bind(&place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        std::fs::remove_file(&path).unwrap();
    }
}
