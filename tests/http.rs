//! `[http]` on the real binary: what is refused, the stream of events, its filters, its places, its ends.
#![cfg(feature = "http")]

mod common;

use common::{BASIC, PATIENCE, Scratch, Server, Talk, wait_for};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const LISTEN: &str = "[http]\nlisten = \"127.0.0.1:0\"\n";

fn with(name: &str, more: &str) -> Server {
    Server::with(name, &format!("{BASIC}{LISTEN}{more}"))
}

/// Sends the octets, and gives head and body of what comes until the connection ends.
fn raw(address: SocketAddr, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses may close before it has read all.
    let _ = stream.write_all(request);
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8(octets).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    (head.to_owned(), body.to_owned())
}

/// The same for one request without a body, with these lines besides.
fn ask(server: &Server, method: &str, target: &str, more: &str) -> (String, String) {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    raw(server.address("http"), request.as_bytes())
}

fn get(server: &Server, target: &str) -> (String, String) {
    ask(server, "GET", target, "")
}

fn code(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A client of /events.
struct Stream {
    reader: BufReader<TcpStream>,
}

impl Stream {
    fn open(server: &Server, query: &str) -> Stream {
        Stream::with(server, query, "")
    }

    fn with(server: &Server, query: &str, more: &str) -> Stream {
        let mut stream = TcpStream::connect(server.address("http")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /events{query} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").unwrap();
        let mut stream = Stream { reader: BufReader::new(stream) };
        let status = stream.line().unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        let mut fields = Vec::new();
        while let Some(line) = stream.line().filter(|line| !line.is_empty()) {
            fields.push(line);
        }
        assert!(fields.contains(&"Content-Type: text/event-stream".to_owned()), "{fields:?}");
        // Where it begins is settled when this line is there.
        assert!(stream.line().unwrap().starts_with("retry: "));
        assert!(stream.line().unwrap().starts_with(": events after "));
        stream
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing came: {error}"),
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// The next event: id, name, data. `None` at the end of the stream.
    fn next(&mut self) -> Option<(u64, String, serde_json::Value)> {
        let (mut id, mut name, mut data) = (None, None, None);
        loop {
            let line = self.line()?;
            match line.split_once(": ").unwrap_or((&line, "")) {
                ("id", value) => id = Some(value.parse().unwrap()),
                ("event", value) => name = Some(value.to_owned()),
                ("data", value) => data = Some(serde_json::from_str(value).unwrap()),
                ("", _) if data.is_some() => return Some((id?, name?, data?)),
                _ => {}
            }
        }
    }

    fn seq(&mut self) -> u64 {
        let (id, name, record) = self.next().expect("the stream has ended");
        assert_eq!((name.as_str(), record["event"].as_str()), ("MessageNew", Some("MessageNew")));
        assert_eq!(record["seq"], id);
        id
    }

    fn subject(&mut self) -> String {
        self.next().expect("the stream has ended").2["subject"].as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn what_is_no_request_for_us_is_refused() {
    let server = with("http-refused", "");
    let address = server.address("http");
    for (request, wanted) in [
        ("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 413),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505),
        ("EHLO client.example\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET /events HTTP/1.1\r\nHost: evil.example:9180\r\n\r\n", 421),
        ("GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", 421),
        ("GET /status HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 403),
        ("GET /status HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n\r\n", 403),
        ("GET /events HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403),
        ("GET /events HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
        ("GET /status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-site\r\n\r\n", 403),
        (
            "GET /status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\r\n",
            403,
        ),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\r\n", 403),
        ("GET /elsewhere HTTP/1.0\r\n\r\n", 404),
        ("GET /../etc/passwd HTTP/1.0\r\n\r\n", 404),
        ("GET /events?from=x HTTP/1.0\r\n\r\n", 400),
        ("GET /events?match=subjct=x HTTP/1.0\r\n\r\n", 400),
        ("GET /events HTTP/1.0\r\nLast-Event-ID: x\r\n\r\n", 400),
    ] {
        let (head, body) = raw(address, request.as_bytes());
        assert_eq!(code(&head), wanted, "{request:?}: {head}\n{body}");
        assert!(body.starts_with(&format!("{wanted} ")) && body.ends_with('\n'), "{request:?}: {body}");
        assert!(!head.to_lowercase().contains("access-control-allow"), "{head}");
        assert_eq!(wanted == 405, head.contains("\r\nAllow: GET, HEAD"), "{head}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(8_192));
    assert_eq!(code(&raw(address, long.as_bytes()).0), 414);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: 12345678\r\n".repeat(1_000));
    assert_eq!(code(&raw(address, long.as_bytes()).0), 431);
    // None of these hurt.
    assert_eq!(code(&get(&server, "/status").0), 200);
    server.stop();
}

#[test]
fn our_own_names_and_a_link_from_elsewhere_are_served() {
    let server = with("http-names", "");
    for host in ["localhost", "127.0.0.1:9180", "[::1]:80", "MAIL.example.org.", "example.org:443"] {
        let request = format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(code(&raw(server.address("http"), request.as_bytes()).0), 200, "{host}");
    }
    for more in [
        "Origin: http://localhost\r\n",
        "Origin: https://localhost\r\nSec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n",
    ] {
        assert_eq!(code(&ask(&server, "GET", "/status", more).0), 200, "{more}");
    }
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    assert_eq!(code(&ask(&server, "GET", "/", link).0), 200);
    server.stop();
}

#[test]
fn status_metrics_and_the_page_come_on_one_connection() {
    let server = with("http-pages", "");
    server.send("alice@example.org", "Subject: x\n\nx\n");
    let stream = TcpStream::connect(server.address("http")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |method: &str, target: &str| {
        write!(&stream, "{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{method} {target}: closed after {head:?}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        reader.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    };
    let (head, body) = ask("GET", "/status");
    assert!(head.contains("Content-Type: application/json\r\n") && head.contains("X-Content-Type-Options: nosniff"));
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status["running"].as_bool(), status["last_seq"].as_u64()), (Some(true), Some(1)));
    assert!(status["min_free_octets"].is_u64() && status["certificates"].is_array());
    assert!(ask("GET", "/metrics").1.contains("\nmailbell_messages_accepted_total 1\n"));
    let (head, page) = ask("GET", "/");
    assert!(head.contains("Content-Security-Policy: default-src 'none'") && !head.contains("unsafe"), "{head}");
    assert!(page.starts_with("<!doctype html>"), "{page}");
    // Nothing from outside, and nothing inline that the policy would stop.
    assert!(
        !page.contains("http://")
            && !page.contains("https://")
            && !page.contains("style=")
            && !page.contains("onclick")
    );
    for (file, kind) in [("/page.js", "text/javascript"), ("/page.css", "text/css"), ("/icon.svg", "image/svg+xml")] {
        let (head, body) = ask("GET", file);
        assert!(head.contains(&format!("Content-Type: {kind}")) && !body.is_empty(), "{head}");
    }
    let (head, body) = ask("HEAD", "/status");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty());
    assert!(ask("GET", "/elsewhere").0.starts_with("HTTP/1.1 404 "));
    // The connection went on after an error that is no fault of the request.
    assert!(ask("GET", "/status").0.starts_with("HTTP/1.1 200 "));
    assert!(super_head(&server).contains("Content-Type: text/event-stream"));
    server.stop();
}

fn super_head(server: &Server) -> String {
    ask(server, "HEAD", "/events?from=all", "").0
}

#[test]
fn events_come_as_they_happen_and_from_any_place() {
    let server = with("http-events", "");
    let mut now = Stream::open(&server, "");
    for number in 1..=3 {
        server.send("alice@example.org", &format!("Subject: {number}\n\nx\n"));
    }
    assert_eq!([now.seq(), now.seq(), now.seq()], [1, 2, 3]);
    let mut from = Stream::open(&server, "?from=2");
    assert_eq!([from.seq(), from.seq()], [2, 3]);
    let mut all = Stream::open(&server, "?from=all");
    assert_eq!([all.seq(), all.seq(), all.seq()], [1, 2, 3]);
    // A client that comes back sends its first address again.
    let mut again = Stream::with(&server, "?from=all", "Last-Event-ID: 2\r\n");
    assert_eq!(again.seq(), 3);
    server.send("bob@example.org", "Subject: =?utf-8?q?=E2=82=AC_4?=\n\nx\n");
    for stream in [&mut now, &mut from, &mut all, &mut again] {
        let (id, _, record) = stream.next().unwrap();
        assert_eq!((id, record["subject"].as_str()), (4, Some("\u{20ac} 4")));
        // The whole record, as the journal has it.
        assert_eq!(record, server.records()[3]);
    }
    // An id that no event has yet is of another journal.
    let mut lost = Stream::with(&server, "", "Last-Event-ID: 4000\r\n");
    server.send("bob@example.org", "Subject: 5\n\nx\n");
    assert_eq!(lost.seq(), 5);
    server.stop();
}

#[test]
fn filters_choose() {
    let server = with("http-filters", "");
    let mut users = Stream::open(&server, "?user=bob&user=CAROL");
    let mut both = Stream::open(&server, "?match=subject%3D*invoice*&match=from=*@bank.example*");
    let mut spaced = Stream::open(&server, "?match=subject=a+%2B+b");
    for (to, from, subject) in [
        ("alice", "a@bank.example", "hello"),
        ("bob", "x@other.example", "your invoice"),
        ("alice", "News <n@BANK.example>", "Your INVOICE of May"),
        ("carol", "a@bank.example", "a + b"),
        ("alice", "a@bank.example", "invoice, the last"),
        ("bob", "a@bank.example", "end"),
    ] {
        server.send(&format!("{to}@example.org"), &format!("From: {from}\nSubject: {subject}\n\nx\n"));
    }
    assert_eq!([users.seq(), users.seq(), users.seq()], [2, 4, 6]);
    assert_eq!([both.seq(), both.seq()], [3, 5]);
    assert_eq!(spaced.subject(), "a + b");
    server.stop();
}

#[test]
fn what_the_journal_dropped_is_told_as_lost() {
    let server = with("http-lost", "");
    for number in 1..=3 {
        server.send("alice@example.org", &format!("Subject: {number}\n\nx\n"));
    }
    let scratch = server.stop();
    // The oldest segment goes, as `journal.keep` lets it go; the numbers go on behind it.
    for file in common::files(&scratch.path("state/journal")) {
        if file.extension().is_some_and(|extension| extension == "jsonl" || extension == "keys") {
            fs::remove_file(file).unwrap();
        }
    }
    let server = Server::start_in(scratch, &[]);
    server.send("alice@example.org", "Subject: after\n\nx\n");
    let mut stream = Stream::with(&server, "", "Last-Event-ID: 1\r\n");
    let (id, name, data) = stream.next().unwrap();
    assert_eq!((name.as_str(), data["from"].as_u64()), ("lost", Some(2)));
    assert_eq!(data["to"], id);
    assert!(stream.seq() > id);
    assert_eq!(stream.next_subject_after(&server), "next");
    let mut all = Stream::open(&server, "?from=all");
    assert_eq!(all.subject(), "after", "`all` is all that there is");
    server.stop();
}

impl Stream {
    fn next_subject_after(&mut self, server: &Server) -> String {
        server.send("alice@example.org", "Subject: next\n\nx\n");
        self.subject()
    }
}

#[test]
fn a_stream_goes_on_after_a_restart_and_after_a_kill() {
    let mut server = with("http-restart", "");
    let mut last = 0;
    for round in 0..4 {
        // What comes while nobody listens waits in the journal.
        server.send("alice@example.org", "Subject: before\n\nx\n");
        let more = format!("Last-Event-ID: {last}\r\n");
        let mut stream = Stream::with(&server, "", if last == 0 { "" } else { &more });
        if last == 0 {
            stream = Stream::open(&server, "?from=all");
        }
        server.send("alice@example.org", "Subject: during\n\nx\n");
        for _ in 0..2 {
            assert_eq!(stream.seq(), last + 1);
            last += 1;
        }
        let scratch = if round % 2 == 0 { server.stop() } else { server.kill() };
        assert!(stream.next().is_none(), "the stream ends with the server");
        server = Server::start_in(scratch, &[]);
    }
    server.stop();
}

#[test]
fn at_most_64_streams_are_open() {
    let server = with("http-places", "");
    let mut streams: Vec<Stream> = (0..64).map(|_| Stream::open(&server, "")).collect();
    let (head, body) = get(&server, "/events");
    assert_eq!(code(&head), 503, "{head}");
    assert!(head.contains("Retry-After: ") && body.contains("64 streams"), "{head}\n{body}");
    assert_eq!(code(&get(&server, "/status").0), 200, "only streams are full");
    assert!(get(&server, "/metrics").1.contains("\nmailbell_http_streams 64\n"));
    server.send("alice@example.org", "Subject: to all\n\nx\n");
    assert!(streams.iter_mut().all(|stream| stream.seq() == 1));
    // A client that leaves gives its place back at once.
    drop(streams.pop());
    wait_for("a place", || (code(&ask(&server, "HEAD", "/events", "").0) == 200).then_some(()));
    wait_for("a place for a stream", || {
        get(&server, "/metrics").1.contains("\nmailbell_http_streams 63\n").then_some(())
    });
    streams.push(Stream::open(&server, "?from=all"));
    assert_eq!(streams[63].seq(), 1);
    server.stop();
    assert!(streams.iter_mut().all(|stream| stream.next().is_none()), "a stop ends each");
}

/// Puts so many events into the journal that they fit into no socket: each has a header of some kilobytes.
fn fill(server: &Server, count: usize) {
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    let long = "x".repeat(900);
    for number in 0..count {
        talk.say("MAIL FROM:<sender@example.com>", "250");
        talk.say("RCPT TO:<alice@example.org>", "250");
        talk.say("DATA", "354");
        talk.write(
            format!("Subject: {number}\r\nFrom: {long}\r\nTo: {long}\r\nReply-To: {long}\r\n\r\nx\r\n").as_bytes(),
        );
        talk.say(".", "250");
    }
}

#[test]
fn a_reader_that_does_not_read_is_closed_and_resumes_and_one_that_reads_slowly_is_kept() {
    let server = with("http-slow", "");
    fill(&server, 1_500);
    let scratch = server.stop();
    let limits = "[limits]\ncommand_timeout = \"2s\"\nsession_timeout = \"2s\"\n";
    fs::write(scratch.path("mailbell.toml"), format!("{BASIC}{LISTEN}{limits}")).unwrap();
    let server = Server::start_in(scratch, &[]);
    let mut silent = Stream::open(&server, "?from=all");
    let mut slow = Stream::open(&server, "?from=all");
    let before = get(&server, "/metrics").1;
    assert!(before.contains("\nmailbell_http_streams 2\n"));
    // Reads all the time, much longer than the session's and the command's time, and less than there is.
    for wanted in 1..=200 {
        assert_eq!(slow.seq(), wanted);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    wait_for("the silent one to be closed", || {
        slow.seq();
        get(&server, "/metrics").1.contains("\nmailbell_http_streams 1\n").then_some(())
    });
    // It has the first part, in order, and goes on behind it.
    let mut last = 0;
    while let Some((id, ..)) = silent.next() {
        assert_eq!(id, last + 1);
        last = id;
    }
    assert!(last < 1_500, "a socket took {last} events");
    let mut again = Stream::with(&server, "", &format!("Last-Event-ID: {last}\r\n"));
    for wanted in last + 1..=1_500 {
        assert_eq!(again.seq(), wanted);
    }
    server.stop();
}

#[test]
fn a_stop_does_not_wait_for_streams() {
    let server = with("http-stop", "");
    fill(&server, 1_500);
    let mut idle = Stream::open(&server, "");
    // This one has more to get than its socket takes, and reads nothing.
    let _stuck = Stream::open(&server, "?from=all");
    wait_for("both", || get(&server, "/metrics").1.contains("\nmailbell_http_streams 2\n").then_some(()));
    let log = server.path("log");
    let scratch = server.stop();
    // The last events may have been told after it began.
    while idle.next().is_some() {}
    assert!(fs::read_to_string(log).unwrap().contains("stopped"));
    drop(scratch);
}

#[test]
fn a_token_is_needed_where_it_is_given() {
    let scratch = Scratch::prepared("http-token", &format!("{BASIC}{LISTEN}token_file = \"token\"\n"));
    fs::write(scratch.path("token"), "s3cret-token\nsecond line\n").unwrap();
    fs::set_permissions(scratch.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start_in(scratch, &[]);
    for target in ["/events", "/status", "/metrics", "/events?from=bad"] {
        let (head, _) = get(&server, target);
        assert_eq!(code(&head), 401, "{target}");
        assert!(head.contains("WWW-Authenticate: Bearer"), "{head}");
    }
    for wrong in [
        "Bearer s3cret",
        "Bearer s3cret-tokens",
        "Bearer ",
        "Basic s3cret-token",
        "s3cret-token",
        "Bearer s3cret-token x",
    ] {
        assert_eq!(code(&ask(&server, "GET", "/status", &format!("Authorization: {wrong}\r\n")).0), 401, "{wrong}");
    }
    assert!(server.log().contains("login-failed client=127.0.0.1 listener=http"), "{}", server.log());
    // The page holds nothing secret: it asks for the token.
    assert_eq!(code(&get(&server, "/").0), 200);
    for right in ["Bearer s3cret-token", "bearer   s3cret-token"] {
        assert_eq!(code(&ask(&server, "GET", "/status", &format!("Authorization: {right}\r\n")).0), 200, "{right}");
    }
    let mut stream = Stream::with(&server, "", "Authorization: Bearer s3cret-token\r\n");
    server.send("alice@example.org", "Subject: x\n\nx\n");
    assert_eq!(stream.seq(), 1);
    // A reload takes another one.
    fs::write(server.path("token"), "another\n").unwrap();
    server.signal("HUP");
    wait_for("the other token", || {
        (code(&ask(&server, "GET", "/status", "Authorization: Bearer another\r\n").0) == 200).then_some(())
    });
    server.stop();
}

/// How `serve` and `check` end with this configuration and token file, and what they say.
fn refused(name: &str, http: &str, token: Option<(&str, u32)>) -> Vec<(Option<i32>, String)> {
    let scratch = Scratch::prepared(name, &format!("{BASIC}[http]\n{http}"));
    if let Some((text, mode)) = token {
        fs::write(scratch.path("token"), text).unwrap();
        fs::set_permissions(scratch.path("token"), fs::Permissions::from_mode(mode)).unwrap();
    }
    let run = |command: &str| {
        let mut child = Command::new(common::binary());
        child.arg(command).arg("-c").arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
        let output = child.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    ["check", "serve"].map(run).to_vec()
}

#[test]
fn an_open_door_is_an_error_in_the_configuration() {
    let file = "listen = \"127.0.0.1:0\"\ntoken_file = \"token\"\n";
    for (name, http, token, what) in [
        ("open", "listen = \"0.0.0.0:0\"\n", None, "token_file"),
        ("open-list", "listen = [\"127.0.0.1:0\", \"[::]:0\"]\n", None, "token_file"),
        ("missing", file, None, "No such file"),
        ("empty", file, Some(("", 0o600)), "first line"),
        ("blank", file, Some(("\nsecret\n", 0o600)), "first line"),
        ("shown", file, Some(("secret\n", 0o644)), "chmod o="),
        ("space", file, Some(("a secret\n", 0o600)), "visible ASCII"),
    ] {
        for (code, said) in refused(&format!("http-{name}"), http, token) {
            assert_eq!(code, Some(78), "{name}: {said}");
            assert!(said.contains(what), "{name}: {said}");
        }
    }
}

#[test]
fn it_listens_on_several_places_and_sockets() {
    let several = "[http]\nlisten = [\"127.0.0.1:0\", \"http.sock\"]\n";
    let server = Server::with("http-sockets", &format!("{BASIC}{several}"));
    assert_eq!(code(&get(&server, "/status").0), 200);
    let mut stream = std::os::unix::net::UnixStream::connect(server.path("http.sock")).unwrap();
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    server.stop();
}

#[test]
fn a_slow_head_is_not_awaited_for_long() {
    let server = with("http-head", "[limits]\ncommand_timeout = \"1s\"\n");
    let mut talk = Talk::to(server.address("http"));
    talk.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n");
    let mut stream = talk.stream().try_clone().unwrap();
    // One field after the other, each well within the time: the whole head has the time of one command.
    let writer = std::thread::spawn(move || {
        while stream.write_all(b"X: y\r\n").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    });
    assert!(talk.is_closed());
    drop(talk);
    writer.join().unwrap();
    server.stop();
}

/// What the embedded default says until it is ready; while it runs, `look` is called.
fn embedded(scratch: &Scratch, look: impl Fn()) -> String {
    let log = scratch.path("log");
    let mut child = Command::new(common::binary())
        .arg("serve")
        .current_dir(&scratch.0)
        .env_remove("MAILBELL_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    wait_for("the ready line", || {
        assert_eq!(child.try_wait().unwrap(), None, "{}", fs::read_to_string(&log).unwrap());
        fs::read_to_string(&log).unwrap().contains("mailbell: ready ").then_some(())
    });
    look();
    child.kill().unwrap();
    child.wait().unwrap();
    fs::read_to_string(&log).unwrap()
}

#[test]
fn the_embedded_default_prints_the_link_or_goes_without_the_page() {
    let scratch = Scratch::new("http-embedded");
    // Its ports are fixed. Where something else has one of them, there is nothing to show.
    for port in [2525, 1110, 9180] {
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
            return common::skipped(&format!("port {port} of the embedded default is taken"));
        }
    }
    let said = embedded(&scratch, || {
        let request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9180\r\nConnection: close\r\n\r\n";
        assert_eq!(code(&raw("127.0.0.1:9180".parse().unwrap(), request).0), 200);
    });
    assert!(said.contains("\nmailbell: the page: http://127.0.0.1:9180/\n"), "{said}");
    assert!(said.contains(" http=127.0.0.1:9180"), "{said}");
    let _holder = std::net::TcpListener::bind("127.0.0.1:9180").unwrap();
    let said = embedded(&scratch, || {});
    assert!(said.contains("the page is left out: http cannot listen on 127.0.0.1:9180"), "{said}");
    assert!(!said.contains("http="), "{said}");
}
