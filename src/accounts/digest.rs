//! Keyed digests: HMAC (RFC 2104), and hexadecimal as CRAM-MD5 and APOP write it.

use sha2::digest::{Digest, core_api::BlockSizeUser};
use std::fmt::Write;

/// HMAC of the parts one after the other.
pub(super) fn hmac<D: Digest + BlockSizeUser>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut block = vec![0_u8; D::block_size()];
    if key.len() > block.len() {
        let digest = D::digest(key);
        block[..digest.len()].copy_from_slice(&digest);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |with: u8| block.iter().map(|octet| octet ^ with).collect::<Vec<u8>>();
    let mut inner = D::new_with_prefix(padded(0x36));
    parts.iter().for_each(|part| inner.update(part));
    D::new_with_prefix(padded(0x5c)).chain_update(inner.finalize()).finalize().to_vec()
}

/// Lower-case hexadecimal.
pub(super) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // unwrap: writing to a string cannot fail.
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Md5;
    use sha2::Sha256;

    #[test]
    fn hmac_md5_of_rfc_2202() {
        for (key, data, digest) in [
            (&[0x0b; 16][..], &b"Hi There"[..], "9294727a3638bb1c13f48ef8158bfc9d"),
            (b"Jefe", b"what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
            (&[0xaa; 16], &[0xdd; 50], "56be34521d144c88dbb8c733f0e8b3f6"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
            ),
        ] {
            assert_eq!(hexadecimal(&hmac::<Md5>(key, &[data])), digest);
            let (front, back) = data.split_at(3);
            assert_eq!(hexadecimal(&hmac::<Md5>(key, &[front, back])), digest);
        }
    }

    #[test]
    fn hmac_sha256_of_rfc_4231() {
        let digest = hmac::<Sha256>(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hexadecimal(&digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
