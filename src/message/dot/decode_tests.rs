//! The decoders beside obviously right twins, on every short input cut at every place.

use super::*;
use crate::message::dot::encode::{self, Encoder, wire_size};
use memchr::memmem;
use proptest::prelude::*;

/// The twin: all the input at once, by CRLF lines. What is stored, and how long the message was if it ended.
fn naive(input: &[u8]) -> (Vec<u8>, Option<usize>) {
    let mut stored = Vec::new();
    let mut at = 0;
    while let Some(length) = memmem::find(&input[at..], b"\r\n") {
        let line = &input[at..at + length];
        at += length + 2;
        if line == b"." {
            return (stored, Some(at));
        }
        stored.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        stored.push(b'\n');
    }
    let rest = &input[at..];
    stored.extend_from_slice(rest.strip_prefix(b".").unwrap_or(rest));
    (stored, None)
}

fn decode(blocks: &[&[u8]]) -> (Vec<u8>, Option<usize>) {
    let (mut decoder, mut out, mut taken) = (Decoder::new(), Vec::new(), 0);
    for block in blocks {
        let (octets, ended) = decoder.decode(block, &mut out);
        taken += octets;
        if ended {
            return (out, Some(taken));
        }
        assert_eq!(octets, block.len());
    }
    // What is held back cannot be the end any more, so an octet brings it to light.
    decoder.decode(b"a", &mut out);
    assert_eq!(out.pop(), Some(b'a'));
    (out, None)
}

fn all_inputs(longest: u32, mut check: impl FnMut(&[u8])) {
    for length in 0..=longest {
        for number in 0..4_usize.pow(length) {
            let input: Vec<u8> = (0..length).map(|at| b"\r\n.a"[number >> (2 * at) & 3]).collect();
            check(&input);
        }
    }
}

#[test]
fn agrees_with_the_twin_on_all_short_inputs() {
    all_inputs(9, |input| {
        let expected = naive(input);
        for cut in 0..=input.len() {
            let blocks = [&input[..cut], &input[cut..]];
            assert_eq!(decode(&blocks), expected, "{} cut at {cut}", input.escape_ascii());
        }
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(decode(&octets), expected, "{} octet by octet", input.escape_ascii());
    });
}

#[test]
fn chunks_agree_with_the_twin_on_all_short_inputs() {
    all_inputs(8, |input| {
        let mut expected = Vec::new();
        for line in input.split_inclusive(|&octet| octet == b'\n') {
            match line.strip_suffix(b"\r\n") {
                Some(text) => expected.extend_from_slice(&[text, b"\n"].concat()),
                None => expected.extend_from_slice(line),
            }
        }
        for cut in 0..=input.len() {
            let (mut ends, mut out) = (LineEnds::new(), Vec::new());
            for chunk in [&input[..cut], b"", &input[cut..]] {
                ends.decode(chunk, &mut out);
            }
            ends.finish(&mut out);
            assert_eq!(out, expected, "{} cut at {cut}", input.escape_ascii());
        }
    });
}

#[test]
fn only_crlf_dot_crlf_ends() {
    for (input, stored) in [
        // The first line may be the end already.
        (&b".\r\n"[..], &b""[..]),
        (b"\r\n.\r\n", b"\n"),
        (b"a\r\n.\r\n", b"a\n"),
        (b"..\r\n.\r\n", b".\n"),
        (b"...a\r\n.b\r\n.\r\n", b"..a\nb\n"),
        // The ends of others are text here: LF, CR, and their mixtures.
        (b"a\n.\n\r\n.\r\n", b"a\n.\n\n"),
        (b"a\n.\r\n\r\n.\r\n", b"a\n.\n\n"),
        (b"a\r\n.\nb\r\n.\r\n", b"a\n\nb\n"),
        (b"a\r\n.\rb\r\n.\r\n", b"a\n\rb\n"),
        (b"a\r.\r\r\n.\r\n", b"a\r.\r\n"),
        (b"a\r\n.\r\r\n.\r\n", b"a\n\r\n"),
        (b"a\r\n.\0\r\n.\r\n", b"a\n\0\n"),
        // CR CR LF is a CR in a line that ends with CRLF.
        (b"a\r\r\n.\r\n", b"a\r\n"),
        // A dot after a bare LF is the sender's own.
        (b"a\n.b\n..c\r\n.\r\n", b"a\n.b\n..c\n"),
    ] {
        let next = [input, b"QUIT\r\n"].concat();
        let (out, taken) = decode(&[&next]);
        assert_eq!((out.escape_ascii().to_string(), taken), (stored.escape_ascii().to_string(), Some(input.len())));
    }
}

#[test]
fn is_as_new_after_the_end() {
    let (mut decoder, mut out) = (Decoder::new(), Vec::new());
    let input = b"a\r\n.\r\n.\r\n.b\r\n.\r\n";
    let mut at = 0;
    for _ in 0..3 {
        let (taken, ended) = decoder.decode(&input[at..], &mut out);
        assert!(ended);
        at += taken;
        out.push(b'|');
    }
    assert_eq!((&out[..], at), (&b"a\n||b\n|"[..], input.len()));
}

proptest! {
    /// What came is what POP3 sends again, whatever it is, behind trace fields as every stored message has them.
    #[test]
    fn a_message_comes_out_as_it_came_in(
        lines in prop::collection::vec(prop::collection::vec(prop::sample::select(b"\r.a\0\xff".to_vec()), 0..8), 0..40),
        block in 1_usize..50,
    ) {
        let mut message = Vec::new();
        for line in &lines {
            message.extend_from_slice(line);
            message.extend_from_slice(b"\r\n");
        }
        let mut stuffed = Vec::new();
        for line in message.split_inclusive(|&octet| octet == b'\n') {
            let after_crlf = stuffed.is_empty() || stuffed.ends_with(b"\r\n");
            stuffed.extend_from_slice(if after_crlf && line.starts_with(b".") { b"." } else { b"" });
            stuffed.extend_from_slice(line);
        }
        stuffed.extend_from_slice(b".\r\n");
        let (decoded, taken) = decode(&stuffed.chunks(block).collect::<Vec<_>>());
        prop_assert_eq!(taken, Some(stuffed.len()));

        let stored = [b"Return-Path: <>\n", &decoded[..]].concat();
        let (mut sent, mut encoder) = (Vec::new(), Encoder::whole(encode::LineEnds::Lf));
        encoder.encode(&stored, &mut sent);
        encoder.finish(&mut sent);
        prop_assert_eq!(&sent, &[b"Return-Path: <>\r\n", &stuffed[..]].concat());
        let line_feeds = stored.iter().filter(|&&octet| octet == b'\n').count();
        prop_assert_eq!(wire_size(&stored), (stored.len() + line_feeds) as u64);
    }
}
