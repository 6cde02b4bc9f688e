//! Plays the scripts of `tests/dialogues/smtp-client` on a session without a socket.

use super::{Message, Recipient, Secret, Session, Settings, Step, Verdict};
use crate::script::{ClientLine, client_script, matches, said};
use crate::smtp::dsn::{Notify, Ret};
use std::fs;
use std::path::Path;

fn play(name: &str, text: &str) {
    let (words, lines) = client_script(text);
    let has = |word: &str| words.iter().any(|known| known == word);
    let secret = if has("token") { Secret::Token } else { Secret::Password };
    let mut session = Session::new(Settings {
        hostname: "mail.example.org".into(),
        host: "smtp.example.com".into(),
        port: 587,
        login: has("login").then(|| ("me@example.com".into(), secret)),
        starttls: has("starttls"),
    });
    let (mut out, mut step) = (Vec::new(), Step::Line);
    for line in lines {
        match line {
            ClientLine::Server(line) => {
                assert!(out.is_empty(), "{name}: {} was said before {}", out.escape_ascii(), line.escape_ascii());
                step = session.line(&line, &mut out);
            }
            ClientLine::Octets(_) => panic!("{name}: a message is sent by D: sent"),
            ClientLine::Client(expected) => said(name, &mut out, &expected),
            ClientLine::Step(expected) => {
                let came = match &step {
                    Step::Done(verdicts) => verdicts.iter().map(shown).collect::<Vec<_>>().join(" | "),
                    step => format!("{step:?}"),
                };
                assert!(matches(expected.as_bytes(), came.as_bytes()), "{name}: {came} is not {expected}");
                step = Step::Line;
            }
            ClientLine::Driver(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                step = match words.as_slice() {
                    ["credentials", secret] => session.credentials(secret.as_bytes(), &mut out),
                    ["long-token"] => session.credentials(&[b't'; 2_000], &mut out),
                    ["secured"] => session.secured(&mut out),
                    ["mail", rest @ ..] => session.mail(&message(rest), &mut out),
                    ["sent"] => session.body_sent(),
                    ["quit"] => session.quit(&mut out),
                    ["long"] => session.line_too_long(),
                    ["over?", expected] => {
                        assert_eq!(session.is_over().to_string(), *expected, "{name}");
                        Step::Line
                    }
                    ["most", recipients] => {
                        assert_eq!(session.most_recipients().to_string(), *recipients, "{name}");
                        Step::Line
                    }
                    other => panic!("{name}: {other:?}"),
                };
            }
        }
    }
    assert!(out.is_empty(), "{name}: left over: {}", out.escape_ascii());
}

/// `SENDER RECIPIENT... [size=N] [8bit] [utf8] [ret] [envid=X] [never] [orcpt=X]`.
fn message(words: &[&str]) -> Message {
    let mut message = Message { size: 100, ..Message::default() };
    let (mut notify, mut orcpt) = (Notify::UNSET, None);
    for (index, word) in words.iter().enumerate() {
        match *word {
            "8bit" => message.eight_bit = true,
            "utf8" => message.utf8_header = true,
            "ret" => message.ret = Some(Ret::Headers),
            "never" => notify = Notify::NEVER,
            word if word.starts_with("size=") => message.size = word[5..].parse().unwrap(),
            word if word.starts_with("envid=") => message.envid = Some(word[6..].into()),
            word if word.starts_with("orcpt=") => orcpt = Some(word[6..].to_owned()),
            word if index == 0 => message.reverse_path = word.trim_matches(['<', '>']).into(),
            word => message.recipients.push(Recipient { address: word.into(), ..Recipient::default() }),
        }
    }
    for recipient in &mut message.recipients {
        (recipient.notify, recipient.orcpt) = (notify, orcpt.clone());
    }
    message
}

fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Sent(reply) => format!("sent {reply}"),
        Verdict::Deferred(reply) => format!("deferred {reply}"),
        Verdict::TooMany(reply) => format!("too many {reply}"),
        Verdict::Failed(reply) => format!("failed {reply}"),
    }
}

#[test]
fn every_dialogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/smtp-client");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        play(&path.file_stem().unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap());
        played += 1;
    }
    assert!(played >= 30, "{played} dialogues");
}
