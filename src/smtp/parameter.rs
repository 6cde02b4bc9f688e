//! What may follow the paths of MAIL and RCPT (RFC 5321 section 4.1.2), and the numbers in them, parsed exactly.

use super::reply;

/// The parameters of MAIL that mean something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// SIZE: octets that the client announces (RFC 1870); 0 where it does not.
    pub(super) size: u64,
    /// SMTPUTF8: addresses and header fields may hold UTF-8 (RFC 6531).
    pub(super) smtputf8: bool,
}

/// Reads the parameters of MAIL. BODY changes nothing, for every octet passes as it is; AUTH is for those who trust it
/// (RFC 4954 section 5), and we have nobody to tell it to.
///
/// # Errors
///
/// The reply that refuses them.
pub(super) fn of_mail(text: &str) -> Result<Parameters, &'static str> {
    let mut parameters = Parameters::default();
    for parameter in text.split([' ', '\t']).filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        match (keyword.to_ascii_uppercase().as_str(), value) {
            // More digits than a u64 holds are a size all the same, only larger than anything.
            ("SIZE", Some(value)) if is_number(value) => parameters.size = value.parse().unwrap_or(u64::MAX),
            ("SIZE", _) => return Err(reply::SIZE_SYNTAX),
            ("BODY", Some(value)) if ["7BIT", "8BITMIME"].iter().any(|body| body.eq_ignore_ascii_case(value)) => {}
            ("BODY", _) => return Err(reply::BODY_SYNTAX),
            ("SMTPUTF8", None) => parameters.smtputf8 = true,
            ("SMTPUTF8", Some(_)) => return Err(reply::SMTPUTF8_SYNTAX),
            ("AUTH", Some(value)) if is_xtext(value) => {}
            ("AUTH", _) => return Err(reply::AUTH_PARAMETER_SYNTAX),
            _ => return Err(reply::UNKNOWN_PARAMETER),
        }
    }
    Ok(parameters)
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

/// Digits and nothing else: `parse` alone would take a sign.
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
        let of = |size, smtputf8| Ok(Parameters { size, smtputf8 });
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
            (" RET=HDRS", Err(reply::UNKNOWN_PARAMETER)),
            (" =1", Err(reply::UNKNOWN_PARAMETER)),
            (" SIZE=1 X", Err(reply::UNKNOWN_PARAMETER)),
        ] {
            assert_eq!(of_mail(text), expected, "{text}");
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
