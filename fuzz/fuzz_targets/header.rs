//! The header of a message: whatever a stranger writes becomes text without control characters, and a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::limits;
use mailbell::message::header::Summary;

fuzz_target!(|head: &[u8]| {
    let summary = Summary::parse(head);
    let fields = [
        &summary.message_id,
        &summary.date,
        &summary.from,
        &summary.reply_to,
        &summary.to,
        &summary.subject,
        &summary.mime_version,
        &summary.content_type,
        &summary.content_transfer_encoding,
    ];
    for value in fields.into_iter().flatten() {
        assert!(!value.chars().any(char::is_control), "{value:?}");
        assert_eq!(value.trim(), value);
        assert!(value.len() <= limits::FIELD);
    }
    assert!(summary.key.starts_with("mid:") || summary.key.starts_with("hdr:"));
    assert!(!summary.key.chars().any(char::is_control) && summary.key.len() <= limits::FIELD);

    // Line ends are not part of what a header says.
    if !head.contains(&b'\r') && head.len() < 32 * 1024 {
        let crlf: Vec<u8> =
            head.iter().flat_map(|octet| if *octet == b'\n' { b"\r\n".to_vec() } else { vec![*octet] }).collect();
        let other = Summary::parse(&crlf);
        assert_eq!((other.subject, other.from, other.message_id), (summary.subject, summary.from, summary.message_id));
    }
});
