//! The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it: pure, octets in, an address out. The
//! callers decide which peers are trusted; a header with any fault is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that is taken, octets: v1 has 107 at most; v2 16 and a length that we bound.
pub const LONGEST: usize = 16 + 4096;

/// Longest header of version 1, octets with its CRLF (section 2.1).
const LONGEST_V1: usize = 107;

/// How a header of version 1 begins.
const V1: &[u8] = b"PROXY ";

/// How a header of version 2 begins (section 2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The true client; an IPv4-mapped address is given as IPv4.
    Client(SocketAddr),
    /// LOCAL, UNKNOWN, or a family without IP: the proxy itself.
    Proxy,
}

/// What the octets so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More octets are needed.
    Partial,
    /// A whole header of so many octets.
    Whole(Source, usize),
}

/// Why this is no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// Reads the header at the beginning of `octets`.
///
/// # Errors
///
/// As soon as the octets cannot become a header.
pub fn parse(octets: &[u8]) -> Result<Parsed, Fault> {
    if octets.starts_with(V1) {
        version_1(octets)
    } else if octets.starts_with(V2) {
        version_2(octets)
    } else if V1.starts_with(octets) || V2.starts_with(octets) {
        Ok(Parsed::Partial)
    } else {
        Err(Fault("no PROXY header"))
    }
}

fn version_1(octets: &[u8]) -> Result<Parsed, Fault> {
    let window = &octets[..octets.len().min(LONGEST_V1)];
    let Some(end) = window.iter().position(|&octet| octet == b'\r' || octet == b'\n') else {
        return if octets.len() < LONGEST_V1 { Ok(Parsed::Partial) } else { Err(Fault("v1 header too long")) };
    };
    match window[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if octets.len() < LONGEST_V1 => return Ok(Parsed::Partial),
        _ => return Err(Fault("v1 header without CRLF")),
    }
    let line = std::str::from_utf8(&window[V1.len()..end]).map_err(|_| Fault("v1 header is not ASCII"))?;
    // Whatever follows UNKNOWN is to be ignored.
    let source = if line == "UNKNOWN" || line.starts_with("UNKNOWN ") { Source::Proxy } else { client_of(line)? };
    Ok(Parsed::Whole(source, end + 2))
}

/// `TCP4 SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT`, one space between two.
fn client_of(line: &str) -> Result<Source, Fault> {
    let words: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return Err(Fault("v1 header without its five words"));
    };
    let address = |text: &str| {
        let address = match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => return Err(Fault("v1 header of an unknown family")),
        };
        address.ok_or(Fault("v1 header with a bad address"))
    };
    let (source, _) = (address(source)?, address(destination)?);
    let (source_port, _) = (port(source_port)?, port(destination_port)?);
    Ok(client(source, source_port))
}

/// Digits without a sign, without a zero before them, and no more than 65535.
fn port(text: &str) -> Result<u16, Fault> {
    let exact = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| exact).ok_or(Fault("v1 header with a bad port"))
}

fn version_2(octets: &[u8]) -> Result<Parsed, Fault> {
    // LOCAL, which health checks send, means the proxy whatever the rest says.
    let local = match octets.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Fault("v2 header of an unknown version or command")),
    };
    // Octets that the addresses of the family take; the rest of the length are TLVs, which are skipped.
    let addresses = match octets.get(13) {
        None => return Ok(Parsed::Partial),
        Some(_) if local => 0,
        Some(0x00) => 0,
        Some(0x11) => 12,
        Some(0x21) => 36,
        Some(0x31 | 0x32) => 216,
        Some(_) => return Err(Fault("v2 header of a family or transport that is no stream's")),
    };
    let (Some(&high), Some(&low)) = (octets.get(14), octets.get(15)) else { return Ok(Parsed::Partial) };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if length < 16 + addresses {
        return Err(Fault("v2 header too short for its addresses"));
    }
    if length > LONGEST {
        return Err(Fault("v2 header too long"));
    }
    let Some(block) = octets.get(16..length) else { return Ok(Parsed::Partial) };
    let source = match addresses {
        12 => client(Ipv4Addr::from(first(block)).into(), u16::from_be_bytes(first(&block[8..]))),
        36 => client(Ipv6Addr::from(first::<16>(block)).into(), u16::from_be_bytes(first(&block[32..]))),
        _ => Source::Proxy,
    };
    Ok(Parsed::Whole(source, length))
}

/// The first octets of a block that has so many.
fn first<const COUNT: usize>(block: &[u8]) -> [u8; COUNT] {
    let mut octets = [0; COUNT];
    octets.copy_from_slice(&block[..COUNT]);
    octets
}

fn client(address: IpAddr, port: u16) -> Source {
    Source::Client(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(text: &str) -> Source {
        Source::Client(text.parse().unwrap())
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, block].concat()
    }

    fn good() -> Vec<(Vec<u8>, Source)> {
        let mut v4 = vec![192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0, 25];
        let mut v6 = [Ipv6Addr::from(0x2001_0db8 << 96 | 1).octets(), Ipv6Addr::LOCALHOST.octets()].concat();
        v6.extend([0xff, 0xff, 0, 110]);
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 9], &[0; 16], &[0, 1, 0, 2]].concat();
        let mut all = vec![
            (v2(0x21, 0x11, &v4), from("192.0.2.1:56324")),
            (v2(0x21, 0x21, &v6), from("[2001:db8::1]:65535")),
            (v2(0x21, 0x21, &mapped), from("192.0.2.9:1")),
            (v2(0x21, 0x31, &[b'/'; 216]), Source::Proxy),
            (v2(0x21, 0x32, &[0; 216]), Source::Proxy),
            (v2(0x21, 0x00, b""), Source::Proxy),
            (v2(0x21, 0x00, b"tlv"), Source::Proxy),
            (v2(0x20, 0x00, b""), Source::Proxy),
            (v2(0x20, 0x11, &v4), Source::Proxy),
            (v2(0x20, 0xff, b"x"), Source::Proxy),
        ];
        // TLVs: a CRC-32C that is wrong, and as many octets of NOOP as fit.
        v4.extend([3, 0, 4, 1, 2, 3, 4]);
        all.push((v2(0x21, 0x11, &v4), from("192.0.2.1:56324")));
        v6.resize(LONGEST - 16, 4);
        all.push((v2(0x21, 0x21, &v6), from("[2001:db8::1]:65535")));
        for (text, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 25\r\n", from("192.0.2.1:56324")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", from("255.255.255.255:65535")),
            ("PROXY TCP4 127.0.0.1 127.0.0.1 0 1\r\n", from("127.0.0.1:0")),
            ("PROXY TCP6 2001:db8::1 ::1 1 110\r\n", from("[2001:db8::1]:1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 110\r\n", from("192.0.2.1:1")),
            ("PROXY UNKNOWN\r\n", Source::Proxy),
            ("PROXY UNKNOWN whatever is said here\r\n", Source::Proxy),
            (
                "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                Source::Proxy,
            ),
        ] {
            all.push((text.as_bytes().to_vec(), source));
        }
        all
    }

    #[test]
    fn a_good_header_is_whole_at_its_end_and_partial_before() {
        for (header, source) in good() {
            for length in 0..header.len() {
                assert_eq!(parse(&header[..length]), Ok(Parsed::Partial), "{}", header[..length].escape_ascii());
            }
            let whole = Ok(Parsed::Whole(source, header.len()));
            assert_eq!(parse(&header), whole, "{}", header.escape_ascii());
            assert_eq!(parse(&[&header[..], b"EHLO x\r\n"].concat()), whole);
        }
        // The longest header of version 1 is among them.
        assert!(good().iter().any(|(header, _)| header.starts_with(V1) && header.len() == LONGEST_V1));
    }

    #[test]
    fn anything_else_is_none() {
        for bad in [
            &b"EHLO x\r\n"[..],
            b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXX",
            b"PROXY\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UNKNOWNX\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            b"PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\xff 2\r\n",
            &[b"PROXY UNKNOWN ", &[b'x'; LONGEST_V1 - 14][..]].concat(),
            &[b"PROXY UNKNOWN ", &[b'x'; LONGEST_V1 - 15][..], b"\r\n"].concat(),
            b"\r\n\r\n\0\r\nQUIT\r",
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x31, &[0; 215]),
            &v2(0x21, 0x12, &[0; 12]),
            &v2(0x21, 0x10, &[0; 12]),
            &v2(0x21, 0x13, &[0; 12]),
            &v2(0x21, 0x41, &[0; 216]),
            &v2(0x21, 0x01, b""),
            &v2(0x20, 0x00, &[0; LONGEST - 15]),
        ] {
            assert!(parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_fault_is_seen_at_its_first_octet_where_it_can_be() {
        assert!(parse(b"PROXZ").is_err());
        assert!(parse(b"\r\n\r\n\r").is_err());
        assert!(parse(&v2(0x23, 0, b"")[..13]).is_err());
        assert!(parse(&v2(0x21, 0x99, b"")[..14]).is_err());
        assert!(parse(&v2(0x21, 0x11, &[0; 5000])[..16]).is_err());
    }

    proptest! {
        #[test]
        fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse(&octets).is_err() || octets.len() < 12);
        }

        /// Behind a good beginning anything may come, and more octets never make a fault good again.
        #[test]
        fn any_octets_behind_a_good_beginning(
            begin in prop::sample::select(vec![&b"PROXY TCP4 1.2.3.4 "[..], b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
            rest in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\r\n 0".to_vec())], 0..200),
        ) {
            let octets = [begin, &rest[..]].concat();
            let mut last = Ok(Parsed::Partial);
            for length in 0..=octets.len() {
                let now = parse(&octets[..length]);
                prop_assert!(last == Ok(Parsed::Partial) || now == last, "{now:?} after {last:?}");
                if let Ok(Parsed::Whole(_, taken)) = now {
                    prop_assert!(taken <= length && taken <= LONGEST);
                }
                last = now;
            }
        }
    }
}
