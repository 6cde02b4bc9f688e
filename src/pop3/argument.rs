//! Numbers in command arguments, parsed exactly: each fault has a name of its own, and nothing is guessed.

/// What is wrong with a number that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// There is none.
    Missing,
    /// It begins with `+` or `-`.
    Sign,
    /// It begins with something else than a digit.
    NotANumber,
    /// Something follows its digits.
    Noise,
    /// More than the type can hold.
    Overflow,
}

/// Parses a whole argument as a decimal number up to 2^64 - 1. Leading zeros are digits as any other.
pub(super) fn number(argument: &[u8]) -> Result<u64, Malformed> {
    let digits = argument.iter().take_while(|octet| octet.is_ascii_digit()).count();
    match argument.first() {
        None => return Err(Malformed::Missing),
        Some(b'+' | b'-') => return Err(Malformed::Sign),
        Some(_) if digits == 0 => return Err(Malformed::NotANumber),
        Some(_) if digits < argument.len() => return Err(Malformed::Noise),
        Some(_) => {}
    }
    argument.iter().try_fold(0_u64, |value, digit| {
        value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0'))).ok_or(Malformed::Overflow)
    })
}

/// Splits an argument at its first space: `1 10` of TOP, `PLAIN =` of AUTH. Further spaces between the two parts are
/// dropped.
pub(super) fn pair(argument: &[u8]) -> (&[u8], Option<&[u8]>) {
    match argument.iter().position(|&octet| octet == b' ') {
        Some(space) => (&argument[..space], Some(without_spaces_before(&argument[space..]))),
        None => (argument, None),
    }
}

/// An argument without the spaces before it. A tab is part of the argument, as in Dovecot.
pub(super) fn without_spaces_before(argument: &[u8]) -> &[u8] {
    let spaces = argument.iter().take_while(|&&octet| octet == b' ').count();
    &argument[spaces..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_fault_has_its_own_name() {
        for (argument, expected) in [
            (&b"0"[..], Ok(0)),
            (b"1", Ok(1)),
            (b"007", Ok(7)),
            (b"18446744073709551615", Ok(u64::MAX)),
            (b"18446744073709551616", Err(Malformed::Overflow)),
            (b"99999999999999999999999", Err(Malformed::Overflow)),
            (b"", Err(Malformed::Missing)),
            (b"-1", Err(Malformed::Sign)),
            (b"+1", Err(Malformed::Sign)),
            (b"x", Err(Malformed::NotANumber)),
            (b"0x1", Err(Malformed::Noise)),
            (b"1 2", Err(Malformed::Noise)),
            (b"1.", Err(Malformed::Noise)),
            (b"1\0", Err(Malformed::Noise)),
            (b" 1", Err(Malformed::NotANumber)),
        ] {
            assert_eq!(number(argument), expected, "{}", argument.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn agrees_with_std_on_digits(text in "[0-9]{1,25}") {
            prop_assert_eq!(number(text.as_bytes()).ok(), text.parse::<u64>().ok());
        }
    }
}
