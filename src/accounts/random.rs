//! Random numbers from the system, and the passwords made of them.

use std::io;

/// Fills the octets.
pub(super) fn fill(octets: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < octets.len() {
        filled += rustix::rand::getrandom(&mut octets[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

/// A random password of 80 bits, easy to read and to type: four groups of four.
///
/// # Errors
///
/// When the system has no random numbers.
pub fn random_password() -> io::Result<String> {
    // 32 letters, so that five bits choose one evenly; without `l`, `o`, `0` and `1`, which look alike.
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut octets = [0; 16];
    fill(&mut octets)?;
    let letters: Vec<char> = octets.iter().map(|octet| char::from(LETTERS[usize::from(octet % 32)])).collect();
    Ok(letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_differ_and_can_be_typed() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 19);
        assert!(one.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'2'..=b'9' | b'-')), "{one}");
    }
}
