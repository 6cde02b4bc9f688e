//! The SMTP client in every state: the first octets choose the settings and the messages, the rest are the server's lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::smtp::client::{Account, LINE, Message, Recipient, Secret, Session, Settings, Step};

fuzz_target!(|data: &[u8]| {
    let [settings, choices, lines @ ..] = data else { return };
    let secret = if settings & 1 != 0 { Secret::Token } else { Secret::Password };
    let mut session = Session::new(Settings {
        hostname: "here.example".into(),
        account: (settings & 2 != 0).then(|| Account { login: "me".into(), host: "h".into(), port: 587, secret }),
        starttls: settings & 4 != 0,
    });
    let count = 1 + usize::from(settings >> 5);
    let address = if settings & 8 != 0 { "j\u{f5}geva@b\u{fc}cher.example" } else { "b@there.example" };
    let message = Message {
        reverse_path: "a@here.example".into(),
        recipients: vec![Recipient { address: address.into(), ..Recipient::default() }; count],
        size: 100,
        eight_bit: settings & 16 != 0,
        ..Message::default()
    };
    let mut out = Vec::new();
    let mut choice = *choices;
    let mut is_in_transaction = false;
    for line in lines.split(|octet| *octet == b'\n') {
        let mut step = if line.len() > LINE { session.line_too_long() } else { session.line(line, &mut out) };
        loop {
            choice = choice.wrapping_mul(5).wrapping_add(line.len() as u8 | 1);
            step = match step {
                Step::Line => break,
                Step::StartTls => session.secured(&mut out),
                Step::Credentials => session.credentials(b"s\xff", &mut out),
                // A server may answer before the message has been sent.
                Step::Data | Step::Chunk if choice % 4 == 0 => break,
                Step::Data | Step::Chunk => session.body_sent(),
                Step::Done(verdicts) => {
                    assert_eq!(verdicts.len(), count);
                    is_in_transaction = false;
                    if session.is_over() {
                        return;
                    }
                    Step::Ready
                }
                Step::Ready => {
                    assert!(!is_in_transaction);
                    if choice % 7 == 0 {
                        session.quit(&mut out)
                    } else {
                        is_in_transaction = true;
                        session.mail(&message, &mut out)
                    }
                }
                Step::Over | Step::Failed(_) => return,
            };
            // A message that this server cannot get is decided at once, again and again.
            if out.is_empty() && matches!(step, Step::Done(_)) {
                return;
            }
        }
        let _ = (session.most_recipients(), session.patience(), session.description());
        assert!(out.is_empty() || out.ends_with(b"\r\n"), "{}", out.escape_ascii());
        out.clear();
    }
});
