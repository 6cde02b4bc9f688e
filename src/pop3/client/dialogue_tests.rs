//! Plays the scripts of `tests/dialogues/pop3-client` on a session without a socket.

use super::{Secret, Session, Settings, Step};
use crate::message::dot::decode::Decoder;
use crate::script::{ClientLine, client_script, matches, said};
use std::fs;
use std::path::Path;

fn settings() -> Settings {
    Settings {
        login: "me@example.com".into(),
        host: "pop.example.com".into(),
        port: 995,
        secret: Secret::Password,
        starttls: false,
        implicit_tls: false,
    }
}

fn play(name: &str, text: &str) {
    let (words, lines) = client_script(text);
    let has = |word: &str| words.iter().any(|known| known == word);
    let mut session = Session::new(Settings {
        secret: if has("token") { Secret::Token } else { Secret::Password },
        starttls: has("starttls"),
        implicit_tls: has("tls"),
        ..settings()
    });
    let (mut out, mut step) = (Vec::new(), Step::Line);
    for line in lines {
        match line {
            ClientLine::Server(line) => {
                assert!(out.is_empty(), "{name}: {} was said before {}", out.escape_ascii(), line.escape_ascii());
                assert_eq!(step, Step::Line, "{name}: before {}", line.escape_ascii());
                step = session.line(&line, &mut out);
            }
            ClientLine::Octets(octets) => {
                assert_eq!(step, Step::Data, "{name}");
                let (_, ended) = Decoder::new().decode(&octets, &mut Vec::new());
                assert!(ended, "{name}: data without an end");
                step = session.data_ended();
            }
            ClientLine::Client(expected) => said(name, &mut out, &expected),
            ClientLine::Step(expected) => {
                let came = match &step {
                    Step::Entry { number, unique_id } => format!("Entry {number} {}", unique_id.escape_ascii()),
                    step => format!("{step:?}"),
                };
                assert!(matches(expected.as_bytes(), came.as_bytes()), "{name}: {came} is not {expected}");
                step = Step::Line;
            }
            ClientLine::Driver(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                step = match words.as_slice() {
                    ["credentials", secret] => session.credentials(secret.as_bytes(), &mut out),
                    ["secured"] => session.secured(&mut out),
                    ["stat"] => session.stat(&mut out),
                    ["uidl"] => session.uidl(&mut out),
                    ["list", number] => session.list(number.parse().unwrap(), &mut out),
                    ["retr", number] => session.retr(number.parse().unwrap(), &mut out),
                    ["top", number] => session.top(number.parse().unwrap(), &mut out),
                    ["dele", number] => session.dele(number.parse().unwrap(), &mut out),
                    ["quit"] => session.quit(&mut out),
                    ["long"] => session.line_too_long(),
                    ["delay", expected] => {
                        assert_eq!(format!("{:?}", session.login_delay()), *expected, "{name}");
                        Step::Line
                    }
                    ["expire", expected] => {
                        assert_eq!(format!("{:?}", session.expire()), *expected, "{name}");
                        Step::Line
                    }
                    ["top?", expected] => {
                        assert_eq!(session.has_top().to_string(), *expected, "{name}");
                        Step::Line
                    }
                    other => panic!("{name}: {other:?}"),
                };
            }
        }
    }
    assert!(out.is_empty(), "{name}: left over: {}", out.escape_ascii());
}

#[test]
fn every_dialogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/pop3-client");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        play(&path.file_stem().unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap());
        played += 1;
    }
    assert!(played >= 12, "{played} dialogues");
}

#[test]
fn a_listing_ends_somewhere() {
    let mut session = Session::new(settings());
    let mut out = Vec::new();
    for line in ["+OK", "-ERR what is CAPA"] {
        session.line(line.as_bytes(), &mut out);
    }
    session.credentials(b"x", &mut out);
    for line in ["+OK", "+OK", "-ERR what is CAPA"] {
        session.line(line.as_bytes(), &mut out);
    }
    session.uidl(&mut out);
    assert_eq!(session.line(b"+OK", &mut out), Step::Line);
    for number in 1_u32.. {
        match session.line(format!("{number} u{number}").as_bytes(), &mut out) {
            Step::Entry { .. } => {}
            step => {
                assert!(matches!(step, Step::Failed(_)), "{step:?}");
                return assert_eq!(number, 1_000_001);
            }
        }
    }
}
