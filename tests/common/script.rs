//! The language of the dialogues in `tests/dialogues/`, for the tests that run them: on the real binary, and on the sessions
//! without a socket.
#![allow(dead_code)]

/// `\r \n \t \xHH \\` become what they stand for.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            octets.push(*first);
            continue;
        }
        let (octet, used) = match tail {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => {
                let digits = [*high, *low];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), 3)
            }
            _ => panic!("unknown escape in {text:?}"),
        };
        octets.push(octet);
        rest = &tail[used..];
    }
    octets
}

/// `*` stands for anything; written the slow and obvious way.
pub fn matches(pattern: &[u8], line: &[u8]) -> bool {
    match pattern.split_first() {
        None => line.is_empty(),
        Some((b'*', tail)) => (0..=line.len()).any(|at| matches(tail, &line[at..])),
        Some((first, tail)) => line.split_first().is_some_and(|(octet, line)| octet == first && matches(tail, line)),
    }
}

/// `C*20: text` is `C: text`, 20 times.
pub fn repeated(line: &str) -> std::iter::RepeatN<String> {
    let parts = line.split_once(": ").and_then(|(word, text)| Some((word.split_once('*')?, text)));
    match parts {
        Some(((word @ ("C" | "C-" | "S"), times), text)) => {
            std::iter::repeat_n(format!("{word}: {text}"), times.parse().unwrap())
        }
        _ => std::iter::repeat_n(line.to_owned(), 1),
    }
}
