//! What the server says it can do: CAPA (RFC 2449 section 5), the list of AUTH without an argument, and LANG.

use super::step::Settings;
use crate::sasl::Mechanism;

/// The mechanisms that may be used on this connection now. PLAIN and LOGIN send the password in clear.
pub(super) fn mechanisms(settings: &Settings) -> impl Iterator<Item = Mechanism> {
    let cleartext = settings.cleartext_allowed || settings.tls_active;
    [(Mechanism::CramMd5, settings.cram_md5), (Mechanism::Plain, cleartext), (Mechanism::Login, cleartext)]
        .into_iter()
        .filter_map(|(mechanism, offered)| offered.then_some(mechanism))
}

/// Appends the reply to CAPA.
pub(super) fn capabilities(settings: &Settings, out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK Capability list follows\r\nTOP\r\nUIDL\r\n");
    if settings.cleartext_allowed || settings.tls_active {
        out.extend_from_slice(b"USER\r\n");
    }
    if mechanisms(settings).next().is_some() {
        out.extend_from_slice(b"SASL");
        for mechanism in mechanisms(settings) {
            out.push(b' ');
            out.extend_from_slice(mechanism.name().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    if settings.tls_available && !settings.tls_active {
        out.extend_from_slice(b"STLS\r\n");
    }
    out.extend_from_slice(b"PIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nEXPIRE ");
    let expire = settings.expire.map_or_else(|| "NEVER".to_owned(), |days| days.to_string());
    out.extend_from_slice(expire.as_bytes());
    out.extend_from_slice(b"\r\nUTF8\r\nLANG\r\n");
    out.extend_from_slice(concat!("IMPLEMENTATION mailbell-", env!("CARGO_PKG_VERSION"), "\r\n.\r\n").as_bytes());
}

/// Appends the list that AUTH without an argument gives. No RFC has it, but some clients ask for it.
pub(super) fn mechanism_list(settings: &Settings, out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK Mechanisms follow\r\n");
    for mechanism in mechanisms(settings) {
        out.extend_from_slice(mechanism.name().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

/// Appends the reply to LANG (RFC 6856 section 3): a list, or the language that will be spoken. False: not offered.
pub(super) fn language(wanted: &[u8], out: &mut Vec<u8>) -> bool {
    if wanted.is_empty() {
        out.extend_from_slice(b"+OK Language list follows\r\ni-default Default\r\nen English\r\n.\r\n");
    } else if wanted == b"*" || wanted.eq_ignore_ascii_case(b"en") {
        out.extend_from_slice(b"+OK en Speaking English\r\n");
    } else if wanted.eq_ignore_ascii_case(b"i-default") {
        out.extend_from_slice(b"+OK i-default Speaking English\r\n");
    } else {
        return false;
    }
    true
}
