//! Protection of a reader's browser: whether the host that a request names is ours (against DNS rebinding), and whether a
//! page of another site asks.

use super::Request;
use crate::message::idn::same_domain;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host and a port, as `Host` and the address of a page name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Address(IpAddr),
    /// In lower case, without a dot at its end.
    Domain(String),
}

impl Host {
    /// Reads `example.org`, `192.0.2.1:9180`, `[::1]:9180` (RFC 9110 section 7.2); `None` for anything else.
    pub fn parse(text: &str) -> Option<Host> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Name::Address(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?).to_canonical()), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let name = &text[..end];
                let address = name.parse().map(|address| Name::Address(IpAddr::V4(address)));
                (address.ok().or_else(|| domain(name))?, &text[end..])
            }
        };
        let digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
        let port = match port {
            "" | ":" => None,
            port => Some(port.strip_prefix(':').filter(|port| digits(port))?.parse().ok()?),
        };
        Some(Host { name, port })
    }

    /// Whether it is this machine by loopback, one of `names` (domains, or address literals such as `[192.0.2.1]`), or the
    /// address `local` at which the connection came in. The port does not count: a proxy may have another one.
    pub fn is_ours<'n>(&self, mut names: impl Iterator<Item = &'n str>, local: Option<IpAddr>) -> bool {
        match &self.name {
            Name::Address(address) => {
                let is_literal = |name: &str| {
                    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                    let inner = inner.map(|inner| inner.strip_prefix("ipv6:").unwrap_or(inner));
                    inner.and_then(|inner| inner.parse().ok()) == Some(*address)
                };
                address.is_loopback() || local == Some(*address) || names.any(is_literal)
            }
            Name::Domain(domain) => {
                domain == "localhost" || domain.ends_with(".localhost") || names.any(|name| same_domain(name, domain))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Name::Address(address) => write!(f, "{address}")?,
            Name::Domain(domain) => f.write_str(domain)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn domain(text: &str) -> Option<Name> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_letter = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let is_whole = !name.is_empty() && !name.starts_with('.') && !name.ends_with('.') && !name.contains("..");
    (name.len() <= 253 && is_whole && name.bytes().all(is_letter)).then(|| Name::Domain(name.to_ascii_lowercase()))
}

/// Whether a page of another origin asks. With `is_page`, a person may come by a link from elsewhere. A request without
/// these fields is not from a browser that knows them, or is a read that a browser does not show to the other page.
pub fn is_foreign(request: &Request, is_page: bool) -> bool {
    let site = request.fetch_site.as_deref();
    let is_link = is_page && request.fetch_mode.as_deref() == Some("navigate");
    let is_other_site = site.is_some_and(|site| !matches!(site, "same-origin" | "none")) && !is_link;
    let is_other_origin = request.origin.as_deref().is_some_and(|origin| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).and_then(Host::parse);
        host.is_none() || host != request.host
    });
    is_other_site || is_other_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_parsed_or_refused() {
        for (text, shown) in [
            ("localhost", "localhost"),
            ("LocalHost.:9180", "localhost:9180"),
            ("mail.example.org:", "mail.example.org"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::1]:9180", "[::1]:9180"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ] {
            assert_eq!(Host::parse(text).map(|host| host.to_string()).as_deref(), Some(shown), "{text}");
        }
        for text in [
            "", ":80", "a b", "a:b", "a:80:80", "a:65536", "a:+1", "::1", "[::1", "[::1]x", "a/b", "a@b", "a..b", ".",
            "\u{e4}",
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_our_names_and_our_address_are_ours() {
        let names = ["mail.example.org", "b\u{fc}cher.example", "[192.0.2.7]", "[ipv6:2001:db8::7]"];
        let local = Some("192.0.2.1".parse().unwrap());
        let is_ours = |text: &str| Host::parse(text).unwrap().is_ours(names.into_iter(), local);
        for text in [
            "localhost:9180",
            "x.localhost",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]",
            "MAIL.example.org.:443",
            "xn--bcher-kva.example",
            "192.0.2.1:9180",
            "192.0.2.7",
            "[2001:db8::7]",
        ] {
            assert!(is_ours(text), "{text}");
        }
        for text in ["evil.example", "example.org", "192.0.2.2", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!is_ours(text), "{text}");
        }
    }
}
