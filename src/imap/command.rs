//! How a command's arguments are written: quoted strings where octets allow it, else literals, which need the server's
//! `+` before they are sent.

/// A command in the pieces between which the server must say `+`.
#[derive(Debug, Default)]
pub struct Pieces(Vec<Vec<u8>>);

impl Pieces {
    /// Begins with this text.
    pub fn new(text: &str) -> Pieces {
        Pieces(vec![text.as_bytes().to_vec()])
    }

    /// Appends a blank and a string.
    pub fn string(mut self, octets: &[u8]) -> Pieces {
        if let Some(last) = self.0.last_mut() {
            last.push(b' ');
            match quoted(octets) {
                Some(text) => last.extend_from_slice(&text),
                None => {
                    last.extend_from_slice(format!("{{{}}}", octets.len()).as_bytes());
                    self.0.push(octets.to_vec());
                }
            }
        }
        self
    }

    /// Takes the next piece, with CRLF at its end; `None` when all were taken.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return None;
        }
        let mut piece = self.0.remove(0);
        piece.extend_from_slice(b"\r\n");
        Some(piece)
    }
}

/// A quoted string (RFC 3501 section 4.3); `None` for octets that only a literal can carry.
pub fn quoted(octets: &[u8]) -> Option<Vec<u8>> {
    if !octets.iter().all(|octet| (b' '..=b'~').contains(octet)) {
        return None;
    }
    let mut text = vec![b'"'];
    for &octet in octets {
        if matches!(octet, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(octet);
    }
    text.push(b'"');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut pieces: Pieces) -> Vec<String> {
        std::iter::from_fn(|| pieces.next()).map(|piece| String::from_utf8_lossy(&piece).into_owned()).collect()
    }

    #[test]
    fn strings_are_quoted_or_literals() {
        let login = |name: &str, password: &str| {
            pieces(Pieces::new("a1 LOGIN").string(name.as_bytes()).string(password.as_bytes()))
        };
        assert_eq!(login("me@example.com", "a \"b\\c"), ["a1 LOGIN \"me@example.com\" \"a \\\"b\\\\c\"\r\n"]);
        assert_eq!(login("m\u{fc}", "x"), ["a1 LOGIN {3}\r\n", "m\u{fc} \"x\"\r\n"]);
        assert_eq!(login("m", "\u{e9}\u{e9}"), ["a1 LOGIN \"m\" {4}\r\n", "\u{e9}\u{e9}\r\n"]);
        assert_eq!(login("", "\u{e9}"), ["a1 LOGIN \"\" {2}\r\n", "\u{e9}\r\n"]);
    }
}
