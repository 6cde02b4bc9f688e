//! Mail to other servers, the receiving half, on the real binary: which clients may send it, and what then waits in the
//! queue.
#![cfg(feature = "relay")]

mod common;

use common::{BASIC, Scratch, Server, Talk, files, skipped};
use mailbell::server::local;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A relay that nobody can reach, so that everything stays in the queue.
const RELAY: &str = "[relay]\nhost = \"127.0.0.1\"\nport = 1\ntls = \"off\"\n";

/// What waits to be sent: envelopes and messages, the oldest first.
fn queue(scratch: &Scratch) -> Vec<(Value, String)> {
    let entry = |path: &std::path::PathBuf| {
        let octets = fs::read(path).unwrap();
        let mut lines = octets.splitn(3, |&octet| octet == b'\n').skip(1);
        let envelope = serde_json::from_slice(lines.next().unwrap()).unwrap();
        (envelope, String::from_utf8_lossy(lines.next().unwrap()).into_owned())
    };
    files(&scratch.path("state/queue/waiting")).iter().map(entry).collect()
}

/// The addresses of an entry.
fn addresses(envelope: &Value) -> Vec<&str> {
    envelope["recipients"].as_array().unwrap().iter().map(|to| to["address"].as_str().unwrap()).collect()
}

#[track_caller]
fn code(output: &Output, expected: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(expected), "{said}");
    said
}

/// `user NUL user NUL secret` in base64, for AUTH PLAIN.
fn plain(user: &str, secret: &str) -> String {
    format!("AUTH PLAIN {}", base64(format!("\0{user}\0{secret}").as_bytes()))
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three.iter().chain([&0, &0]).take(3).fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
        for place in 0..4 {
            let digit = if place <= three.len() { DIGITS[(bits >> (18 - 6 * place)) as usize & 63] } else { b'=' };
            text.push(digit.into());
        }
    }
    text
}

/// A client over anything that reads and writes.
struct Line {
    reader: BufReader<Box<dyn Read>>,
    writer: Box<dyn Write>,
}

impl Line {
    fn tcp(stream: TcpStream) -> Line {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let reader: Box<dyn Read> = Box::new(stream.try_clone().unwrap());
        Line { reader: BufReader::new(reader), writer: Box::new(stream) }
    }

    fn unix(stream: UnixStream) -> Line {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let reader: Box<dyn Read> = Box::new(stream.try_clone().unwrap());
        Line { reader: BufReader::new(reader), writer: Box::new(stream) }
    }

    fn reply(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "closed after {whole:?}");
            whole.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return whole;
            }
        }
    }

    #[track_caller]
    fn say(&mut self, line: &str, start: &str) -> String {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let reply = self.reply();
        let last = reply.lines().last().unwrap();
        assert!(last.starts_with(start), "to {line:?} expected {start}, got {reply:?}");
        reply
    }
}

/// Recipients that are not here, however they are written; and the reply to a client that may send there.
const ELSEWHERE: [(&str, &str); 8] = [
    ("<out@else.example>", "250"),
    ("out@else.example", "250"),
    ("<@example.org:out@else.example>", "250"),
    ("<@example.org,@mail.example.org:out@else.example>", "250"),
    ("<out@else.example.>", "250"),
    ("<\"out side\"@else.example>", "250"),
    ("<out@[192.0.2.25]>", "250"),
    ("<\"Team\" <out@else.example>>", "250"),
];

/// Recipients at our domain that look as if they were somewhere else: no user has them.
const DISGUISED: [&str; 7] = [
    "<out%else.example@example.org>",
    "<else.example!out@example.org>",
    "<\"out@else.example\"@example.org>",
    "<\"out@else.example\">",
    "<@else.example:out%else.example@EXAMPLE.org.>",
    "<\"@else.example:out\"@b\u{fc}cher.example>",
    "<out%else.example>",
];

/// Recipients that are here, in every spelling of the domain.
const HERE: [&str; 8] = [
    "<alice@example.org>",
    "<ALICE@Example.ORG.>",
    "<alice@b\u{fc}cher.example>",
    "<alice@XN--BCHER-kva.example>",
    "<alice>",
    "<postmaster>",
    "<\"alice\"@example.org>",
    "<@else.example:alice@example.org>",
];

fn matrix_configuration() -> String {
    let listeners = "[submission]\nlisten = [\"127.0.0.1:0\"]\n[lmtp]\nlisten = [\"127.0.0.1:0\", \"lmtp.sock\"]\n";
    let basic = BASIC.replace("[\"example.org\"]", "[\"example.org\", \"b\u{fc}cher.example\"]").replacen(
        "listen = [\"127.0.0.1:0\"]",
        "listen = [\"127.0.0.1:0\", \"smtp.sock\"]",
        1,
    );
    format!("{basic}{listeners}")
}

/// Every recipient of a client, one after the other; nothing is sent.
#[track_caller]
fn tries(what: &str, line: &mut Line, may: bool) {
    line.say("MAIL FROM:<alice@example.org> SMTPUTF8", "250");
    for (recipient, reply) in ELSEWHERE {
        line.say(&format!("RCPT TO:{recipient}"), if may { reply } else { "550 5.7.1" });
    }
    for recipient in DISGUISED {
        let reply = line.say(&format!("RCPT TO:{recipient}"), "550 5.1.1");
        assert!(reply.contains("No such user"), "{what}: {recipient}: {reply}");
    }
    for recipient in HERE {
        line.say(&format!("RCPT TO:{recipient}"), "250");
    }
    line.say("RSET", "250");
}

/// A client that is not known at each listener, and one that is where that can be.
fn try_all(server: &Server, relays: bool) {
    let tcp = |kind: &str| Line::tcp(TcpStream::connect(server.address(kind)).unwrap());
    let unix = |name: &str| Line::unix(UnixStream::connect(server.path(name)).unwrap());
    let hello = |mut line: Line, hello: &str| {
        line.reply();
        let extensions = line.say(&format!("{hello} client.example"), "250");
        assert_eq!(extensions.contains("DSN"), relays && hello == "EHLO", "{extensions}");
        line
    };
    // Anonymous, with a wrong password, and after half of a login. After 20 errors a session ends.
    for what in ["smtp", "smtp.sock"] {
        for login in [&[][..], &[("AUTH PLAIN AGFsaWNlAHdyb25n", "535")], &[("AUTH LOGIN", "334"), ("*", "501")]] {
            let mut line = hello(if what == "smtp" { tcp(what) } else { unix(what) }, "EHLO");
            login.iter().for_each(|(command, reply)| drop(line.say(command, reply)));
            tries(what, &mut line, false);
        }
    }
    let mut line = hello(tcp("submission"), "EHLO");
    line.say("MAIL FROM:<alice@example.org>", "530");
    line.say("RCPT TO:<out@else.example>", "503");
    line.say(&plain("alice", "wrong"), "535");
    line.say("MAIL FROM:<alice@example.org>", "530");
    // LMTP has no login.
    for mut line in [hello(tcp("lmtp"), "LHLO"), hello(unix("lmtp.sock"), "LHLO")] {
        line.say(&plain("alice", "secret-a"), "502");
        tries("lmtp", &mut line, false);
    }
    // With a login.
    for line in [tcp("smtp"), unix("smtp.sock"), tcp("submission")] {
        let mut line = hello(line, "EHLO");
        line.say(&plain("alice", "secret-a"), "235");
        tries("with a login", &mut line, relays);
    }
    // The socket for local users: this test runs as the server's own user.
    let mut line = hello(Line::unix(local::connect(&server.path("state")).unwrap()), "EHLO");
    tries("local", &mut line, relays);
}

#[test]
fn only_clients_that_are_known_send_elsewhere() {
    let server = Server::with("relaying-matrix", &format!("{}{RELAY}", matrix_configuration()));
    try_all(&server, true);
    assert!(queue(&server.scratch).is_empty(), "nothing was sent");
    assert!(!server.log().contains("panic"));
    server.stop();
}

#[test]
fn without_a_relay_nothing_is_sent_elsewhere() {
    let server = Server::with("relaying-off", &matrix_configuration());
    try_all(&server, false);
    for arguments in [&["sendmail", "out@else.example"][..], &["deliver", "out@else.example"]] {
        let said = code(&server.run(arguments, "Subject: x\n\n"), 67);
        assert!(said.contains("relay.host"), "{said}");
    }
    assert!(queue(&server.scratch).is_empty());
    server.stop();
}

#[test]
fn behind_a_proxy_an_anonymous_client_stays_one() {
    let sections = "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n[submission]\nlisten = [\"127.0.0.1:0\"]\n";
    let server = Server::with("relaying-proxy", &format!("{BASIC}{sections}{RELAY}"));
    for header in
        ["PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n"]
    {
        let mut talk = server.smtp();
        talk.write(header.as_bytes());
        talk.expect("220");
        talk.say("EHLO x", "250");
        talk.say("MAIL FROM:<alice@example.org>", "250");
        for (recipient, _) in ELSEWHERE {
            talk.say(&format!("RCPT TO:{recipient}"), "550 5.7.1");
        }
    }
    let mut talk = Talk::to(server.address("submission"));
    talk.write(b"PROXY TCP4 127.0.0.9 192.0.2.1 4711 587\r\n");
    talk.expect("220");
    talk.say("EHLO x", "250");
    talk.say("MAIL FROM:<alice@example.org>", "530");
    talk.say(&plain("alice", "secret-a"), "235");
    talk.say("MAIL FROM:<alice@example.org>", "250");
    talk.say("RCPT TO:<out@else.example>", "250");
    server.stop();
}

/// A submission session that has logged in as alice.
fn submission(server: &Server) -> Talk {
    let mut talk = Talk::to(server.address("submission"));
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    talk.say(&plain("alice", "secret-a"), "235");
    talk
}

fn with_submission(more: &str) -> String {
    format!("{BASIC}[submission]\nlisten = [\"127.0.0.1:0\"]\n{RELAY}{more}")
}

#[test]
fn a_message_goes_to_users_here_and_to_other_servers() {
    let server = Server::with("relaying-mixed", &with_submission(""));
    let mut talk = submission(&server);
    talk.say("MAIL FROM:<alice@example.org> RET=HDRS ENVID=a+2Bb SMTPUTF8", "250");
    talk.say("RCPT TO:<bob@example.org>", "250");
    talk.say("RCPT TO:<out@else.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@else.example", "250");
    talk.say("RCPT TO:<j\u{f5}geva@n\u{e4}ide.example> NOTIFY=NEVER", "250");
    // The same mailbox again: once.
    talk.say("RCPT TO:<out@ELSE.example.>", "250");
    talk.say("DATA", "354");
    let body = "Bcc: kept@else.example\r\nSubject: gr\u{fc}n\r\n\r\n..dot\r\nbare\rCR\r\n\u{e4}";
    talk.write(format!("{body}\r\n.\r\n").as_bytes());
    let stored = talk.expect("250 2.0.0 Stored as ");
    // One to other servers only, in chunks, without SMTPUTF8.
    talk.say("MAIL FROM:<Alice+tag@Example.org>", "250");
    talk.say("RCPT TO:<one@else.example>", "250");
    talk.write(b"BDAT 40 LAST\r\nDate: now\r\nMessage-ID: <x@y>\r\nA: b\r\n\r\n\r\n");
    let queued = talk.expect("250 2.0.0 Queued as ");
    talk.say("QUIT", "221");

    let waiting = queue(&server.scratch);
    let [(first, message), (second, other)] = &waiting[..] else { panic!("{waiting:?}") };
    assert_eq!(addresses(first), ["out@else.example", "j\u{f5}geva@n\u{e4}ide.example"]);
    assert_eq!((&first["reverse_path"], &first["user"]), (&"alice@example.org".into(), &"alice".into()));
    assert_eq!((&first["ret"], &first["envid"], &first["smtputf8"]), (&"HDRS".into(), &"a+2Bb".into(), &true.into()));
    let asked = |index: usize, key: &str| first["recipients"][index][key].clone();
    assert_eq!((asked(0, "notify"), asked(0, "orcpt")), ("SUCCESS,DELAY".into(), "rfc822;x@else.example".into()));
    assert_eq!((asked(1, "notify"), asked(1, "orcpt")), ("NEVER".into(), Value::Null));
    assert!(message.starts_with(
        "Received: from client.example ([127.0.0.1])\n\tby mail.example.org (mailbell) with UTF8SMTPA id "
    ));
    assert!(!message.contains("Return-Path") && !message.contains("Delivered-To") && !message.contains("alice"));
    for field in ["\nDate: ", "\nMessage-ID: <"] {
        assert_eq!(message.matches(field).count(), 1, "{message}");
    }
    assert!(
        message.ends_with(&body.replace("\r\n", "\n").replace("..dot", ".dot").replacen("Bcc", "\nBcc", 0).add_end())
    );
    assert_eq!((&second["reverse_path"], &second["smtputf8"]), (&"Alice+tag@Example.org".into(), &false.into()));
    assert!(other.ends_with("\nDate: now\nMessage-ID: <x@y>\nA: b\n\n\n"), "{other}");
    assert_eq!((other.matches("Date: ").count(), other.matches("Message-ID: ").count()), (1, 1));

    let [here] = &server.new_files("bob")[..] else { panic!() };
    let text = fs::read(here).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.starts_with("Return-Path: <alice@example.org>\nDelivered-To: bob@example.org\nReceived: "), "{text}");
    let id = |text: &str| text.lines().find(|line| line.starts_with("Message-ID: ")).map(str::to_owned);
    assert_eq!(id(&text), id(message), "both copies have one Message-ID");
    assert_eq!(server.records().len(), 1);
    let log = server.log();
    let name = |reply: &[String]| reply[0].rsplit(' ').next().unwrap().to_owned();
    assert!(log.contains(&format!("id={}", name(&stored))), "{log}");
    assert!(log.contains(" queued ") && log.contains(&format!("id={}", name(&queued))), "{log}");
    assert!(files(&server.path("state/queue/waiting"))[1].ends_with(name(&queued)));
    server.stop();
}

trait AddEnd {
    fn add_end(self) -> String;
}

impl AddEnd for String {
    /// Mail ends with a line end.
    fn add_end(self) -> String {
        self + "\n"
    }
}

#[test]
fn a_message_is_taken_for_all_or_for_none() {
    let server = Server::with("relaying-all-or-none", &with_submission(""));
    // The queue cannot be written.
    fs::remove_dir(server.path("state/queue/tmp")).unwrap();
    let mut talk = submission(&server);
    for recipients in [&["bob@example.org", "out@else.example"][..], &["out@else.example"]] {
        talk.say("MAIL FROM:<alice@example.org>", "250");
        recipients.iter().for_each(|to| drop(talk.say(&format!("RCPT TO:<{to}>"), "250")));
        talk.say("DATA", "354");
        talk.say("Subject: x\r\n\r\nx\r\n.", "451");
    }
    fs::create_dir(server.path("state/queue/tmp")).unwrap();
    // Nor can its list of what waits.
    fs::rename(server.path("state/queue/waiting"), server.path("state/queue/away")).unwrap();
    talk.say("MAIL FROM:<alice@example.org>", "250");
    talk.say("RCPT TO:<bob@example.org>", "250");
    talk.say("RCPT TO:<out@else.example>", "250");
    talk.say("DATA", "354");
    talk.say("Subject: x\r\n\r\nx\r\n.", "451");
    fs::rename(server.path("state/queue/away"), server.path("state/queue/waiting")).unwrap();
    // The Maildir cannot be written.
    fs::create_dir_all(server.path("mail")).unwrap();
    let _ = fs::remove_dir_all(server.path("mail/bob"));
    fs::write(server.path("mail/bob"), "").unwrap();
    talk.say("MAIL FROM:<alice@example.org>", "250");
    talk.say("RCPT TO:<bob@example.org>", "250");
    talk.say("RCPT TO:<out@else.example>", "250");
    talk.say("DATA", "354");
    talk.say("Subject: x\r\n\r\nx\r\n.", "451");
    assert!(queue(&server.scratch).is_empty() && server.records().is_empty());
    assert!(files(&server.path("state/queue/tmp")).is_empty());
    assert!(server.new_files("bob").is_empty());
    server.stop();
}

#[test]
fn aliases_lead_elsewhere_in_the_name_of_their_owner() {
    let scratch = Scratch::prepared("relaying-aliases", &format!("{BASIC}[lmtp]\nlisten = [\"127.0.0.1:0\"]\n{RELAY}"));
    let aliases = "alice: alice, alice@phone.example\nteam: alice, bob@example.org, far@else.example, alice@PHONE.example\n\
                   bob@example.org: bob@else.example\nonly: x@else.example\n";
    fs::write(scratch.path("aliases"), aliases).unwrap();
    let server = Server::start_in(scratch, &[]);
    // Anybody may write to an alias.
    server.send("alice@example.org", "Subject: phone\n\nx\n");
    server.send("team@example.org", "Subject: team\n\nx\n");
    server.send("only@example.org", "Subject: only\n\nx\n");
    let sent: Vec<_> = queue(&server.scratch)
        .iter()
        .map(|(envelope, message)| {
            let subject = message.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
            assert!(envelope["user"].is_null());
            (subject, envelope["reverse_path"].as_str().unwrap().to_owned(), addresses(envelope).join(" "))
        })
        .collect();
    let wanted = |subject: &str, sender: &str, to: &str| (subject.to_owned(), sender.to_owned(), to.to_owned());
    assert_eq!(
        sent,
        [
            wanted("phone", "alice@example.org", "alice@phone.example"),
            wanted("team", "alice@example.org", "alice@phone.example"),
            wanted("team", "bob@example.org", "bob@else.example"),
            wanted("team", "postmaster@example.org", "far@else.example"),
            wanted("only", "postmaster@example.org", "x@else.example"),
        ]
    );
    assert_eq!((server.new_files("alice").len(), server.new_files("bob").len()), (2, 0));
    let (_, message) = &queue(&server.scratch)[0];
    assert!(!message.contains("\nDate: "), "a stranger's header stays as it is: {message}");
    // A notice stays one; LMTP answers for each recipient.
    let mut lmtp = Talk::to(server.address("lmtp"));
    lmtp.expect("220");
    lmtp.say("LHLO x", "250");
    lmtp.say("MAIL FROM:<>", "250");
    lmtp.say("RCPT TO:<alice@example.org> NOTIFY=SUCCESS", "250");
    lmtp.say("RCPT TO:<only@example.org>", "250");
    lmtp.say("RCPT TO:<out@else.example>", "550 5.7.1");
    lmtp.say("DATA", "354");
    lmtp.say("Subject: notice\r\n\r\nx\r\n.", "250 2.0.0 Stored as ");
    lmtp.expect("250");
    let waiting = queue(&server.scratch);
    let (notice, _) = waiting.last().unwrap();
    assert_eq!((&notice["reverse_path"], addresses(notice).len()), (&"".into(), 2));
    assert!(notice["recipients"][0]["notify"].is_null());
    server.stop();
}

#[test]
fn without_a_relay_an_outside_address_in_an_alias_is_an_error() {
    let scratch = Scratch::prepared("relaying-alias-error", BASIC);
    fs::write(scratch.path("aliases"), "team: alice\nalice: alice, alice@phone.example\n").unwrap();
    let said = code(&common::run(&scratch.path("mailbell.toml"), &["check"], ""), 78);
    assert!(said.contains("aliases:2: \"alice@phone.example\"") && said.contains("`relay.host`"), "{said}");
    // With a relay it is none, and `check --address` says where mail goes.
    fs::write(scratch.path("mailbell.toml"), format!("{BASIC}{RELAY}")).unwrap();
    let output = common::run(&scratch.path("mailbell.toml"), &["check", "--address", "alice@example.org"], "");
    code(&output, 0);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said,
        "alice@example.org: alias alice\n  -> user alice\n  -> alice@phone.example by the relay, with alice@example.org as its sender\n"
    );
    let newaliases = Command::new(common::binary())
        .args(["sendmail", "-bi"])
        .env("MAILBELL_CONFIG", scratch.path("mailbell.toml"))
        .output()
        .unwrap();
    assert!(newaliases.status.success() && newaliases.stderr.is_empty(), "{newaliases:?}");
    fs::write(scratch.path("aliases"), "team: alicia\n").unwrap();
    let said = code(&common::run(&scratch.path("mailbell.toml"), &["sendmail", "-bi"], ""), 0);
    assert!(said.contains("did you mean \"alice\"?"), "{said}");
}

#[test]
fn check_warns_of_what_comes_close_to_an_open_relay() {
    let configuration = format!(
        "{BASIC}[submission]\nlisten = [\"127.0.0.1:0\"]\nany_sender = [\"bob\", \"*\"]\n[proxy]\ntrusted = [\"10.0.0.0/8\", \
         \"0.0.0.0/0\"]\n[tls]\nrequired_for_auth = false\n[limits]\npenalty_exempt = [\"::/0\"]\n"
    );
    let scratch = Scratch::prepared("relaying-check", &format!("{configuration}{RELAY}"));
    let output = common::run(&scratch.path("mailbell.toml"), &["check"], "");
    let said = code(&output, 0);
    for warning in [
        "warning: `submission.any_sender`: \"*\" lets every user",
        "warning: `proxy.trusted`: 0.0.0.0/0 is every address",
        "warning: `tls.required_for_auth`: false lets clients",
        "warning: `limits.penalty_exempt`: all addresses",
    ] {
        assert!(said.contains(warning), "{warning}: {said}");
    }
    assert!(!said.contains("10.0.0.0"), "{said}");
    // Without a relay none of that is worth a word here.
    fs::write(scratch.path("mailbell.toml"), configuration).unwrap();
    let said = code(&common::run(&scratch.path("mailbell.toml"), &["check"], ""), 0);
    assert!(!said.contains("any_sender"), "{said}");
    let any = BASIC.replace("[\"example.org\"]", "\"*\"").replace("[smtp]", "[smtp]\nauth = \"off\"");
    fs::write(scratch.path("mailbell.toml"), format!("{}{RELAY}", any.replacen("127.0.0.1:0", "0.0.0.0:0", 1)))
        .unwrap();
    let said = code(&common::run(&scratch.path("mailbell.toml"), &["check"], ""), 0);
    assert!(
        said.contains("warning: `domains`: \"*\" takes every address") && said.contains("no listener lets"),
        "{said}"
    );
}

#[test]
fn a_sender_that_asks_for_it_is_told_of_the_delivery() {
    let server = Server::with("relaying-delivered", &with_submission(""));
    let send = |talk: &mut Talk, sender: &str, recipients: &[&str]| {
        talk.say(&format!("MAIL FROM:<{sender}> ENVID=e+2B1 RET=FULL"), "250");
        recipients.iter().for_each(|to| drop(talk.say(&format!("RCPT TO:{to}"), "250")));
        talk.say("DATA", "354");
        talk.say("Subject: asked\r\nMessage-ID: <asked@x>\r\n\r\nthe body\r\n.", "250");
    };
    let mut talk = submission(&server);
    send(
        &mut talk,
        "alice@example.org",
        &[
            "<bob@example.org> NOTIFY=SUCCESS ORCPT=rfc822;b+2Bob@else.example",
            "<carol+x@example.org> NOTIFY=SUCCESS,FAILURE",
            "<team@example.org> NOTIFY=NEVER",
            "<postmaster>",
            "<out@else.example> NOTIFY=SUCCESS",
        ],
    );
    let bounce = |records: &[Value]| records.iter().find(|record| record["via"] == "bounce").cloned();
    let notice = bounce(&server.records()).expect("the notice is there before the 250");
    assert_eq!(
        (&notice["user"], &notice["mail_from"], &notice["rcpt_to"]),
        (&"alice".into(), &"".into(), &"alice@example.org".into())
    );
    let text = fs::read_to_string(notice["path"].as_str().unwrap()).unwrap();
    for part in [
        "\nOriginal-Envelope-Id: e+1\n",
        "\nOriginal-Recipient: rfc822;b+ob@else.example\nFinal-Recipient: rfc822;bob@example.org\nAction: delivered\nStatus: 2.",
        "\nFinal-Recipient: rfc822;carol+x@example.org\nAction: delivered\nStatus: 2.",
        "\nMessage-ID: <asked@x>\n",
        "report-type=delivery-status",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for no_part in ["team", "the body", "out@else.example", "postmaster"] {
        assert!(!text.contains(no_part), "{no_part}: {text}");
    }
    assert_eq!(queue(&server.scratch)[0].0["recipients"][0]["notify"], "SUCCESS");
    // A stranger makes us send nothing to a third party, and a notice gets none.
    let mut stranger = server.smtp();
    stranger.expect("220");
    stranger.say("EHLO x", "250");
    send(&mut stranger, "victim@else.example", &["<bob@example.org> NOTIFY=SUCCESS"]);
    send(&mut stranger, "", &["<bob@example.org> NOTIFY=SUCCESS"]);
    // A client that may send elsewhere is told there.
    stranger.say(&plain("bob", "secret-b"), "235");
    send(&mut stranger, "alice@example.org", &["<carol@example.org> NOTIFY=DELAY"]);
    assert_eq!(
        (queue(&server.scratch).len(), server.records().iter().filter(|record| record["via"] == "bounce").count()),
        (1, 1)
    );
    server.stop();
    // Without a relay the parameters mean nothing.
    let server = Server::start("relaying-not-told");
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO x", "250");
    send(&mut talk, "alice@example.org", &["<bob@example.org> NOTIFY=SUCCESS"]);
    assert_eq!(server.records().len(), 1);
    server.stop();
}

#[cfg(feature = "tls")]
#[test]
fn tls_makes_no_client_known() {
    use common::tls;
    let more = format!("smtps = [\"127.0.0.1:0\"]\n{RELAY}");
    let (server, client) = tls::server("relaying-tls", &more);
    let stream = TcpStream::connect(server.address("smtps")).unwrap();
    let say = |stream: &mut tls::Stream, line: &str, start: &str| {
        stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reply = String::new();
        loop {
            reply.clear();
            stream.read_line(&mut reply).unwrap();
            if reply.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        assert!(reply.starts_with(start), "to {line:?} expected {start}, got {reply:?}");
    };
    let greeting = |stream: &mut tls::Stream| assert!(stream.read_line(&mut String::new()).unwrap() > 0);
    let mut smtps = tls::inside(&client, &stream);
    greeting(&mut smtps);
    say(&mut smtps, "EHLO x", "250");
    say(&mut smtps, "MAIL FROM:<alice@example.org>", "530");
    say(&mut smtps, "RCPT TO:<out@else.example>", "503");
    say(&mut smtps, &plain("alice", "secret-a"), "235");
    say(&mut smtps, "MAIL FROM:<bob@example.org>", "553");
    say(&mut smtps, "MAIL FROM:<alice@example.org>", "250");
    say(&mut smtps, "RCPT TO:<out@else.example>", "250");
    say(&mut smtps, "RCPT TO:<out%else.example@example.org>", "550 5.1.1");
    // STARTTLS forgets a login (RFC 3207 section 4.2), and a transaction with it.
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO x", "250");
    talk.say(&plain("alice", "secret-a"), "235");
    talk.say("MAIL FROM:<alice@example.org>", "250");
    talk.say("RCPT TO:<out@else.example>", "250");
    talk.say("STARTTLS", "220");
    let mut inside = tls::inside(&client, talk.stream());
    say(&mut inside, "DATA", "503");
    say(&mut inside, "EHLO x", "250");
    say(&mut inside, "MAIL FROM:<alice@example.org>", "250");
    say(&mut inside, "RCPT TO:<out@else.example>", "550 5.7.1");
    assert!(queue(&server.scratch).is_empty());
    server.stop();
}

#[test]
fn a_message_in_circles_ends() {
    let server = Server::with("relaying-loop", &with_submission(""));
    let ours = |count: usize| "Received: from x by MAIL.example.org with SMTP; now\r\n".repeat(count);
    let others = |count: usize| "Received: from mail.example.org by x; now\r\n".repeat(count);
    for (fields, to, reply) in [
        (ours(2) + &others(90), "out@else.example", "250"),
        (ours(3), "out@else.example", "554 5.4.6"),
        (ours(3), "bob@example.org", "250"),
        (others(101), "bob@example.org", "554 5.4.6"),
        (others(101), "out@else.example", "554 5.4.6"),
    ] {
        let mut talk = submission(&server);
        talk.say("MAIL FROM:<alice@example.org>", "250");
        talk.say(&format!("RCPT TO:<{to}>"), "250");
        talk.say("DATA", "354");
        talk.say(&format!("{fields}Subject: x\r\n\r\nx\r\n."), reply);
    }
    assert_eq!(queue(&server.scratch).len(), 1);
    server.stop();
}

#[test]
fn one_user_sends_only_so_much() {
    let server = Server::with(
        "relaying-limits",
        &with_submission("waiting_per_user = 3\nrecipients_per_hour = 5\n")
            .replace("[smtp]", "[smtp]\nmax_recipients = 50"),
    );
    let send = |recipients: usize, last: &str| {
        let mut talk = submission(&server);
        talk.say("MAIL FROM:<alice@example.org>", "250");
        for number in 1..recipients {
            talk.say(&format!("RCPT TO:<x{number}@else.example>"), "250");
        }
        talk.say("RCPT TO:<last@else.example>", last);
        // Users here are not counted.
        talk.say("RCPT TO:<bob@example.org>", "250");
        talk.say("DATA", "354");
        talk.say("Subject: x\r\n\r\nx\r\n.", "250");
    };
    send(1, "250");
    send(1, "250");
    send(1, "250");
    send(1, "452 4.3.1");
    // `mailq` prints what the command of the queue does; what is dropped counts no more.
    let listed = server.run(&["queue", "list"], "").stdout;
    assert_eq!(server.run(&["sendmail", "-bp"], "").stdout, listed);
    assert!(String::from_utf8_lossy(&listed).contains("last@else.example"), "{}", String::from_utf8_lossy(&listed));
    let ids: Vec<_> = files(&server.path("state/queue/waiting"))
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    code(&server.run(&["queue", "drop", &ids[0], &ids[1], &ids[2]], ""), 0);
    common::wait_for("room for another message", || {
        let mut talk = submission(&server);
        talk.say("MAIL FROM:<alice@example.org>", "250");
        let reply = talk.line_after("RCPT TO:<again@else.example>").unwrap();
        assert!(reply.starts_with("250") || reply.starts_with("452"), "{reply}");
        reply.starts_with("250").then_some(())
    });
    // Another user is not held up by that.
    let mut bob = Talk::to(server.address("smtp"));
    bob.expect("220");
    bob.say("EHLO x", "250");
    bob.say(&plain("bob", "secret-b"), "235");
    bob.say("MAIL FROM:<bob@example.org>", "250");
    (0..5).for_each(|number| drop(bob.say(&format!("RCPT TO:<x{number}@else.example>"), "250")));
    bob.say("RCPT TO:<x6@else.example>", "450 4.7.1");
    bob.say("RCPT TO:<x7@else.example>", "450 4.7.1");
    let log = server.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("sending-limit ")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("sending-limit user=alice client=127.0.0.1 listener=submission "), "{}", lines[0]);
    assert!(lines[1].contains("sending-limit user=bob client=127.0.0.1 listener=smtp "), "{}", lines[1]);
    server.stop();
}

/// `sendmail` of a system user without any rights; the binary is copied where that user can run it.
fn as_user(scratch: &Scratch, uid: u32, arguments: &[&str], message: &str) -> Output {
    let binary = scratch.path("sendmail");
    if !binary.exists() {
        common::copy_binary(&binary);
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()]).arg(binary);
    command.args(arguments).env("MAILBELL_CONFIG", scratch.path("mailbell.toml")).env("LOGNAME", "joe");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(message.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn local_users_send_by_sendmail_from_their_own_address() {
    if !rustix::process::geteuid().is_root() {
        return skipped("needs root");
    }
    let scratch = Scratch::prepared("relaying-sendmail", &format!("{BASIC}{RELAY}"));
    fs::set_permissions(scratch.path("users"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(scratch.path("aliases"), "team: alice, bob\ngames: bob\n").unwrap();
    let nobody = 65_534;
    let said = code(&as_user(&scratch, nobody, &["out@else.example"], "x\n"), 75);
    assert!(said.contains("is `mailbell serve` running?"), "{said}");
    let server = Server::start_in(scratch, &[]);
    let send = |uid: u32, arguments: &[&str], message: &str| as_user(&server.scratch, uid, arguments, message);
    let latest = || queue(&server.scratch).pop().unwrap();

    code(&send(nobody, &["-i", "out@else.example", "alice"], "Subject: plain\n\nx\n"), 0);
    let (envelope, message) = latest();
    assert_eq!(envelope["reverse_path"], "nobody@example.org");
    assert!(message.contains("\nFrom: nobody@example.org\n"), "{message}");
    assert_eq!(server.records()[0]["subject"], "plain");

    let with_bcc =
        "To: one@else.example\nBcc: two@else.example,\n alice\nCc: Three <three@else.example>\nSubject: t\n\nx\n";
    code(&send(nobody, &["-t", "-N", "success", "-R", "full", "-V", "id"], with_bcc), 0);
    let (envelope, message) = latest();
    assert_eq!(addresses(&envelope), ["one@else.example", "three@else.example", "two@else.example"]);
    assert!(!message.contains("Bcc") && !message.contains("two@") && message.contains("\nMessage-ID: <"), "{message}");
    assert_eq!((&envelope["ret"], &envelope["envid"]), (&"FULL".into(), &"id".into()));
    assert_eq!(envelope["recipients"][0]["notify"], "SUCCESS");

    // games is a system user (uid 5 on Debian) and here an alias; the name is its own all the same.
    for (uid, sender, expected) in [
        (nobody, "nobody@example.org", 0),
        (nobody, "nobody+tag@mail.example.org", 0),
        (nobody, "<>", 0),
        (nobody, "alice@example.org", 77),
        (nobody, "nobody@else.example", 77),
        (nobody, "root@example.org", 77),
        (5, "games@example.org", 0),
        (5, "team@example.org", 77),
        (0, "anybody@else.example", 0),
    ] {
        let output = send(uid, &["-f", sender, "out@else.example"], "x\n");
        assert_eq!(output.status.code(), Some(expected), "{uid} {sender}: {output:?}");
        // To users here everybody may write as anybody, as by SMTP.
        code(&send(uid, &["-f", sender, "alice"], "x\n"), 0);
    }
    let dialogue = "EHLO x\r\nMAIL FROM:<nobody@example.org>\r\nRCPT TO:<bs@else.example>\r\nDATA\r\nSubject: bs\r\n\r\n.\r\nQUIT\r\n";
    let output = send(nobody, &["-bs"], dialogue);
    code(&output, 0);
    let (envelope, message) = latest();
    assert_eq!(addresses(&envelope), ["bs@else.example"]);
    assert!(message.contains("\nDate: ") && message.contains("\nMessage-ID: <"), "{message}");

    // As an MTA's agent without rights.
    let agent = |arguments: &[&str]| {
        let copy = server.path("mailbell");
        if !copy.exists() {
            common::copy_binary(&copy);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy).arg("deliver").args(arguments);
        command.env("MAILBELL_CONFIG", server.path("mailbell.toml")).stdin(Stdio::null()).output().unwrap()
    };
    code(&agent(&["-f", "nobody@example.org", "agent@else.example"]), 0);
    assert_eq!(addresses(&latest().0), ["agent@else.example"]);
    code(&agent(&["-f", "alice@example.org", "agent@else.example"]), 77);

    // Root hands it to the queue itself, also without a server.
    let before = queue(&server.scratch).len();
    code(&server.run(&["sendmail", "-bs"], &dialogue.replace("bs@else", "root@else")), 0);
    let scratch = server.stop();
    let config = scratch.path("mailbell.toml");
    code(&common::run(&config, &["sendmail", "-f", "x@else.example", "late@else.example"], "Subject: late\n\nx\n"), 0);
    code(
        &common::run(&config, &["deliver", "-f", "x@else.example", "alice", "mta@else.example"], "Subject: mta\n\nx\n"),
        0,
    );
    let all = queue(&scratch);
    assert_eq!(all.len(), before + 3);
    let subjects: Vec<_> = all[before..].iter().flat_map(|(envelope, _)| addresses(envelope)).collect();
    assert_eq!(subjects, ["root@else.example", "late@else.example", "mta@else.example"]);
}
