//! Charsets by name, and text in them to UTF-8: what encoding_rs knows from the web, by the spellings that mail programs
//! use, and what only mail has: UTF-16 with its byte order mark, UTF-7, and code pages of DOS.

use crate::message::base64;
use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GBK, ISO_2022_JP, KOI8_R, KOI8_U, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE,
};
use std::borrow::Cow;

/// A charset that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Standard(&'static Encoding),
    /// The octet order is told by the byte order mark, or found out.
    Utf16,
    Utf7,
    /// ASCII, and these 128 characters.
    CodePage(&'static str),
}

impl Charset {
    /// A charset by its name, in any case, with quotes and with `_` and `-` at other places than the standard has them.
    pub fn named(name: &[u8]) -> Option<Charset> {
        let name = name.trim_ascii().to_ascii_lowercase();
        let name: Vec<u8> = name.into_iter().filter(|octet| !matches!(octet, b'"' | b'\'' | b' ')).collect();
        // `iso8859-1`, `iso_8859-1` and `iso88591` are known to encoding_rs, `windows_1252` and `euc_kr` are not.
        let dashed: Vec<u8> = name.iter().map(|&octet| if octet == b'_' { b'-' } else { octet }).collect();
        let squeezed: Vec<u8> = name.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
        let squeezed = std::str::from_utf8(&squeezed).ok()?;
        Charset::of_mail(squeezed).or_else(|| {
            let labels = [&name[..], &dashed, squeezed.as_bytes()];
            let standard = labels.into_iter().find_map(Encoding::for_label_no_replacement);
            standard.or_else(|| code_page(squeezed)).map(|encoding| Charset(Kind::Standard(encoding)))
        })
    }

    /// By a name without punctuation: what encoding_rs does not have, or has under other names only.
    fn of_mail(name: &str) -> Option<Charset> {
        let kind = match name {
            "utf16" | "unicode" | "ucs2" | "iso10646ucs2" => Kind::Utf16,
            "utf16le" => Kind::Standard(UTF_16LE),
            "utf16be" => Kind::Standard(UTF_16BE),
            "utf7" | "unicode11utf7" => Kind::Utf7,
            "cp437" | "ibm437" | "437" => Kind::CodePage(CP437),
            "cp850" | "ibm850" | "850" => Kind::CodePage(CP850),
            "cp852" | "ibm852" | "852" => Kind::CodePage(CP852),
            "utf8mb4" | "cp65001" => Kind::Standard(UTF_8),
            "koi8r" => Kind::Standard(KOI8_R),
            "koi8u" => Kind::Standard(KOI8_U),
            "eucjp" => Kind::Standard(EUC_JP),
            "euckr" => Kind::Standard(EUC_KR),
            "iso2022jp" | "iso2022jp1" | "iso2022jp2" | "iso2022jp3" | "iso2022jpms" => Kind::Standard(ISO_2022_JP),
            _ => return None,
        };
        Some(Charset(kind))
    }

    /// The octets as UTF-8, without a byte order mark; what is damaged becomes U+FFFD.
    pub fn decode(self, octets: &[u8]) -> Cow<'_, str> {
        match self.0 {
            Kind::Standard(encoding) => encoding.decode_with_bom_removal(octets).0,
            Kind::Utf16 => utf16(octets).decode_with_bom_removal(octets).0,
            Kind::Utf7 => Cow::Owned(utf7(octets)),
            Kind::CodePage(table) => {
                let letter = |&octet: &u8| match octet {
                    0..=127 => char::from(octet),
                    octet => table.chars().nth(usize::from(octet) - 128).unwrap_or_default(),
                };
                Cow::Owned(octets.iter().map(letter).collect())
            }
        }
    }

    /// Whether these octets begin by saying how they are to be read, and so cannot follow others directly.
    pub(super) fn begins_anew(self, octets: &[u8]) -> bool {
        match self.0 {
            Kind::Standard(encoding) => encoding == ISO_2022_JP && octets.starts_with(b"\x1b"),
            Kind::Utf16 => octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff"),
            Kind::Utf7 => true,
            Kind::CodePage(_) => false,
        }
    }

    /// Whether text in this charset can look like ASCII: then being valid UTF-8 says nothing.
    pub(super) fn hides_in_ascii(self, octets: &[u8]) -> bool {
        self.0 == Kind::Standard(ISO_2022_JP) && octets.contains(&0x1b)
    }
}

/// `windows1252`, `ibm866`, `cp936`: code pages by number.
fn code_page(name: &str) -> Option<&'static Encoding> {
    let number = name.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    match (&name[..name.len() - number.len()], number) {
        ("cp" | "xcp" | "ms" | "win" | "windows" | "ibm", "932" | "943") => Some(SHIFT_JIS),
        ("cp" | "xcp" | "ms" | "win" | "windows" | "ibm", "936" | "1386") => Some(GBK),
        ("cp" | "xcp" | "ms" | "win" | "windows" | "ibm", "949") => Some(EUC_KR),
        ("cp" | "xcp" | "ms" | "win" | "windows" | "ibm", "950") => Some(BIG5),
        ("cp" | "xcp" | "ms" | "win" | "windows" | "ibm", number) => {
            Encoding::for_label_no_replacement(format!("cp{number}").as_bytes())
        }
        _ => None,
    }
}

/// The octet order of UTF-16: what the byte order mark says, else the one in which more characters are Latin; RFC 2781
/// section 4.3 asks for big-endian where nothing tells.
fn utf16(octets: &[u8]) -> &'static Encoding {
    let zeroes = |parity| octets.iter().skip(parity).step_by(2).filter(|&&octet| octet == 0).count();
    match octets {
        [0xff, 0xfe, ..] => UTF_16LE,
        [0xfe, 0xff, ..] => UTF_16BE,
        _ if zeroes(1) > zeroes(0) => UTF_16LE,
        _ => UTF_16BE,
    }
}

/// UTF-7 (RFC 2152): `+` begins base64 of UTF-16, up to `-` or the first other character; `+-` is `+`.
fn utf7(octets: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = octets;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        text += &String::from_utf8_lossy(&rest[..plus]);
        rest = &rest[plus + 1..];
        let is_base64 = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
        let length = rest.iter().position(|octet| !is_base64(octet)).unwrap_or(rest.len());
        match (length, base64::decode_lax(&rest[..length])) {
            (0, _) => text.push('+'),
            (_, Some(units)) => text += &UTF_16BE.decode_without_bom_handling(&units[..units.len() & !1]).0,
            (_, None) => text.push('\u{fffd}'),
        }
        rest = rest[length..].strip_prefix(b"-").unwrap_or(&rest[length..]);
    }
    text + &String::from_utf8_lossy(rest)
}

// The upper halves of three code pages.
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
     └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
const CP850: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
     └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";
const CP852: &str = "ÇüéâäůćçłëŐőîŹÄĆÉĹĺôöĽľŚśÖÜŤťŁ×čáíóúĄąŽžĘę¬źČş«»░▒▓│┤ÁÂĚŞ╣║╗╝Żż┐\
     └┴┬├─┼Ăă╚╔╩╦╠═╬¤đĐĎËďŇÍÎě┘┌█▄ŢŮ▀ÓßÔŃńňŠšŔÚŕŰýÝţ´\u{ad}˝˛ˇ˘§÷¸°¨˙űŘř■\u{a0}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_spelling() {
        for (names, octets, text) in [
            (
                &[
                    "ISO-8859-1",
                    "ISO8859_1",
                    "iso_8859_1",
                    "\"iso-8859-1\"",
                    "'latin1'",
                    "ISO88591",
                    "cp1252",
                    "us-ascii",
                ][..],
                &b"caf\xe9"[..],
                "café",
            ),
            (&["windows-1251", "windows_1251", "win1251", "CP-1251", "ms1251", "x-cp1251"], b"\xcf\xf0", "Пр"),
            (&["koi8-r", "KOI8_R", "koi8r"], b"\xf0\xd2", "Пр"),
            (&["cp866", "IBM-866"], b"\x8f\xe0", "Пр"),
            (&["utf-8", "UTF8", "utf_8", "\"utf-8\""], "é".as_bytes(), "é"),
            (&["GBK", "gb2312", "GB_2312-80", "cp936", "windows-936", "x-gbk"], b"\xc4\xe3", "你"),
            (&["shift_jis", "Shift-JIS", "x-sjis", "cp932", "windows-31j"], b"\x93\xfa", "日"),
            (&["euc-kr", "EUC_KR", "euckr", "ks_c_5601-1987", "cp949"], b"\xc7\xd1", "한"),
            (&["big5", "Big5-HKSCS", "cp950"], b"\xa7\x41", "你"),
            (&["cp437", "IBM437"], b"\x81\xe1", "üß"),
            (&["cp850", "ibm-850", "850"], b"\x82t\x82", "été"),
            (&["cp852"], b"\xa9\xec", "ęý"),
            (&["UTF-16", "utf16"], b"\xff\xfe\xfc\0t\0", "üt"),
            (&["UTF-16"], b"\xfe\xff\0\xfc\0t", "üt"),
            (&["UTF-16", "UTF-16BE", "utf_16be"], b"\0\xfc\0t", "üt"),
            (&["UTF-16", "UTF-16LE"], b"\xfc\0t\0", "üt"),
            (&["UTF-7", "unicode-1-1-utf-7"], b"a+APw-b +- +2D3cqQ", "aüb + 💩"),
        ] {
            for name in names {
                let charset = Charset::named(name.as_bytes()).unwrap_or_else(|| panic!("{name}"));
                assert_eq!(charset.decode(octets), text, "{name}");
            }
        }
        for unknown in ["", "x-unknown", "iso-2022-kr", "cp", "cp1", "\"\"", "\u{e9}"] {
            assert_eq!(Charset::named(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn code_pages_are_whole() {
        for table in [CP437, CP850, CP852] {
            assert_eq!(table.chars().count(), 128);
            assert!(table.chars().all(|letter| !letter.is_control() && !letter.is_ascii()));
        }
    }
}
