//! Authentication-Results: whatever a stranger writes, none of its fields counts for the server in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::message::header::{EventSettings, Summary, strip};
use mailbell::message::trace::Via;

fuzz_target!(|message: &[u8]| {
    let settings = EventSettings { headers: vec!["x".into()], authserv: Some("mx".into()) };
    let verified = |message: &[u8], via| Summary::read(message, &settings, via).verified;
    assert_eq!(verified(message, Via::Smtp), None);
    let mut stripped = message.to_vec();
    let lines = strip(&mut stripped, "mx", Via::Smtp);
    let count = |message: &[u8]| message.iter().filter(|octet| **octet == b'\n').count() as u64;
    assert_eq!(count(message) - count(&stripped), lines);
    // Only what is read of a header is stripped before it is stored.
    if stripped.len() < 60_000 {
        assert_eq!(verified(&stripped, Via::Lmtp), None);
    }
});
