//! Letters that must not stand in a line for programs: what some reader takes for the end of a line, and what changes how
//! the rest of the line is shown.

/// What marks a value that was cut.
pub const MARK: &str = "...";

/// Control characters; U+2028 and U+2029, which Node's readline and Python's splitlines take for line ends, as they do
/// U+0085, a control character; and the controls of the direction of text (Unicode Standard Annex 9, section 2).
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Appends a value, letter by letter as `put` writes them, in at most `longest` octets: one that is longer ends with
/// [`MARK`]. `put` must write every printable ASCII letter but `"` and `\` as it is.
pub fn push(out: &mut Vec<u8>, value: &str, longest: usize, put: impl Fn(char, &mut Vec<u8>)) {
    let is_plain = |octet: u8| matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\';
    if value.len() <= longest && value.bytes().all(is_plain) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    let start = out.len();
    let mut end = start;
    for letter in value.chars() {
        if out.len() - start + MARK.len() <= longest {
            end = out.len();
        }
        put(letter, out);
        if out.len() - start > longest {
            out.truncate(end);
            out.extend_from_slice(MARK.as_bytes());
            return;
        }
    }
}

/// Writes a letter as it is.
pub fn put(letter: char, out: &mut Vec<u8>) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Writes a letter of a JSON string (RFC 8259 section 7).
pub fn put_json(letter: char, out: &mut Vec<u8>) {
    match letter {
        '"' | '\\' => out.extend([b'\\', letter as u8]),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        // All of these have at most four hexadecimal digits.
        other if is_unsafe(other) => out.extend(format!("\\u{:04x}", u32::from(other)).bytes()),
        other => put(other, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_end_of_a_line_is_unsafe() {
        // As Python's str.splitlines has them.
        for letter in "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{61c}\u{7f}\0\t".chars()
        {
            assert!(is_unsafe(letter), "{letter:?}");
        }
        assert!(!" aä日\u{a0}\u{200d}\u{feff}😀".chars().any(is_unsafe));
    }

    proptest! {
        #[test]
        fn json_is_one_plain_line_of_the_same_value(value in any::<String>(), longest in 3_usize..100) {
            let whole = |longest| {
                let mut out = vec![b'"'];
                push(&mut out, &value, longest, put_json);
                out.push(b'"');
                String::from_utf8(out).unwrap()
            };
            let json = whole(usize::MAX);
            prop_assert!(!json.chars().any(is_unsafe));
            prop_assert_eq!(&serde_json::from_str::<String>(&json).unwrap(), &value);
            let cut = whole(longest);
            prop_assert!(cut == json || cut.len() <= longest + 2 && cut.ends_with("...\""));
            let cut: String = serde_json::from_str(&cut).unwrap();
            prop_assert!(value.starts_with(cut.strip_suffix(MARK).unwrap_or(&cut)) || cut == value);
        }
    }
}
