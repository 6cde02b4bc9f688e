//! One question to the DNS (RFC 1035): the MX records of a domain. It has no cache and no retry, and leaves recursion to the
//! resolver. The system's resolver has no call for MX records that a static binary could use.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long the resolver may take for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

const MX: u16 = 15;
const INTERNET: u16 = 1;

/// What the DNS says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Preference and host, the most preferred first.
    Exchangers(Vec<(u16, String)>),
    /// The domain exists and has no MX record.
    None,
    /// The domain does not exist.
    NoSuchDomain,
}

/// The first resolver of /etc/resolv.conf.
pub(super) fn resolver() -> Option<SocketAddr> {
    first_resolver(&fs::read_to_string("/etc/resolv.conf").ok()?)
}

fn first_resolver(text: &str) -> Option<SocketAddr> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let address = lines.find_map(|mut words| match (words.next(), words.next()) {
        (Some("nameserver"), Some(address)) => address.parse::<IpAddr>().ok(),
        _ => None,
    })?;
    Some(SocketAddr::new(address, 53))
}

/// Asks for the MX records of a domain.
///
/// # Errors
///
/// When no answer comes, or when it cannot be read.
pub(super) fn mail_exchangers(resolver: SocketAddr, domain: &str) -> io::Result<Answer> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let question = question(id, domain).ok_or_else(|| invalid("the name cannot be asked for"))?;
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(resolver)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&question)?;
    let mut octets = [0; 1500];
    let length = socket.recv(&mut octets)?;
    answer(&octets[..length], id).ok_or_else(|| invalid("the answer cannot be read"))
}

/// The datagram with the question; `None` for a name that the DNS cannot have.
fn question(id: [u8; 2], domain: &str) -> Option<Vec<u8>> {
    // Recursion desired, one question.
    let mut octets = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in domain.split('.') {
        octets.push(u8::try_from(label.len()).ok().filter(|length| matches!(length, 1..=63) && label.is_ascii())?);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets.extend_from_slice(&[MX.to_be_bytes(), INTERNET.to_be_bytes()].concat());
    Some(octets)
}

/// Reads the datagram with the answer.
fn answer(octets: &[u8], id: [u8; 2]) -> Option<Answer> {
    const NO_ERROR: u8 = 0;
    const NAME_ERROR: u8 = 3;
    let header = octets.get(..12)?;
    let is_response = header[2] & 0x80 != 0;
    if header[..2] != id || !is_response {
        return None;
    }
    match header[3] & 0x0f {
        NO_ERROR => {}
        NAME_ERROR => return Some(Answer::NoSuchDomain),
        _ => return None,
    }
    let mut at = 12;
    for _ in 0..u16_at(octets, 4)? {
        at = skip_name(octets, at)? + 4;
    }
    let mut hosts = Vec::new();
    for _ in 0..u16_at(octets, 6)? {
        at = skip_name(octets, at)?;
        let (kind, length) = (u16_at(octets, at)?, u16_at(octets, at + 8)?);
        at += 10;
        if kind == MX {
            hosts.push((u16_at(octets, at)?, name(octets, at + 2)?));
        }
        at += usize::from(length);
    }
    hosts.sort();
    Some(if hosts.is_empty() { Answer::None } else { Answer::Exchangers(hosts) })
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}

/// Where the name at this place ends.
fn skip_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

/// The name at this place, in lower case, with its pointers followed (RFC 1035 section 4.1.4).
fn name(octets: &[u8], mut at: usize) -> Option<String> {
    let mut labels: Vec<String> = Vec::new();
    // A name has at most 127 labels; more steps than that are pointers in a circle.
    for _ in 0..128 {
        match *octets.get(at)? {
            0 => return Some(labels.join(".")),
            high if high >= 0xc0 => at = usize::from(u16_at(octets, at)? & 0x3fff),
            length => {
                let label = octets.get(at + 1..at + 1 + usize::from(length))?;
                labels.push(label.escape_ascii().to_string().to_lowercase());
                at += 1 + usize::from(length);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: [u8; 2] = [0x12, 0x34];

    /// An answer to the question for example.org, with this status and these records (each begins with its name).
    fn reply(status: u8, records: &[&[u8]]) -> Vec<u8> {
        let mut octets = question(ID, "example.org").unwrap();
        (octets[2], octets[3]) = (0x81, 0x80 | status);
        octets[7] = records.len() as u8;
        octets.extend(records.concat());
        octets
    }

    #[test]
    fn answers_are_read() {
        // Names by pointer to the question's at 12; a CNAME between is passed over.
        let second = b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x14\x02MX\xc0\x0c";
        let cname = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c";
        let first = b"\x03www\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x0a\0\x0a\x04mail\x01x\0";
        let both = answer(&reply(0, &[second, cname, first]), ID);
        let wanted = vec![(10, "mail.x".to_owned()), (20, "mx.example.org".to_owned())];
        assert_eq!(both, Some(Answer::Exchangers(wanted)));
        assert_eq!(answer(&reply(0, &[cname]), ID), Some(Answer::None));
        assert_eq!(answer(&reply(3, &[]), ID), Some(Answer::NoSuchDomain));
        assert_eq!(answer(&reply(2, &[]), ID), None);
        assert_eq!(answer(&reply(0, &[]), [0, 0]), None);
        assert_eq!(answer(&question(ID, "example.org").unwrap(), ID), None);
        let circle = b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x04\0\x14\xc0\x2b";
        assert_eq!(answer(&reply(0, &[circle]), ID), None);
    }

    #[test]
    fn questions_are_written() {
        let octets = question(ID, "a.bc").unwrap();
        assert_eq!(octets, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x0f\0\x01");
        for domain in ["", "a..b", "b\u{fc}cher.example", &"x".repeat(64)] {
            assert_eq!(question(ID, domain), None);
        }
    }

    #[test]
    fn the_first_resolver_is_taken() {
        let text = "# comment\nsearch example.org\nnameserver\nnameserver 192.0.2.53\nnameserver ::1\n";
        assert_eq!(first_resolver(text), Some("192.0.2.53:53".parse().unwrap()));
        assert_eq!(first_resolver("nameserver fe80::1\n"), Some("[fe80::1]:53".parse().unwrap()));
        assert_eq!(first_resolver(""), None);
    }

    #[test]
    fn a_resolver_is_asked() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut octets = [0; 512];
            let (length, client) = server.recv_from(&mut octets).unwrap();
            (octets[2], octets[3]) = (0x81, 0x83);
            server.send_to(&octets[..length], client).unwrap();
        });
        assert_eq!(mail_exchangers(address, "nowhere.example").unwrap(), Answer::NoSuchDomain);
        thread.join().unwrap();
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_or_refused(mut octets in proptest::collection::vec(any::<u8>(), 0..80), small in any::<bool>()) {
            if small && octets.len() >= 12 {
                octets[..12].copy_from_slice(b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\0");
            }
            let _ = answer(&octets, ID);
        }
    }
}
