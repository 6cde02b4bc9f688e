//! Encoded words (RFC 2047): `=?charset?B?...?=` and `=?charset?Q?...?=` to UTF-8.
//!
//! Real mail splits multibyte characters over adjacent words, omits padding and puts words where they are not allowed;
//! all that is decoded. A word that is damaged, or in an unknown charset, stays as it is written.

use super::charset::Charset;
use crate::message::base64;
use std::borrow::Cow;

/// Decodes every encoded word of an unfolded field body. What is not ASCII outside them is UTF-8, else in the charset
/// `raw`, else it becomes U+FFFD. Stops soon after `enough` octets of text.
pub fn decode(body: &[u8], raw: Option<Charset>, enough: usize) -> String {
    let mut text = String::new();
    // Octets of adjacent words in the same charset are decoded together: a character may be split between them. Not so
    // where each begins by saying how it is read: two escape sequences in a row would be an error.
    let mut pending: Option<(Charset, Vec<u8>)> = None;
    let mut rest = body;
    while !rest.is_empty() && text.len() <= enough {
        let blank = rest.len() - rest.trim_ascii_start().len();
        if let Some((charset, octets, length)) = word(&rest[blank..]) {
            match &mut pending {
                // White space between two encoded words is not shown (section 6.2).
                Some((same, collected)) if *same == charset && !charset.begins_anew(&octets) => {
                    collected.extend_from_slice(&octets);
                }
                other => {
                    match other.take() {
                        Some((charset, octets)) => text += &charset.decode(&octets),
                        None => text += &plain(&rest[..blank], raw),
                    }
                    pending = Some((charset, octets));
                }
            }
            rest = &rest[blank + length..];
            continue;
        }
        if let Some((charset, octets)) = pending.take() {
            text += &charset.decode(&octets);
        }
        // Plain text up to the next thing that may be a word, and at least one octet.
        let next = memchr::memmem::find(&rest[blank.max(1)..], b"=?").map_or(rest.len(), |at| at + blank.max(1));
        let end = rest[..next].trim_ascii_end().len().max(blank).max(1);
        text += &plain(&rest[..end], raw);
        rest = &rest[end..];
    }
    if let Some((charset, octets)) = pending {
        text += &charset.decode(&octets);
    }
    text
}

/// Text outside encoded words.
fn plain(octets: &[u8], raw: Option<Charset>) -> Cow<'_, str> {
    match (std::str::from_utf8(octets), raw) {
        (Ok(text), None) => Cow::Borrowed(text),
        (Ok(text), Some(charset)) if !charset.hides_in_ascii(octets) => Cow::Borrowed(text),
        (_, Some(charset)) => charset.decode(octets),
        (Err(_), None) => String::from_utf8_lossy(octets),
    }
}

/// One encoded word at the beginning of `text`: its charset, its octets, its length.
fn word(text: &[u8]) -> Option<(Charset, Vec<u8>, usize)> {
    let body = text.strip_prefix(b"=?")?;
    let mut parts = body.splitn(3, |&octet| octet == b'?');
    let (charset, kind, rest) = (parts.next()?, parts.next()?, parts.next()?);
    // A language may follow the charset (RFC 2231 section 5).
    let known = Charset::named(charset.split(|&octet| octet == b'*').next()?)?;
    // A question mark inside Q is an error of the sender; the first `?=` ends the word.
    let end = memchr::memmem::find(rest, b"?=")?;
    let octets = match kind {
        b"B" | b"b" => base64::decode_lax(&rest[..end])?,
        b"Q" | b"q" => quoted(&rest[..end]),
        _ => return None,
    };
    let length = 2 + charset.len() + 1 + kind.len() + 1 + end + 2;
    Some((known, octets, length))
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
            ("=?ISO8859_1?Q?caf=E9?= =?cp850?Q?_=82t=82?= =?UTF-16?B?//78AHQAZgA=?=", "café étéütf"),
            ("=?\"utf-8\"?Q?=C3=A9?=", "é"),
            ("=?UTF-16?B?/v8A/A==?= =?UTF-16?B?/v8A/A==?=", "üü"),
            ("=?UTF-7?Q?+APw-?= =?UTF-7?Q?b?=", "üb"),
            ("=?UTF-8?B?77u/YQ==?=", "a"),
            // Damaged or unknown: as it is written.
            ("=?x-unknown?Q?a?=", "=?x-unknown?Q?a?="),
            ("=?ISO-2022-KR?B?GyQpQw5HUTE5Dw==?=", "=?ISO-2022-KR?B?GyQpQw5HUTE5Dw==?="),
            ("=?UTF-8?X?a?= b", "=?UTF-8?X?a?= b"),
            ("=?UTF-8?Q?a", "=?UTF-8?Q?a"),
            ("=?=?=? =?", "=?=?=? =?"),
            ("=?UTF-8?B?!!!?=", "=?UTF-8?B?!!!?="),
            ("=?UTF-8?Q?=zz=?=", "=zz="),
        ] {
            assert_eq!(decode(written.as_bytes(), None, 100), meant, "{written}");
        }
        assert_eq!(decode(b"raw \xff and gr\xc3\xbc\xc3\x9fe", None, 100), "raw \u{fffd} and grüße");
    }

    #[test]
    fn raw_octets_are_read_in_the_charset_that_is_given() {
        let named = |name: &str| Charset::named(name.as_bytes());
        for (octets, charset, text) in [
            (&b"Gr\xfc\xdfe"[..], named("iso-8859-1"), "Grüße"),
            (b"\xd0\xc2 =?UTF-8?Q?=C3=A9?= \xd0\xc2", named("gbk"), "新 é 新"),
            ("Grüße".as_bytes(), named("iso-8859-1"), "Grüße"),
            (b"\x1b$BF|\x1b(B", named("iso-2022-jp"), "日"),
            (b"Gr\xfc\xdfe", named("utf-8"), "Gr\u{fffd}\u{fffd}e"),
            (b"Gr\xfc\xdfe", None, "Gr\u{fffd}\u{fffd}e"),
        ] {
            assert_eq!(decode(octets, charset, 100), text, "{}", octets.escape_ascii());
        }
    }

    #[test]
    fn it_stops_when_it_has_enough() {
        assert!(decode(&b"=?UTF-8?Q?abcdefgh?= x ".repeat(10_000), None, 100).len() < 130);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_plain_text_stays(octets in proptest::collection::vec(any::<u8>(), 0..200), plain in "[ -<>-~]{0,80}") {
            decode(&octets, None, 100);
            decode(&[b"=?UTF-8?Q?".as_slice(), &octets, b"?= =?GBK?B?"].concat(), None, 100);
            prop_assert_eq!(decode(plain.as_bytes(), None, 100), plain);
        }
    }
}
