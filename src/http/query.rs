//! Percent-encoding (RFC 3986 section 2.1), and the names and values of a query as forms and `URLSearchParams` write them.

/// The octets that a text stands for, as UTF-8; with `plus`, a `+` stands for a space. `None` where it is malformed.
pub(super) fn decode(text: &str, plus: bool) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        octets.push(match first {
            b'%' => {
                let (high, low) = (digit(*rest.first()?)?, digit(*rest.get(1)?)?);
                rest = &rest[2..];
                high * 16 + low
            }
            b'+' if plus => b' ',
            other => *other,
        });
    }
    String::from_utf8(octets).ok()
}

/// `name=value&name=value`; a name without `=` has an empty value.
pub(super) fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

fn digit(octet: u8) -> Option<u8> {
    // The digit is below 16.
    (octet as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_malformed_is_none() {
        for text in ["%", "%4", "%4g", "%g4", "a%", "%ff", "%c3%28", "%-1", "%+1"] {
            assert_eq!(decode(text, true), None, "{text}");
        }
        assert_eq!(decode("a+b%20%2b%C3%A4", true).as_deref(), Some("a b +\u{e4}"));
        assert_eq!(decode("a+b", false).as_deref(), Some("a+b"));
    }

    #[test]
    fn names_and_values() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs("match=from%3D*%40bank.example&match=subject=a=b&&user&x="),
            Some(vec![
                pair("match", "from=*@bank.example"),
                pair("match", "subject=a=b"),
                pair("user", ""),
                pair("x", "")
            ])
        );
        assert_eq!(pairs(""), Some(vec![]));
        assert_eq!(pairs("a=%zz"), None);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let encoded: String = text.bytes().map(|octet| format!("%{octet:02x}")).collect();
            prop_assert_eq!(decode(&encoded, true), Some(text));
        }
    }
}
