//! Modified UTF-7 (RFC 3501 section 5.1.3), in which folder names travel.

use crate::message::base64;

/// A folder's name as it is sent: printable ASCII stays, `&` becomes `&-`, all else is base64 of UTF-16 between `&` and
/// `-`, with `,` instead of `/` and without padding.
pub fn encode(name: &str) -> String {
    let mut sent = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_plain = |letter: char| (' '..='~').contains(&letter);
        let end = rest.find(|letter| is_plain(letter) != is_plain(first)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        if is_plain(first) {
            sent += &run.replace('&', "&-");
        } else {
            let units: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
            sent.push('&');
            sent += &base64::encode(&units).trim_end_matches('=').replace('/', ",");
            sent.push('-');
        }
        rest = tail;
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What [`encode`] wrote; `None` for what no client writes.
    fn decode(sent: &str) -> Option<String> {
        let mut name = String::with_capacity(sent.len());
        let mut rest = sent;
        while let Some((plain, tail)) = rest.split_once('&') {
            name += plain;
            let (run, tail) = tail.split_once('-')?;
            if run.is_empty() {
                name.push('&');
            } else {
                let octets = base64::decode_lax(run.replace(',', "/").as_bytes())?;
                let (pairs, []) = octets.as_chunks::<2>() else { return None };
                let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
                name += &String::from_utf16(&units).ok()?;
            }
            rest = tail;
        }
        name += rest;
        (encode(&name) == sent).then_some(name)
    }

    #[test]
    fn names_of_the_rfc_and_of_providers() {
        for (name, sent) in [
            ("INBOX", "INBOX"),
            ("~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("A & B", "A &- B"),
            ("Entw\u{fc}rfe", "Entw&APw-rfe"),
            ("\u{1f514}", "&2D3dFA-"),
            ("[Gmail]/Trash", "[Gmail]/Trash"),
            ("", ""),
        ] {
            assert_eq!(encode(name), sent);
            assert_eq!(decode(sent).as_deref(), Some(name));
        }
        for bad in ["&", "&U", "&U,BTFw", "&AGE-", "Entw\u{fc}rfe", "&!!-", "&2D0-"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(name in any::<String>()) {
            let sent = encode(&name);
            prop_assert!(sent.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
            prop_assert_eq!(decode(&sent), Some(name));
        }
    }
}
