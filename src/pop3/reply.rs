//! Every reply of the server, named once. A reply is `+OK` or `-ERR`, perhaps a response code in brackets (RFC 2449
//! section 8, RFC 3206), a sentence, and CRLF; 512 octets at most (RFC 2449 section 4).

use super::argument::Malformed;

/// The same for every reason that a login fails, so that it does not tell which names exist (RFC 3206 section 4).
pub(super) const AUTH_FAILED: &str = "[AUTH] Authentication failed";
pub(super) const IN_USE: &str = "[IN-USE] The maildrop is open in another session";
pub(super) const LOGIN_TEMPORARY: &str = "[SYS/TEMP] The maildrop cannot be opened now, try again later";
pub(super) const LOGIN_PERMANENT: &str = "[SYS/PERM] The maildrop cannot be opened";
pub(super) const CLEARTEXT_REFUSED: &str = "Cleartext passwords are refused on this connection, use STLS first";
pub(super) const NO_NAME: &str = "USER needs a name";
pub(super) const USER_FIRST: &str = "Give USER first";
pub(super) const NO_APOP: &str = "APOP is not offered on this connection";
pub(super) const APOP_SYNTAX: &str = "APOP needs a name and a digest of 32 hexadecimal digits";
pub(super) const UNKNOWN_MECHANISM: &str = "This SASL mechanism is not offered";
pub(super) const CANCELLED: &str = "Authentication cancelled";

pub(super) const NO_STLS: &str = "STLS is not offered on this connection";
pub(super) const TLS_ACTIVE: &str = "TLS is active already";
pub(super) const STLS_AFTER_UTF8: &str = "STLS must come before UTF8";
pub(super) const UNKNOWN_LANGUAGE: &str = "This language is not offered, only en and i-default";

pub(super) const UNKNOWN_COMMAND: &str = "Unknown command";
pub(super) const LOGIN_FIRST: &str = "Log in first";
pub(super) const LOGGED_IN: &str = "Logged in already";
pub(super) const NO_ARGUMENT: &str = "UTF8 takes no argument";
pub(super) const LINE_TOO_LONG: &str = "Line too long";
pub(super) const STOPPING: &str = "[SYS/TEMP] The server ends this session, try again later";
pub(super) const TOO_MANY_ERRORS: &str = "Too many errors, closing";

pub(super) const ZERO: &str = "Messages are numbered from 1";
pub(super) const GONE: &str = "This message was removed by another program";
pub(super) const UNREADABLE: &str = "[SYS/TEMP] This message cannot be read now, try again later";
pub(super) const NOT_ALL_REMOVED: &str = "[SYS/PERM] Some deleted messages not removed";

/// The sentence for a bad argument that is to be a `message-number`, or a `number of lines` (TOP).
pub(super) fn malformed(number: &str, fault: Malformed) -> String {
    match fault {
        Malformed::Missing => format!("A {number} is needed"),
        Malformed::Sign => format!("A {number} has no sign"),
        Malformed::NotANumber => format!("This is not a {number}"),
        Malformed::Noise => format!("There is noise after the {number}"),
        Malformed::Overflow => format!("The {number} is too large"),
    }
}

/// Appends `+OK`, a sentence, and CRLF.
pub(super) fn ok(out: &mut Vec<u8>, sentence: &str) {
    line(out, "+OK", sentence);
}

/// Appends `-ERR`, a sentence, and CRLF.
pub(super) fn err(out: &mut Vec<u8>, sentence: &str) {
    line(out, "-ERR", sentence);
}

fn line(out: &mut Vec<u8>, status: &str, sentence: &str) {
    out.extend_from_slice(status.as_bytes());
    if !sentence.is_empty() {
        out.push(b' ');
        out.extend_from_slice(sentence.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal, without `fmt`: a listing has 200,000 of them.
pub(super) fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decimal_agrees_with_fmt(value in prop_oneof![any::<u64>(), 0_u64..1000, Just(u64::MAX)]) {
            let mut out = Vec::new();
            decimal(&mut out, value);
            prop_assert_eq!(out, value.to_string().into_bytes());
        }
    }
}
