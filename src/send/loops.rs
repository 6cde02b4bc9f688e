//! Messages that go in a circle: too many Received fields, or our own name in three of them.

use crate::limits;
use crate::message::header::Fields;

/// Fields of this server that are a loop: once a submission, once an alias, and then it came back.
const OWN: usize = 3;

/// Why a message with this header goes in a circle; `None` if it does not.
pub(super) fn find(header: &[u8], hostname: &str) -> Option<&'static str> {
    let received = || Fields::new(header).filter(|(name, _)| name.eq_ignore_ascii_case(b"Received"));
    if received().count() > limits::RECEIVED_FIELDS {
        return Some("5.4.6 the message has more than 100 Received fields: it goes in a circle");
    }
    let is_own = |body: &[u8]| {
        let text = String::from_utf8_lossy(body);
        let mut words = text.split_ascii_whitespace();
        words.any(|word| word.eq_ignore_ascii_case("by"))
            && words.next().is_some_and(|host| host.trim_end_matches(';').eq_ignore_ascii_case(hostname))
    };
    (received().filter(|(_, body)| is_own(body)).count() >= OWN)
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
            let header = format!(
                "{}{}Subject: by mail.example.org\n\nReceived: by mail.example.org\n",
                own.repeat(own_count),
                other.repeat(other_count)
            );
            find(header.as_bytes(), "Mail.example.ORG").is_some()
        };
        assert!(!is_loop(2, 98) && is_loop(3, 0) && is_loop(0, 101) && !is_loop(0, 100));
    }
}
