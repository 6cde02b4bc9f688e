//! Message data: the decoder, fed in blocks of any size, does what an obvious twin does on the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::message::dot::decode::Decoder;

/// Where CRLF . CRLF ends the data, the start counting as after CRLF, and what is stored.
fn naive(input: &[u8]) -> (usize, bool, Vec<u8>) {
    let framed = [b"\r\n", input].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n");
    let data = &framed[2..end.map_or(framed.len(), |at| at + 2)];
    let mut stored = Vec::new();
    let mut at = 0;
    let mut line_start = true;
    while at < data.len() {
        if line_start && data[at] == b'.' {
            at += 1;
            line_start = false;
        } else if data[at..].starts_with(b"\r\n") {
            stored.push(b'\n');
            at += 2;
            line_start = true;
        } else {
            stored.push(data[at]);
            at += 1;
            line_start = false;
        }
    }
    (end.map_or(input.len(), |at| at + 3), end.is_some(), stored)
}

fuzz_target!(|data: &[u8]| {
    let Some((block, input)) = data.split_first() else { return };
    let mut decoder = Decoder::new();
    let (mut used, mut ended, mut stored) = (0, false, Vec::new());
    for part in input.chunks(usize::from(*block).max(1)) {
        let (count, end) = decoder.decode(part, &mut stored);
        used += count;
        ended = end;
        assert!(end || count == part.len());
        if end {
            break;
        }
    }
    let (expected_used, expected_end, expected) = naive(input);
    assert_eq!((used, ended), (expected_used, expected_end));
    // Before the end a CR may still be held back.
    match ended {
        true => assert_eq!(stored, expected),
        false => assert!(expected.starts_with(&stored) && expected.len() <= stored.len() + 1),
    }
});
