//! The id of a webhook's request and its signature, as Standard Webhooks 1.0 has them: `v1,` and the base64 of an
//! HMAC-SHA256 (RFC 2104) over `id.timestamp.body`.

use crate::journal::Record;
use crate::message::base64;
use crate::net::remote::secret::{self, Secret};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

/// What a secret begins with.
const PREFIX: &[u8] = b"whsec_";

/// Octets of a block of SHA-256.
const BLOCK: usize = 64;

/// The id of an event's requests: the same for each try, and no other event's, on this server or another one. There is no
/// dot in it, which would end it in what is signed.
pub(super) fn id(record: &Record) -> String {
    let seal = format!("{}\n{}\n{}", record.timestamp, record.user, record.id);
    let mut text = format!("msg_{}_", record.seq);
    for octet in &Sha256::digest(seal.as_bytes())[..12] {
        // unwrap: writing to a string cannot fail.
        write!(text, "{octet:02x}").unwrap();
    }
    text
}

/// The key of a signature.
pub struct Key(Secret);

impl Key {
    /// Reads a file with `whsec_` and base64 in its first line.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file, and nothing of the key.
    pub fn read(path: &Path) -> Result<Key, String> {
        let text = secret::read_file(path).map_err(|error| error.to_string())?;
        let octets = text.octets().trim_ascii().strip_prefix(PREFIX).and_then(base64::decode_lax);
        let key = octets.map(Secret::new).filter(|octets| !octets.octets().is_empty());
        key.map(Key).ok_or_else(|| {
            format!(
                "{}: the first line must be whsec_ and the key in base64, as the receiver has it; \
                 mailbell.toml(5) shows how to make one",
                path.display()
            )
        })
    }

    /// Begins a signature.
    pub(super) fn begin(&self, id: &str, timestamp: u64) -> Mac {
        let mut block = [0_u8; BLOCK];
        match self.0.octets() {
            long if long.len() > BLOCK => block[..32].copy_from_slice(&Sha256::digest(long)),
            key => block[..key.len()].copy_from_slice(key),
        }
        let padded = |with: u8| Sha256::new_with_prefix(block.map(|octet| octet ^ with));
        let mut mac = Mac { inner: padded(0x36), outer: padded(0x5c) };
        mac.add(format!("{id}.{timestamp}.").as_bytes());
        mac
    }
}

/// A signature that is being made.
pub(super) struct Mac {
    inner: Sha256,
    outer: Sha256,
}

impl Mac {
    /// More of what is signed.
    pub(super) fn add(&mut self, octets: &[u8]) {
        self.inner.update(octets);
    }

    /// The value of webhook-signature.
    pub(super) fn signature(self) -> String {
        let digest = self.outer.chain_update(self.inner.finalize()).finalize();
        format!("v1,{}", base64::encode(&digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use crate::notify::testing::Scratch;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn key(scratch: &Scratch, text: &str, mode: u32) -> Result<Key, String> {
        let path = scratch.path("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Key::read(&path)
    }

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_of_the_example() {
        let scratch = Scratch::new("signature");
        let key = key(&scratch, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", 0o600).unwrap();
        let mut mac = key.begin("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        mac.add(br#"{"test": "#);
        mac.add(br#"2432232314}"#);
        assert_eq!(mac.signature(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// RFC 2104 section 3: a key that is longer than a block counts as its digest.
    #[test]
    fn a_long_key_is_its_digest() {
        let sign = |key: &[u8], parts: &[&[u8]]| {
            let mut mac = Key(Secret::new(key.to_vec())).begin("id", 1);
            parts.iter().for_each(|part| mac.add(part));
            mac.signature()
        };
        assert_eq!(sign(&[0xaa; 131], &[b"a", b"b"]), sign(&Sha256::digest([0xaa; 131]), &[b"ab"]));
        assert_ne!(sign(&[0xaa; 64], &[b"ab"]), sign(&Sha256::digest([0xaa; 64]), &[b"ab"]));
    }

    #[test]
    fn a_secret_is_whole_or_refused_and_never_shown() {
        let scratch = Scratch::new("secret");
        for (text, mode) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0o600),
            ("whsec_", 0o600),
            ("whsec_$$$$", 0o600),
            ("", 0o600),
            ("whsec_MfKQ9r8G", 0o604),
        ] {
            let why = key(&scratch, text, mode).err().unwrap();
            assert!(why.contains("secret") && !why.contains("MfKQ") && !why.contains('$'), "{why}");
        }
        assert!(key(&scratch, "whsec_MfKQ9r8G\r\nmore", 0o640).is_ok());
    }

    #[test]
    fn each_event_has_its_own_id() {
        let record = sample(7, "alice", "1.M2");
        let mut other = record.clone();
        other.user = "bob".into();
        let ids = [&record, &sample(8, "alice", "1.M2"), &other].map(id);
        assert!(ids[0].starts_with("msg_7_") && ids[0] == id(&record) && !ids[0].contains('.'), "{ids:?}");
        assert!(ids[0] != ids[1] && ids[0] != ids[2]);
    }
}
