//! What rustls does not say about a certificate in words for people: its version, the kind of its key, its dates. A
//! short look at the DER (RFC 5280 section 4.1); whether the certificate is right is for rustls to say.

use crate::message::date;

/// Bits of an RSA key that can sign here.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// What is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    version: u8,
    key: Key,
    /// `YYYYMMDDhhmmssZ`.
    not_before: String,
    not_after: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    Rsa {
        bits: usize,
    },
    /// On a curve, by its name.
    Curve(&'static str),
    Other,
}

/// Algorithms and curves by their object identifiers.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const CURVES: [(&[u8], &str); 4] = [
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07], "P-256"),
    (&[0x2B, 0x81, 0x04, 0x00, 0x22], "P-384"),
    (&[0x2B, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (&[0x2B, 0x81, 0x04, 0x00, 0x0A], "secp256k1"),
];

/// The kinds of keys that can be used, for an error message.
pub(super) const SUPPORTED: &str = "supported are RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519";

impl Certificate {
    /// `None` for what does not look like a certificate.
    pub(super) fn look(der: &[u8]) -> Option<Certificate> {
        let mut fields = Der(Der(Der(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
        let (tag, content) = fields.next()?;
        let version = if tag == VERSION { Der(content).expect(INTEGER)?.last()?.checked_add(1)? } else { 1 };
        // With a version, the serial number comes after it; then the signature's algorithm and the issuer.
        for _ in 0..if tag == VERSION { 3 } else { 2 } {
            fields.next()?;
        }
        let mut validity = Der(fields.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let _subject = fields.next()?;
        Some(Certificate { version, key: key(fields.expect(SEQUENCE)?)?, not_before, not_after })
    }

    /// Why it cannot be used, and what to do.
    pub(super) fn fault(&self) -> Option<String> {
        if self.version < 3 {
            let version = self.version;
            return Some(format!(
                "the certificate has X.509 version {version}, and TLS needs version 3; make a new one, for example with \
                 `openssl req -x509`"
            ));
        }
        match &self.key {
            Key::Rsa { bits } if !RSA_BITS.contains(bits) => {
                Some(format!("the certificate is for an RSA key with {bits} bits; {SUPPORTED}"))
            }
            Key::Curve(curve) if !matches!(*curve, "P-256" | "P-384") => {
                Some(format!("the certificate is for a key on the curve {curve}; {SUPPORTED}"))
            }
            _ => None,
        }
    }

    /// When it begins and ends, seconds since 1970.
    pub(super) fn dates(&self) -> Option<(u64, u64)> {
        Some((seconds(&self.not_before)?, seconds(&self.not_after)?))
    }

    /// What is wrong with its dates at a time, in seconds since 1970. It can be used, but clients refuse it.
    pub(super) fn date_fault(&self, now: u64) -> Option<String> {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).take(14).collect::<String>();
        let now = digits(&date::rfc3339_micros(now.saturating_mul(1_000_000)));
        let day = |time: &str| format!("{}-{}-{}", &time[..4], &time[4..6], &time[6..8]);
        if digits(&self.not_after) < now {
            return Some(format!(
                "the certificate expired on {}, so clients refuse it; renew it",
                day(&self.not_after)
            ));
        }
        (digits(&self.not_before) > now).then(|| {
            let day = day(&self.not_before);
            format!("the certificate is not valid before {day}, so clients refuse it; is this machine's clock right?")
        })
    }
}

/// Of `YYYYMMDDhhmmssZ`.
fn seconds(time: &str) -> Option<u64> {
    let part = |from: usize, to: usize| time.get(from..to);
    let (date, time) = ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(8, 10)?, part(10, 12)?, part(12, 14)?));
    let text = format!("{}-{}-{}T{}:{}:{}.000000Z", date.0, date.1, date.2, time.0, time.1, time.2);
    date::parse_rfc3339(&text).map(|micros| micros / 1_000_000)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// DER that is read element by element.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Tag and content of the next element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (octets, after) = rest.split_at_checked(length & 0x7F).filter(|(octets, _)| octets.len() <= 3)?;
            length = octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
            rest = after;
        }
        let content;
        (content, self.0) = rest.split_at_checked(length)?;
        Some((tag, content))
    }

    /// The content of the next element, if it has this tag.
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// `YYYYMMDDhhmmssZ`, of either form (RFC 5280 section 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let whole = match tag {
        GENERALIZED_TIME => text.to_owned(),
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? >= 50 => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        _ => return None,
    };
    let is_time = whole.len() == 15 && whole.ends_with('Z') && whole[..14].bytes().all(|octet| octet.is_ascii_digit());
    is_time.then_some(whole)
}

/// The kind of key, from the content of a SubjectPublicKeyInfo.
fn key(info: &[u8]) -> Option<Key> {
    let mut info = Der(info);
    let mut algorithm = Der(info.expect(SEQUENCE)?);
    match algorithm.expect(OBJECT_IDENTIFIER)? {
        RSA => {
            let (_unused_bits, rsa) = info.expect(BIT_STRING)?.split_first()?;
            let modulus = Der(Der(rsa).expect(SEQUENCE)?).expect(INTEGER)?;
            let zeroes = modulus.iter().take_while(|octet| **octet == 0).count();
            let first = modulus.get(zeroes)?;
            Some(Key::Rsa { bits: (modulus.len() - zeroes) * 8 - first.leading_zeros() as usize })
        }
        EC => {
            let curve = algorithm.expect(OBJECT_IDENTIFIER)?;
            let name = CURVES.iter().find(|(identifier, _)| *identifier == curve).map(|(_, name)| *name);
            Some(name.map_or(Key::Other, Key::Curve))
        }
        _ => Some(Key::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn der(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name);
        CertificateDer::from_pem_file(path).unwrap().to_vec()
    }

    #[test]
    fn version_and_key_are_found() {
        for (name, version, key) in [
            ("p256.pem", 3, Key::Curve("P-256")),
            ("p521.pem", 3, Key::Curve("P-521")),
            ("rsa8192.pem", 3, Key::Rsa { bits: 8192 }),
            ("version-1.pem", 1, Key::Curve("P-256")),
        ] {
            let found = Certificate::look(&der(name)).unwrap();
            assert_eq!((found.version, &found.key), (version, &key), "{name}");
            assert_eq!(found.fault().is_none(), name == "p256.pem", "{name}");
        }
    }

    #[test]
    fn dates_are_compared() {
        let mut certificate = Certificate::look(&der("p256.pem")).unwrap();
        (certificate.not_before, certificate.not_after) =
            (time((UTC_TIME, b"240101000000Z")).unwrap(), time((GENERALIZED_TIME, b"20250101000000Z")).unwrap());
        let (first, last) = (1_704_067_200, 1_735_689_600);
        assert_eq!(certificate.dates(), Some((first, last)));
        assert!(certificate.date_fault(first - 1).unwrap().contains("not valid before 2024-01-01"));
        assert_eq!((certificate.date_fault(first), certificate.date_fault(last)), (None, None));
        assert!(certificate.date_fault(last + 1).unwrap().contains("expired on 2025-01-01"));
        assert_eq!(time((UTC_TIME, b"991231235959Z")).unwrap(), "19991231235959Z");
        for wrong in [&b"2401010000Z"[..], b"24010100000\xC3Z", b"", b"abcdefghijklZ"] {
            assert_eq!(time((UTC_TIME, wrong)), None);
        }
    }

    #[test]
    fn damaged_octets_are_no_certificate_and_no_panic() {
        let whole = der("rsa8192.pem");
        for length in 0..whole.len() {
            let _ = Certificate::look(&whole[..length]);
        }
        for at in 0..whole.len().min(400) {
            for octet in [0, 0x7F, 0x80, 0x84, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] = octet;
                if let Some(found) = Certificate::look(&damaged) {
                    let _ = (found.fault(), found.date_fault(0));
                }
            }
        }
    }
}
