//! Other servers that this one connects to: host, encryption, certificates, login and secret, the same keys in each section.

use super::section::Section;
use super::subscribers::program;
use super::value::{self, choice, domain};
use crate::net::remote::dial::is_private;
use crate::net::remote::secret::Source;
use crate::net::remote::tls::{Fingerprint, Trust, parse_fingerprint};
use std::net::IpAddr;
use std::path::Path;

/// `tls` of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// TLS from the first octet.
    Implicit,
    /// STARTTLS or STLS, before the login.
    StartTls,
    /// None: loopback and private addresses only.
    Off,
}

/// `ca` and `fingerprint`.
pub(super) fn trust(section: &mut Section<'_, '_>, base: &Path) -> Trust {
    let ca = section.text("ca", "\"/etc/mailbell/ca.pem\"", value::or_empty(|text| value::path(base, text))).flatten();
    let fingerprints = section.list("fingerprint", "\"SHA-256 in hexadecimal\"", fingerprint).unwrap_or_default();
    match (fingerprints.is_empty(), ca) {
        (false, _) => Trust::Fingerprints(fingerprints),
        (true, Some(file)) => Trust::File(file),
        (true, None) => Trust::System,
    }
}

/// `tls = "off"` with an address that is public.
pub(super) fn off_is_private(section: &Section<'_, '_>, encryption: Encryption, host: Option<&str>) {
    if let (Encryption::Off, Some(Ok(address))) = (encryption, host.map(str::parse::<IpAddr>))
        && !is_private(address)
    {
        section.wrong("tls", format!("\"off\" is for loopback and private addresses only, and {address} is public"));
    }
}

/// A command that prints a secret.
const COMMAND: &str = "\"pass\", \"show\", \"work\"";

/// Exactly one of three keys.
pub(super) fn secret(section: &mut Section<'_, '_>, base: &Path) -> Option<Source> {
    const KEYS: [&str; 3] = ["password_file", "password_command", "token_command"];
    let file = section.text(KEYS[0], "\"/etc/mailbell/work.pw\"", |text| value::path(base, text));
    let password = program(section, KEYS[1], COMMAND, base);
    let token = program(section, KEYS[2], COMMAND, base);
    let mut given = KEYS.iter().filter(|key| section.has(key));
    match given.next() {
        None => section.missing(KEYS[0], "\"/etc/mailbell/work.pw\"; or password_command, or token_command"),
        Some(first) => {
            given.for_each(|key| section.wrong(key, format!("there is `{first}` already; one secret is enough")))
        }
    }
    file.map(Source::File).or(password.map(Source::PasswordCommand)).or(token.map(Source::TokenCommand))
}

pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) if text.contains("://") || text.contains(':') => {
            Err(format!("{text:?} is not a host; write its name alone, and the port as `port`"))
        }
        Err(_) => domain(text),
    }
}

pub(super) fn login(text: &str) -> Result<String, String> {
    match matches!(text.len(), 1..=1_000) && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not a login: 1 to 1,000 octets without control characters")),
    }
}

pub(super) fn encryption(text: &str) -> Result<Encryption, String> {
    choice(text, &[("implicit", Encryption::Implicit), ("starttls", Encryption::StartTls), ("off", Encryption::Off)])
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    parse_fingerprint(text).ok_or_else(|| {
        format!(
            "{text:?} is not a fingerprint: SHA-256 in 64 hexadecimal digits, as `mailbell check --online` prints it"
        )
    })
}
