//! The user at the other end of a TCP connection within this machine: the kernel's tables of connections say it.

use std::fs::File;
use std::io::{Read, Seek};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

/// So much of a table is read, octets: a line has 150.
const LONGEST: u64 = 8 * 1024 * 1024;

/// `/proc/net/tcp` and `tcp6`. They stay open, so that a thread in a sandbox can read them too.
#[derive(Debug, Default)]
pub struct TcpUsers(Vec<Mutex<File>>);

impl TcpUsers {
    /// Opens what there is of them.
    pub fn open() -> TcpUsers {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter();
        TcpUsers(tables.filter_map(|path| File::open(path).ok().map(Mutex::new)).collect())
    }

    /// For each connection, by the addresses of its client and its server, the user id of the client's process; `None` where
    /// the connection is not found.
    pub fn of(&self, connections: &[Option<(SocketAddr, SocketAddr)>]) -> Vec<Option<u32>> {
        let mut users = vec![None; connections.len()];
        for table in &self.0 {
            let (mut text, mut file) = (String::new(), table.lock().unwrap_or_else(PoisonError::into_inner));
            if file.rewind().and_then(|()| (&mut *file).take(LONGEST).read_to_string(&mut text)).is_err() {
                continue;
            }
            for (client, server, user) in text.lines().filter_map(entry) {
                for (wanted, found) in connections.iter().zip(&mut users) {
                    if *wanted == Some((client, server)) {
                        *found = Some(user);
                    }
                }
            }
        }
        users
    }
}

/// One line: `0: 0100007F:1F90 0100007F:C350 01 ...:... ..:... ... UID ...`.
fn entry(line: &str) -> Option<(SocketAddr, SocketAddr, u32)> {
    let mut words = line.split_ascii_whitespace();
    let (local, remote) = (address(words.nth(1)?)?, address(words.next()?)?);
    Some((local, remote, words.nth(4)?.parse().ok()?))
}

/// Words of 32 bits as they lie in memory, in hexadecimal; the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (part, at) in octets.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                part.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_client_of_this_machine_is_found() {
        let users = TcpUsers::open();
        if users.0.is_empty() {
            return println!("skipped: there is no /proc");
        }
        let ours = rustix::process::geteuid().as_raw();
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(place) else {
                println!("skipped: no {place}");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let pair = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let swapped = (pair.0, SocketAddr::new(pair.1.ip(), pair.0.port()));
            assert_eq!(users.of(&[None, Some(pair), Some(swapped)]), [None, Some(ours), None], "{place}");
        }
    }

    #[test]
    fn what_is_no_line_of_a_table_is_passed_over() {
        for text in ["", "sl local_address rem_address", "0: 0100007F 0100007F:1 01 a b c 1", "0: 01:1 02:2 1 2 3 4 5"]
        {
            assert_eq!(entry(text), None, "{text}");
        }
    }
}
