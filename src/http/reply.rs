//! The heads of replies, and what is said to a client that is refused.

use super::Version;
use crate::message::date;
use std::fmt::Write;

/// What every reply says: nothing is kept, guessed, shown to another site, or told to one.
const ALWAYS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n";

/// A request that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub code: u16,
    /// What is wrong, for the body.
    pub why: String,
}

impl Refusal {
    /// With a status code and its reason.
    pub fn new(code: u16, why: impl Into<String>) -> Refusal {
        Refusal { code, why: why.into() }
    }
}

/// The words beside a status code (RFC 9110 section 15).
pub fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    }
}

/// The head of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The time now, seconds since 1970 (RFC 9110 section 6.6.1).
    pub now: u64,
    /// The version in the status line.
    pub version: Version,
    /// The status code.
    pub code: u16,
    /// The type of the body.
    pub content_type: &'a str,
    /// Octets of the body; `None`: it ends with the connection.
    pub length: Option<usize>,
    /// Whether the connection lasts.
    pub keeps: bool,
    /// Further fields, each with its line end.
    pub more: &'a str,
}

impl Head<'_> {
    /// Appends it, with the empty line at its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(512);
        let version = if self.version == Version::Http10 { "1.0" } else { "1.1" };
        // write! to a String cannot fail.
        let _ = write!(
            text,
            "HTTP/{version} {} {}\r\nDate: {}\r\nContent-Type: {}\r\n{ALWAYS}",
            self.code,
            reason(self.code),
            date::rfc5322(self.now).replace("+0000", "GMT"),
            self.content_type
        );
        if let Some(length) = self.length {
            let _ = write!(text, "Content-Length: {length}\r\n");
        }
        text.push_str(match self.code {
            401 => "WWW-Authenticate: Bearer realm=\"mailbell\"\r\n",
            405 => "Allow: GET, HEAD\r\n",
            503 => "Retry-After: 10\r\n",
            _ => "",
        });
        text.push_str(self.more);
        text.push_str(if self.keeps { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
        out.extend_from_slice(text.as_bytes());
    }
}
