//! BDAT: whatever the chunks are and however they come, the message is their octets with CRLF as LF.
#![no_main]

mod driver;

use driver::{Driver, settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (Vec<Vec<u8>>, u8)| {
    let (chunks, block) = data;
    let total: usize = chunks.iter().map(Vec::len).sum();
    // A larger one is refused at its announcement, and a first octet may make the driver refuse.
    if chunks.is_empty() || total > 2_000 || matches!(chunks.concat().first(), Some(b'L' | b'N' | b'S')) {
        return;
    }
    let mut input = b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.org>\r\n".to_vec();
    for (number, chunk) in chunks.iter().enumerate() {
        let last = if number + 1 == chunks.len() { " LAST" } else { "" };
        input.extend_from_slice(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
        input.extend_from_slice(chunk);
    }
    input.extend_from_slice(b"QUIT\r\n");
    let mut driver = Driver::new(settings(0));
    for part in input.chunks(usize::from(block).max(1)) {
        driver.feed(part);
    }

    let mut expected = Vec::new();
    let sent = chunks.concat();
    for (at, octet) in sent.iter().enumerate() {
        if !(*octet == b'\r' && sent.get(at + 1) == Some(&b'\n')) {
            expected.push(*octet);
        }
    }
    assert_eq!(driver.stored, [expected]);
    assert!(driver.closed, "QUIT was taken for data: {}", driver.replies.escape_ascii());
});
