//! What a message is made of: addresses, dates, header fields, encoded words, trace fields, and its form on the wire.

pub mod address;
pub mod addresses;
pub mod base64;
pub mod date;
pub mod dot;
pub mod header;
pub mod idn;
pub mod trace;

/// Whether a character must not stand in an address, in a trace field or in a name that a peer gives itself: a control
/// character, a character that some readers take for a line end (U+2028, U+2029), or one that changes the direction of
/// the text around it (Unicode Standard Annex 9, table 4).
pub fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
