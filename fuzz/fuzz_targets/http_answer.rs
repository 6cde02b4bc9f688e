//! An answer of HTTP: nothing panics, it ends, what follows it is not taken, and any way to cut it gives the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::net::answer::{self, Answer, Wants};

/// Reads one answer, from pieces of at most `most` octets of body. Gives status, body, octets taken, and whether the
/// connection can be used again; `None` for garbage.
fn read(octets: &[u8], is_head: bool, most: usize) -> Option<(Option<u16>, Vec<u8>, usize, bool)> {
    let (mut answer, mut body, mut at) = (Answer::new(is_head), Vec::new(), 0);
    loop {
        let rest = &octets[at..];
        match answer.wants() {
            Wants::Nothing => break,
            Wants::Line => {
                let Some(end) = rest.iter().position(|octet| *octet == b'\n') else { break };
                answer.line(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])).ok()?;
                at += end + 1;
            }
            _ if rest.is_empty() => break,
            wants => {
                let left = if let Wants::Octets(left) = wants { left } else { u64::MAX };
                let count = left.min(rest.len().min(most) as u64);
                assert!(count > 0);
                body.extend_from_slice(&rest[..count as usize]);
                answer.took(count);
                at += count as usize;
            }
        }
    }
    assert!(!answer.keeps() || answer.wants() == Wants::Nothing);
    Some((answer.status(), body, at, answer.keeps()))
}

fuzz_target!(|input: &[u8]| {
    let Some((first, octets)) = input.split_first() else { return };
    let is_head = first % 2 == 1;
    let whole = read(octets, is_head, usize::MAX);
    assert_eq!(whole, read(octets, is_head, 1));
    if let Some((Some(status), body, _, _)) = &whole {
        assert!((200..1_000).contains(status) && (!is_head || body.is_empty()));
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = answer::retry_after(text, 1_800_000_000);
    }
});
