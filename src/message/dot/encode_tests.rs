//! The encoder beside a simple second implementation and a decoder, for both kinds of line ends, cut at every octet.

use super::*;
use proptest::prelude::*;

use LineEnds::{Lf, Mixed};

/// The simple implementation: the whole file at once, line by line.
fn naive(file: &[u8], line_ends: LineEnds, top: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body_lines = None;
    for line in file.split_inclusive(|&octet| octet == b'\n') {
        if let (Some(wanted), Some(sent)) = (top, body_lines)
            && sent >= wanted
        {
            break;
        }
        let text = match line.strip_suffix(b"\n") {
            Some(text) if line_ends == Mixed => text.strip_suffix(b"\r").unwrap_or(text),
            Some(text) => text,
            None => line,
        };
        if text.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
        body_lines = match body_lines {
            Some(sent) => Some(sent + 1),
            None if text.is_empty() && line.ends_with(b"\n") => Some(0),
            None => None,
        };
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Unstuffs the reply and gives the octets that a client keeps.
fn decode(reply: &[u8]) -> Vec<u8> {
    let body = reply.strip_suffix(b".\r\n").expect("a reply ends with a lone dot");
    assert!(body.is_empty() || body.ends_with(b"\r\n"), "the dot stands on its own line");
    let mut message = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n").expect("every line ends with CRLF") + 2;
        assert_ne!(&rest[..end], b".\r\n", "a lone dot inside would end the reply early");
        message.extend_from_slice(rest[..end].strip_prefix(b".").unwrap_or(&rest[..end]));
        rest = &rest[end..];
    }
    message
}

fn encode(blocks: &[&[u8]], line_ends: LineEnds, top: Option<u64>) -> Vec<u8> {
    let mut encoder = top.map_or_else(|| Encoder::whole(line_ends), |lines| Encoder::top(line_ends, lines));
    let mut out = Vec::new();
    for block in blocks {
        if !encoder.encode(block, &mut out) {
            break;
        }
    }
    encoder.finish(&mut out);
    out
}

fn sent(blocks: &[&[u8]], line_ends: LineEnds) -> u64 {
    let mut size = WireSize::new(line_ends);
    blocks.iter().for_each(|block| size.add(block));
    size.octets_sent()
}

/// Every file of up to 7 octets over the octets that matter, whole and cut in two at every place.
#[test]
fn agrees_with_the_simple_one_on_all_short_files() {
    for (length, line_ends) in (0..=7_u32).flat_map(|length| [(length, Lf), (length, Mixed)]) {
        for number in 0..4_usize.pow(length) {
            let file: Vec<u8> = (0..length).map(|at| b".\r\nx"[number >> (2 * at) & 3]).collect();
            let whole = naive(&file, line_ends, None);
            for cut in 0..=file.len() {
                let blocks = [&file[..cut], &file[cut..]];
                let what = format!("{:?} {line_ends:?} cut at {cut}", file.escape_ascii().to_string());
                assert_eq!(encode(&blocks, line_ends, None), whole, "{what}");
                assert_eq!(sent(&blocks, line_ends), decode(&whole).len() as u64, "{what}");
                for lines in [0, 1, 2] {
                    let top = naive(&file, line_ends, Some(lines));
                    assert_eq!(encode(&blocks, line_ends, Some(lines)), top, "{what}");
                }
            }
        }
    }
}

#[test]
fn own_messages_come_out_as_they_came_in() {
    // A CR CR LF that arrived is stored as CR LF below our LF trace fields, and both CR are sent again.
    let stored = b"Return-Path: <>\nSubject: x\n\nodd\r\nplain\n.\n..\n\0\xff\r";
    let came_in = b"Return-Path: <>\r\nSubject: x\r\n\r\nodd\r\r\nplain\r\n.\r\n..\r\n\0\xff\r\r\n";
    assert_eq!(decode(&encode(&[stored], Lf, None)), came_in);
    assert_eq!(wire_size(stored), stored.len() as u64 + 7);
    assert_eq!(sent(&[stored], Lf), came_in.len() as u64);
}

#[test]
fn lines_of_other_programs_get_no_second_cr() {
    let stored = b"Subject: x\r\n\r\n.body\r\nbare\nend";
    assert_eq!(encode(&[stored], Mixed, None), b"Subject: x\r\n\r\n..body\r\nbare\r\nend\r\n.\r\n");
    assert_eq!(sent(&[stored], Mixed), decode(&encode(&[stored], Mixed, None)).len() as u64);
    assert_eq!(encode(&[stored], Mixed, Some(1)), b"Subject: x\r\n\r\n..body\r\n.\r\n");
    let mixed = b"Subject: mixed\n\r\nline\r\nline\n";
    assert_eq!(encode(&[mixed], Mixed, None), b"Subject: mixed\r\n\r\nline\r\nline\r\n.\r\n");
    assert_eq!(sent(&[mixed], Mixed), 30);
}

#[test]
fn top_of_a_message_without_a_body_is_all_of_it() {
    assert_eq!(encode(&[b"Subject: x\nTo: y"], Lf, Some(0)), b"Subject: x\r\nTo: y\r\n.\r\n");
    assert_eq!(encode(&[b"A: b\n\n1\n2\n"], Lf, Some(0)), b"A: b\r\n\r\n.\r\n");
    assert_eq!(encode(&[b"A: b\n\n1\n2\n"], Lf, Some(u64::MAX)), b"A: b\r\n\r\n1\r\n2\r\n.\r\n");
    assert_eq!(encode(&[b""], Mixed, Some(5)), b".\r\n");
}

proptest! {
    #[test]
    fn agrees_with_the_simple_one(
        lines in prop::collection::vec(("[.a\r\n\0\u{e9}]{0,90}", prop::bool::weighted(0.9), any::<bool>()), 0..40),
        is_ours in any::<bool>(),
        block in 1_usize..200,
        top in prop::option::of(0_u64..30),
    ) {
        let mut file = Vec::new();
        for (line, ended, crlf) in &lines {
            file.extend_from_slice(line.as_bytes());
            if *ended {
                file.extend_from_slice(if *crlf { b"\r\n" } else { b"\n" });
            }
        }
        let blocks: Vec<&[u8]> = file.chunks(block).collect();
        let line_ends = if is_ours { Lf } else { Mixed };
        prop_assert_eq!(encode(&blocks, line_ends, top), naive(&file, line_ends, top));
        prop_assert_eq!(sent(&blocks, line_ends), decode(&naive(&file, line_ends, None)).len() as u64);
    }
}
