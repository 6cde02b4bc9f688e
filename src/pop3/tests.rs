//! The session in every state: the matrix of state and verb, log-ins, listings in parts, and octets at random.

use proptest::prelude::*;

use super::fake::{Driver, Fake, settings};
use super::*;
use crate::limits;

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

fn logged_in(maildrop: Fake) -> Driver {
    let mut driver = Driver::new(settings(), maildrop);
    driver.line(b"USER alice");
    assert!(driver.line(b"PASS secret-a").starts_with(b"+OK"));
    driver
}

/// Every verb in every state where a line can come: what begins its reply.
#[test]
fn state_and_verb() {
    let names = ["Authorization", "Transaction"];
    for (line, expected) in [
        ("APOP alice 00112233445566778899aabbccddeeff", ["-ERR [AUTH]", "-ERR Logged in"]),
        ("AUTH", ["+OK", "-ERR Logged in"]),
        ("AUTH PLAIN =", ["-ERR [AUTH]", "-ERR Logged in"]),
        ("CAPA", ["+OK", "+OK"]),
        ("DELE 1", ["-ERR Log in", "+OK"]),
        ("LANG", ["+OK", "+OK"]),
        ("LAST", ["-ERR Log in", "+OK 0"]),
        ("LIST", ["-ERR Log in", "+OK"]),
        ("LIST 1", ["-ERR Log in", "+OK 1 3"]),
        ("NOOP", ["-ERR Log in", "+OK"]),
        ("PASS x", ["-ERR Give USER", "-ERR Logged in"]),
        ("QUIT", ["+OK Bye", "+OK Bye"]),
        ("RETR 1", ["-ERR Log in", "+OK 3 octets"]),
        ("RSET", ["-ERR Log in", "+OK"]),
        ("STAT", ["-ERR Log in", "+OK 1 3"]),
        ("STLS", ["+OK", "-ERR Logged in"]),
        ("TOP 1 0", ["-ERR Log in", "+OK"]),
        ("UIDL", ["-ERR Log in", "+OK"]),
        ("UIDL 1", ["-ERR Log in", "+OK 1 id-1"]),
        ("USER x", ["+OK", "-ERR Logged in"]),
        ("UTF8", ["+OK", "-ERR Logged in"]),
        ("XTND", ["-ERR Unknown", "-ERR Unknown"]),
    ] {
        let drivers = [Driver::new(settings(), Fake::with(&["x\n"])), logged_in(Fake::with(&["x\n"]))];
        for ((mut driver, expected), name) in drivers.into_iter().zip(expected).zip(names) {
            assert_eq!(driver.session.state_name(), name);
            let reply = text(driver.line(line.as_bytes()));
            assert!(reply.starts_with(expected), "{line} in {name}: {reply}");
            assert!(reply.ends_with("\r\n"));
            assert_eq!(driver.closed, line == "QUIT");
        }
    }
}

#[test]
fn nothing_is_said_after_the_end() {
    for mut driver in [Driver::new(settings(), Fake::default()), logged_in(Fake::default())] {
        driver.line(b"QUIT");
        assert_eq!(driver.session.state_name(), "Closed");
        let mut out = Vec::new();
        assert_eq!(driver.session.command(b"STAT", &mut out), Step::Close);
        assert!(out.is_empty() && driver.session.maildrop().is_none());
    }
}

#[test]
fn cleartext_passwords_are_refused_before_they_are_sent() {
    let strict = Settings { cleartext_allowed: false, cram_md5: true, ..settings() };
    let mut driver = Driver::new(strict, Fake::default());
    for line in ["USER alice", "PASS secret-a", "AUTH PLAIN AGFsaWNlAHNlY3JldC1h", "AUTH LOGIN"] {
        assert!(text(driver.line(line.as_bytes())).starts_with("-ERR Cleartext passwords are refused"), "{line}");
    }
    let capabilities = text(driver.line(b"CAPA"));
    assert!(capabilities.contains("\r\nSASL CRAM-MD5\r\nSTLS\r\n") && !capabilities.contains("USER"), "{capabilities}");
    assert!(driver.line(b"APOP alice 00112233445566778899aabbccddeeff").starts_with(b"-ERR [AUTH]"));
    assert!(driver.line(b"STLS").starts_with(b"+OK"));
    let capabilities = text(driver.line(b"CAPA"));
    assert!(capabilities.contains("\r\nUSER\r\nSASL CRAM-MD5 PLAIN LOGIN\r\nPIPELINING"), "{capabilities}");
    assert!(driver.line(b"STLS").starts_with(b"-ERR TLS is active"));
    driver.line(b"USER alice");
    assert!(driver.line(b"PASS secret-a").starts_with(b"+OK"));
}

#[test]
fn stls_forgets_what_was_said_in_clear_and_comes_before_utf8() {
    let mut driver = Driver::new(settings(), Fake::default());
    driver.line(b"USER alice");
    driver.line(b"STLS");
    assert!(driver.line(b"PASS secret-a").starts_with(b"-ERR Give USER"));
    let mut driver = Driver::new(settings(), Fake::default());
    driver.line(b"UTF8");
    assert!(driver.line(b"STLS").starts_with(b"-ERR STLS must come before"));
    let mut driver = Driver::new(Settings { tls_available: false, ..settings() }, Fake::default());
    assert!(driver.line(b"STLS").starts_with(b"-ERR STLS is not offered"));
}

#[test]
fn apop_only_with_a_stamp_and_with_a_digest() {
    let mut session = Session::<Fake>::new(settings());
    let mut out = Vec::new();
    session.greeting(&mut out);
    assert_eq!(text(out), "+OK mailbell POP3 ready <1.2@mailbell>\r\n");
    let mut out = Vec::new();
    let step = session.command(b"APOP alice 00112233445566778899AABBCCDDEEFF", &mut out);
    let digest = "00112233445566778899AABBCCDDEEFF".to_owned();
    assert_eq!(step, Step::Login(Login::Apop { name: "alice".into(), digest }));
    for bad in ["APOP", "APOP alice", "APOP alice 0", "APOP alice 0011223344556677889 AABBCCDDEEFF00"] {
        assert_eq!(session.command(bad.as_bytes(), &mut out), Step::Continue, "{bad}");
    }
    assert_eq!(text(out).matches("-ERR APOP needs").count(), 4);
}

#[test]
fn every_refusal_has_its_code_and_leaves_the_session_open() {
    for (refusal, code) in [
        (Refusal::Auth, "-ERR [AUTH] "),
        (Refusal::InUse, "-ERR [IN-USE] "),
        (Refusal::Temporary, "-ERR [SYS/TEMP] "),
        (Refusal::Permanent, "-ERR [SYS/PERM] "),
    ] {
        let mut session = Session::<Fake>::new(settings());
        let mut out = Vec::new();
        session.command(b"USER alice", &mut out);
        assert!(matches!(session.command(b"PASS x", &mut out), Step::Login(_)));
        out.clear();
        assert_eq!(session.opened(Err(refusal), &mut out), Step::Continue);
        assert!(text(out).starts_with(code));
        assert_eq!(session.state_name(), "Authorization");
    }
}

#[test]
fn passwords_are_in_no_debug_text() {
    let login = Login::Password { name: "alice".into(), password: b"secret-a".to_vec() };
    assert_eq!(format!("{:?}", Step::Login(login)), "Login(Password(\"alice\"))");
}

#[test]
fn a_listing_of_100_000_comes_in_parts() {
    let messages = (1..=100_000).map(|n| (format!("id-{n}"), Vec::new())).collect();
    let mut driver = logged_in(Fake { messages, gone: Vec::new() });
    driver.line(b"DELE 50000");
    for (command, one) in [(&b"UIDL"[..], "id-49999"), (b"LIST", "0")] {
        let (mut all, mut out, mut parts) = (Vec::new(), Vec::new(), 0);
        let mut step = driver.session.command(command, &mut out);
        loop {
            parts += 1;
            assert!(out.len() < 66_000);
            all.append(&mut out);
            if step == Step::Continue {
                break;
            }
            assert_eq!(step, Step::More);
            step = driver.session.more(&mut out);
        }
        let all = text(all);
        assert!(parts > 10);
        assert_eq!(all.lines().count(), 100_000 + 1);
        assert!(all.contains(&format!("\r\n49999 {one}\r\n50001 ")) && all.ends_with("\r\n.\r\n"));
        // It is over, and the session goes on.
        assert!(driver.line(b"NOOP").starts_with(b"+OK"));
    }
}

#[test]
fn quit_applies_what_was_marked_and_nothing_else_does() {
    let three = Fake::with(&["1\n", "2\n", "3\n"]);
    let mut driver = logged_in(three.clone());
    for line in ["RETR 1", "DELE 2", "RSET", "TOP 2 1", "DELE 3", "RETR 2"] {
        assert!(driver.line(line.as_bytes()).starts_with(b"+OK"), "{line}");
    }
    driver.line(b"QUIT");
    assert_eq!(driver.applied, Some((vec![3], vec![2])));

    let mut driver = logged_in(three);
    driver.line(b"DELE 1");
    for _ in 0..=limits::SESSION_ERRORS {
        assert!(!driver.closed);
        driver.line(b"?");
    }
    assert!(driver.closed && driver.applied.is_none());
}

#[test]
fn a_message_that_is_gone_or_unreadable_is_answered_and_not_seen() {
    let mut driver = logged_in(Fake { gone: vec![1], ..Fake::with(&["1\n", "2\n"]) });
    assert!(driver.line(b"RETR 1").starts_with(b"-ERR This message was removed"));
    assert!(driver.line(b"TOP 1 0").starts_with(b"-ERR This message was removed"));
    assert_eq!(text(driver.line(b"LAST")), "+OK 0\r\n");
    let mut out = Vec::new();
    let Step::Send(part) = driver.session.command(b"RETR 2", &mut out) else { panic!("RETR sends") };
    driver.session.message_opened(part, Err(Unavailable::Failed), &mut out);
    assert!(text(out).starts_with("-ERR [SYS/TEMP] "));
    driver.line(b"QUIT");
    assert_eq!(driver.applied, Some((vec![], vec![])));
}

#[test]
fn what_could_not_be_removed_is_said() {
    let mut driver = logged_in(Fake::with(&["1\n"]));
    let mut out = Vec::new();
    driver.session.command(b"DELE 1", &mut out);
    assert_eq!(driver.session.command(b"QUIT", &mut out), Step::Update);
    out.clear();
    assert_eq!(driver.session.updated(1, &mut out), Step::Close);
    assert_eq!(text(out), "-ERR [SYS/PERM] Some deleted messages not removed\r\n");
}

#[test]
fn the_line_limit_is_larger_only_within_an_exchange() {
    let mut driver = Driver::new(settings(), Fake::default());
    assert_eq!(driver.session.line_limit(), limits::POP3_COMMAND_LINE);
    driver.line(b"AUTH PLAIN");
    assert_eq!(driver.session.line_limit(), limits::SASL_LINE);
    assert!(driver.line(&[b'A'; limits::SASL_LINE]).starts_with(b"-ERR Line too long"));
    // The exchange is over, and the next line is a command.
    assert!(driver.line(b"CAPA").starts_with(b"+OK"));
}

proptest! {
    /// Whatever comes, every line gets one reply that begins as a reply begins, and numbers stay in the maildrop.
    #[test]
    fn any_lines(
        lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "(USER|PASS|AUTH|LIST|UIDL|RETR|DELE|TOP|RSET|QUIT|STLS|LANG|UTF8|\\*)( [0-9a-z*=-]{0,4}){0,3}"
                    .prop_map(String::into_bytes),
            ],
            0..40,
        ),
        from_login in any::<bool>(),
    ) {
        let maildrop = Fake::with(&["1\n", "A: b\n\n.\nx"]);
        let mut driver = if from_login { logged_in(maildrop) } else { Driver::new(settings(), maildrop) };
        for line in lines {
            if driver.closed {
                break;
            }
            let reply = driver.line(&line);
            prop_assert!([&b"+OK"[..], b"-ERR", b"+ "].iter().any(|begin| reply.starts_with(begin)));
            prop_assert!(reply.ends_with(b"\r\n"));
        }
    }
}
