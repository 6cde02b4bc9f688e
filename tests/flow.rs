//! The main job on the real binary: mail in by SMTP, safe in a Maildir, the line out of the pipe, POP3 hands it out.

mod common;

use common::{BASIC, PATIENCE, Scratch, Server, Talk, wait_for};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

const MESSAGE: &str = "From: a@example.com\nSubject: one\n\n.leading dot\n..two\nlast line\n";

/// Reads lines from a FIFO until `count` came, from a thread so that a test can give up.
fn read_lines(fifo: &Path, count: usize) -> Vec<String> {
    let (sender, receiver) = mpsc::channel();
    let fifo = fifo.to_owned();
    std::thread::spawn(move || {
        // One octet at a time, as a shell's `read` does: what is left stays in the pipe for the next reader.
        let mut file = fs::File::open(fifo).unwrap();
        let mut line = Vec::new();
        let mut octet = [0];
        for _ in 0..count {
            loop {
                if file.read(&mut octet).unwrap() == 0 {
                    return;
                }
                if octet[0] == b'\n' {
                    break;
                }
                line.push(octet[0]);
            }
            sender.send(String::from_utf8(std::mem::take(&mut line)).unwrap()).unwrap();
        }
    });
    (0..count)
        .map(|n| receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("line {n} of {count} did not come")))
        .collect()
}

/// What is in a FIFO right now, without waiting.
fn rest_of(fifo: &Path) -> String {
    let mut file = fs::OpenOptions::new().read(true).custom_flags(libc_nonblock()).open(fifo).unwrap();
    let mut octets = Vec::new();
    let _ = file.read_to_end(&mut octets);
    String::from_utf8(octets).unwrap()
}

fn libc_nonblock() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits() as i32
}

fn with_format(format: &str) -> String {
    format!("{BASIC}format = '{format}'\n")
}

#[test]
fn a_message_is_stored_told_and_handed_out() {
    let server = Server::start("flow");
    server.send("alice@example.org", MESSAGE);
    let line = read_lines(&server.path("notify"), 1).remove(0);
    let mut words = line.splitn(3, ' ');
    let (dir, event, file) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    assert_eq!(event, "MOVED_TO");
    let path = format!("{dir}{file}");
    let stored = fs::read_to_string(&path).unwrap();
    assert!(
        stored.starts_with("Return-Path: <sender@example.com>\nDelivered-To: alice@example.org\nReceived: "),
        "{stored}"
    );
    assert!(stored.ends_with(&MESSAGE.replace("\n..", "\n.").replace("\n.leading", "\nleading")), "{stored}");
    let record = &server.records()[0];
    assert_eq!(record["path"], path);
    assert_eq!(record["seq"], 1);
    assert_eq!(record["user"], "alice");
    assert_eq!(record["via"], "smtp");
    assert_eq!(record["mail_from"], "sender@example.com");
    assert_eq!(record["rcpt_to"], "alice@example.org");
    assert_eq!(record["subject"], "one");

    let mut pop3 = server.pop3_as("alice");
    let size = stored.len() + stored.matches('\n').count();
    pop3.say("LIST 1", &format!("+OK 1 {size}"));
    pop3.say("UIDL 1", &format!("+OK 1 {}", record["id"].as_str().unwrap()));
    pop3.say("RETR 1", "+OK");
    assert_eq!(String::from_utf8(pop3.multi_line()).unwrap(), stored.replace('\n', "\r\n"));
    pop3.say("QUIT", "+OK");
    let printed = server.run(&["cat", record["id"].as_str().unwrap()], "");
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), stored);
    server.stop();
}

#[test]
fn the_embedded_default_needs_nothing() {
    let scratch = Scratch::new("default");
    let mut child = Command::new(common::binary())
        .arg("serve")
        .env_remove("MAILBELL_CONFIG")
        .env("USER", "Visitor")
        .current_dir(&scratch.0)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut text = String::new();
    // The default ports may be taken on this machine; then it must say so and end.
    while let Some(Ok(line)) = lines.next() {
        text += &line;
        text += "\n";
        if line.starts_with("mailbell: ready ") {
            break;
        }
    }
    if text.contains("mailbell: ready ") {
        assert!(text.contains("127.0.0.1:2525") && text.contains("127.0.0.1:1110"), "{text}");
        let password = text.lines().find_map(|line| line.split("password ").nth(1)).unwrap_or_else(|| panic!("{text}"));
        let users = fs::read_to_string(scratch.path("mailbell-data/users")).unwrap();
        assert!(users.contains("visitor:{ARGON2ID}") && !users.contains(password.trim()), "{users}");
        let mut talk = Talk::to("127.0.0.1:2525".parse().unwrap());
        talk.expect("220");
        talk.say("HELO me", "250");
        talk.say("MAIL FROM:<>", "250");
        talk.say("RCPT TO:<anybody@localhost>", "250");
        talk.say("DATA", "354");
        talk.say("Subject: x\r\n\r\nhello\r\n.", "250");
        let line = read_lines(&scratch.path("mailbell-data/notify"), 1).remove(0);
        assert!(line.contains("/mailbell-data/mail/visitor/new/ MOVED_TO "), "{line}");
    } else {
        assert!(text.contains("2525") || text.contains("1110"), "ended without saying why: {text}");
    }
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    child.wait().unwrap();
}

/// Sends `count` messages over one connection, pipelined a little.
fn send_many(address: std::net::SocketAddr, name: usize, count: usize) {
    let mut talk = Talk::to(address);
    talk.expect("220");
    talk.say("EHLO load.example", "250");
    for number in 0..count {
        talk.write(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
        talk.expect("250");
        talk.expect("250");
        talk.expect("354");
        talk.write(format!("Subject: {name}-{number}\r\nMessage-ID: <{name}.{number}@x>\r\n\r\nbody\r\n").as_bytes());
        talk.say(".", "250");
    }
    talk.say("QUIT", "221");
}

#[test]
fn two_thousand_lines_wait_for_a_late_reader_and_survive_a_restart() {
    let server = Server::with("late", &with_format("{seq} {id}"));
    let address = server.address("smtp");
    let senders: Vec<_> = (0..10).map(|name| std::thread::spawn(move || send_many(address, name, 200))).collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_eq!(server.new_files("alice").len(), 2000);
    let records = server.records();
    let seqs: Vec<_> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=2000).collect::<Vec<_>>());

    let mut lines = read_lines(&server.path("notify"), 700);
    let scratch = server.stop();
    assert_eq!(rest_of(&scratch.path("notify")), "");
    let server = Server::start_in(scratch, &[]);
    lines.extend(read_lines(&server.path("notify"), 1300));
    let expected: Vec<_> = records.iter().map(|r| format!("{} {}", r["seq"], r["id"].as_str().unwrap())).collect();
    assert!(lines == expected, "the lines are not the records in order");
    // Nothing comes twice: the next line is the next message's.
    server.send("alice@example.org", "Subject: next\n\nx\n");
    assert!(read_lines(&server.path("notify"), 1)[0].starts_with("2001 "));
    server.stop();
}

#[test]
fn three_hundred_silent_connections_do_not_stop_the_next() {
    let server = Server::with("silent", &format!("{BASIC}[limits]\nconnections = 400\nconnections_per_ip = 400\n"));
    let silent: Vec<_> = (0..300).map(|_| server.smtp()).collect();
    let mut talk = server.smtp();
    talk.expect("220");
    drop(silent);
    server.stop();
}

#[test]
fn beyond_the_limits_there_is_a_reply_and_no_session() {
    let server = Server::with("full", &format!("{BASIC}[limits]\nconnections = 3\nconnections_per_ip = 2\n"));
    let (mut one, mut two) = (server.smtp(), server.smtp());
    one.expect("220");
    two.expect("220");
    let mut three = server.smtp();
    three.expect("421");
    assert!(three.is_closed());
    let mut four = server.pop3();
    four.expect("-ERR [SYS/TEMP]");
    assert!(four.is_closed());
    one.say("QUIT", "221");
    assert!(one.is_closed());
    wait_for("the place to come back", || server.smtp().reply()[0].starts_with("220").then_some(()));
    server.stop();
}

#[test]
fn a_clean_stop_finishes_the_message_and_refuses_the_rest() {
    let server = Server::start("stop");
    let mut idle = server.smtp();
    idle.expect("220");
    let mut sending = server.smtp();
    sending.expect("220");
    sending.say("EHLO x", "250");
    sending.say("MAIL FROM:<a@example.com>", "250");
    sending.say("RCPT TO:<alice@example.org>", "250");
    sending.say("DATA", "354");
    sending.write(b"Subject: in flight\r\n\r\nhalf");
    let mut popping = server.pop3_as("bob");
    server.signal("TERM");
    idle.expect("421");
    assert!(popping.line().is_none_or(|line| line.starts_with("-ERR")));
    sending.say(" and whole\r\n.", "250");
    sending.expect("421");
    let scratch = server.stop_already();
    let stored = common::files(&scratch.path("mail/alice/new"));
    assert!(fs::read_to_string(&stored[0]).unwrap().ends_with("half and whole\n"));
    assert_eq!(common::records(&scratch.path("state/journal")).len(), 1);
}

#[test]
fn a_second_server_on_the_same_state_is_refused() {
    let server = Server::start("second");
    let output = server.run(&["serve", "-c", server.path("mailbell.toml").to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    server.stop();
}

#[test]
fn several_recipients_share_one_file_and_each_has_a_record() {
    let server = Server::start("shared");
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO x", "250");
    talk.say("MAIL FROM:<>", "250");
    for to in ["team@example.org", "alice+tag@example.org", "Carol@EXAMPLE.org"] {
        talk.say(&format!("RCPT TO:<{to}>"), "250");
    }
    talk.say("RCPT TO:<nobody@example.org>", "550");
    talk.say("RCPT TO:<alice@elsewhere.example>", "550");
    talk.say("DATA", "354");
    talk.say("Subject: all\r\n\r\nx\r\n.", "250");
    let records = server.records();
    let told: Vec<_> = records.iter().map(|r| (r["user"].as_str().unwrap(), r["rcpt_to"].as_str().unwrap())).collect();
    assert_eq!(told, [("alice", "team@example.org"), ("bob", "team@example.org"), ("carol", "Carol@EXAMPLE.org")]);
    let inodes: Vec<_> = records
        .iter()
        .map(|record| std::os::unix::fs::MetadataExt::ino(&fs::metadata(record["path"].as_str().unwrap()).unwrap()))
        .collect();
    assert!(inodes.iter().all(|inode| *inode == inodes[0]));
    assert_eq!(records[0]["mail_from"], "");
    server.stop();
}
