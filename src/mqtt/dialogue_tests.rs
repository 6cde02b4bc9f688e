//! Plays the scripts of `tests/dialogues/mqtt-client` on a session without a socket. `S:` is a packet of the broker, by
//! its name or in hexadecimal octets; `C:` is a packet that the client must have said.

use super::{Publish, Session, Settings, Step, packets};
use crate::script::{ClientLine, client_script, each};

fn play(name: &str, text: &str) {
    let (words, lines) = client_script(text);
    let value =
        |key: &str| words.iter().find_map(|word| word.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')));
    let settings = Settings {
        client_id: "mailbell".into(),
        login: value("login").map(str::to_owned),
        keep_alive: value("keep").map_or(60, |keep| keep.parse().unwrap()),
    };
    let mut out = Vec::new();
    let mut session = Session::new(&settings, value("password").map(str::as_bytes), &mut out);
    let (mut input, mut step) = (Vec::new(), Step::More);
    for line in lines {
        match line {
            ClientLine::Server(words) => {
                assert!(out.is_empty(), "{name}: more was said: {}", out.escape_ascii());
                assert_eq!(step, Step::More, "{name}: before {}", words.escape_ascii());
                input.extend(packets::packet(std::str::from_utf8(&words).unwrap()));
                step = next(&mut session, &mut input);
            }
            ClientLine::Client(expected) => {
                let sent = packets::take(&mut out).unwrap_or_else(|| panic!("{name}: nothing was said"));
                assert_eq!(sent.to_string(), String::from_utf8(expected).unwrap(), "{name}");
            }
            ClientLine::Step(expected) => {
                assert_eq!(format!("{step:?}"), expected, "{name}");
                step = next(&mut session, &mut input);
            }
            ClientLine::Driver(words) => match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["publish", mark, topic, payload, flags @ ..] => {
                    assert!(session.room() > 0, "{name}: there is no room");
                    let (retain, dup) = (flags.contains(&"retain"), flags.contains(&"dup"));
                    let message = Publish { topic, payload: payload.as_bytes(), retain, dup };
                    session.publish(&message, mark.parse().unwrap(), &mut out);
                }
                ["ping"] => session.ping(&mut out),
                ["disconnect"] => session.disconnect(&mut out),
                ["room", expected] => assert_eq!(session.room().to_string(), *expected, "{name}"),
                ["waiting", expected] => assert_eq!(session.waiting().to_string(), *expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            },
            ClientLine::Octets(_) => panic!("{name}: there are no literals"),
        }
    }
    assert!(out.is_empty(), "{name}: left over: {}", out.escape_ascii());
    assert!(matches!(step, Step::More), "{name}: {step:?} was not expected");
}

/// The first step that is more than waiting.
fn next(session: &mut Session, input: &mut Vec<u8>) -> Step {
    while !input.is_empty() {
        let (taken, step) = session.octets(input);
        input.drain(..taken);
        if step != Step::More {
            return step;
        }
    }
    Step::More
}

#[test]
fn every_dialogue() {
    each("mqtt-client", 12, play);
}
