//! Where a listener listens.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On TCP. Port 0 lets the system choose.
    Tcp(SocketAddr),
    /// On a unix stream socket.
    Unix(PathBuf),
}

impl Place {
    /// Reads `192.0.2.1:25`, `[::]:25`, or a path (with a slash in it, or a name that ends with `.sock`; a relative one
    /// begins at `base`).
    ///
    /// # Errors
    ///
    /// Says what is wrong, with what was probably meant.
    pub fn parse(base: &Path, text: &str) -> Result<Place, String> {
        if text.contains('/') || text.ends_with(".sock") {
            return super::value::path(base, text).map(Place::Unix);
        }
        if let Ok(address) = text.parse() {
            return Ok(Place::Tcp(address));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let is_port = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit()) && text.parse::<u16>().is_ok();
        let hint = if text.parse::<Ipv6Addr>().is_ok() && (!is_port(port) || host.parse::<Ipv6Addr>().is_err()) {
            format!("an address needs a port: \"[{text}]:25\"")
        } else if host.parse::<Ipv6Addr>().is_ok() {
            format!("an IPv6 address needs brackets: \"[{host}]:{port}\"")
        } else if text.parse::<std::net::IpAddr>().is_ok() || (text.starts_with('[') && text.ends_with(']')) {
            format!("an address needs a port: \"{text}:25\"")
        } else if is_port(text) {
            format!("a port needs an address: \"0.0.0.0:{text}\" for every IPv4 address, \"[::]:{text}\" for IPv6")
        } else if is_port(port) && (host.is_empty() || host == "*") {
            format!("write \"0.0.0.0:{port}\" for every IPv4 address, \"[::]:{port}\" for IPv6")
        } else if is_port(port) && host.eq_ignore_ascii_case("localhost") {
            format!("names are not looked up: \"127.0.0.1:{port}\"")
        } else if host.parse::<std::net::IpAddr>().is_ok() {
            "the port is a number up to 65535".into()
        } else {
            "write an IP address and a port such as \"0.0.0.0:25\" or \"[::]:25\", or the path of a socket with a slash in it".into()
        };
        Err(format!("{text:?} is no place to listen at; {hint}"))
    }

    /// Whether the two cannot both be bound: the same port of the same address, or of every address
    /// of its family (`[::]` is for IPv6 only). Port 0 never collides.
    pub(super) fn collides(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Tcp(one), Place::Tcp(other)) => {
                one.port() == other.port()
                    && one.port() != 0
                    && one.is_ipv4() == other.is_ipv4()
                    && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
            }
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) => write!(f, "{address}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Place, String> {
        Place::parse(Path::new("/etc/mailbell"), text)
    }

    #[test]
    fn addresses_and_paths() {
        for (text, place) in
            [("0.0.0.0:25", "0.0.0.0:25"), ("[::]:25", "[::]:25"), ("[2001:db8::1]:0", "[2001:db8::1]:0")]
        {
            assert_eq!(parse(text), Ok(Place::Tcp(place.parse().unwrap())));
        }
        assert_eq!(parse("/run/mailbell/lmtp.sock"), Ok(Place::Unix("/run/mailbell/lmtp.sock".into())));
        assert_eq!(parse("lmtp.sock"), Ok(Place::Unix("/etc/mailbell/lmtp.sock".into())));
        assert_eq!(parse("./lmtp.sock"), Ok(Place::Unix("/etc/mailbell/lmtp.sock".into())));
    }

    #[test]
    fn what_is_no_place_is_told_with_what_was_meant() {
        for (text, hint) in [
            ("25", "\"0.0.0.0:25\""),
            (":25", "\"0.0.0.0:25\""),
            ("*:25", "\"[::]:25\""),
            ("localhost:25", "\"127.0.0.1:25\""),
            ("LOCALHOST:25", "\"127.0.0.1:25\""),
            ("127.0.0.1", "\"127.0.0.1:25\""),
            ("::1", "\"[::1]:25\""),
            ("[::1]", "\"[::1]:25\""),
            ("2001:db8::1:587", "\"[2001:db8::1]:587\""),
            (":::25", "\"[::]:25\""),
            ("127.0.0.1:70000", "up to 65535"),
            ("127.0.0.1:smtp", "up to 65535"),
            ("mail.example.org:25", "IP address"),
            ("", "IP address"),
            ("300.0.0.1:25", "IP address"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
        }
    }

    #[test]
    fn places_that_cannot_both_be_bound_collide() {
        for (one, other, collide) in [
            ("127.0.0.1:25", "127.0.0.1:25", true),
            ("0.0.0.0:25", "127.0.0.1:25", true),
            ("0.0.0.0:25", "[::]:25", false),
            ("[::]:25", "[::1]:25", true),
            ("127.0.0.1:25", "127.0.0.2:25", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:25", "127.0.0.1:26", false),
            ("/a/b", "/a/./b", true),
            ("/a/b", "/a/c", false),
        ] {
            let (one, other) = (parse(one).unwrap(), parse(other).unwrap());
            assert_eq!(one.collides(&other), collide, "{one} {other}");
            assert_eq!(other.collides(&one), collide, "{other} {one}");
        }
    }
}
