//! Plays the scripts of `tests/dialogues/smtp-client` on a session without a socket.

use super::{Account, Message, Recipient, Secret, Session, Settings, Step, Verdict};
use crate::script::{Client, client_script, each, play_client};
use crate::smtp::dsn::{Notify, Ret};

impl Client for Session {
    type Step = Step;
    const LINE: Step = Step::Line;

    /// A server may answer while the message is sent.
    fn is_line(_step: &Step) -> bool {
        true
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        Session::line(self, line, out)
    }

    fn call(&mut self, words: &[&str], out: &mut Vec<u8>) -> Result<Step, String> {
        Ok(match words[0] {
            "credentials" => self.credentials(words[1].as_bytes(), out),
            "long-token" => self.credentials(&[b't'; 2_000], out),
            "secured" => self.secured(out),
            "mail" => self.mail(&message(&words[1..]), out),
            "sent" => self.body_sent(),
            "quit" => self.quit(out),
            "long" => self.line_too_long(),
            "over?" => return Err(self.is_over().to_string()),
            "most" => return Err(self.most_recipients().to_string()),
            other => panic!("{other}"),
        })
    }

    fn shown(step: &Step) -> String {
        match step {
            Step::Done(verdicts) => verdicts.iter().map(shown).collect::<Vec<_>>().join(" | "),
            step => format!("{step:?}"),
        }
    }
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
    each("smtp-client", 30, |name, text| {
        let (words, lines) = client_script(text);
        let has = |word: &str| words.iter().any(|known| known == word);
        let secret = if has("token") { Secret::Token } else { Secret::Password };
        let account = Account { login: "me@example.com".into(), host: "smtp.example.com".into(), port: 587, secret };
        let mut session = Session::new(Settings {
            hostname: "mail.example.org".into(),
            account: has("login").then_some(account),
            starttls: has("starttls"),
        });
        play_client(name, lines, &mut session);
    });
}
