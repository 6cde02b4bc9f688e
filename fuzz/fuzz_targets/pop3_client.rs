//! The POP3 client in every state: the first octets choose the settings and the commands, the rest are the server's lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::pop3::client::{Account, LINE, Secret, Session, Settings, Step};

fuzz_target!(|data: &[u8]| {
    let [settings, choices, lines @ ..] = data else { return };
    let secret = if settings & 1 != 0 { Secret::Token } else { Secret::Password };
    let mut session = Session::new(Settings {
        account: Account { login: "me".into(), host: "h".into(), port: 995, secret },
        starttls: settings & 2 != 0,
        implicit_tls: settings & 4 != 0,
    });
    let mut out = Vec::new();
    let mut choice = *choices;
    for line in lines.split(|octet| *octet == b'\n') {
        let mut step = if line.len() > LINE { session.line_too_long() } else { session.line(line, &mut out) };
        loop {
            choice = choice.wrapping_mul(5).wrapping_add(line.len() as u8 | 1);
            step = match step {
                Step::Line | Step::Entry { .. } => break,
                Step::StartTls => session.secured(&mut out),
                Step::Credentials => session.credentials(b"s\xff", &mut out),
                Step::Data => session.data_ended(),
                Step::Ready | Step::Count(_) | Step::Size(_) | Step::Done(_) => match choice % 7 {
                    0 => session.stat(&mut out),
                    1 => session.uidl(&mut out),
                    2 => session.list(1, &mut out),
                    3 => session.retr(1, &mut out),
                    4 => session.top(1, &mut out),
                    5 => session.dele(1, &mut out),
                    _ => session.quit(&mut out),
                },
                Step::Over { .. } | Step::Failed(_) => return,
            };
        }
        let _ = (session.login_delay(), session.expire(), session.has_top());
        assert!(out.is_empty() || out.ends_with(b"\r\n"), "{}", out.escape_ascii());
        out.clear();
    }
});
