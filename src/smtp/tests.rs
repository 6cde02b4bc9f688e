//! The session in every state: the matrix of state and verb, AUTH and TLS, outcomes, and octets at random.

use super::fake::{Driver, settings};
use super::*;
use crate::limits;
use crate::message::base64;
use proptest::prelude::*;

/// Walks to a state where a command can come.
fn driver_in(state: &str) -> Driver {
    let mut driver = Driver::new(settings());
    let walk: &[&str] = match state {
        "Start" => &[],
        "Ready" => &["EHLO x"],
        "Transaction" => &["EHLO x", "MAIL FROM:<a@b.example>"],
        "Recipients" => &["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<alice@example.org>"],
        "Chunks" => &["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<alice@example.org>", "BDAT 2\r\nx"],
        other => panic!("no way to {other}"),
    };
    for line in walk {
        let reply = driver.line(line);
        assert!(reply.starts_with("250"), "{line}: {reply}");
    }
    driver
}

/// Every verb in every state where a command can come: the code of its reply.
#[test]
fn the_name_of_a_client_holds_nothing_that_acts_in_a_line() {
    let mut driver = Driver::new(settings());
    driver.line("EHLO a\u{2028}b\u{85}c\u{202e}d e\u{fc}");
    assert_eq!(driver.session.helo().unwrap().name, "a?b?c?d e\u{fc}");
}

#[test]
fn state_and_verb() {
    let states = ["Start", "Ready", "Transaction", "Recipients", "Chunks"];
    for (line, codes) in [
        ("AUTH PLAIN AGFsaWNlAHNlY3JldC1h", ["503", "235", "503", "503", "503"]),
        ("AUTH LOGIN", ["503", "334", "503", "503", "503"]),
        ("BDAT 0", ["503", "503", "503", "250", "250"]),
        ("BDAT 0 LAST", ["503", "503", "503", "250", "250"]),
        ("BDAT x", ["501", "501", "501", "501", "501"]),
        ("DATA", ["503", "503", "503", "354", "503"]),
        ("EHLO y", ["250", "250", "250", "250", "250"]),
        ("EXPN team", ["502", "502", "502", "502", "502"]),
        ("GET / HTTP/1.1", ["554", "554", "554", "554", "554"]),
        ("HELO y", ["250", "250", "250", "250", "250"]),
        ("HELP", ["214", "214", "214", "214", "214"]),
        ("LHLO y", ["500", "500", "500", "500", "500"]),
        ("MAIL FROM:<a@b.example>", ["503", "250", "503", "503", "503"]),
        ("NOOP", ["250", "250", "250", "250", "250"]),
        ("QUIT", ["221", "221", "221", "221", "221"]),
        ("RCPT TO:<bob@example.org>", ["503", "503", "250", "250", "503"]),
        ("RCPT TO:<nobody@example.org>", ["503", "503", "550", "550", "503"]),
        ("RSET", ["250", "250", "250", "250", "250"]),
        ("STARTTLS", ["502", "502", "502", "502", "502"]),
        ("VRFY alice", ["252", "252", "252", "252", "252"]),
        ("XYZZY", ["500", "500", "500", "500", "500"]),
        ("", ["500", "500", "500", "500", "500"]),
    ] {
        for (state, code) in states.into_iter().zip(codes) {
            let mut driver = driver_in(state);
            let reply = driver.line(line);
            assert!(reply.starts_with(code), "{line} in {state}: {reply}");
            assert!(reply.ends_with("\r\n"));
            assert_eq!(driver.closed, ["QUIT", "GET / HTTP/1.1", "BDAT x"].contains(&line), "{line} in {state}");
        }
    }
}

/// Where each command leads from each state.
#[test]
fn state_after() {
    for (from, line, to) in [
        ("Start", "HELO x", "Ready"),
        ("Start", "RSET", "Start"),
        ("Ready", "MAIL FROM:<>", "Transaction"),
        ("Ready", "AUTH LOGIN", "Exchange"),
        ("Ready", "AUTH PLAIN AGFsaWNlAHNlY3JldC1h", "Ready"),
        ("Transaction", "RCPT TO:<alice@example.org>", "Transaction"),
        ("Transaction", "RCPT TO:<nobody@example.org>", "Transaction"),
        ("Transaction", "RCPT TO:<@>", "Transaction"),
        ("Transaction", "DATA", "Transaction"),
        ("Recipients", "DATA", "Data"),
        ("Recipients", "RSET", "Ready"),
        ("Recipients", "EHLO y", "Ready"),
        ("Recipients", "BDAT 0", "Chunks"),
        ("Recipients", "BDAT 0 LAST", "Ready"),
        ("Chunks", "DATA", "Chunks"),
        ("Chunks", "BDAT 0", "Chunks"),
        ("Chunks", "RSET", "Ready"),
        ("Chunks", "HELO y", "Ready"),
        ("Chunks", "QUIT", "Closed"),
    ] {
        let mut driver = driver_in(from);
        driver.line(line);
        assert_eq!(driver.session.state_name(), to, "{line} in {from}");
    }
}

#[test]
fn nothing_is_said_after_the_end_or_before_a_step_is_answered() {
    let mut driver = driver_in("Recipients");
    let mut out = Vec::new();
    assert_eq!(driver.session.command(b"DATA", &mut out), Step::Data);
    out.clear();
    assert_eq!(driver.session.command(b"NOOP", &mut out), Step::Close);
    driver = driver_in("Recipients");
    driver.line("QUIT");
    assert_eq!(driver.session.command(b"NOOP", &mut out), Step::Close);
    assert_eq!(driver.session.stored(Err(Failure::System), &mut out), Step::Close);
    assert!(out.is_empty() && driver.session.transaction().is_none());
}

#[test]
fn one_copy_for_each_mailbox_with_the_first_address() {
    let mut driver = driver_in("Transaction");
    for to in ["team@example.org", "ALICE+x@example.org", "carol@example.org", "alice@example.org"] {
        assert!(driver.line(&format!("RCPT TO:<{to}>")).starts_with("250"));
    }
    let transaction = driver.session.transaction().unwrap();
    let mailboxes: Vec<_> = transaction.mailboxes().iter().map(|(user, path)| (*user, path.text.as_str())).collect();
    let expected = [("alice", "team@example.org"), ("bob", "team@example.org"), ("carol", "carol@example.org")];
    assert_eq!(mailboxes, expected);
}

#[test]
fn every_outcome_has_its_reply() {
    for (failure, code) in [
        (Failure::TooLarge, "552 5.3.4 "),
        (Failure::Loop, "554 5.4.6 "),
        (Failure::NoRoom, "452 4.3.1 "),
        (Failure::OverQuota, "552 5.2.2 "),
        (Failure::System, "451 4.3.0 "),
    ] {
        let mut driver = driver_in("Recipients");
        driver.failure = Some(failure);
        let reply = driver.line("DATA\r\nx\r\n.");
        assert!(reply.contains(&format!("\r\n{code}")), "{reply}");
        assert_eq!(driver.session.state_name(), "Ready");
        let mut driver = driver_in("Chunks");
        driver.failure = Some(failure);
        assert!(driver.line("BDAT 0 LAST").starts_with(code));
        assert_eq!(driver.session.state_name(), "Ready");
    }
}

#[test]
fn a_full_mailbox_is_said_to_whom_it_concerns() {
    let recipients = ["alice", "carol", "team"];
    for (protocol, expected) in [(Protocol::Smtp, &["552"][..]), (Protocol::Lmtp, &["250", "250", "552"])] {
        let mut driver = Driver::new(Settings { protocol, ..settings() });
        driver.line(if protocol == Protocol::Lmtp { "LHLO x" } else { "EHLO x" });
        driver.line("MAIL FROM:<>");
        for name in recipients {
            driver.line(&format!("RCPT TO:<{name}@example.org>"));
        }
        driver.over_quota = vec!["bob".into()];
        let replies = driver.line("BDAT 1 LAST\r\nx\r\n");
        let codes: Vec<&str> = replies.lines().map(|reply| &reply[..3]).filter(|code| *code != "500").collect();
        assert_eq!(codes, expected, "{replies}");
    }
}

#[test]
fn refusals_of_senders_and_recipients() {
    let mut driver = driver_in("Ready");
    let mut out = Vec::new();
    assert_eq!(driver.session.command(b"MAIL FROM:<a@b.example> SIZE=7", &mut out), Step::Sender);
    assert_eq!(driver.session.transaction().unwrap().size, 7);
    driver.session.sender_checked(Err(SenderRefusal::NoRoom), &mut out);
    assert_eq!(driver.session.state_name(), "Ready");
    assert_eq!(driver.session.command(b"MAIL FROM:<a@b.example>", &mut out), Step::Sender);
    driver.session.sender_checked(Err(SenderRefusal::TooOften), &mut out);
    assert_eq!(driver.session.state_name(), "Ready");
    driver.line("MAIL FROM:<a@b.example>");
    assert_eq!(driver.session.command(b"RCPT TO:<alice@example.org>", &mut out), Step::Recipient);
    assert_eq!(driver.session.recipient().unwrap().local_part, "alice");
    driver.session.recipient_checked(Err(RecipientRefusal::OverQuota), &mut out);
    assert_eq!(driver.session.command(b"RCPT TO:<bob@example.org>", &mut out), Step::Recipient);
    driver.session.recipient_checked(Err(RecipientRefusal::Unavailable), &mut out);
    let replies = String::from_utf8(out).unwrap();
    let codes: Vec<&str> = replies.lines().map(|reply| &reply[..9]).collect();
    assert_eq!(codes, ["452 4.3.1", "450 4.7.1", "552 5.2.2", "450 4.2.0"], "{replies}");
}

#[test]
fn errors_are_counted_until_a_message_is_stored_and_temporary_refusals_are_none() {
    let mut driver = driver_in("Recipients");
    for _ in 0..4 {
        driver.line("RCPT TO:<bob@example.org>");
    }
    for _ in 0..2 * limits::SESSION_ERRORS {
        assert!(driver.line("RCPT TO:<carol@example.org>").starts_with("452 4.5.3"));
    }
    for _ in 0..limits::SESSION_ERRORS {
        assert!(driver.line("RCPT TO:<nobody@example.org").starts_with("501 5.1.3"));
    }
    assert!(driver.line("DATA\r\nx\r\n.").contains("\r\n250 "));
    for _ in 0..limits::SESSION_ERRORS {
        assert!(driver.line("FOO").starts_with("500"));
    }
    assert!(driver.line("FOO").starts_with("421 4.7.0 ") && driver.closed);
}

#[test]
fn who_guesses_recipients_is_sent_away_but_not_the_server_that_hands_on() {
    let mut driver = driver_in("Transaction");
    for _ in 0..limits::SESSION_ERRORS {
        assert!(driver.line("RCPT TO:<nobody@example.org>").starts_with("550"));
    }
    assert!(driver.line("RCPT TO:<nobody@example.org>").starts_with("421"));
    let mut driver = Driver::new(Settings { protocol: Protocol::Lmtp, ..settings() });
    driver.line("LHLO x");
    driver.line("MAIL FROM:<>");
    for _ in 0..=limits::SESSION_ERRORS {
        assert!(driver.line("RCPT TO:<nobody@example.org>").starts_with("550"));
    }
}

#[test]
fn a_refused_chunk_that_is_one_error_too_many_ends_the_session() {
    let mut driver = driver_in("Ready");
    for _ in 0..limits::SESSION_ERRORS {
        driver.line("FOO");
    }
    assert!(driver.line("BDAT 6\r\nNOOP").starts_with("421") && driver.closed);
}

#[test]
fn starttls_forgets_what_was_said_in_clear() {
    let mut driver = Driver::new(Settings { tls_available: true, ..settings() });
    assert!(driver.line("EHLO x").contains("\r\n250-STARTTLS\r\n"));
    assert!(driver.line("STARTTLS now").starts_with("501"));
    driver.line("AUTH PLAIN AGFsaWNlAHNlY3JldC1h");
    driver.line("MAIL FROM:<alice@example.org>");
    assert!(driver.line("STARTTLS").starts_with("220 2.0.0 "));
    let session = &driver.session;
    assert!(session.state_name() == "Start" && session.helo().is_none() && session.user().is_none());
    assert!(driver.line("MAIL FROM:<>").starts_with("503"));
    let extensions = driver.line("EHLO y");
    assert!(!extensions.contains("STARTTLS") && extensions.contains("AUTH PLAIN"), "{extensions}");
    assert!(driver.line("STARTTLS").starts_with("503 5.5.1 TLS is active"));
    assert_eq!(driver.session.helo(), Some(&Helo { name: "y".into(), extended: true }));
}

#[test]
fn passwords_are_not_asked_for_in_clear() {
    let strict = Settings { cleartext_allowed: false, tls_available: true, ..settings() };
    let mut driver = Driver::new(strict.clone());
    assert!(driver.line("EHLO x").contains("\r\n250-AUTH CRAM-MD5\r\n"));
    for line in ["AUTH PLAIN", "AUTH LOGIN", "AUTH PLAIN AGFsaWNlAHNlY3JldC1h"] {
        assert!(driver.line(line).starts_with("538 5.7.11 "), "{line}");
    }
    driver.line("STARTTLS");
    assert!(driver.line("EHLO x").contains("\r\n250-AUTH PLAIN LOGIN CRAM-MD5\r\n"));
    assert!(driver.line("AUTH PLAIN AGFsaWNlAHNlY3JldC1h").starts_with("235"));

    // Nothing can be used before TLS, so that is what is asked for.
    let mut driver = Driver::new(Settings { auth: Auth::Required, stamp: None, ..strict });
    assert!(!driver.line("EHLO x").contains("AUTH"));
    assert!(driver.line("AUTH CRAM-MD5").starts_with("504 5.5.4 "));
    assert!(driver.line("MAIL FROM:<>").starts_with("530 5.7.0 Say STARTTLS"));
    driver.line("STARTTLS");
    driver.line("EHLO x");
    assert!(driver.line("MAIL FROM:<>").starts_with("530 5.7.0 Authentication"));
}

#[test]
fn auth_that_is_off_is_not_offered() {
    let mut driver = Driver::new(Settings { auth: Auth::Off, ..settings() });
    assert!(!driver.line("EHLO x").contains("AUTH"));
    assert!(driver.line("AUTH PLAIN AGFsaWNlAHNlY3JldC1h").starts_with("502"));
    assert!(!driver.line("HELP").contains("AUTH"));
}

#[test]
fn no_challenge_comes_twice() {
    let mut driver = driver_in("Ready");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let challenge = driver.line("AUTH CRAM-MD5");
        let decoded = base64::decode(&challenge.trim_end().as_bytes()[4..]).unwrap();
        assert!(decoded.starts_with(b"<") && decoded.ends_with(b".1.2@mail.example.org>"));
        assert!(!seen.contains(&decoded));
        seen.push(decoded);
        driver.line("*");
    }
    driver.line("AUTH CRAM-MD5");
    let answer = base64::encode(b"alice 00112233445566778899aabbccddeeff");
    assert!(driver.line(&answer).starts_with("235"));
    assert_eq!(driver.session.user(), Some("alice"));
}

#[test]
fn the_line_limit_is_larger_only_within_an_exchange() {
    let mut driver = driver_in("Ready");
    assert_eq!(driver.session.line_limit(), limits::SMTP_COMMAND_LINE);
    driver.line("AUTH PLAIN");
    assert_eq!(driver.session.line_limit(), limits::SASL_LINE);
    assert!(driver.line(&"A".repeat(limits::SASL_LINE)).starts_with("500 5.5.6 "));
    assert!(driver.line("NOOP").starts_with("250"));
}

#[test]
fn the_last_words() {
    for (farewell, code) in
        [(Farewell::TalksEarly, "554 5.5.1 "), (Farewell::Timeout, "421 4.4.2 "), (Farewell::Stopping, "421 4.3.2 ")]
    {
        let mut driver = driver_in("Recipients");
        let mut out = Vec::new();
        driver.session.farewell(farewell, &mut out);
        assert!(out.starts_with(code.as_bytes()));
        assert_eq!(driver.session.state_name(), "Closed");
    }
}

proptest! {
    /// Whatever comes, nothing panics, and what is answered is replies as RFC 5321 section 4.2 has them.
    #[test]
    fn any_octets(
        state in prop::sample::select(vec!["Start", "Ready", "Transaction", "Recipients", "Chunks"]),
        lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "(HELO|EHLO|MAIL FROM:|RCPT TO:|DATA|BDAT|RSET|QUIT|AUTH|NOOP|\\*|\\.)?[ <>@a-z.0-9=+]{0,12}\r?\n?"
                    .prop_map(String::into_bytes),
                "(MAIL FROM:<(a@b)?>|RCPT TO:<(alice|team|x)@(example.org|y)>|DATA|BDAT [0-9]{1,2}( LAST)?|\\.)\r\n"
                    .prop_map(String::into_bytes),
            ],
            0..40,
        ),
    ) {
        let mut driver = driver_in(state);
        for line in lines {
            if driver.closed {
                break;
            }
            let reply = String::from_utf8(driver.feed(&line)).unwrap();
            prop_assert!(reply.is_empty() || reply.ends_with("\r\n"));
            for line in reply.split_terminator("\r\n") {
                let code = line.len() >= 4 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit);
                prop_assert!(code && matches!(line.as_bytes()[3], b' ' | b'-'), "{line}");
                prop_assert!(line.len() <= 510 && !line.contains(char::is_control));
            }
        }
    }
}
