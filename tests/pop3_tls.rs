//! POP3 inside TLS on the real binary: STLS (RFC 2595 section 4), pop3s, and what is refused without TLS.
#![cfg(feature = "tls")]

mod common;

use common::tls::{Stream, inside, server};
use std::fs;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;

fn expect(stream: &mut Stream, start: &str) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with(start), "expected {start}, got {line}");
    line
}

fn say(stream: &mut Stream, line: &str, start: &str) -> String {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    expect(stream, start)
}

/// A listing's or message's lines, without its last.
fn lines(stream: &mut Stream) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = expect(stream, "");
        if line == ".\r\n" {
            return lines;
        }
        lines.push(line);
    }
}

#[test]
fn stls_forgets_what_was_said_in_clear() {
    let (server, client) = server("pop3-stls", "");
    let mut talk = server.pop3();
    talk.expect("+OK");
    talk.say("CAPA", "+OK");
    assert!(String::from_utf8(talk.multi_line()).unwrap().contains("\r\nSTLS\r\n"));
    talk.say("USER alice", "+OK");
    // What comes with STLS in one packet is never heard.
    talk.write(b"STLS\r\nUSER bob\r\nPASS secret-b\r\n");
    talk.expect("+OK");
    let mut stream = inside(&client, talk.stream());
    say(&mut stream, "PASS secret-a", "-ERR Give USER");
    say(&mut stream, "STLS", "-ERR");
    say(&mut stream, "CAPA", "+OK");
    assert!(!lines(&mut stream).contains(&"STLS\r\n".to_owned()));
    say(&mut stream, "USER alice", "+OK");
    say(&mut stream, "PASS secret-a", "+OK");
    say(&mut stream, "STLS", "-ERR");
    say(&mut stream, "QUIT", "+OK");
    let log = server.log();
    assert!(log.contains(" login user=alice client=127.0.0.1 listener=pop3 method=USER tls=\"TLSv1.3 TLS_"), "{log}");
    server.stop();
}

#[test]
fn a_large_message_inside_tls_from_the_beginning() {
    let (server, client) = server("pop3s", "pop3s = [\"127.0.0.1:0\"]\n");
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(server.path("mail/alice").join(folder)).unwrap();
    }
    let body: String = (0..300_000).map(|number| format!(".{number}\n")).collect();
    fs::write(server.path("mail/alice/new/1700000000.M1P1Q1.test"), format!("Subject: x\n\n{body}")).unwrap();
    let socket = TcpStream::connect(server.address("pop3s")).unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut stream = inside(&client, &socket);
    expect(&mut stream, "+OK");
    say(&mut stream, "AUTH PLAIN AGFsaWNlAHNlY3JldC1h", "+OK");
    say(&mut stream, "RETR 1", "+OK");
    let message = lines(&mut stream).concat().replace("\r\n.", "\r\n");
    assert!(message == format!("Subject: x\r\n\r\n{}", body.replace('\n', "\r\n")), "{} octets", message.len());
    say(&mut stream, "DELE 1", "+OK");
    say(&mut stream, "QUIT", "+OK");
    // The server sends close_notify, so that the client knows that nothing was cut off.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(server.new_files("alice").is_empty());
    server.stop();
}

#[test]
fn a_handshake_that_fails_costs_one_connection() {
    let (server, client) = server("pop3-handshake", "pop3s = [\"127.0.0.1:0\"]\n");
    let mut talk = server.pop3();
    talk.expect("+OK");
    talk.say("STLS", "+OK");
    talk.write(b"USER alice\r\nPASS secret-a\r\n");
    // An alert comes, and no reply of POP3.
    assert!(talk.octets().is_none_or(|octets| octets.first() == Some(&21)));
    let mut talk = common::Talk::to(server.address("pop3s"));
    talk.write(b"USER alice\r\n");
    assert!(talk.octets().is_none_or(|octets| octets.first() == Some(&21)));
    let socket = TcpStream::connect(server.address("pop3s")).unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    expect(&mut inside(&client, &socket), "+OK");
    server.stop();
}
