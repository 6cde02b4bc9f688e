//! Plays the scripts of `tests/dialogues/smtp` on a session without a socket; `tests/` plays them on the real binary.

use super::fake::{Driver, settings};
use super::{Auth, Protocol, Settings};
use crate::script::{matches, unescape};
use std::fs;
use std::path::Path;

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
                    assert!(matches(&unescape(text), came.as_bytes()), "{at}: {came} came");
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
