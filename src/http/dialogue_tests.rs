//! Plays the scripts of `tests/dialogues/http` on a session without a socket: `C:` the client says, `=` the step that comes
//! (with `*` for anything).

use super::{LONGEST_HEAD, Session, Step};
use crate::script::{each, matches, repeated, unescape};

fn shown(step: &Step) -> String {
    match step {
        Step::Line => "Line".into(),
        Step::Refuse(refusal) => format!("Refuse {} {}", refusal.code, refusal.why),
        Step::Serve(request) => {
            let query: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let host = request.host.as_ref().map_or("-".into(), |host| host.to_string());
            format!(
                "Serve {:?} {} [{}] {host} {}",
                request.method,
                request.path,
                query.join("; "),
                if request.closes { "close" } else { "keep" }
            )
        }
    }
}

fn play(name: &str, text: &str) {
    let (mut session, mut step) = (Session::default(), Step::Line);
    for line in text.lines().flat_map(repeated).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("C:", said) => {
                assert!(matches!(step, Step::Line), "{name}: {} before {said}", shown(&step));
                let said = unescape(said);
                step =
                    if said.len() + 2 > session.line_limit() { session.line_too_long() } else { session.line(&said) };
            }
            ("=", expected) => {
                let came = shown(&std::mem::replace(&mut step, Step::Line));
                assert!(matches(expected.as_bytes(), came.as_bytes()), "{name}: {came} is not {expected}");
                if came.starts_with("Refuse") {
                    session = Session::default();
                }
            }
            _ => panic!("{name}: no line of a script: {line}"),
        }
    }
    assert!(matches!(step, Step::Line), "{name}: left over: {}", shown(&step));
}

#[test]
fn every_dialogue() {
    each("http", 5, play);
}

#[test]
fn a_head_of_exactly_8_kib_is_read_and_one_octet_more_is_not() {
    for (length, wanted) in [(LONGEST_HEAD, "Serve Get / [] localhost keep"), (LONGEST_HEAD + 1, "Refuse 431 *")] {
        let mut session = Session::default();
        let fixed = "GET / HTTP/1.1\r\nHost: localhost\r\nX: \r\n\r\n".len();
        for line in ["GET / HTTP/1.1", "Host: localhost"] {
            assert!(matches!(session.line(line.as_bytes()), Step::Line));
        }
        let mut step = session.line(format!("X: {}", "x".repeat(length - fixed)).as_bytes());
        if matches!(step, Step::Line) {
            step = session.line(b"");
        }
        assert!(matches(wanted.as_bytes(), shown(&step).as_bytes()), "{length}: {}", shown(&step));
    }
}
