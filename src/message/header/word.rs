//! Encoded words (RFC 2047): `=?charset?B?...?=` and `=?charset?Q?...?=` to UTF-8.
//!
//! Real mail splits multibyte characters over adjacent words, forgets padding and puts words where they are not allowed;
//! all that is understood. A word that is damaged, or in a charset that nobody knows, stays as it is written.

use crate::message::base64;
use encoding_rs::{BIG5, EUC_KR, Encoding, GBK, ISO_2022_JP, SHIFT_JIS};
use std::borrow::Cow;

/// Decodes every encoded word of an unfolded field body. What is not ASCII outside them is UTF-8, or becomes U+FFFD.
pub fn decode(body: &[u8]) -> String {
    if memchr::memmem::find(body, b"=?").is_none() {
        return String::from_utf8_lossy(body).into_owned();
    }
    let mut text = String::with_capacity(body.len());
    // Octets of adjacent words in one charset are decoded together: a character may be split between them. Not so where
    // each begins by saying which set it uses: one escape sequence right behind another would be an error.
    let mut pending: Option<(&'static Encoding, Vec<u8>)> = None;
    let mut rest = body;
    while !rest.is_empty() {
        let blank = rest.len() - rest.trim_ascii_start().len();
        if let Some((encoding, octets, length)) = word(&rest[blank..]) {
            match &mut pending {
                // White space between two encoded words is not shown (section 6.2).
                Some((same, collected)) if *same == encoding && !begins_anew(encoding, &octets) => {
                    collected.extend_from_slice(&octets);
                }
                other => {
                    if let Some((encoding, octets)) = other.take() {
                        text += &encoding.decode_without_bom_handling(&octets).0;
                    } else {
                        text += &lossy(&rest[..blank]);
                    }
                    pending = Some((encoding, octets));
                }
            }
            rest = &rest[blank + length..];
            continue;
        }
        if let Some((encoding, octets)) = pending.take() {
            text += &encoding.decode_without_bom_handling(&octets).0;
        }
        // Plain text up to the next thing that may be a word, and at least one octet.
        let next = memchr::memmem::find(&rest[blank.max(1)..], b"=?").map_or(rest.len(), |at| at + blank.max(1));
        let end = rest[..next].trim_ascii_end().len().max(blank).max(1);
        text += &lossy(&rest[..end]);
        rest = &rest[end..];
    }
    if let Some((encoding, octets)) = pending {
        text += &encoding.decode_without_bom_handling(&octets).0;
    }
    text
}

fn lossy(octets: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(octets)
}

/// One encoded word at the beginning of `text`: its charset, its octets, its length.
fn word(text: &[u8]) -> Option<(&'static Encoding, Vec<u8>, usize)> {
    let body = text.strip_prefix(b"=?")?;
    let mut parts = body.splitn(3, |&octet| octet == b'?');
    let (charset, kind, rest) = (parts.next()?, parts.next()?, parts.next()?);
    // A language may follow the charset (RFC 2231 section 5).
    let encoding = charset_of(charset.split(|&octet| octet == b'*').next()?)?;
    // Q may hold a question mark by mistake of others only; the first `?=` ends the word.
    let end = memchr::memmem::find(rest, b"?=")?;
    let octets = match kind {
        b"B" | b"b" => base64::decode_lax(&rest[..end])?,
        b"Q" | b"q" => quoted(&rest[..end]),
        _ => return None,
    };
    let length = 2 + charset.len() + 1 + kind.len() + 1 + end + 2;
    Some((encoding, octets, length))
}

/// A charset by its name, also by those names that mail programs use and the web does not.
fn charset_of(name: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(name).or_else(|| match name.to_ascii_lowercase().as_slice() {
        b"cp932" | b"windows-932" => Some(SHIFT_JIS),
        b"cp936" | b"ms936" | b"windows-936" => Some(GBK),
        b"cp949" | b"ms949" => Some(EUC_KR),
        b"cp950" | b"ms950" | b"windows-950" => Some(BIG5),
        b"iso-2022-jp-1" | b"iso-2022-jp-2" | b"iso-2022-jp-3" | b"iso-2022-jp-ms" => Some(ISO_2022_JP),
        _ => None,
    })
}

fn begins_anew(encoding: &'static Encoding, octets: &[u8]) -> bool {
    encoding == ISO_2022_JP && octets.starts_with(b"\x1b")
}

/// Q (section 4.2): `_` is a space, `=XX` an octet, and what is damaged stays.
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |octet: u8| char::from(octet).to_digit(16);
        match (first, tail) {
            (b'_', _) => octets.push(b' '),
            (b'=', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    octets.push((high * 16 + low) as u8);
                    rest = after;
                }
                _ => octets.push(b'='),
            },
            (other, _) => octets.push(*other),
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfc_and_of_the_world() {
        for (written, meant) in [
            ("plain text", "plain text"),
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  \t =?ISO-8859-2?Q?_b?=", "a b"),
            ("x =?ISO-8859-1?Q?a_b?=  y", "x a b  y"),
            ("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
            ("=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),
            ("=?UTF-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
            // A character split between two words.
            ("=?UTF-8?Q?Gr=C3?= =?UTF-8?Q?=BC=C3=9Fe?=", "Grüße"),
            ("=?GBK?B?xOO6w8rAvec=?=", "你好世界"),
            ("=?gb18030?B?xOO6ww==?=", "你好"),
            ("=?Big5?B?p0GmbqVArMk=?=", "你好世界"),
            ("=?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=", "日本語"),
            ("=?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=\t=?iso-2022-jp?B?GyRCRnxLXDhsGyhC?=", "日本語日本語"),
            ("=?ISO-2022-JP?Q?=1B$BF|?= =?ISO-2022-JP?Q?K\\8l=1B(B!?=", "日本語!"),
            ("=?cp932?B?k/qWe4zq?=", "日本語"),
            ("=?Shift_JIS?B?k/qWe4zq?=", "日本語"),
            ("=?EUC-JP?B?xvzL3Ljs?=", "日本語"),
            ("=?EUC-KR?B?x9Gxub7u?=", "한국어"),
            ("=?KOI8-R?B?8NLJ18XU?=", "Привет"),
            ("=?windows-1251?Q?=CF=F0=E8=E2=E5=F2?=", "Привет"),
            ("=?ISO-8859-15?Q?=A4?=", "€"),
            ("(=?UTF-8?Q?c?=)", "(c)"),
            // Damaged or unknown: as it is written.
            ("=?x-unknown?Q?a?=", "=?x-unknown?Q?a?="),
            ("=?ISO-2022-KR?B?GyQpQw5HUTE5Dw==?=", "=?ISO-2022-KR?B?GyQpQw5HUTE5Dw==?="),
            ("=?UTF-8?X?a?= b", "=?UTF-8?X?a?= b"),
            ("=?UTF-8?Q?a", "=?UTF-8?Q?a"),
            ("=?=?=? =?", "=?=?=? =?"),
            ("=?UTF-8?B?!!!?=", "=?UTF-8?B?!!!?="),
            ("=?UTF-8?Q?=zz=?=", "=zz="),
        ] {
            assert_eq!(decode(written.as_bytes()), meant, "{written}");
        }
        assert_eq!(decode(b"raw \xff and gr\xc3\xbc\xc3\x9fe"), "raw \u{fffd} and grüße");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_plain_text_stays(octets in proptest::collection::vec(any::<u8>(), 0..200), plain in "[ -<>-~]{0,80}") {
            decode(&octets);
            decode(&[b"=?UTF-8?Q?".as_slice(), &octets, b"?= =?GBK?B?"].concat());
            prop_assert_eq!(decode(plain.as_bytes()), plain);
        }
    }
}
