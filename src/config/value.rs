//! What the strings of a configuration mean: sizes, durations, modes, names. Each error is a whole sentence with a hint.

use super::Rate;
use crate::nearest::nearest;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `"25MiB"`: octets.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_number(text);
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => {
            let meant = match unit.to_ascii_uppercase().as_str() {
                "" => Some("B"),
                "K" | "KB" | "KIB" => Some("KiB"),
                "M" | "MB" | "MIB" => Some("MiB"),
                "G" | "GB" | "GIB" => Some("GiB"),
                _ => None,
            };
            return Err(match meant {
                Some(unit) if number.is_some() => {
                    format!("{text:?} is not a size; did you mean \"{}{unit}\"?", digits(text))
                }
                _ => format!("{text:?} is not a size; write a number and B, KiB, MiB or GiB, such as \"25MiB\""),
            });
        }
    };
    let number = number.ok_or_else(|| format!("{text:?} is not a size; write a whole number and a unit: \"25MiB\""))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more than any disk has"))
}

/// A size that is at least an octet; `otherwise` says what none would do, and what to write.
pub(super) fn some_size(text: &str, otherwise: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err(format!("{text:?} {otherwise}")),
        size => Ok(size),
    }
}

/// `"90s"`, `"5m"`, `"6h"`, `"7d"`.
///
/// # Errors
///
/// Says what is wrong, with what was probably meant.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_number(text);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" if number.is_some() => {
            let days = number.unwrap_or_default().saturating_mul(7);
            return Err(format!("{text:?} is not a duration; weeks are written in days: \"{days}d\""));
        }
        "" if number.is_some() => return Err(format!("{text:?} lacks its unit: s, m, h or d, such as \"{text}s\"")),
        _ => return Err(format!("{text:?} is not a duration; write a number and s, m, h or d, such as \"90s\"")),
    };
    // At most a hundred years, so that adding it to a clock cannot overflow.
    let seconds = number.and_then(|number| number.checked_mul(factor)).filter(|seconds| *seconds <= 3_155_760_000);
    let seconds = seconds.ok_or_else(|| format!("{text:?} is not a duration; write a number and a unit: \"90s\""))?;
    Ok(Duration::from_secs(seconds))
}

/// A duration that is at least a second.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err(format!("{text:?} would leave no time at all; at least \"1s\"")) } else { Ok(time) }
}

/// `"1m..6h"`.
pub(super) fn durations(text: &str) -> Result<(Duration, Duration), String> {
    let Some((from, to)) = text.split_once("..") else {
        return Err(format!("{text:?} is not a range of durations; write one such as \"1m..6h\""));
    };
    let (from, to) = (some_time(from.trim())?, some_time(to.trim())?);
    if from > to {
        return Err(format!("{text:?} begins with the longer wait; did you mean the other way round?"));
    }
    Ok((from, to))
}

/// `"60/1m"`: a number in a time.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let parts = text.split_once('/').and_then(|(count, period)| Some((count.trim().parse().ok()?, period.trim())));
    let Some((count @ 1..=1_000_000, period)) = parts else {
        return Err(format!("{text:?} is not a rate; write a number from 1 to 1000000 and a time, such as \"60/1m\""));
    };
    Ok(Rate { count, period: some_time(period)? })
}

/// `"off"`, or what `parse` reads.
pub(super) fn or_off<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&str) -> Result<Option<T>, String> {
    |text| match text {
        "off" => Ok(None),
        // A hint that is a question names the right value already.
        _ => parse(text).map(Some).map_err(|why| if why.ends_with('?') { why } else { format!("{why}, or \"off\"") }),
    }
}

/// `"0640"`: three or four octal digits.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|octet| matches!(octet, b'0'..=b'7'));
    let mode = if octal { u32::from_str_radix(text, 8).ok() } else { None };
    let mode = mode.ok_or_else(|| format!("{text:?} is not a mode; write octal digits such as \"0640\""))?;
    if mode & !0o666 != 0 {
        return Err(format!("\"{mode:04o}\" has other bits than read and write, such as \"0640\""));
    }
    if mode & 0o600 != 0o600 {
        return Err(format!("\"{mode:04o}\" would deny mailbell itself; did you mean \"{:04o}\"?", mode | 0o600));
    }
    Ok(mode)
}

/// The mode of message files: without rights for other users.
pub(super) fn private_mode(text: &str) -> Result<u32, String> {
    let mode = mode(text)?;
    if mode & 0o006 != 0 {
        return Err(format!("\"{mode:04o}\" shows mail to all users; did you mean \"{:04o}\"?", mode & !0o006));
    }
    Ok(mode)
}

/// A path; a relative one begins at `base`.
pub(super) fn path(base: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("\"\" is not a path".into());
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{text:?} has control characters in it"));
    }
    // Collected by components, so that two spellings of one place compare equal (`x/./y`, `x//y`).
    Ok(base.join(text).components().collect())
}

/// `""` for none, or what `parse` reads.
pub(super) fn or_empty<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&str) -> Result<Option<T>, String> {
    |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

/// A user's name.
///
/// # Errors
///
/// Says the rule, and the name that was probably meant.
pub fn user_name(text: &str) -> Result<String, String> {
    let valid = |name: &str| {
        matches!(name.len(), 1..=64)
            && !name.starts_with(['.', '-'])
            && name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    };
    if valid(text) {
        return Ok(text.to_owned());
    }
    let lower = text.split('@').next().unwrap_or(text).to_lowercase();
    let hint = if valid(&lower) { format!("; did you mean \"{lower}\"?") } else { String::new() };
    Err(format!("{text:?} is not a user's name: 1 to 64 of a-z 0-9 . _ -, not beginning with a dot or dash{hint}"))
}

/// A host's or domain's name, in lower case and without the dot of the root (RFC 5321 section 4.1.2, RFC 6531). An
/// underscore is no letter of a host name, but many machines in homes and offices have one.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_lowercase();
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|letter| matches!(letter, '-' | '_') || letter.is_alphanumeric())
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(name);
    }
    let hint = match text.rsplit_once('@') {
        Some((_, domain)) => format!("; did you mean {domain:?}?"),
        None if text.contains('*') => "; only \"*\" alone takes every domain".into(),
        None => "; write letters, digits, dashes and underscores between dots, such as \"mail.example.org\"".into(),
    };
    Err(format!("{text:?} is not a domain{hint}"))
}

/// A domain that mail is accepted for: a name, or an address literal such as `[192.0.2.1]`.
pub(super) fn mail_domain(text: &str) -> Result<String, String> {
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match literal {
        Some(inner) => {
            let address = inner.to_ascii_lowercase();
            let address = address.strip_prefix("ipv6:").unwrap_or(&address);
            match address.parse::<std::net::IpAddr>() {
                Ok(_) => Ok(text.to_lowercase()),
                Err(_) => Err(format!("{text:?} is not an address literal such as \"[192.0.2.1]\"")),
            }
        }
        None => domain(text),
    }
}

/// The number in front, where there is one that fits, and the rest.
fn split_number(text: &str) -> (Option<u64>, &str) {
    let digits = digits(text);
    (digits.parse().ok(), &text[digits.len()..])
}

fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

/// What one of these words means.
pub(super) fn choice<T: Clone>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
    found.ok_or_else(|| one_of(text, &words.iter().map(|(word, _)| *word).collect::<Vec<_>>()))
}

/// The sentence about a word that is none of these.
pub(super) fn one_of(text: &str, words: &[&str]) -> String {
    let all = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    match nearest(text, words.iter().copied()) {
        Some(near) => format!("{text:?} is none of {all}; did you mean {near:?}?"),
        None => format!("{text:?} is none of {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, octets) in
            [("0B", 0), ("1B", 1), ("3KiB", 3_072), ("25MiB", 26_214_400), ("1GiB", 1_073_741_824), ("007B", 7)]
        {
            assert_eq!(size(text), Ok(octets));
        }
        for (text, hint) in [
            ("25MB", "\"25MiB\""),
            ("25M", "\"25MiB\""),
            ("25mib", "\"25MiB\""),
            ("100", "\"100B\""),
            ("1.5GiB", "B, KiB, MiB or GiB"),
            ("MiB", "whole number"),
            ("MB", "B, KiB, MiB or GiB"),
            ("", "B, KiB, MiB or GiB"),
            ("-1B", "B, KiB, MiB or GiB"),
            (" 1B", "B, KiB, MiB or GiB"),
            ("99999999999999999999B", "whole number"),
            ("99999999999GiB", "any disk"),
        ] {
            let why = size(text).unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
        }
    }

    #[test]
    fn durations_and_ranges() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("6h", 21_600), ("30d", 2_592_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for (text, hint) in [
            ("90", "\"90s\""),
            ("2w", "\"14d\""),
            ("1h30m", "s, m, h or d"),
            ("5 m", "s, m, h or d"),
            ("500ms", "s, m, h or d"),
            ("s", "a number and a unit"),
            ("99999999999999d", "a number and a unit"),
            ("", "s, m, h or d"),
        ] {
            let why = duration(text).unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
        }
        assert_eq!(durations("1m..6h"), Ok((Duration::from_secs(60), Duration::from_secs(21_600))));
        assert_eq!(durations("1m..1m").map(|(from, _)| from), Ok(Duration::from_secs(60)));
        for text in ["1m", "6h..1m", "0s..1m", "1m...6h", ".."] {
            assert!(durations(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("666"), Ok(0o666));
        assert_eq!(private_mode("0660"), Ok(0o660));
        for text in ["", "640x", "0o640", "6400", "0755", "0888", "0440", "00640", "+640"] {
            assert!(mode(text).is_err(), "{text}");
        }
        assert!(private_mode("0644").unwrap_err().contains("\"0640\""));
        assert!(mode("0440").unwrap_err().contains("\"0640\""));
    }

    #[test]
    fn names_of_users() {
        let long = "a".repeat(64);
        for name in ["a", "alice", "a.b_c-9", "0", "_x", long.as_str()] {
            assert_eq!(user_name(name).as_deref(), Ok(name));
        }
        let longer = "a".repeat(65);
        for name in ["", ".", "..", ".a", "-a", "a b", "a/b", "ä", "a+b", "a:b", "a\n", longer.as_str()] {
            assert!(user_name(name).is_err(), "{name}");
        }
        assert!(user_name("Alice").unwrap_err().ends_with("did you mean \"alice\"?"));
        assert!(user_name("alice@example.org").unwrap_err().ends_with("did you mean \"alice\"?"));
    }

    #[test]
    fn domains() {
        for (text, name) in [
            ("example.org", "example.org"),
            ("Mail.Example.ORG.", "mail.example.org"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("Bücher.example", "bücher.example"),
            ("my_nas", "my_nas"),
            ("_dmarc.My_Nas.lan", "_dmarc.my_nas.lan"),
        ] {
            assert_eq!(domain(text).as_deref(), Ok(name));
        }
        for text in ["", ".", "a..b", "-a.b", "a-.b", "a b", "*.example.org", "x@example.org", "[192.0.2.1]"] {
            assert!(domain(text).is_err(), "{text}");
        }
        assert_eq!(mail_domain("[IPv6:2001:DB8::1]").as_deref(), Ok("[ipv6:2001:db8::1]"));
        assert_eq!(mail_domain("[192.0.2.1]").as_deref(), Ok("[192.0.2.1]"));
        assert!(mail_domain("[192.0.2]").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = size(&text);
            let _ = duration(&text);
            let _ = durations(&text);
            let _ = private_mode(&text);
            let _ = mail_domain(&text);
            prop_assert_eq!(user_name(&text).is_ok_and(|name| name != text), false);
        }
    }
}
