//! Dot-stuffing both ways (RFC 5321 section 4.5.2, RFC 1939 section 3): the decoder on the way in, the encoder on the
//! way out. The store between them has lines that end with LF.

pub mod decode;
pub mod encode;
