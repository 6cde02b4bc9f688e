//! `[event]`: header fields that a record has besides the usual ones, and the server of which the Authentication-Results are trusted.

use super::section::Section;
use super::value::or_empty;
use crate::limits;
use crate::message::header::EventSettings;

pub(super) fn event(top: &mut Section<'_, '_>) -> EventSettings {
    let mut section = top.section("event");
    let mut headers: Vec<String> = Vec::new();
    let names = section.list("headers", "\"X-Spam-Flag\"", header_name).unwrap_or_default();
    for name in names {
        if headers.contains(&name) {
            section.wrong("headers", format!("{name:?} is there twice"));
        } else {
            headers.push(name);
        }
    }
    if headers.len() > limits::EVENT_HEADERS {
        section.wrong("headers", format!("has more than {} names", limits::EVENT_HEADERS));
    }
    let authserv = section.text("authserv", "\"mx.example.org\"", or_empty(authserv)).flatten();
    section.finish();
    EventSettings { headers, authserv }
}

/// In lower case. The name is also the name of an environment variable, so it has no other characters than these.
fn header_name(text: &str) -> Result<String, String> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    if matches!(text.len(), 1..=limits::EVENT_HEADER_NAME) && text.bytes().all(plain) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(
            "{text:?} is not the name of a header field: 1 to {} of A-Z a-z 0-9 - _, without the colon",
            limits::EVENT_HEADER_NAME
        ))
    }
}

/// RFC 8601 section 2.5: as a rule the host name of the server.
fn authserv(text: &str) -> Result<String, String> {
    let plain = |letter: char| !(letter.is_whitespace() || letter.is_control() || "()<>;=/\\\"".contains(letter));
    if text.len() <= 255 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an authserv-id; it stands first in the Authentication-Results of that server"))
    }
}
