//! The octets of a message as they go to the smarthost: CRLF line ends, dot-stuffed for DATA, as they are for BDAT.
//!
//! A CR that stands alone becomes a space: RFC 5321 section 2.3.8 forbids it, and a server that takes it for a line end
//! could be made to see a second message behind it. The number of octets stays the same.

use memchr::memchr2;

/// Turns a stored message with LF line ends into what is sent, block by block.
#[derive(Debug)]
pub(super) struct Encoder {
    stuffs_dots: bool,
    is_at_start: bool,
}

impl Encoder {
    /// For DATA.
    pub(super) fn stuffed() -> Encoder {
        Encoder { stuffs_dots: true, is_at_start: true }
    }

    /// For BDAT.
    pub(super) fn plain() -> Encoder {
        Encoder { stuffs_dots: false, is_at_start: true }
    }

    /// Appends what the next octets become.
    pub(super) fn encode(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        out.reserve(input.len() + input.len() / 16);
        while !input.is_empty() {
            if self.stuffs_dots && self.is_at_start && input[0] == b'.' {
                out.push(b'.');
            }
            let Some(end) = memchr2(b'\n', b'\r', input) else {
                out.extend_from_slice(input);
                self.is_at_start = false;
                return;
            };
            out.extend_from_slice(&input[..end]);
            self.is_at_start = input[end] == b'\n';
            out.extend_from_slice(if self.is_at_start { b"\r\n" } else { b" " });
            input = &input[end + 1..];
        }
    }

    /// Appends the end of the message.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if self.stuffs_dots {
            out.extend_from_slice(if self.is_at_start { b".\r\n" } else { b"\r\n.\r\n" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::dot::decode::Decoder;
    use proptest::prelude::*;

    fn sent(stored: &[u8], mut encoder: Encoder, block: usize) -> Vec<u8> {
        let mut out = Vec::new();
        stored.chunks(block).for_each(|block| encoder.encode(block, &mut out));
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn lines_and_dots() {
        for (stored, wire) in [
            ("", ".\r\n"),
            (".\n", "..\r\n.\r\n"),
            ("a\n.b\n..\nc.\n", "a\r\n..b\r\n...\r\nc.\r\n.\r\n"),
            ("a\r.\r\n", "a . \r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
        ] {
            for block in 1..6 {
                assert_eq!(sent(stored.as_bytes(), Encoder::stuffed(), block), wire.as_bytes(), "{stored:?}");
            }
        }
        assert_eq!(sent(b".a\n\n", Encoder::plain(), 10), b".a\r\n\r\n");
    }

    proptest! {
        #[test]
        fn the_receiver_gets_what_was_stored(stored in "([a.\r\u{e9}]{0,6}\n){0,8}", block in 1_usize..20) {
            let wire = sent(stored.as_bytes(), Encoder::stuffed(), block);
            let mut received = Vec::new();
            let (taken, ended) = Decoder::new().decode(&wire, &mut received);
            prop_assert!(ended && taken == wire.len());
            let expected = stored.replace('\r', " ");
            prop_assert_eq!(received, expected.as_bytes());
            let plain = sent(stored.as_bytes(), Encoder::plain(), block);
            prop_assert_eq!(plain.len(), stored.len() + stored.matches('\n').count());
            // No CR stands without its LF, and no LF without its CR.
            prop_assert_eq!(String::from_utf8(wire).unwrap().replace("\r\n", "").find(['\r', '\n']), None);
        }
    }
}
