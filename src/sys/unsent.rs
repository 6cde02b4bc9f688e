//! What a socket still holds of what was sent.

use std::os::fd::{AsFd, AsRawFd};

/// Octets that the peer has not acknowledged yet (tcp(7), SIOCOUTQ), or has not taken (unix(7)); `None` where the kernel does
/// not tell.
pub fn unsent(socket: &impl AsFd) -> Option<usize> {
    let mut octets: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as the borrow lasts, and the kernel writes one int.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if done == 0 { usize::try_from(octets).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_a_peer_did_not_read_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        assert_eq!(unsent(&ours), Some(0));
        ours.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = ours.write(&[0; 65_536]) {
            sent += count;
        }
        assert!(unsent(&ours).unwrap() > 0);
        theirs.read_exact(&mut vec![0; sent]).unwrap();
        while unsent(&ours) != Some(0) {
            std::thread::yield_now();
        }
    }
}
