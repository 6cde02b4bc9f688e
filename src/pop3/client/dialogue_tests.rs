//! Plays the scripts of `tests/dialogues/pop3-client` on a session without a socket.

use super::{Account, Secret, Session, Settings, Step};
use crate::message::dot::decode::Decoder;
use crate::script::{Client, client_script, each, play_client};

fn settings(secret: Secret) -> Settings {
    let account = Account { login: "me@example.com".into(), host: "pop.example.com".into(), port: 995, secret };
    Settings { account, starttls: false, implicit_tls: false }
}

impl Client for Session {
    type Step = Step;
    const LINE: Step = Step::Line;

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        Session::line(self, line, out)
    }

    fn octets(&mut self, name: &str, step: &Step, octets: &[u8]) -> Step {
        assert_eq!(*step, Step::Data, "{name}");
        let (_, ended) = Decoder::new().decode(octets, &mut Vec::new());
        assert!(ended, "{name}: data without an end");
        self.data_ended()
    }

    fn call(&mut self, words: &[&str], out: &mut Vec<u8>) -> Result<Step, String> {
        let number = || words[1].parse().unwrap();
        Ok(match words[0] {
            "credentials" => self.credentials(words[1].as_bytes(), out),
            "secured" => self.secured(out),
            "stat" => self.stat(out),
            "uidl" => self.uidl(out),
            "list" => self.list(number(), out),
            "retr" => self.retr(number(), out),
            "top" => self.top(number(), out),
            "dele" => self.dele(number(), out),
            "quit" => self.quit(out),
            "long" => self.line_too_long(),
            "delay" => return Err(format!("{:?}", self.login_delay())),
            "expire" => return Err(format!("{:?}", self.expire())),
            "top?" => return Err(self.has_top().to_string()),
            other => panic!("{other}"),
        })
    }

    fn shown(step: &Step) -> String {
        match step {
            Step::Entry { number, unique_id } => format!("Entry {number} {}", unique_id.escape_ascii()),
            step => format!("{step:?}"),
        }
    }
}

#[test]
fn every_dialogue() {
    each("pop3-client", 12, |name, text| {
        let (words, lines) = client_script(text);
        let has = |word: &str| words.iter().any(|known| known == word);
        let secret = if has("token") { Secret::Token } else { Secret::Password };
        let settings = Settings { starttls: has("starttls"), implicit_tls: has("tls"), ..settings(secret) };
        play_client(name, lines, &mut Session::new(settings));
    });
}

#[test]
fn a_listing_ends_somewhere() {
    let mut session = Session::new(settings(Secret::Password));
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
