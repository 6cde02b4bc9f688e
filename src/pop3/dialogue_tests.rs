//! Plays the scripts of `tests/dialogues/pop3` on a session without a socket; `tests/` plays them on the real binary.

use std::fs;
use std::path::Path;

use super::fake::{Driver, Fake, settings};
use crate::script::{matches, unescape};

/// One script: the messages in alice's Maildir, and what is said.
struct Script {
    messages: Vec<Vec<u8>>,
    lines: Vec<Line>,
}

enum Line {
    Client(Vec<u8>),
    Server(Vec<u8>),
}

fn parse(text: &str) -> Script {
    let mut script = Script { messages: Vec::new(), lines: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("@", message) => {
                script.messages.push(unescape(message.strip_prefix("message ").expect("the only directive")));
            }
            ("C:", said) => script.lines.push(Line::Client(unescape(said))),
            ("S:", expected) => script.lines.push(Line::Server(unescape(expected))),
            _ => panic!("no line of a dialogue: {line}"),
        }
    }
    script
}

fn play(name: &str, script: Script) {
    let messages =
        script.messages.into_iter().enumerate().map(|(n, message)| (format!("1763888639.M{n}P1Q1.h"), message));
    let maildrop = Fake { messages: messages.collect(), gone: Vec::new() };
    let mut settings = settings();
    settings.tls_available = false;
    settings.cram_md5 = true;
    let mut driver = Driver::new(settings, maildrop);
    let mut replies = Vec::new();
    driver.session.greeting(&mut replies);
    for line in script.lines {
        match line {
            Line::Client(said) => {
                assert!(
                    replies.is_empty(),
                    "{name}: not expected before {:?}: {}",
                    said.escape_ascii(),
                    replies.escape_ascii()
                );
                assert!(!driver.closed, "{name}: closed before {}", said.escape_ascii());
                // One C: line may hold several commands, as a client that pipelines sends them.
                let text = String::from_utf8_lossy(&said).into_owned();
                let commands: Vec<&[u8]> = match text.contains("\r\n") {
                    true => said.split(|&octet| octet == b'\n').map(|c| c.strip_suffix(b"\r").unwrap_or(c)).collect(),
                    false => vec![&said],
                };
                for command in commands {
                    if !driver.closed {
                        replies.extend_from_slice(&driver.line(command));
                    }
                }
            }
            Line::Server(expected) => {
                let end = memchr::memmem::find(&replies, b"\r\n")
                    .unwrap_or_else(|| panic!("{name}: nothing came for {}", expected.escape_ascii()));
                let rest = replies.split_off(end + 2);
                replies.truncate(end);
                let came = std::mem::replace(&mut replies, rest);
                assert!(
                    matches(&expected, &came),
                    "{name}: {} is not {}",
                    came.escape_ascii(),
                    expected.escape_ascii()
                );
            }
        }
    }
    assert!(replies.is_empty(), "{name}: left over: {}", replies.escape_ascii());
}

#[test]
fn every_dialogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/pop3");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        play(&name, parse(&fs::read_to_string(&path).unwrap()));
        played += 1;
    }
    assert!(played >= 30, "{played} dialogues");
}
