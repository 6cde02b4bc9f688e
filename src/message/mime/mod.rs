//! What is in a message (RFC 2045 to 2049): its text and its attachments, from octets that come in blocks of any size.
//!
//! ```text
//! octets -> Reader: lines, boundaries, headers, transfer encodings -> Sink
//!                                                                      '- Collector: which part is text, which an attachment
//!                                                                            '- Files: an attachment's octets, where they are wanted
//! ```
//!
//! Nothing is kept of a message but the headers of its parts, one at a time, and its text, so a message of any size takes
//! the same memory. A message that breaks the rules is read as far as it can be; nothing is refused.

mod boundaries;
mod collector;
mod html;
mod name;
mod parameter;
mod part;
mod reader;
#[cfg(test)]
mod tests;
mod transfer;

pub use collector::{Attachment, Collector, Files, Parsed};
pub use html::text_of;
pub use name::{Names, of_kind, safe};
pub use part::Part;
pub use reader::{Reader, Sink};

/// Parts of a message that are told apart; all that follows is octets of the last one. Mail with more than some dozens is not
/// written by people.
pub const PARTS: usize = 2_000;

/// Multiparts within each other; a deeper one is an attachment. Mail forwarded again and again has some ten.
pub const DEPTH: usize = 64;

/// Longest text, and longest HTML text, octets of UTF-8.
pub const TEXT: usize = 1024 * 1024;

/// Octets of one text that are kept before they are decoded. UTF-16 takes two octets where UTF-8 takes one.
const RAW_TEXT: usize = 2 * TEXT;

/// Fields of the message's header that are told.
const HEADERS: usize = 1_000;
