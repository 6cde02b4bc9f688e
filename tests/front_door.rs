//! SMTP, submission and LMTP of the real binary: clients that send too early, too slowly, too much, or a wrong password; TLS
//! and quotas.

mod common;

use common::{BASIC, Server, Talk, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Each connection names its client by a PROXY header.
const PROXIED: &str = "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n";

/// base64 of NUL NAME NUL PASSWORD.
const ALICE: &str = "AUTH PLAIN AGFsaWNlAHNlY3JldC1h";
const ALICE_WRONG: &str = "AUTH PLAIN AGFsaWNlAHdyb25n";

fn from(server: &Server, door: &str, address: &str, early: &str) -> Talk {
    let mut talk = Talk::to(server.address(door));
    talk.write(format!("PROXY TCP4 {address} 127.0.0.1 4711 25\r\n{early}").as_bytes());
    talk
}

#[test]
fn a_client_that_sends_before_the_greeting_is_refused_unless_it_is_of_this_machine() {
    let server = Server::with("early", &format!("{BASIC}{PROXIED}[lmtp]\nlisten = [\"127.0.0.1:0\"]\n"));
    let mut stranger = from(&server, "smtp", "192.0.2.9", "EHLO client.example\r\n");
    stranger.expect("554 5.5.1");
    assert!(stranger.is_closed());
    let mut local = from(&server, "smtp", "127.0.0.2", "HELO client.example\r\nQUIT\r\n");
    local.expect("220");
    local.expect("250");
    local.expect("221");
    from(&server, "lmtp", "192.0.2.9", "QUIT\r\n").expect("220");
    from(&server, "smtp", "192.0.2.9", "").expect("220");
    let log = server.log();
    let line = "192.0.2.9 refused: sent data before the greeting (smtp.early_talkers = \"refuse\")";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    server.stop();
}

#[test]
fn early_talkers_can_be_allowed() {
    let allowed = BASIC.replace("[smtp]\n", "[smtp]\nearly_talkers = \"allow\"\n");
    let server = Server::with("early-allowed", &format!("{allowed}{PROXIED}"));
    let mut device = from(&server, "smtp", "192.0.2.9", "EHLO client.example\r\n");
    device.expect("220");
    device.expect("250");
    server.stop();
}

#[test]
fn a_silent_client_is_told_so_and_its_message_is_gone() {
    let server = Server::with("timeout", &format!("{BASIC}[limits]\ncommand_timeout = \"1s\"\n"));
    let mut silent = server.smtp();
    silent.expect("220");
    silent.expect("421 4.4.2");
    assert!(silent.is_closed());
    let mut half = server.smtp();
    half.expect("220");
    half.say("HELO client.example", "250");
    half.say("MAIL FROM:<>", "250");
    half.say("RCPT TO:<alice@example.org>", "250");
    half.say("DATA", "354");
    half.write(b"Subject: half\r\n\r\n");
    half.expect("421 4.4.2");
    assert!(half.is_closed() && server.new_files("alice").is_empty());
    assert!(common::files(&server.path("mail/alice/tmp")).is_empty());
    server.stop();
}

#[test]
fn a_session_that_never_ends_is_ended_with_a_word() {
    let server = Server::with("session-timeout", &format!("{BASIC}[limits]\nsession_timeout = \"2s\"\n"));
    let mut talk = server.smtp();
    talk.expect("220");
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        talk.write(b"NOOP\r\n");
        let reply = talk.line().unwrap_or_default();
        if !reply.starts_with("250") {
            assert!(reply.starts_with("421 4.4.2"), "{reply:?}");
            assert!(talk.is_closed());
            drop(server.stop());
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the session went on");
}

/// Memory of a process, octets.
fn resident(server: &Server) -> u64 {
    let value = common::process_status(format!("/proc/{}", server.pid()).as_ref(), "VmRSS:").unwrap();
    value.trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_line_without_end_costs_constant_memory_and_the_session_goes_on() {
    let server = Server::start("endless");
    let mut talk = server.smtp();
    talk.expect("220");
    let before = resident(&server);
    const LINE: u64 = 64 << 20;
    for _ in 0..LINE >> 16 {
        talk.write(&[b'x'; 1 << 16]);
    }
    talk.expect("500 5.5.2");
    let grown = resident(&server).saturating_sub(before);
    println!("a line of 64 MiB: {} KiB more memory", grown / 1024);
    // A line that is kept would be there whole. What else the process needs meanwhile is much less than a quarter of it.
    assert!(grown < LINE / 4, "{grown} octets more");
    talk.write(b"\r\n");
    talk.say("NOOP", "250");
    server.stop();
}

#[test]
fn after_ten_unknown_recipients_each_further_reply_is_delayed() {
    let server = Server::start("guessing");
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("HELO client.example", "250");
    talk.say("MAIL FROM:<>", "250");
    for number in 0..11 {
        talk.say(&format!("RCPT TO:<guess-{number}@example.org>"), "550 5.1.1");
    }
    let log = server.log();
    let delays: Vec<_> =
        log.lines().filter_map(|line| line.split_once(" why=no-such-user")).map(|(_, end)| end).collect();
    assert_eq!(delays, [vec![""; 10], vec![" delay=1s"]].concat());
    // A stop does not wait for that.
    talk.write(b"RCPT TO:<guess@example.org>\r\n");
    server.stop();
}

/// The number of the reply to a login in a session of its own.
fn log_in(server: &Server, line: &str) -> String {
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    talk.write(format!("{line}\r\n").as_bytes());
    let reply = talk.line().unwrap();
    talk.say("QUIT", "221");
    reply[..3].to_owned()
}

#[test]
fn a_try_after_a_failed_login_waits_and_another_user_is_not_shut_out() {
    let server = Server::start("brute-force");
    assert_eq!(log_in(&server, ALICE_WRONG), "535");
    // Many more tries for one user wait their turn, and another user's login is not behind them.
    let mut guesses: Vec<Talk> = (0..20).map(|_| server.smtp()).collect();
    for guess in &mut guesses {
        guess.expect("220");
        guess.say("EHLO client.example", "250");
        guess.write(format!("{ALICE_WRONG}\r\n").as_bytes());
    }
    assert_eq!(log_in(&server, "AUTH PLAIN AGJvYgBzZWNyZXQtYg=="), "235");
    let log = server.log();
    assert!(log.matches("login-failed user=alice").count() < 6, "{log}");
    assert!(log.contains("login-failed user=alice client=127.0.0.1 listener=smtp method=PLAIN"), "{log}");
    assert!(!log.contains("wrong") && !log.contains("secret-a"));
    // A stop does not wait for them.
    server.stop();
}

#[test]
fn failed_logins_from_an_exempt_network_delay_nothing() {
    let server = Server::with("exempt", &format!("{BASIC}[limits]\npenalty_exempt = [\"127.0.0.1\"]\n"));
    // With delays, the last of them would come after more than five minutes.
    for _ in 0..25 {
        assert_eq!(log_in(&server, ALICE_WRONG), "535");
    }
    assert_eq!(log_in(&server, ALICE), "235");
    server.stop();
}

#[test]
fn any_sender_lifts_the_check_of_submission_for_some_users() {
    let submission = "[submission]\nlisten = [\"127.0.0.1:0\"]\nany_sender = [\"alice\"]\n";
    let server = Server::with("any-sender", &format!("{BASIC}{submission}"));
    for (login, reply) in [(ALICE, "250"), ("AUTH PLAIN AGJvYgBzZWNyZXQtYg==", "553 5.7.1")] {
        let mut talk = Talk::to(server.address("submission"));
        talk.expect("220");
        talk.say("EHLO client.example", "250");
        talk.say(login, "235");
        talk.say("MAIL FROM:<camera@device.example>", reply);
    }
    let configuration = fs::read_to_string(server.path("mailbell.toml")).unwrap();
    fs::write(server.path("mailbell.toml"), configuration.replace("[\"alice\"]", "[\"alcie\"]")).unwrap();
    let output = server.run(&["check"], "");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("`submission.any_sender`: there is no user \"alcie\""), "{said}");
    assert_eq!(output.status.code(), Some(78));
    server.stop();
}

#[test]
fn passwords_are_not_taken_in_clear_from_elsewhere() {
    let server = Server::with("cleartext", &format!("{BASIC}{PROXIED}"));
    let mut talk = from(&server, "smtp", "192.0.2.9", "");
    talk.expect("220");
    let extensions = talk.say("EHLO client.example", "250");
    assert!(extensions.contains(&"250-AUTH CRAM-MD5".to_owned()), "{extensions:?}");
    talk.say(ALICE, "538 5.7.11");
    wait_for("the log line", || server.log().contains("why=login-needs-tls").then_some(()));
    server.stop();
}

#[test]
fn no_room_is_said_before_the_data() {
    let full = BASIC.replace("min_free = \"1MiB\"", "min_free = \"1000000GiB\"");
    let server = Server::with("no-room", &full);
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("HELO client.example", "250");
    talk.say("MAIL FROM:<>", "452 4.3.1");
    talk.say("RCPT TO:<alice@example.org>", "503");
    server.stop();
}

#[test]
fn a_full_mailbox_is_said_before_the_data_or_after_it() {
    let quota = BASIC.replace("[mail]\n", "[mail]\nquota = \"10KiB\"\n");
    let server = Server::with("quota", &(quota + "[lmtp]\nlisten = [\"127.0.0.1:0\"]\n"));
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("HELO client.example", "250");
    talk.say("MAIL FROM:<> SIZE=20000", "250");
    talk.say("RCPT TO:<alice@example.org>", "552 5.2.2");
    talk.say("RSET", "250");
    talk.say("MAIL FROM:<>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("DATA", "354");
    talk.write(&b"x\r\n".repeat(6000));
    talk.say(".", "552 5.2.2");
    assert!(server.new_files("alice").is_empty());
    server.send("alice@example.org", &"x\n".repeat(4500));
    let mut lmtp = Talk::to(server.address("lmtp"));
    lmtp.expect("220");
    lmtp.say("LHLO client.example", "250");
    lmtp.say("MAIL FROM:<>", "250");
    lmtp.say("RCPT TO:<bob@example.org>", "250");
    lmtp.say("RCPT TO:<alice@example.org>", "250");
    lmtp.say("DATA", "354");
    lmtp.write(&b"x\r\n".repeat(2500));
    lmtp.say(".", "250 2.0.0");
    lmtp.expect("552 5.2.2");
    assert_eq!((server.new_files("alice").len(), server.new_files("bob").len()), (1, 1));
    server.stop();
}

#[test]
fn submission_completes_the_header_and_says_who_sent_it() {
    let server = Server::with("submission", &format!("{BASIC}[submission]\nlisten = [\"127.0.0.1:0\"]\n"));
    let mut talk = Talk::to(server.address("submission"));
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    talk.say(ALICE, "235");
    talk.say("MAIL FROM:<alice@example.org>", "250");
    talk.say("RCPT TO:<bob@example.org>", "250");
    talk.say("DATA", "354");
    talk.say("Subject: x\r\n\r\ny\r\n.", "250");
    let record = server.records().remove(0);
    for (field, value) in [("auth", "alice"), ("via", "smtp"), ("helo", "client.example"), ("client", "127.0.0.1")] {
        assert_eq!(record[field], value, "{field}");
    }
    assert!(record["date"].is_string() && record["message_id"].is_string(), "{record}");
    server.stop();
}

#[test]
fn lmtp_on_a_unix_socket() {
    let server = Server::with("lmtp-socket", &format!("{BASIC}[lmtp]\nlisten = [\"./lmtp.sock\"]\n"));
    let mut stream = UnixStream::connect(server.path("lmtp.sock")).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let said = "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<team@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    stream.write_all(said.as_bytes()).unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert_eq!(replies.matches("250 2.0.0 Stored as ").count(), 2, "{replies}");
    assert!(server.records().iter().all(|record| record["via"] == "lmtp" && record["client"].is_null()));
    server.stop();
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use common::tls::{Stream, inside};
    use rustls::ClientConfig;
    use std::io::BufRead;
    use std::net::TcpStream;

    fn server(name: &str) -> (Server, ClientConfig) {
        server_with(name, "")
    }

    fn server_with(name: &str, more: &str) -> (Server, ClientConfig) {
        common::tls::server(name, &format!("smtps = [\"127.0.0.1:0\"]\n{more}"))
    }

    fn say(stream: &mut Stream, line: &str, start: &str) {
        stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        expect(stream, start);
    }

    fn expect(stream: &mut Stream, start: &str) {
        let mut line = String::new();
        while line.as_bytes().get(3).is_none_or(|&mark| mark == b'-') {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        assert!(line.starts_with(start), "expected {start}, got {line}");
    }

    #[test]
    fn a_client_that_is_silent_in_the_handshake_does_not_hold_up_the_end() {
        let (server, _) = server("tls-silent");
        let mut silent = TcpStream::connect(server.address("smtps")).unwrap();
        silent.set_read_timeout(Some(common::PATIENCE)).unwrap();
        // It is being served when somebody who came later is.
        server.smtp().expect("220");
        server.stop();
        assert!(matches!(std::io::Read::read(&mut silent, &mut [0; 100]), Ok(0) | Err(_)));
    }

    #[test]
    fn what_was_sent_in_clear_after_starttls_is_never_heard() {
        let (server, client) = server("injection");
        let mut talk = server.smtp();
        talk.expect("220");
        let extensions = talk.say("EHLO client.example", "250");
        assert!(extensions.contains(&"250-STARTTLS".to_owned()), "{extensions:?}");
        talk.write(b"STARTTLS\r\nEHLO injected.example\r\nMAIL FROM:<evil@b.example>\r\n");
        talk.expect("220");
        let mut stream = inside(&client, talk.stream());
        say(&mut stream, "MAIL FROM:<a@b.example>", "503 5.5.1");
        say(&mut stream, "EHLO client.example", "250");
        say(&mut stream, ALICE, "235");
        say(&mut stream, "MAIL FROM:<alice@example.org>", "250");
        say(&mut stream, "RCPT TO:<bob@example.org>", "250");
        say(&mut stream, "DATA", "354");
        say(&mut stream, "Subject: x\r\n\r\nbody\r\n.", "250");
        say(&mut stream, "QUIT", "221");
        let record = server.records().remove(0);
        assert_eq!(record["mail_from"], "alice@example.org");
        assert!(record["tls"].as_str().unwrap().starts_with("TLSv1.3 TLS_"), "{record}");
        let stored = fs::read_to_string(&server.new_files("bob")[0]).unwrap();
        assert!(stored.contains("with ESMTPSA id ") && !stored.contains("injected"), "{stored}");
        server.stop();
    }

    #[test]
    fn submission_inside_tls_from_the_beginning() {
        let (server, client) = server("smtps");
        let socket = TcpStream::connect(server.address("smtps")).unwrap();
        socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut stream = inside(&client, &socket);
        expect(&mut stream, "220");
        say(&mut stream, "EHLO client.example", "250");
        say(&mut stream, "STARTTLS", "503");
        say(&mut stream, "MAIL FROM:<alice@example.org>", "530 5.7.0");
        say(&mut stream, ALICE, "235");
        say(&mut stream, "MAIL FROM:<alice@example.org>", "250");
        say(&mut stream, "QUIT", "221");
        server.stop();
    }

    #[test]
    fn octets_that_never_become_a_record_do_not_put_the_deadline_off() {
        let (server, client) = server_with("trickle", "[limits]\ncommand_timeout = \"2s\"\n");
        let socket = TcpStream::connect(server.address("smtps")).unwrap();
        socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut stream = inside(&client, &socket);
        expect(&mut stream, "220");
        let begin = std::time::Instant::now();
        let mut raw = socket.try_clone().unwrap();
        let trickle = std::thread::spawn(move || {
            // The head of a record of 16,384 octets, and then an octet now and then.
            let mut more = raw.write_all(&[23, 3, 3, 0x40, 0]);
            while more.is_ok() && begin.elapsed() < std::time::Duration::from_secs(60) {
                std::thread::sleep(std::time::Duration::from_millis(100));
                more = raw.write_all(&[0]);
            }
        });
        expect(&mut stream, "421 4.4.2");
        drop((stream, socket));
        trickle.join().unwrap();
        server.stop();
    }
}

#[test]
fn a_maildir_that_cannot_be_written_holds_up_nobody_else_s_mail() {
    let server = Server::with("ailing", &format!("{BASIC}[lmtp]\nlisten = [\"127.0.0.1:0\"]\n"));
    let bob = server.path("mail/bob");
    let _ = std::fs::remove_dir_all(&bob);
    std::fs::write(&bob, "a file where a folder should be").unwrap();
    // Nobody knows before the first try.
    for (door, hello, bobs, outcome) in [
        ("smtp", "EHLO", "250", "451 4.3.0"),
        ("smtp", "EHLO", "450 4.2.0", "250"),
        ("lmtp", "LHLO", "450 4.2.0", "250"),
    ] {
        let mut talk = Talk::to(server.address(door));
        talk.expect("220");
        talk.say(&format!("{hello} client.example"), "250");
        talk.say("MAIL FROM:<>", "250");
        talk.say("RCPT TO:<alice@example.org>", "250");
        talk.say("RCPT TO:<bob@example.org>", bobs);
        talk.say("DATA", "354");
        talk.say("x\r\n.", outcome);
    }
    std::fs::remove_file(&bob).unwrap();
    server.send("bob@example.org", "Subject: well again\n");
    assert_eq!((server.new_files("alice").len(), server.new_files("bob").len()), (2, 1));
    // The try left nothing behind.
    assert_eq!(std::fs::read_dir(bob.join("new")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(bob.join("tmp")).unwrap().count(), 0);
    server.stop();
}
