//! Base64 (RFC 4648 section 4): strict for protocols, lenient for header fields.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648 section 4).
pub fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &octet| bits << 8 | u32::from(octet)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= group.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

/// Reads base64 as RFC 4648 has it and no other way: padded, no white space, nothing behind the padding, no bits set
/// that belong to no octet. So two texts never mean the same octets.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let (octets, bits, held) = values(digits.iter())?;
    (bits == 0 && held < 6).then_some(octets)
}

/// Reads base64 as it is found in mail: spaces skipped, padding optional, but no other characters.
pub fn decode_lax(text: &[u8]) -> Option<Vec<u8>> {
    values(text.iter().filter(|letter| !matches!(letter, b'=' | b' '))).map(|(octets, ..)| octets)
}

/// The octets of the digits, and the remaining bits with their number.
fn values<'a>(digits: impl Iterator<Item = &'a u8>) -> Option<(Vec<u8>, u32, u32)> {
    let mut octets = Vec::with_capacity(digits.size_hint().0 * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some((octets, bits, held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_the_rfc_and_nothing_like_it() {
        for (octets, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(encode(octets.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(octets.as_bytes()));
        }
        for bad in [
            "Z",
            "Zg",
            "Zg=",
            "Zm8",
            "Zh==",
            "Zm9=",
            "=",
            "==",
            "====",
            "Z===",
            "Zg===",
            "Zg==Zg==",
            "Zm9v\n",
            " Zm9v",
            "Zm 9v",
            "Zm9v====",
            "Zm=v",
            "Zm9-",
            "Zm9_",
            "Zm9v\0",
            "\u{fc}\u{fc}",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(octets in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = encode(&octets);
            prop_assert_eq!(decode(text.as_bytes()), Some(octets));
        }

        /// What is read is what would be written.
        #[test]
        fn has_one_text_for_octets(text in "[A-D+/=]{0,12}") {
            if let Some(octets) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&octets), text);
            }
        }
    }
}
