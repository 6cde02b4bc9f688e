//! POP3 on the real binary, octet for octet: every message comes out as it is in the Maildir or as it was sent, and its
//! size is what RETR sends.

mod common;

use common::{Server, Talk};
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Difficult messages, as they are on disk.
fn generated() -> Vec<(String, Vec<u8>)> {
    let long = |octets| [&b"Subject: long\n\n"[..], &vec![b'x'; octets], b"\nend\n"].concat();
    let every: Vec<u8> = (0..=255).collect();
    let mut large = b"Subject: large\n\n".to_vec();
    for number in 0.. {
        if large.len() >= 30_000_000 {
            break;
        }
        let dots = &".........."[..number % 11 % 3 * (number % 4)];
        large.extend_from_slice(
            format!("{dots}{number}{}\n", &"abcdefghijklmnopqrstuvwxyz".repeat(6)[..number % 150]).as_bytes(),
        );
    }
    [
        ("dots", b"Subject: dots\n\n.\n..\n...\n.a\n. \n\n.\n".to_vec()),
        ("dot first", b".Subject: x\n\n.".to_vec()),
        ("header alone", b"Subject: x\nTo: y\n".to_vec()),
        ("no header", b"\nbody\n".to_vec()),
        ("every octet", [b"Subject: every\n\n", &every[..], b"\n"].concat()),
        ("NUL", b"Subject: \0\n\n\0\n\0\0.\n".to_vec()),
        ("8-bit", "Subject: Gr\u{fc}\u{df}e\n\n\u{65e5}\u{672c}\u{8a9e}\n".as_bytes().to_vec()),
        ("no final newline", b"Subject: x\n\nbody".to_vec()),
        ("empty", Vec::new()),
        ("one newline", b"\n".to_vec()),
        ("lone dot", b".".to_vec()),
        ("998 octets", long(998)),
        ("5000 octets", long(5000)),
        ("line as long as a block", long(65_536)),
        ("bare CR", b"Subject: x\n\na\rb\r\rc\n\r\n.\r\n".to_vec()),
        ("mixed line ends", b"Subject: mixed\n\r\nline\r\nline\n".to_vec()),
        ("CRLF file", b"Subject: x\r\n\r\n.a\r\n..\r\nbare\n\r\n".to_vec()),
        ("CRLF file without its last", b"Subject: x\r\n\r\n.a\r\nend".to_vec()),
        ("30 MB", large),
    ]
    .map(|(name, octets)| (name.to_owned(), octets))
    .to_vec()
}

/// The messages that CPython tests its email package with, where this machine has them.
fn cpython() -> Vec<(String, Vec<u8>)> {
    let script = "import os, test.test_email as t; print(os.path.join(os.path.dirname(t.__file__), 'data'))";
    let folder = Command::new("python3").args(["-c", script]).output().ok().filter(|output| output.status.success());
    let folder = folder.map(|output| String::from_utf8(output.stdout).unwrap()).unwrap_or_default();
    let messages: Vec<_> = common::files(Path::new(folder.trim()))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    if messages.is_empty() {
        common::skipped("needs CPython with its tests (libpython3-testsuite)");
    }
    messages
}

/// What RETR sends of another program's file, and TOP with so many lines of its body: each LF or CR LF is one CR LF.
fn expected(file: &[u8], body_lines: Option<usize>) -> Vec<u8> {
    let (mut sent, mut body) = (Vec::new(), None);
    for line in file.split_inclusive(|&octet| octet == b'\n') {
        if body_lines.is_some() && body >= body_lines {
            break;
        }
        let text = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(line);
        sent.extend_from_slice(text);
        sent.extend_from_slice(b"\r\n");
        body = match body {
            Some(lines) => Some(lines + 1),
            None if text.is_empty() && line.ends_with(b"\n") => Some(0),
            None => None,
        };
    }
    sent
}

/// Puts a file into a user's Maildir as another program does.
fn put(server: &Server, user: &str, name: &str, octets: &[u8]) {
    let maildir = server.path("mail").join(user);
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    fs::write(maildir.join("tmp/one"), octets).unwrap();
    fs::rename(maildir.join("tmp/one"), maildir.join(name)).unwrap();
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

/// The number at this place in a reply such as `+OK 1 120`.
fn number(reply: &[String], place: usize) -> usize {
    reply[0].split(' ').nth(place).unwrap().parse().unwrap()
}

fn fetch(talk: &mut Talk, command: &str) -> Vec<u8> {
    talk.say(command, "+OK");
    talk.multi_line()
}

fn assert_same(got: &[u8], want: &[u8], what: &str) {
    if got != want {
        let at = got.iter().zip(want).position(|(a, b)| a != b).unwrap_or(got.len().min(want.len()));
        let around =
            |octets: &[u8]| octets[at.saturating_sub(20)..octets.len().min(at + 20)].escape_ascii().to_string();
        panic!("{what}: {} octets, not {}; at {at}: {} is not {}", got.len(), want.len(), around(got), around(want));
    }
}

/// Every message in four shapes: as another program leaves it in `new/`, with sizes in its name in `cur/`, and compressed
/// with and without the sizes.
#[test]
fn files_come_out_as_they_are_and_as_long_as_listed() {
    let server = Server::start("pop3-files");
    let messages: Vec<_> = generated().into_iter().chain(cpython()).collect();
    let mut files = Vec::new();
    for (name, octets) in &messages {
        let wire = expected(octets, None).len();
        let zipped = gzip(octets);
        for (shape, content) in
            [("new/N", octets), ("cur/N,S=,W=:2,S", octets), ("cur/N,S=,W=:2,SZ", &zipped), ("cur/N:2,", &zipped)]
        {
            let file = shape
                .replace('N', &format!("1700000000.M{}P1Q1.test", files.len()))
                .replace("S=", &format!("S={}", octets.len()))
                .replace("W=", &format!("W={wire}"));
            put(&server, "alice", &file, content);
            files.push((format!("{name} as {shape}"), octets));
        }
    }
    let mut talk = server.pop3_as("alice");
    let mut total = 0;
    for (index, (name, octets)) in files.iter().enumerate() {
        let message = index + 1;
        let want = expected(octets, None);
        assert_eq!(number(&talk.say(&format!("LIST {message}"), "+OK"), 2), want.len(), "{name}");
        assert_eq!(number(&talk.say(&format!("RETR {message}"), "+OK"), 1), want.len(), "{name}");
        assert_same(&talk.multi_line(), &want, name);
        total += want.len();
        for lines in [0, 1, 3] {
            let top = fetch(&mut talk, &format!("TOP {message} {lines}"));
            assert_same(&top, &expected(octets, Some(lines)), &format!("TOP {lines} of {name}"));
        }
        if octets.len() < 100_000 {
            assert_same(&fetch(&mut talk, &format!("TOP {message} 1000000")), &want, &format!("TOP all of {name}"));
        }
    }
    assert_eq!(talk.say("STAT", "+OK")[0], format!("+OK {} {total}", files.len()));
    talk.say("QUIT", "+OK");
}

/// A message as a client sends it in DATA: CRLF lines, dots stuffed.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        let after_crlf = data.is_empty() || data.ends_with(b"\r\n");
        if after_crlf && line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line);
    }
    data.extend_from_slice(b".\r\n");
    data
}

#[test]
fn what_smtp_takes_pop3_gives_back() {
    let server =
        Server::with("pop3-smtp", &common::BASIC.replace("[smtp]\n", "[smtp]\nmax_message_size = \"64MiB\"\n"));
    // Line ends of our own files are LF, so that a CR before a line end is kept.
    let odd = ("CR CR LF".to_owned(), b"Subject: x\r\n\r\nodd\r\r\n.\r\r\nend\r\n".to_vec());
    let messages = generated().into_iter().chain(cpython()).map(|(name, octets)| (name, expected(&octets, None)));
    let messages: Vec<_> = messages.chain([odd]).collect();
    let mut smtp = server.smtp();
    smtp.expect("220");
    smtp.say("EHLO client.example", "250");
    for (_, message) in &messages {
        smtp.say("MAIL FROM:<>", "250");
        smtp.say("RCPT TO:<alice@example.org>", "250");
        smtp.say("DATA", "354");
        smtp.write(&stuffed(message));
        smtp.expect("250");
    }
    smtp.say("QUIT", "221");
    let mut talk = server.pop3_as("alice");
    assert_eq!(number(&talk.say("STAT", "+OK"), 1), messages.len());
    for (index, (name, message)) in messages.iter().enumerate() {
        let listed = number(&talk.say(&format!("LIST {}", index + 1), "+OK"), 2);
        let got = fetch(&mut talk, &format!("RETR {}", index + 1));
        assert_eq!(listed, got.len(), "{name}");
        assert!(got.starts_with(b"Return-Path: <>\r\nDelivered-To: alice@example.org\r\nReceived: "), "{name}");
        assert_same(&got[got.len().saturating_sub(message.len())..], message, name);
    }
    talk.say("QUIT", "+OK");
}

/// As `printf ... | nc -N` does: all commands at once, then half of the connection is closed.
#[test]
fn everything_at_once_from_a_client_that_has_said_all() {
    let server = Server::start("pop3-pipelining");
    for message in 1..=300 {
        put(
            &server,
            "alice",
            &format!("cur/1700000{message:03}.M1P1Q1.test:2,S"),
            format!("Subject: {message}\n\n.\n").as_bytes(),
        );
    }
    let mut talk = server.pop3();
    let mut commands = "USER alice\r\nPASS secret-a\r\nSTAT\r\nUIDL\r\n".to_owned();
    (1..=300).for_each(|message| commands += &format!("RETR {message}\r\nDELE {message}\r\n"));
    talk.write((commands + "QUIT\r\n").as_bytes());
    talk.stream().shutdown(std::net::Shutdown::Write).unwrap();
    (0..4).for_each(|_| drop(talk.expect("+OK")));
    talk.expect("+OK 300 messages");
    assert_eq!(talk.multi_line().iter().filter(|&&octet| octet == b'\n').count(), 300);
    for message in 1..=300 {
        talk.expect("+OK");
        assert_eq!(talk.multi_line(), format!("Subject: {message}\r\n\r\n.\r\n").as_bytes());
        talk.expect("+OK");
    }
    talk.expect("+OK");
    assert!(talk.is_closed());
    assert!(common::files(&server.path("mail/alice/cur")).is_empty());
}
