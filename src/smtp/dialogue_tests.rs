//! Plays the scripts of `tests/dialogues/smtp` on a session without a socket; `tests/` plays them on the real binary.

use super::fake::{Driver, settings};
use super::{Auth, Protocol, Settings};
use std::fs;
use std::path::Path;

fn unescape(text: &str) -> Vec<u8> {
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
            [b'x', digits @ ..] => {
                let digits = std::str::from_utf8(&digits[..2]).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("hexadecimal digits"), 3)
            }
            _ => panic!("unknown escape in {text:?}"),
        };
        octets.push(octet);
        rest = &tail[used..];
    }
    octets
}

/// `*` stands for anything.
fn matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == line,
        Some((head, tail)) => {
            line.starts_with(head)
                && (head.len()..=line.len())
                    .filter(|&at| line.is_char_boundary(at))
                    .any(|at| matches(tail, &line[at..]))
        }
    }
}

fn door(name: &str) -> Settings {
    match name {
        "smtp" => settings(),
        "lmtp" => Settings { protocol: Protocol::Lmtp, auth: Auth::Off, ..settings() },
        "submission" => Settings { auth: Auth::Required, ..settings() },
        other => panic!("no door {other}"),
    }
}

fn play(name: &str, script: &str) {
    let kind = script.lines().find_map(|line| line.strip_prefix("@ door=")).unwrap_or("smtp");
    let mut driver = Driver::new(door(kind.trim()));
    let mut replies = Vec::new();
    driver.session.greeting(&mut replies);
    for (number, line) in script.lines().enumerate() {
        let at = format!("{name}:{}: {line}", number + 1);
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let (word, times) = match word.strip_suffix(':').and_then(|word| word.split_once('*')) {
            Some((word, times)) => (&format!("{word}:")[..], times.parse().unwrap()),
            None => (word, 1),
        };
        for _ in 0..times {
            match word {
                "C:" => replies.extend(driver.feed(&[&unescape(text)[..], b"\r\n"].concat())),
                "C-:" => replies.extend(driver.feed(&unescape(text))),
                "S:" => {
                    let end = replies
                        .iter()
                        .position(|&octet| octet == b'\n')
                        .unwrap_or_else(|| panic!("{at}: nothing came"));
                    let came: Vec<u8> = replies.drain(..=end).collect();
                    let came = std::str::from_utf8(&came).unwrap().strip_suffix("\r\n").expect("replies end with CRLF");
                    assert!(matches(text, came), "{at}: {came} came");
                }
                "S-EOF" => assert!(driver.closed && replies.is_empty(), "{at}: {}", replies.escape_ascii()),
                "" | "#" | "@" => {}
                _ => panic!("{at}: no line of a dialogue"),
            }
        }
    }
    assert!(replies.is_empty(), "{name}: left over: {}", replies.escape_ascii());
}

#[test]
fn every_dialogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/smtp");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        play(&path.file_name().unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap());
        played += 1;
    }
    assert!(played >= 50, "{played} dialogues");
}
