//! Lines for subscribers: whatever a record and a template hold, one line comes of it that fits a pipe.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::journal::Record;
use mailbell::limits::PIPE_LINE;
use mailbell::message::header::Summary;
use mailbell::message::trace::{Origin, Via};
use mailbell::notify::Format;

fuzz_target!(|data: (&str, &str, &str, &str, &str, u64, u16)| {
    let (template, first, second, third, fourth, number, repeat) = data;
    // Long values are what is cut.
    let long = |text: &str| text.repeat(1 + usize::from(repeat) / 64);
    let record = Record {
        seq: number,
        timestamp: number >> 8,
        user: "alice".into(),
        id: "1763888639.M123456P412Q7.host".into(),
        path: format!("/mail/{first}/new/1763888639.M123456P412Q7.host"),
        size: number,
        origin: Origin {
            mail_from: Some(long(second)),
            client: Some("192.0.2.1".into()),
            helo: Some(long(third)),
            ..Origin::unknown(Via::Smtp)
        },
        rcpt_to: Some(fourth.into()),
        summary: Summary {
            from: Some(long(first)),
            subject: Some(long(third)),
            message_id: Some(long(fourth)),
            key: format!("mid:{}", long(fourth)),
            ..Summary::default()
        },
        duplicate_of: None,
    };
    for text in ["inotify", "path", "tsv", "json", template] {
        let Ok(format) = Format::parse(text) else { continue };
        let mut line = Vec::new();
        format.write_line(&record, &mut line);
        assert!(line.len() <= PIPE_LINE && line.ends_with(b"\n"));
        let line = std::str::from_utf8(&line[..line.len() - 1]).expect("a line is UTF-8");
        assert!(!line.chars().any(|letter| letter.is_control() && letter != '\t'), "{line:?}");
        match text {
            "json" => {
                let parsed = Record::parse(line.as_bytes()).expect("a line of JSON is a record");
                assert_eq!((parsed.seq, &parsed.id), (record.seq, &record.id));
            }
            "tsv" => assert_eq!(line.split('\t').count(), 11, "{line:?}"),
            _ => {}
        }
    }
});
