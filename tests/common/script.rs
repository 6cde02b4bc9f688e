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

/// A line of a client's script: `S:` the server says, `L:` octets of a literal or of data, `C:` the client must say, `D:`
/// the driver's call, `=` the step that must come (with `*` for anything).
#[derive(Debug)]
pub enum ClientLine {
    Server(Vec<u8>),
    Octets(Vec<u8>),
    Client(Vec<u8>),
    Driver(Vec<String>),
    Step(String),
}

/// The words after `@`, and the lines.
pub fn client_script(text: &str) -> (Vec<String>, Vec<ClientLine>) {
    let (mut settings, mut lines) = (Vec::new(), Vec::new());
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("@", said) => settings.extend(words(said)),
            ("S:", said) => lines.push(ClientLine::Server(unescape(said))),
            ("L:", said) => lines.push(ClientLine::Octets(unescape(said))),
            ("C:", said) => lines.push(ClientLine::Client(unescape(said))),
            ("D:", said) => lines.push(ClientLine::Driver(words(said))),
            ("=", step) => lines.push(ClientLine::Step(step.to_owned())),
            _ => panic!("no line of a client's script: {line}"),
        }
    }
    (settings, lines)
}

/// Takes the next line from what a client said.
pub fn said(name: &str, out: &mut Vec<u8>, expected: &[u8]) {
    let end = out.windows(2).position(|pair| pair == b"\r\n");
    let end = end.unwrap_or_else(|| panic!("{name}: nothing was said for {}", expected.escape_ascii()));
    let rest = out.split_off(end + 2);
    out.truncate(end);
    let line = std::mem::replace(out, rest);
    assert!(matches(expected, &line), "{name}: {} is not {}", line.escape_ascii(), expected.escape_ascii());
}
