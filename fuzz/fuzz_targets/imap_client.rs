//! The IMAP client in every state: the first octets choose the settings and the commands, the rest are the server's lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::imap::{Account, Body, LINE, Secret, Session, Settings, Step, utf7};

fuzz_target!(|data: &[u8]| {
    let [settings, choices, lines @ ..] = data else { return };
    if let Ok(text) = std::str::from_utf8(lines) {
        assert!(utf7::encode(text).bytes().all(|octet| (b' '..=b'~').contains(&octet)));
    }
    let secret = if settings & 1 != 0 { Secret::Token } else { Secret::Password };
    let mut session = Session::new(Settings {
        account: Account { login: "m\u{fc}".into(), host: "h".into(), port: 993, secret },
        starttls: settings & 2 != 0,
    });
    let mut out = Vec::new();
    if settings & 4 != 0 {
        for line in ["* PREAUTH x", "* CAPABILITY IDLE", "a1 OK"] {
            session.line(line.as_bytes(), &mut out);
        }
    }
    let mut choice = *choices;
    let mut rest = lines;
    while !rest.is_empty() {
        let end = rest.iter().position(|octet| *octet == b'\n').unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        let mut step = if line.len() > LINE { session.line_too_long() } else { session.line(line, &mut out) };
        loop {
            choice = choice.wrapping_mul(5).wrapping_add(line.len() as u8 | 1);
            step = match step {
                Step::Line | Step::Idling if session.is_idle() && choice & 1 != 0 => {
                    session.done(&mut out);
                    break;
                }
                Step::Line | Step::Idling => break,
                Step::Literal { octets, is_body } => {
                    let count = (octets.min(rest.len() as u64)) as usize;
                    if !is_body {
                        session.octets(&rest[..count]);
                    }
                    rest = &rest[count..];
                    break;
                }
                Step::Item(item) => {
                    assert_ne!(item.uid, Some(0));
                    assert!(!item.has_body() || item.body != Body::Absent);
                    break;
                }
                Step::StartTls => session.secured(&mut out),
                Step::Credentials => session.credentials(b"s\"\xff", &mut out),
                Step::Ready | Step::Selected(_) | Step::Done(_) => match choice % 10 {
                    0 => session.select("\u{fc}", true, &mut out),
                    1 => session.list(3, &mut out),
                    2 => session.list_headers(1, &mut out),
                    3 => session.fetch(7, choice & 16 != 0, &mut out),
                    4 => session.delete(7, &mut out),
                    5 => session.move_to(7, "x", &mut out),
                    6 => session.mark_seen(7, &mut out),
                    7 => session.idle(&mut out),
                    8 => session.noop(&mut out),
                    _ => session.logout(&mut out),
                },
                Step::Over | Step::Failed(_) => return,
            };
        }
        assert!(out.is_empty() || out.ends_with(b"\r\n"), "{}", out.escape_ascii());
        out.clear();
    }
});
