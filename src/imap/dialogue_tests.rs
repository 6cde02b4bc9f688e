//! Plays the scripts of `tests/dialogues/imap-client` on a session without a socket.

use super::{Secret, Session, Settings, Step};
use crate::script::{ClientLine, client_script, matches, said};
use std::fs;
use std::path::Path;

fn play(name: &str, text: &str) {
    let (words, lines) = client_script(text);
    let has = |word: &str| words.iter().any(|known| known == word);
    let mut session = Session::new(Settings {
        login: "me@example.com".into(),
        host: "imap.example.com".into(),
        port: 993,
        secret: if has("token") { Secret::Token } else { Secret::Password },
        starttls: has("starttls"),
    });
    let mut out = Vec::new();
    let mut step = Step::Line;
    // The body of a literal goes to the driver; this one throws it away.
    let mut is_kept = false;
    for line in lines {
        match line {
            ClientLine::Server(line) => {
                assert!(out.is_empty(), "{name}: {} was said before {}", out.escape_ascii(), line.escape_ascii());
                assert_eq!(step, Step::Line, "{name}: before {}", line.escape_ascii());
                step = session.line(&line, &mut out);
            }
            ClientLine::Octets(octets) => {
                let Step::Literal { octets: count, is_body } = step else { panic!("{name}: {step:?} is no literal") };
                assert_eq!(octets.len() as u64, count, "{name}");
                is_kept |= is_body;
                if !is_body {
                    session.octets(&octets);
                }
                step = Step::Line;
            }
            ClientLine::Client(expected) => said(name, &mut out, &expected),
            ClientLine::Step(expected) => {
                let came = format!("{step:?}");
                assert!(matches(expected.as_bytes(), came.as_bytes()), "{name}: {came} is not {expected}");
                step = Step::Line;
            }
            ClientLine::Driver(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                step = match words.as_slice() {
                    ["credentials", secret] => session.credentials(secret.as_bytes(), &mut out),
                    ["secured"] => session.secured(&mut out),
                    ["select", folder] => session.select(folder, false, &mut out),
                    ["examine", folder] => session.select(folder, true, &mut out),
                    ["list", first] => session.list(first.parse().unwrap(), &mut out),
                    ["headers", first] => session.list_headers(first.parse().unwrap(), &mut out),
                    ["fetch", uid] => session.fetch(uid.parse().unwrap(), false, &mut out),
                    ["header", uid] => session.fetch(uid.parse().unwrap(), true, &mut out),
                    ["delete", uid] => session.delete(uid.parse().unwrap(), &mut out),
                    ["seen", uid] => session.mark_seen(uid.parse().unwrap(), &mut out),
                    ["move", uid, folder] => session.move_to(uid.parse().unwrap(), folder, &mut out),
                    ["noop"] => session.noop(&mut out),
                    ["idle"] => session.idle(&mut out),
                    ["done"] => session.done(&mut out),
                    ["logout"] => session.logout(&mut out),
                    ["changed", expected] => {
                        assert_eq!(session.has_changed().to_string(), *expected, "{name}");
                        Step::Line
                    }
                    ["long"] => session.line_too_long(),
                    other => panic!("{name}: {other:?}"),
                };
            }
        }
    }
    assert!(out.is_empty(), "{name}: left over: {}", out.escape_ascii());
    assert!(!has("body") || is_kept, "{name}: no message came");
}

#[test]
fn every_dialogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/imap-client");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        play(&path.file_stem().unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap());
        played += 1;
    }
    assert!(played >= 20, "{played} dialogues");
}

#[test]
fn a_listing_ends_somewhere() {
    let mut session = Session::new(Settings {
        login: "me".into(),
        host: "h".into(),
        port: 143,
        secret: Secret::Password,
        starttls: false,
    });
    let mut out = Vec::new();
    for line in ["* PREAUTH hello", "a1 OK capability"] {
        session.line(line.as_bytes(), &mut out);
    }
    session.list(1, &mut out);
    for uid in 1_u32.. {
        match session.line(format!("* {uid} FETCH (UID {uid} RFC822.SIZE 10)").as_bytes(), &mut out) {
            Step::Item(_) => {}
            step => {
                assert!(matches!(step, Step::Failed(_)), "{step:?}");
                return assert_eq!(uid, 1_000_001);
            }
        }
    }
}
