//! Messages that go in a circle: too many Received fields, or our own name in three of them.

use crate::limits;
use crate::message::header::{Fields, passes};

/// Fields of this server that are a loop: three before the message came, and the one of this time.
const OWN: usize = 4;

/// Why a message with this header goes in a circle; `None` if it does not.
pub(super) fn find(header: &[u8], hostname: &str) -> Option<&'static str> {
    let received = Fields::new(header).filter(|(name, _)| name.eq_ignore_ascii_case(b"Received")).count();
    if received > limits::RECEIVED_FIELDS {
        return Some("5.4.6 the message has more than 100 Received fields: it goes in a circle");
    }
    (passes(header, hostname) >= OWN)
        .then_some("5.4.6 the message has passed this server three times: it goes in a circle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found() {
        let own = "Received: from by.example ([192.0.2.1])\n\tby mail.example.org (mailbell) with ESMTP id 1;\n\tnow\n";
        let other = "Received: from mail.example.org by elsewhere.example with ESMTP;\n now\n";
        let is_loop = |own_count: usize, other_count: usize| {
            let header = format!("{}{}Subject: x\n\n", own.repeat(own_count), other.repeat(other_count));
            find(header.as_bytes(), "mail.example.org").is_some()
        };
        assert!(!is_loop(3, 97) && is_loop(4, 0) && is_loop(0, 101) && !is_loop(0, 100));
    }
}
