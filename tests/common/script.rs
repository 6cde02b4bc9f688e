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

/// Plays each script of a folder below `tests/dialogues`, of which there are at least `fewest`.
pub fn each(folder: &str, fewest: usize, mut play: impl FnMut(&str, &str)) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues").join(folder);
    let paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= fewest, "{} dialogues", paths.len());
    for path in paths {
        play(&path.file_stem().unwrap().to_string_lossy(), &std::fs::read_to_string(&path).unwrap());
    }
}

/// Takes the next line, without its end, from what one side said, and compares it.
fn said(at: &str, out: &mut Vec<u8>, expected: &[u8]) {
    let end = out.windows(2).position(|pair| pair == b"\r\n");
    let end = end.unwrap_or_else(|| panic!("{at}: nothing was said for {}", expected.escape_ascii()));
    let line: Vec<u8> = out.drain(..end + 2).take(end).collect();
    assert!(matches(expected, &line), "{at}: {} is not {}", line.escape_ascii(), expected.escape_ascii());
}

/// Plays a dialogue (see `tests/dialogues.rs`) on the session of a server. `replies` begins with the greeting; `feed` takes
/// what the client says, and gives the replies and whether the session is closed.
pub fn play_server(name: &str, script: &str, mut replies: Vec<u8>, mut feed: impl FnMut(&[u8]) -> (Vec<u8>, bool)) {
    let mut is_closed = false;
    for (number, line) in script.lines().enumerate() {
        let at = format!("{name}:{}: {line}", number + 1);
        for line in repeated(line) {
            let (word, text) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "C:" | "C-:" => {
                    let end: &[u8] = if word == "C:" { b"\r\n" } else { b"" };
                    let (more, closed) = feed(&[&unescape(text), end].concat());
                    replies.extend(more);
                    is_closed = closed;
                }
                "S:" => said(&at, &mut replies, &unescape(text)),
                "S-EOF" => assert!(is_closed && replies.is_empty(), "{at}: {}", replies.escape_ascii()),
                "" | "#" | "@" => {}
                _ => panic!("{at}: no line of a dialogue"),
            }
        }
    }
    assert!(replies.is_empty(), "{name}: left over: {}", replies.escape_ascii());
}

/// The session of a client as a script drives it.
pub trait Client {
    type Step: PartialEq + std::fmt::Debug;

    /// The step that waits for a line.
    const LINE: Self::Step;

    /// Whether the server may say a line after this step.
    fn is_line(step: &Self::Step) -> bool {
        *step == Self::LINE
    }

    /// Takes a line of the server's.
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Self::Step;

    /// Takes the octets that `step` asks for.
    fn octets(&mut self, name: &str, step: &Self::Step, _octets: &[u8]) -> Self::Step {
        panic!("{name}: {step:?} takes no octets")
    }

    /// The driver's call; a question is answered by the text that its last word must be.
    fn call(&mut self, words: &[&str], out: &mut Vec<u8>) -> Result<Self::Step, String>;

    /// The step as the script has it.
    fn shown(step: &Self::Step) -> String {
        format!("{step:?}")
    }
}

/// Plays the lines of a script on the session of a client.
pub fn play_client<C: Client>(name: &str, lines: Vec<ClientLine>, client: &mut C) {
    let (mut out, mut step) = (Vec::new(), C::LINE);
    for line in lines {
        match line {
            ClientLine::Server(line) => {
                assert!(out.is_empty(), "{name}: {} was said before {}", out.escape_ascii(), line.escape_ascii());
                assert!(C::is_line(&step), "{name}: {step:?} before {}", line.escape_ascii());
                step = client.line(&line, &mut out);
            }
            ClientLine::Octets(octets) => step = client.octets(name, &step, &octets),
            ClientLine::Client(expected) => said(name, &mut out, &expected),
            ClientLine::Step(expected) => {
                let came = C::shown(&step);
                assert!(matches(expected.as_bytes(), came.as_bytes()), "{name}: {came} is not {expected}");
                step = C::LINE;
            }
            ClientLine::Driver(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                step = client.call(&words, &mut out).unwrap_or_else(|answer| {
                    assert_eq!(Some(&answer.as_str()), words.last(), "{name}: {words:?}");
                    C::LINE
                });
            }
        }
    }
    assert!(out.is_empty(), "{name}: left over: {}", out.escape_ascii());
}
