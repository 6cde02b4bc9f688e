//! Plays the scripts of `tests/dialogues/imap-client` on a session without a socket.

use super::{Account, Secret, Session, Settings, Step};
use crate::script::{Client, client_script, each, play_client};

fn session(secret: Secret, starttls: bool) -> Session {
    let account = Account { login: "me@example.com".into(), host: "imap.example.com".into(), port: 993, secret };
    Session::new(Settings { account, starttls })
}

/// A session, and whether a message came. The body of a literal goes to the driver; this one throws it away.
struct Fetching(Session, bool);

impl Client for Fetching {
    type Step = Step;
    const LINE: Step = Step::Line;

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        self.0.line(line, out)
    }

    fn octets(&mut self, name: &str, step: &Step, octets: &[u8]) -> Step {
        let Step::Literal { octets: count, is_body } = *step else { panic!("{name}: {step:?} is no literal") };
        assert_eq!(octets.len() as u64, count, "{name}");
        self.1 |= is_body;
        if !is_body {
            self.0.octets(octets);
        }
        Step::Line
    }

    fn call(&mut self, words: &[&str], out: &mut Vec<u8>) -> Result<Step, String> {
        let session = &mut self.0;
        let number = || words[1].parse().unwrap();
        Ok(match words[0] {
            "credentials" => session.credentials(words[1].as_bytes(), out),
            "secured" => session.secured(out),
            "select" => session.select(words[1], false, out),
            "examine" => session.select(words[1], true, out),
            "list" => session.list(number(), out),
            "headers" => session.list_headers(number(), out),
            "fetch" => session.fetch(number(), false, out),
            "header" => session.fetch(number(), true, out),
            "delete" => session.delete(number(), out),
            "seen" => session.mark_seen(number(), out),
            "move" => session.move_to(number(), words[2], out),
            "noop" => session.noop(out),
            "idle" => session.idle(out),
            "done" => session.done(out),
            "logout" => session.logout(out),
            "changed" => return Err(session.has_changed().to_string()),
            "long" => session.line_too_long(),
            other => panic!("{other}"),
        })
    }
}

#[test]
fn every_dialogue() {
    each("imap-client", 20, |name, text| {
        let (words, lines) = client_script(text);
        let has = |word: &str| words.iter().any(|known| known == word);
        let secret = if has("token") { Secret::Token } else { Secret::Password };
        let mut client = Fetching(session(secret, has("starttls")), false);
        play_client(name, lines, &mut client);
        assert!(!has("body") || client.1, "{name}: no message came");
    });
}

#[test]
fn a_listing_ends_somewhere() {
    let mut session = session(Secret::Password, false);
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
