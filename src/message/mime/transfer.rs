//! Transfer encodings (RFC 2045 section 6) of octets that come in pieces; damage is passed over as mail programs do it.

/// Longest run of white space behind a `=` that may still be a soft line break, octets.
const PADDING: usize = 1_000;

/// The digits of base64 by their octets; 64 for all others.
const DIGITS: [u8; 256] = {
    let mut digits = [64; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut index = 0;
    while index < 64 {
        digits[alphabet[index] as usize] = index as u8;
        index += 1;
    }
    digits
};

/// Decodes the octets of one part.
#[derive(Debug)]
pub(super) enum Decoder {
    /// 7bit, 8bit, binary, and names that nobody knows.
    Identity,
    /// Other octets than digits are passed over; padding ends the data, and what follows is no part of it.
    Base64 { bits: u32, held: u32, digits: u32, ended: bool },
    /// `held` begins with a `=` of which the meaning depends on what follows.
    Quoted { held: Vec<u8> },
}

impl Decoder {
    /// By the body of Content-Transfer-Encoding.
    pub(super) fn named(name: &[u8]) -> Decoder {
        let plain = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
        let name = name.trim_ascii_start();
        let name = &name[..name.iter().position(|octet| !plain(octet)).unwrap_or(name.len())];
        match name.to_ascii_lowercase().as_slice() {
            b"base64" => Decoder::Base64 { bits: 0, held: 0, digits: 0, ended: false },
            b"quoted-printable" => Decoder::Quoted { held: Vec::new() },
            _ => Decoder::Identity,
        }
    }

    /// Appends what these octets mean.
    pub(super) fn decode(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => out.extend_from_slice(octets),
            Decoder::Base64 { bits, held, digits, ended } => {
                for &octet in octets {
                    let digit = DIGITS[usize::from(octet)];
                    if *ended {
                        break;
                    }
                    if digit == 64 {
                        *ended = octet == b'=' && *digits % 4 >= 2;
                        continue;
                    }
                    *bits = *bits << 6 | u32::from(digit);
                    *held += 6;
                    *digits = digits.wrapping_add(1);
                    if *held >= 8 {
                        *held -= 8;
                        out.push((*bits >> *held) as u8);
                    }
                }
            }
            Decoder::Quoted { held } => quoted(held, octets, out),
        }
    }

    /// The part has ended.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Decoder::Quoted { held } = self {
            // A soft line break before a boundary has no line end of its own.
            if !held[held.len().min(1)..].iter().all(u8::is_ascii_whitespace) {
                out.append(held);
            }
        }
    }
}

fn quoted(held: &mut Vec<u8>, mut octets: &[u8], out: &mut Vec<u8>) {
    let hex = |octet: u8| char::from(octet).to_digit(16);
    while let [octet, rest @ ..] = octets {
        match (&held[..], *octet) {
            ([], _) => {
                let plain = memchr::memchr(b'=', octets).unwrap_or(octets.len());
                out.extend_from_slice(&octets[..plain]);
                held.extend(octets.get(plain));
                octets = octets.get(plain + 1..).unwrap_or_default();
                continue;
            }
            ([_, high], octet) if let (Some(high), Some(low)) = (hex(*high), hex(octet)) => {
                out.push((high * 16 + low) as u8);
                held.clear();
            }
            ([_], octet) if hex(octet).is_some() => held.push(octet),
            // A soft line break.
            ([_, blank @ ..], b'\n') if blank.iter().all(u8::is_ascii_whitespace) => held.clear(),
            ([_, blank @ ..], b' ' | b'\t' | b'\r')
                if blank.len() < PADDING && blank.iter().all(u8::is_ascii_whitespace) =>
            {
                held.push(*octet);
            }
            // No escape: it stays as it is written, and this octet is looked at again.
            _ => {
                out.append(held);
                continue;
            }
        }
        octets = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(name: &str, pieces: &[&[u8]]) -> String {
        let (mut decoder, mut out) = (Decoder::named(name.as_bytes()), Vec::new());
        pieces.iter().for_each(|piece| decoder.decode(piece, &mut out));
        decoder.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn whole_and_damaged() {
        for (name, text, meant) in [
            (" BASE64 ", "aGVs\nbG8=\n", "hello"),
            ("base64", "aGVsbG8", "hello"),
            ("base64", "a G!V*s-bG8=", "hello"),
            ("base64", "aGVsbG8=\n-- \nfooter", "hello"),
            ("base64", "=aGVsbG8=", "hello"),
            ("base64", "", ""),
            ("Quoted-Printable (x)", "a=3Db=3db", "a=b=b"),
            ("quoted-printable", "soft=\nbreak= \t\r\nmore\n", "softbreakmore\n"),
            ("quoted-printable", "a=zz =4 =\u{e9} ==41", "a=zz =4 =\u{e9} =A"),
            ("quoted-printable", "end=", "end"),
            ("quoted-printable", "end=4", "end=4"),
            ("quoted-printable", "= x", "= x"),
            ("8bit", "=41", "=41"),
            ("x-unknown", "=41", "=41"),
        ] {
            assert_eq!(decode(name, &[text.as_bytes()]), meant, "{name} {text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[=A-Fa-f0-9 \\n\\r\\tzZ]{0,40}", cut in 0_usize..40) {
            let cut = cut.min(text.len());
            for name in ["base64", "quoted-printable", "7bit"] {
                let (one, two) = text.as_bytes().split_at(cut);
                prop_assert_eq!(decode(name, &[one, two]), decode(name, &[text.as_bytes()]));
            }
        }
    }
}
