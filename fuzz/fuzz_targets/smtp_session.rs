//! The SMTP and LMTP session in every state: the same octets have the same end however they are split, and every reply is
//! well-formed whatever a client says.
#![no_main]

mod driver;

use driver::{Driver, settings};
use libfuzzer_sys::fuzz_target;

const STARTS: [&[u8]; 8] = [
    b"",
    b"EHLO client.example\r\n",
    b"LHLO client.example\r\n",
    b"EHLO c\r\nMAIL FROM:<a@b.example>\r\n",
    b"EHLO c\r\nMAIL FROM:<a@b.example> SIZE=100\r\nRCPT TO:<bob@example.org>\r\n",
    b"LHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<carl@example.org>\r\nDATA\r\n",
    b"EHLO c\r\nAUTH LOGIN\r\n",
    b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT 4\r\nabc\r",
];

fuzz_target!(|data: &[u8]| {
    let [bits, start, block, input @ ..] = data else { return };
    let start = STARTS[usize::from(*start) % STARTS.len()];
    let mut whole = Driver::new(settings(*bits));
    whole.feed(&[start, input].concat());
    let mut split = Driver::new(settings(*bits));
    split.feed(start);
    for part in input.chunks(usize::from(*block).max(1)) {
        split.feed(part);
    }
    assert_eq!(whole.replies.escape_ascii().to_string(), split.replies.escape_ascii().to_string());
    assert_eq!((whole.stored, whole.closed), (split.stored, split.closed));

    let Some(lines) = whole.replies.strip_suffix(b"\r\n") else {
        assert!(whole.replies.is_empty(), "an unfinished line: {}", whole.replies.escape_ascii());
        return;
    };
    for line in lines.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() >= 4 && line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'-'));
        assert!(!line.iter().any(u8::is_ascii_control) && line.len() <= 510, "{}", line.escape_ascii());
    }
});
