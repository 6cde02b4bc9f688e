//! The header of a message that waits.

use crate::queue::Entry;
use std::io::{self, Read};

/// How much of a message's header is read, octets.
const HEADER: u64 = 256 * 1024;

/// The header of a message, or its beginning.
pub(super) fn header(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let mut message = entry.message()?.take(HEADER);
    let mut block = [0; 4096];
    loop {
        let count = message.read(&mut block)?;
        let from = octets.len().saturating_sub(1);
        octets.extend_from_slice(&block[..count]);
        let end = if octets.starts_with(b"\n") {
            Some(0)
        } else {
            memchr::memmem::find(&octets[from..], b"\n\n").map(|at| from + at + 1)
        };
        if let Some(end) = end {
            octets.truncate(end);
            return Ok(octets);
        }
        if count == 0 {
            return Ok(octets);
        }
    }
}
