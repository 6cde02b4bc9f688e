//! What a message is made of: addresses, dates, header fields, encoded words, trace fields, and its form on the wire.

pub mod address;
pub mod addresses;
pub mod base64;
pub mod date;
pub mod dot;
pub mod header;
pub mod idn;
pub mod letter;
#[cfg(feature = "mime")]
pub mod mime;
pub mod origin;
pub mod trace;
