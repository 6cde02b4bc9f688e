//! The POP3 session in every state: the first octet chooses how far the session has come, the rest are lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::pop3::{Login, Maildrop, Part, Refusal, Session, Settings, Step, Unavailable};

struct Box(u32);

impl Maildrop for Box {
    fn count(&self) -> u32 {
        self.0
    }

    fn size(&self, message_number: u32) -> u64 {
        assert!((1..=self.0).contains(&message_number));
        u64::from(message_number) * 1_000
    }

    fn unique_id(&self, message_number: u32, out: &mut Vec<u8>) {
        assert!((1..=self.0).contains(&message_number));
        out.extend_from_slice(format!("id-{message_number}").as_bytes());
    }
}

/// What a driver does, with answers that the octets in `choice` choose.
fn play(session: &mut Session<Box>, mut step: Step, choice: u8, out: &mut Vec<u8>) -> bool {
    loop {
        step = match step {
            Step::Continue => return true,
            Step::Close => return false,
            Step::More => {
                out.clear();
                session.more(out)
            }
            Step::StartTls => {
                session.tls_started();
                return true;
            }
            Step::Login(Login::Password { .. } | Login::Apop { .. }) | Step::AuthResponse => {
                let outcome = match choice % 8 {
                    0 => Err(Refusal::Auth),
                    1 => Err(Refusal::InUse),
                    2 => Err(Refusal::Temporary),
                    3 => Err(Refusal::Permanent),
                    more => Ok(Box(u32::from(more) * 50 - 200)),
                };
                session.opened(outcome, out)
            }
            Step::Auth { initial, .. } => match initial {
                None => session.challenge("Y2hhbGxlbmdl", out),
                Some(_) => session.opened(Err(Refusal::Auth), out),
            },
            Step::Send(part) => send(session, part, choice, out),
            Step::Update => {
                let updating = session.updating().expect("QUIT led to Update");
                let count = updating.maildrop.count();
                assert!(
                    updating.deleted.iter().chain(updating.seen.iter()).all(|number| (1..=count).contains(&number))
                );
                session.updated(usize::from(choice & 1), out)
            }
        };
    }
}

fn send(session: &mut Session<Box>, part: Part, choice: u8, out: &mut Vec<u8>) -> Step {
    let count = session.maildrop().map_or(0, |maildrop| maildrop.count());
    assert!((1..=count).contains(&part.message_number));
    match choice % 5 {
        0 => session.message_opened(part, Err(Unavailable::Gone), out),
        1 => session.message_opened(part, Err(Unavailable::Failed), out),
        _ => {
            let step = session.message_opened(part, Ok(()), out);
            let mut encoder = part.encoder(mailbell::message::dot::encode::LineEnds::Mixed);
            encoder.encode(b"Subject: x\n\n.\n..\nbody\n", out);
            encoder.finish(out);
            step
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [settings, state, choices @ ..] = data else { return };
    let mut session = Session::new(Settings {
        stamp: (settings & 1 != 0).then(|| "<1.2@mailbell>".to_owned()),
        tls_available: settings & 2 != 0,
        expire: (settings & 4 != 0).then_some(7),
        tls_active: settings & 4 != 0,
        cleartext_allowed: settings & 8 != 0,
        cram_md5: settings & 16 != 0,
    });
    let mut out = Vec::new();
    session.greeting(&mut out);
    let start: &[&[u8]] = match state % 4 {
        0 => &[],
        1 => &[b"USER alice"],
        2 => &[b"AUTH PLAIN"],
        _ => &[b"USER alice", b"PASS secret"],
    };
    for line in start {
        let step = session.command(line, &mut out);
        assert!(play(&mut session, step, 7, &mut out));
    }
    for line in choices.split(|octet| *octet == b'\n') {
        out.clear();
        let step = match line.len() + 2 > session.line_limit() {
            true => session.line_too_long(&mut out),
            false => session.command(line, &mut out),
        };
        let choice = line.len() as u8 ^ line.last().copied().unwrap_or(0);
        let goes_on = play(&mut session, step, choice, &mut out);
        // Everything said is whole lines, and a refusal never says why a log-in failed.
        assert!(out.is_empty() || out.ends_with(b"\r\n"), "{}", out.escape_ascii());
        if !goes_on {
            break;
        }
    }
});
