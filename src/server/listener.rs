//! Listening sockets, and how a connection is accepted from one. `admission` decides which connections are served.
//!
//! TCP_NODELAY is set once on the listener, because on Linux accepted TCP sockets inherit it. Timeouts are set on each
//! connection, because unix sockets do not inherit them.

use crate::config::Place;
use crate::limits::LISTEN_BACKLOG;
use crate::net::conn::Client;
use crate::sys::Ids;
use crate::sys::folder::Folder;
use rustix::fs::{AtFlags, FileType, Mode, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A socket that listens without blocking.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    place: Place,
    /// The path of a socket that we made; it is removed with the listener.
    own_path: Option<PathBuf>,
}

impl Listener {
    /// Binds a TCP address, and listens.
    ///
    /// # Errors
    ///
    /// As bind(2) and listen(2) say.
    pub fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
        Listener::over(socket, None)
    }

    /// Binds a unix socket, and listens. The socket has its `mode`, less the umask, from the beginning. A socket that
    /// no process serves any more is replaced. With `owner` this process is root, and gives it the socket.
    ///
    /// # Errors
    ///
    /// As bind(2) and listen(2) say; a path that is something else than a socket is never replaced.
    pub fn bind_unix(path: &Path, mode: u32, owner: Option<Ids>) -> io::Result<Listener> {
        let (folder, name) = Folder::of(path)?;
        // A folder that others can change is reached by its descriptor: its path may lead elsewhere by now.
        let by_descriptor = owner.is_some() && !folder.is_safe();
        let way = match by_descriptor {
            true => PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd())).join(name),
            false => path.to_owned(),
        };
        remove_stale(&folder, name, &way)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        // On Linux, the file that bind(2) makes gets the mode of the socket.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&way)?)?;
        if let Some(owner) = owner {
            folder.give(name, FileType::Socket, owner)?;
        }
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
        Listener::over(socket, Some(path.to_owned()))
    }

    /// Binds an abstract unix socket and listens.
    ///
    /// # Errors
    ///
    /// As bind(2) and listen(2) say.
    pub fn bind_abstract(name: &SocketAddrUnix) -> io::Result<Listener> {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
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

    /// Where it listens, with the port that the system chose.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The descriptor, for the event loop.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The next connection, as a blocking socket.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when no connection waits; else as accept4(2) says, about the connection or about the system.
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
    let address = SocketAddrUnix::try_from(address.clone()).ok()?;
    Some(PathBuf::from(address.path()?.to_string_lossy().into_owned()))
}

/// Removes a socket that a process left behind when it died. A socket that answers stays.
fn remove_stale(folder: &Folder, name: &OsStr, way: &Path) -> io::Result<()> {
    let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
    }
    if std::os::unix::net::UnixStream::connect(way).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves this socket"));
    }
    Ok(unlinkat(folder, name, AtFlags::empty())?)
}

/// What is said of an address for which [`has_no_family`] is true.
pub const NO_FAMILY: &str = "this kernel has no such addresses (IPv6 is turned off)";

/// Whether the kernel has no address family for this address: IPv6 is not in the kernel, or turned off. A socket with any
/// port is tried.
pub fn has_no_family(address: SocketAddr) -> bool {
    let tried = Listener::bind_tcp(SocketAddr::new(address.ip(), 0));
    tried.is_err_and(|error| match Errno::from_io_error(&error) {
        Some(Errno::AFNOSUPPORT) => true,
        // One address may be missing for another reason; the unspecified one is there wherever its family is.
        Some(Errno::ADDRNOTAVAIL) => address.ip().is_unspecified(),
        _ => false,
    })
}

/// True for an error of one connection and not of the listener: try the next connection (accept(2), "Error handling").
pub fn is_about_the_connection(error: &io::Error) -> bool {
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

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_send_at_once() {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let Place::Tcp(address) = listener.place() else { panic!() };
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (socket, client) = listener.accept().unwrap();
        assert_eq!(client, Client::Net("127.0.0.1".parse().unwrap()));
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_file_is_not() {
        let path = std::env::temp_dir().join(format!("mailbell-listener-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let place = Place::Unix(path.clone());
        let listener = Listener::bind_unix(&path, 0o660, None).unwrap();
        assert_eq!(listener.place(), &place);
        assert_eq!(Listener::bind_unix(&path, 0o660, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert_eq!(Listener::bind_unix(&path, 0o660, None).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        std::fs::remove_file(&path).unwrap();
    }
}
