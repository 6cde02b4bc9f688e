//! `[[remote]]` against servers that are odd, broken or hostile, on the real binary. What a session answers to them line by
//! line is in `tests/dialogues/imap-client` and `pop3-client`.
#![cfg(feature = "remote")]

mod common;

use common::{BASIC, Scratch, Server, wait_for};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// How a message is handed over.
#[derive(Clone, Debug)]
enum Message {
    /// As it should be; its RFC822.SIZE may lie.
    Good(&'static str, u64),
    /// OK without anything.
    Nothing,
    /// BODY[] NIL.
    Nil,
    /// The literal's count is larger than what comes; the connection stays open.
    Short,
    /// The connection ends in its midst.
    Cut,
    /// So many octets of header.
    Header(usize),
}

/// An IMAP server with these messages, UIDs from 1 on.
struct Fake {
    messages: Vec<Message>,
    has_uidnext: bool,
    capabilities: &'static str,
    /// Refuses SELECT without ID.
    wants_id: bool,
    sessions: AtomicUsize,
}

impl Fake {
    fn new(messages: Vec<Message>) -> Fake {
        Fake {
            messages,
            has_uidnext: true,
            capabilities: "IMAP4rev1 IDLE",
            wants_id: false,
            sessions: AtomicUsize::new(0),
        }
    }

    fn serve(self) -> (u16, Arc<Fake>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Arc::new(self);
        let server = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let fake = server.clone();
                fake.sessions.fetch_add(1, SeqCst);
                std::thread::spawn(move || drop(fake.session(stream.unwrap())));
            }
        });
        (port, fake)
    }

    fn session(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        stream.write_all(b"* OK ready\r\n")?;
        let (mut has_id, mut idle) = (false, String::new());
        while let Some(line) = lines.next().transpose()? {
            if line == "DONE" {
                stream.write_all(format!("{idle} OK done\r\n").as_bytes())?;
                continue;
            }
            let (tag, command) = line.split_once(' ').unwrap();
            let tag = tag.to_owned();
            let words: Vec<&str> = command.split(' ').collect();
            match words.as_slice() {
                ["CAPABILITY"] => stream.write_all(format!("* CAPABILITY {}\r\n", self.capabilities).as_bytes())?,
                ["ID", ..] => has_id = true,
                ["SELECT" | "EXAMINE", _] if self.wants_id && !has_id => {
                    stream.write_all(format!("{tag} NO Unsafe Login\r\n").as_bytes())?;
                    continue;
                }
                ["SELECT" | "EXAMINE", _] => {
                    let count = self.messages.len();
                    let next =
                        if self.has_uidnext { format!("* OK [UIDNEXT {}]\r\n", count + 1) } else { String::new() };
                    stream.write_all(format!("* {count} EXISTS\r\n* OK [UIDVALIDITY 9]\r\n{next}").as_bytes())?;
                }
                ["UID", "FETCH", range, ..] if range.ends_with(":*") => {
                    let first: usize = range.trim_end_matches(":*").parse().unwrap();
                    // A server always gives the last one.
                    for uid in first.min(self.messages.len()).max(1)..=self.messages.len() {
                        let size = match &self.messages[uid - 1] {
                            Message::Good(_, size) => *size,
                            _ => 100,
                        };
                        stream.write_all(format!("* {uid} FETCH (UID {uid} RFC822.SIZE {size})\r\n").as_bytes())?;
                    }
                }
                ["UID", "FETCH", uid, ..] => {
                    let number: usize = uid.parse().unwrap();
                    match &self.messages[number - 1] {
                        Message::Good(subject, size) => {
                            let text = format!("Subject: {subject}\r\n\r\nbody\r\n");
                            let length = text.len();
                            // Attributes around the literal.
                            stream.write_all(format!("* {uid} FETCH (FLAGS (\\Seen) BODY[] {{{length}}}\r\n{text} RFC822.SIZE {size} UID {uid})\r\n").as_bytes())?;
                        }
                        Message::Nothing => {}
                        Message::Nil => stream.write_all(format!("* {uid} FETCH (UID {uid} BODY[] NIL)\r\n").as_bytes())?,
                        Message::Short => stream.write_all(format!("* {uid} FETCH (UID {uid} BODY[] {{60}}\r\nSubject: short\r\n\r\nx\r\n)\r\n{tag} OK done, and some more text\r\n").as_bytes())?,
                        Message::Cut => {
                            stream.write_all(format!("* {uid} FETCH (UID {uid} BODY[] {{9999}}\r\nSubject: cut\r\n").as_bytes())?;
                            return Ok(());
                        }
                        Message::Header(octets) => {
                            let text = format!("Subject: large\r\nX: {}\r\n\r\nbody\r\n", "x".repeat(*octets));
                            stream.write_all(format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\n{text})\r\n", text.len()).as_bytes())?;
                        }
                    }
                }
                ["IDLE"] => {
                    idle = tag;
                    stream.write_all(b"+ idling\r\n")?;
                    continue;
                }
                ["LOGOUT"] => {
                    stream.write_all(format!("* BYE\r\n{tag} OK\r\n").as_bytes())?;
                    return Ok(());
                }
                _ => {}
            }
            stream.write_all(format!("{tag} OK done\r\n").as_bytes())?;
        }
        Ok(())
    }
}

fn remote(name: &str, port: u16, settings: &str) -> String {
    format!(
        "\n[[remote]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\nlogin = \"me\"\nuser = \"alice\"\n\
         password_file = \"work.pw\"\nonly_new = false\n{settings}"
    )
}

fn serve(name: &str, remotes: &str) -> Server {
    let scratch = Scratch::prepared(name, &format!("{BASIC}{remotes}"));
    fs::write(scratch.path("work.pw"), "secret\n").unwrap();
    fs::set_permissions(scratch.path("work.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    Server::start_in(scratch, &[])
}

fn status(server: &Server, name: &str) -> Value {
    let output = server.run(&["status", "--json"], "");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["remotes"].as_array().unwrap().iter().find(|each| each["remote"] == name).cloned().unwrap_or_default()
}

fn subjects(server: &Server) -> Vec<String> {
    server.records().iter().map(|record| record["subject"].as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn a_message_that_cannot_be_fetched_is_parked_and_the_rest_goes_on() {
    let messages = vec![
        Message::Good("one", 40),
        Message::Nothing,
        Message::Good("three", 999_999),
        Message::Nil,
        Message::Good("five", 0),
        Message::Header(100_000),
    ];
    let (port, _) = Fake::new(messages).serve();
    let server = serve("odd-parked", &remote("work", port, ""));
    for _ in 0..3 {
        assert_eq!(server.run(&["fetch", "work"], "").status.code(), Some(0), "{}", server.log());
    }
    assert_eq!(subjects(&server), ["one", "three", "five", "large"]);
    let entry = wait_for("two that are parked", || Some(status(&server, "work")).filter(|entry| entry["parked"] == 2));
    assert_eq!(entry["messages"], 4);
    assert_eq!(server.log().matches("cannot be fetched").count(), 2, "{}", server.log());
    // What is parked stays so over a restart, and is not asked for again.
    let server = Server::start_in(server.stop(), &[]);
    assert_eq!(server.run(&["fetch", "work"], "").status.code(), Some(0));
    assert_eq!((status(&server, "work")["parked"].clone(), server.records().len()), (2.into(), 4));
}

#[test]
fn a_folder_without_uidnext_and_a_server_that_wants_id() {
    let mut fake = Fake::new(vec![Message::Good("old", 40), Message::Good("older", 40)]);
    (fake.has_uidnext, fake.wants_id, fake.capabilities) = (false, true, "IMAP4rev1 ID");
    let (port, _) = fake.serve();
    let settings = remote("work", port, "").replace("only_new = false\n", "");
    let server = serve("odd-netease", &settings);
    assert_eq!(server.run(&["fetch", "work"], "").status.code(), Some(0), "{}", server.log());
    assert!(server.records().is_empty(), "only_new");
}

#[test]
fn mailbell_fetches_from_mailbell() {
    let there = Server::with("odd-there", BASIC);
    there.send("bob@example.org", "Subject: first\n\n..dot\n");
    let settings = "protocol = \"pop3\"\nafter = \"delete\"\n";
    let remote = remote("there", there.address("pop3").port(), settings).replace("login = \"me\"", "login = \"bob\"");
    let scratch = Scratch::prepared("odd-here", &format!("{BASIC}{remote}"));
    fs::write(scratch.path("work.pw"), "secret-b").unwrap();
    fs::set_permissions(scratch.path("work.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    let here = Server::start_in(scratch, &[]);
    assert_eq!(here.run(&["fetch", "there"], "").status.code(), Some(0), "{}", here.log());
    there.send("bob@example.org", "Subject: second\n\nx\n");
    assert_eq!(here.run(&["fetch", "there"], "").status.code(), Some(0), "{}", here.log());
    assert_eq!(subjects(&here), ["first", "second"]);
    let text = fs::read_to_string(here.records()[0]["path"].as_str().unwrap()).unwrap();
    assert!(text.ends_with("\nSubject: first\n\n.dot\n"), "{text}");
    assert!(there.new_files("bob").is_empty() && common::files(&there.path("mail/bob/cur")).is_empty());
}

#[test]
fn a_literal_that_lies_stores_nothing() {
    for (message, why) in [(Message::Short, "broke the protocol"), (Message::Cut, "closed the connection")] {
        let (port, fake) = Fake::new(vec![message]).serve();
        let server = serve("odd-literal", &remote("work", port, ""));
        let entry =
            wait_for("the error", || Some(status(&server, "work")).filter(|entry| entry["last_error"].is_string()));
        assert!(entry["last_error"].as_str().unwrap().contains(why), "{entry}");
        let output = server.run(&["fetch", "work"], "");
        assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fake.sessions.load(SeqCst) >= 2 && server.records().is_empty());
        let litter = common::files(&server.path("mail/alice/tmp"));
        assert!(litter.is_empty() && server.new_files("alice").is_empty(), "{litter:?}");
    }
}

#[test]
fn a_remote_that_floods_or_is_silent_costs_nothing_but_itself() {
    let flood = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (flood_port, silent_port) = (flood.local_addr().unwrap().port(), silent.local_addr().unwrap().port());
    let flooding = std::thread::spawn(move || {
        let (mut stream, _) = flood.accept().unwrap();
        // A line without an end, until the client has enough.
        let mut sent = 0_u64;
        while stream.write_all(&[b'x'; 65_536]).is_ok() && sent < 1 << 30 {
            sent += 65_536;
        }
        sent
    });
    let (port, _) = Fake::new(vec![Message::Good("one", 40)]).serve();
    let remotes =
        [remote("flood", flood_port, ""), remote("silent", silent_port, ""), remote("good", port, "")].concat();
    let server = serve("odd-flood", &remotes);
    let (mut held, _) = silent.accept().unwrap();
    assert!(flooding.join().unwrap() < 100 << 20, "it was cut off early");
    let entry =
        wait_for("the error", || Some(status(&server, "flood")).filter(|entry| entry["last_error"].is_string()));
    assert!(entry["last_error"].as_str().unwrap().contains("more than 64 KiB"), "{entry}");
    wait_for("the good one's message", || (server.records().len() == 1).then_some(()));
    assert_eq!(status(&server, "silent")["state"], "fetching");
    server.send("alice@example.org", "Subject: by SMTP\n\nx\n");
    // A clean stop does not wait for the silent one's deadline.
    server.stop();
    let mut rest = Vec::new();
    let _ = held.read_to_end(&mut rest);
    assert!(rest.is_empty(), "nothing is said to a server that has not greeted");
}
