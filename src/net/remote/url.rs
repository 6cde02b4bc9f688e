//! The URL of an HTTP server (RFC 3986, RFC 9110 section 4.2), read strictly: scheme, host, port, path and query.

use crate::message::idn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL, octets: the least that RFC 9110 section 4.1 asks to be supported.
const LONGEST: usize = 8_000;

/// An `http:` or `https:` URL. Path and query may hold a secret, so only the host is for the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// A name in A-labels, or an address without brackets.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// The value of the `Host` field.
    pub authority: String,
    /// Path and query, as the request line has them.
    pub target: String,
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin())
    }
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Url, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            format!("{} is not a URL; write one such as \"https://app.example/new-mail\"", shortened(text))
        })?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(format!("{scheme:?} is not a scheme of HTTP: \"https\" or \"http\"")),
        };
        if text.len() > LONGEST {
            return Err(format!("the URL is longer than {LONGEST} octets"));
        }
        if text.contains(|letter: char| letter.is_control() || letter == ' ') {
            return Err("the URL has a space or a control character in it; write a space as %20".into());
        }
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(
                "the URL has a login in it; write it as headers = { Authorization = \"@FILE\" }, where the file \
                        holds `Basic ` and the base64 of LOGIN:PASSWORD"
                    .into(),
            );
        }
        if path.contains(['#', '\\']) {
            return Err("the URL has a `#` or a `\\` in it, which no server gets; leave it out".into());
        }
        let (host, port) = host_and_port(authority)?;
        let default = if is_tls { 443 } else { 80 };
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = port.unwrap_or(default);
        let authority = if port == default { shown } else { format!("{shown}:{port}") };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url { is_tls, host, port, authority, target: format!("{slash}{}", escaped(path)) })
    }

    /// Scheme, host and port: what may be shown.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }

    /// Whether it is known to be within this machine or network without asking the DNS: such an address, `localhost`, a
    /// name of one label, or one below a domain of local networks (RFC 6762, RFC 8375, and `.internal`).
    pub fn is_local(&self) -> bool {
        const LOCAL: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "lan"];
        match self.host.parse::<IpAddr>() {
            Ok(address) => super::dial::is_private(address),
            Err(_) => !self.host.contains('.') || LOCAL.iter().any(|domain| is_below(&self.host, domain)),
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A text of a person's that may hold a secret, for a message.
fn shortened(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or("the URL's address lacks its `]`")?;
            let address: Ipv6Addr = address.parse().map_err(|_| format!("{address:?} is not an IPv6 address"))?;
            let port = rest.strip_prefix(':').unwrap_or(rest);
            if port.len() == rest.len() && !rest.is_empty() {
                return Err(format!("{rest:?} follows the URL's address; write a port as [::1]:8080"));
            }
            (address.to_string(), port)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            if port.contains(':') {
                return Err(format!("{authority:?} has several colons; an IPv6 address stands in brackets: [::1]"));
            }
            (name(host)?, port)
        }
    };
    match port.parse::<u16>() {
        _ if port.is_empty() => Ok((host, None)),
        Ok(number @ 1..) if !port.starts_with('+') => Ok((host, Some(number))),
        _ => Err(format!("{port:?} is not a port: 1 to 65535")),
    }
}

/// A name in A-labels, or an IPv4 address.
fn name(host: &str) -> Result<String, String> {
    let name = idn::to_ascii(host.strip_suffix('.').unwrap_or(host)).into_owned();
    let label = |label: &str| {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        matches!(label.len(), 1..=63) && label.bytes().all(is_plain)
    };
    if name.is_empty() {
        return Err("the URL has no host; write one such as \"https://app.example/new-mail\"".into());
    }
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("{host:?} is not a host"));
    }
    // What ends in a number is an address, and nothing else (WHATWG URL section 3.5): 127.1 and 0x7f.1 are refused.
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()));
    if is_number && name.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{host:?} is not an IPv4 address: four numbers"));
    }
    Ok(name)
}

/// Path and query with what is not ASCII escaped (RFC 3987 section 3.1).
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for octet in path.bytes() {
        match octet {
            b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^' | 0x80.. => text.push_str(&format!("%{octet:02X}")),
            octet => text.push(octet.into()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, origin, host, port, target) in [
            ("https://app.example/new-mail", "https://app.example", "app.example", 443, "/new-mail"),
            ("HTTP://App.Example:80", "http://app.example", "app.example", 80, "/"),
            ("http://127.0.0.1:8080/a/b?c=d%20e", "http://127.0.0.1:8080", "127.0.0.1", 8080, "/a/b?c=d%20e"),
            ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443", "2001:db8::1", 8443, "/"),
            ("https://[::1]?x", "https://[::1]", "::1", 443, "/?x"),
            ("https://bücher.example/ä", "https://xn--bcher-kva.example", "xn--bcher-kva.example", 443, "/%C3%A4"),
            ("http://my_nas./x", "http://my_nas", "my_nas", 80, "/x"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.origin().as_str(), url.host.as_str(), url.port), (origin, host, port), "{text}");
            assert_eq!(url.target, target);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, hint) in [
            ("app.example/new-mail", "https://app.example/new-mail"),
            ("ftp://app.example/", "\"https\" or \"http\""),
            ("https://me:secret@app.example/", "Authorization"),
            ("https:///x", "no host"),
            ("https://app.example:0/", "port"),
            ("https://app.example:+80/", "port"),
            ("https://app.example:65536/", "port"),
            ("https://::1/", "brackets"),
            ("https://[::1/", "]"),
            ("https://[fe80::1%eth0]/", "IPv6"),
            ("https://[::1]8080/", "[::1]:8080"),
            ("https://a b/", "%20"),
            ("https://app.example/#top", "#"),
            ("https://app.example\\@evil.example/", "\\"),
            ("https://127.1/", "IPv4"),
            ("https://a..b/", "not a host"),
        ] {
            let why = Url::parse(text).unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn hosts_of_a_local_network() {
        for (host, local) in [
            ("127.0.0.1", true),
            ("192.168.1.5", true),
            ("[::1]", true),
            ("localhost", true),
            ("nas", true),
            ("nas.local", true),
            ("nas.home.arpa", true),
            ("app.example", false),
            ("8.8.8.8", false),
            ("notlocal.example", false),
        ] {
            assert_eq!(Url::parse(&format!("http://{host}/")).unwrap().is_local(), local, "{host}");
        }
    }

    proptest! {
        #[test]
        fn nothing_can_end_a_line_of_the_request(text in "https?://[^\u{0}]{0,60}") {
            if let Ok(url) = Url::parse(&text) {
                let plain = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic());
                prop_assert!(plain(&url.target) && plain(&url.authority) && plain(&url.host));
            }
        }
    }
}
