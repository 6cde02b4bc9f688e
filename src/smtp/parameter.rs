//! What may follow the paths of MAIL and RCPT (RFC 5321 section 4.1.2), and the numbers in it, parsed exactly. The
//! parameters of RFC 3461 (RET, ENVID, NOTIFY, ORCPT) are accepted also where DSN is not announced: some clients send them
//! unasked, and a server that relays nothing has no notification to send.

use super::dsn::{Notify, Ret};
use super::reply;
use crate::message::letter::is_unsafe;

/// The parameters of MAIL that mean something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// SIZE: octets that the client announces (RFC 1870); 0 where it does not.
    pub(super) size: u64,
    /// SMTPUTF8: addresses and header fields may hold UTF-8 (RFC 6531).
    pub(super) smtputf8: bool,
    /// RET.
    pub(super) ret: Option<Ret>,
    /// ENVID, in xtext.
    pub(super) envid: Option<String>,
}

/// The parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfRecipient {
    /// NOTIFY.
    pub(super) notify: Notify,
    /// ORCPT: a type, `;`, and an address in xtext.
    pub(super) orcpt: Option<String>,
}

/// Longest value of ENVID and of ORCPT, octets (RFC 3461 sections 4.4 and 4.2).
const ENVID: usize = 100;
const ORCPT: usize = 500;

/// Reads the parameters of MAIL. BODY changes nothing, for every octet passes as it is; AUTH (RFC 4954 section 5) is for
/// servers that hand mail on.
///
/// # Errors
///
/// The reply that refuses them.
pub(super) fn of_mail(text: &str) -> Result<Parameters, &'static str> {
    let mut parameters = Parameters::default();
    for (keyword, value) in words(text) {
        match (keyword.to_ascii_uppercase().as_str(), value) {
            // A size with more digits than a u64 holds is larger than any limit.
            ("SIZE", Some(value)) if is_number(value) => parameters.size = value.parse().unwrap_or(u64::MAX),
            ("SIZE", _) => return Err(reply::SIZE_SYNTAX),
            ("BODY", Some(value)) if is_one_of(value, &["7BIT", "8BITMIME"]) => {}
            ("BODY", _) => return Err(reply::BODY_SYNTAX),
            ("SMTPUTF8", None) => parameters.smtputf8 = true,
            ("SMTPUTF8", Some(_)) => return Err(reply::SMTPUTF8_SYNTAX),
            ("AUTH", Some(value)) if is_xtext(value) => {}
            ("AUTH", _) => return Err(reply::AUTH_PARAMETER_SYNTAX),
            ("RET", Some(value)) if parameters.ret.is_none() => {
                parameters.ret = Some(Ret::parse(value).ok_or(reply::RET_SYNTAX)?);
            }
            ("RET", _) => return Err(reply::RET_SYNTAX),
            ("ENVID", Some(value)) if value.len() <= ENVID && is_xtext(value) && parameters.envid.is_none() => {
                parameters.envid = Some(value.to_owned());
            }
            ("ENVID", _) => return Err(reply::ENVID_SYNTAX),
            _ => return Err(reply::UNKNOWN_PARAMETER),
        }
    }
    Ok(parameters)
}

/// Reads the parameters of RCPT: NOTIFY and ORCPT, each once.
///
/// # Errors
///
/// The reply that refuses them.
pub(super) fn of_rcpt(text: &str) -> Result<OfRecipient, &'static str> {
    let mut parameters = OfRecipient::default();
    for (keyword, value) in words(text) {
        match (keyword.to_ascii_uppercase().as_str(), value) {
            ("NOTIFY", Some(value)) if !parameters.notify.is_given() => {
                parameters.notify = Notify::parse(value).ok_or(reply::NOTIFY_SYNTAX)?;
            }
            ("NOTIFY", _) => return Err(reply::NOTIFY_SYNTAX),
            ("ORCPT", Some(value)) if is_original_recipient(value) && parameters.orcpt.is_none() => {
                parameters.orcpt = Some(value.to_owned());
            }
            ("ORCPT", _) => return Err(reply::ORCPT_SYNTAX),
            _ => return Err(reply::UNKNOWN_PARAMETER),
        }
    }
    Ok(parameters)
}

/// The parameters: keyword, and what stands behind the first `=`.
fn words(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    words.map(|word| word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value))))
}

fn is_one_of(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// `addr-type;xtext` (RFC 3461 section 4.2); the type `utf-8` may hold UTF-8 (RFC 6533 section 3).
fn is_original_recipient(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let is_atom = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let ascii: String = match kind.eq_ignore_ascii_case("utf-8") {
        true => address.chars().filter(char::is_ascii).collect(),
        false => address.to_owned(),
    };
    is_atom && value.len() <= ORCPT && !address.contains(is_unsafe) && (ascii.is_empty() || is_xtext(&ascii))
}

/// Reads BDAT's argument: how many octets follow, and whether they are the last (RFC 3030 section 2).
pub(super) fn of_bdat(argument: &[u8]) -> Option<(u64, bool)> {
    let mut words = std::str::from_utf8(argument).ok()?.split_ascii_whitespace();
    let octets = words.next().filter(|word| is_number(word))?.parse().ok()?;
    match (words.next(), words.next()) {
        (None, _) => Some((octets, false)),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Some((octets, true)),
        _ => None,
    }
}

/// Only digits: `parse` alone would accept a sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// RFC 3461 section 4: `+` begins two hexadecimal digits in capitals, `=` is never itself.
fn is_xtext(text: &str) -> bool {
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let digit = |octet: Option<u8>| octet.is_some_and(|octet| matches!(octet, b'0'..=b'9' | b'A'..=b'F'));
        match octet {
            b'+' if digit(octets.next()) && digit(octets.next()) => {}
            b'+' | b'=' => return false,
            octet if octet.is_ascii_graphic() => {}
            _ => return false,
        }
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_mail() {
        let of = |size, smtputf8| Ok(Parameters { size, smtputf8, ..Parameters::default() });
        let asks = |size, ret, envid: Option<&str>| {
            Ok(Parameters { size, ret, envid: envid.map(str::to_owned), ..Parameters::default() })
        };
        for (text, expected) in [
            ("", of(0, false)),
            ("  \t", of(0, false)),
            (" SIZE=0", of(0, false)),
            (" size=18446744073709551615\tsmtputf8 Body=8bitmime", of(u64::MAX, true)),
            (" SIZE=18446744073709551616", of(u64::MAX, false)),
            (" SIZE=007", of(7, false)),
            (" BODY=7BIT AUTH=<> SIZE=1", of(1, false)),
            (" AUTH=e+3Dmc2@example.com", of(0, false)),
            (" SIZE", Err(reply::SIZE_SYNTAX)),
            (" SIZE=", Err(reply::SIZE_SYNTAX)),
            (" SIZE=+1", Err(reply::SIZE_SYNTAX)),
            (" SIZE=-1", Err(reply::SIZE_SYNTAX)),
            (" SIZE=1x", Err(reply::SIZE_SYNTAX)),
            (" SIZE=0x10", Err(reply::SIZE_SYNTAX)),
            (" BODY", Err(reply::BODY_SYNTAX)),
            (" BODY=BINARYMIME", Err(reply::BODY_SYNTAX)),
            (" SMTPUTF8=YES", Err(reply::SMTPUTF8_SYNTAX)),
            (" AUTH", Err(reply::AUTH_PARAMETER_SYNTAX)),
            (" AUTH=", Err(reply::AUTH_PARAMETER_SYNTAX)),
            (" AUTH=a=b", Err(reply::AUTH_PARAMETER_SYNTAX)),
            (" AUTH=a+3d", Err(reply::AUTH_PARAMETER_SYNTAX)),
            (" AUTH=a+3", Err(reply::AUTH_PARAMETER_SYNTAX)),
            (" RET=HDRS ENVID=a+20b SIZE=1", asks(1, Some(Ret::Headers), Some("a+20b"))),
            (" ret=full", asks(0, Some(Ret::Full), None)),
            (" RET", Err(reply::RET_SYNTAX)),
            (" RET=", Err(reply::RET_SYNTAX)),
            (" RET=BODY", Err(reply::RET_SYNTAX)),
            (" RET=FULL RET=FULL", Err(reply::RET_SYNTAX)),
            (" ENVID", Err(reply::ENVID_SYNTAX)),
            (" ENVID=", Err(reply::ENVID_SYNTAX)),
            (" ENVID=a+2", Err(reply::ENVID_SYNTAX)),
            (" ENVID=a=b", Err(reply::ENVID_SYNTAX)),
            (" ENVID=a ENVID=b", Err(reply::ENVID_SYNTAX)),
            (" NOTIFY=NEVER", Err(reply::UNKNOWN_PARAMETER)),
            (" =1", Err(reply::UNKNOWN_PARAMETER)),
            (" SIZE=1 X", Err(reply::UNKNOWN_PARAMETER)),
        ] {
            assert_eq!(of_mail(text), expected, "{text}");
        }
    }

    #[test]
    fn an_envelope_id_has_at_most_100_octets() {
        assert!(of_mail(&format!(" ENVID={}", "x".repeat(100))).is_ok());
        assert_eq!(of_mail(&format!(" ENVID={}", "x".repeat(101))), Err(reply::ENVID_SYNTAX));
    }

    #[test]
    fn parameters_of_rcpt() {
        let long = |length| format!(" ORCPT=rfc822;{}", "x".repeat(length));
        let of = |notify: &str, orcpt: &str| {
            let notify = Notify::parse(notify).unwrap_or_default();
            Ok(OfRecipient { notify, orcpt: Some(orcpt.to_owned()).filter(|orcpt| !orcpt.is_empty()) })
        };
        for (text, expected) in [
            ("", of("", "")),
            (
                " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alice@example.org",
                of("SUCCESS,FAILURE", "rfc822;alice@example.org"),
            ),
            (" notify=delay", of("DELAY", "")),
            (" NOTIFY=NEVER", of("NEVER", "")),
            (" ORCPT=rfc822;a+2Bb@example.org\tNOTIFY=FAILURE", of("FAILURE", "rfc822;a+2Bb@example.org")),
            (" ORCPT=utf-8;j\u{f5}geva@example.org", of("", "utf-8;j\u{f5}geva@example.org")),
            (" ORCPT=rfc822;", of("", "rfc822;")),
            (&long(493), of("", &long(493)[" ORCPT=".len()..])),
            (&long(494), Err(reply::ORCPT_SYNTAX)),
            (" NOTIFY", Err(reply::NOTIFY_SYNTAX)),
            (" NOTIFY=", Err(reply::NOTIFY_SYNTAX)),
            (" NOTIFY=SUCCESS,", Err(reply::NOTIFY_SYNTAX)),
            (" NOTIFY=SUCCESS,NEVER", Err(reply::NOTIFY_SYNTAX)),
            (" NOTIFY=ALWAYS", Err(reply::NOTIFY_SYNTAX)),
            (" NOTIFY=DELAY NOTIFY=DELAY", Err(reply::NOTIFY_SYNTAX)),
            (" ORCPT=a@b", Err(reply::ORCPT_SYNTAX)),
            (" ORCPT=;a", Err(reply::ORCPT_SYNTAX)),
            (" ORCPT=rfc822;a=b", Err(reply::ORCPT_SYNTAX)),
            (" ORCPT=rfc822;j\u{f5}geva", Err(reply::ORCPT_SYNTAX)),
            (" ORCPT=rfc822;a+0", Err(reply::ORCPT_SYNTAX)),
            (" ORCPT=rfc822;a ORCPT=rfc822;a", Err(reply::ORCPT_SYNTAX)),
            (" RET=FULL", Err(reply::UNKNOWN_PARAMETER)),
            (" X", Err(reply::UNKNOWN_PARAMETER)),
        ] {
            assert_eq!(of_rcpt(text), expected, "{text}");
        }
    }

    #[test]
    fn argument_of_bdat() {
        for (argument, expected) in [
            (&b"0"[..], Some((0, false))),
            (b"86 last", Some((86, true))),
            (b"18446744073709551615 LAST", Some((u64::MAX, true))),
            (b"18446744073709551616", None),
            (b"", None),
            (b"LAST", None),
            (b"+1", None),
            (b"-1 LAST", None),
            (b"1x", None),
            (b"1 FIRST", None),
            (b"1 LAST LAST", None),
            (b"\xff", None),
        ] {
            assert_eq!(of_bdat(argument), expected, "{}", argument.escape_ascii());
        }
    }
}
