//! `[[webhook]]` on the real binary, against receivers that do whatever a server can do.
#![cfg(feature = "webhook")]

mod common;

use common::receiver::{Act, Receiver, Request};
use common::{BASIC, PATIENCE, Scratch, Server, run, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

/// A configuration with a webhook `app` for this receiver.
fn configuration(url: &str, more: &str) -> String {
    format!("{BASIC}[[webhook]]\nname = 'app'\nurl = '{url}'\nretry = '1s..1s'\n{more}\n")
}

fn with(name: &str, receiver: &Receiver, more: &str) -> Server {
    Server::with(name, &configuration(&receiver.url(), more))
}

fn status(server: &Server) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap();
    let subscribers = status["subscribers"].as_array().unwrap();
    subscribers.iter().find(|each| each["name"] == "webhook:app").unwrap().clone()
}

/// Waits until the webhook is done with the event of this number.
fn wait_for_seq(server: &Server, seq: u64) -> serde_json::Value {
    wait_for("the cursor", || Some(status(server)).filter(|status| status["last_seq"] == seq))
}

fn send_some(server: &Server, count: usize) {
    for number in 0..count {
        server.send("alice@example.org", &format!("Subject: {number}\n\nx\n"));
    }
}

fn secret_file(scratch: &Scratch, name: &str, text: &str) {
    fs::write(scratch.path(name), text).unwrap();
    fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_event_is_one_signed_request_and_each_try_has_the_same_id() {
    let receiver = Receiver::start(|_, before| Act::status(if before < 2 { 500 } else { 204 }));
    let more = "secret_file = 'app.secret'\nheaders = { Authorization = '@app.token', X-Extra = 'ä b' }";
    let scratch = Scratch::prepared("webhook-event", &configuration(&receiver.url(), more));
    // The key of the specification's example.
    secret_file(&scratch, "app.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    secret_file(&scratch, "app.token", "Bearer very-secret-token\n");
    // No variable of the environment leads a request elsewhere.
    let nowhere = "http://127.0.0.1:9";
    let environment = ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"].map(|name| (name, nowhere));
    let server = Server::start_in(scratch, &environment);
    server.send("alice@example.org", "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\n\nx\n");
    server.send("bob@example.org", "Subject: two\n\nx\n");
    let done = wait_for_seq(&server, 2);
    assert_eq!((&done["retries"], &done["given_up"], &done["last_error"]), (&2.into(), &0.into(), &().into()));
    assert_eq!(done["kind"], "webhook");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 4);
    let records = server.records();
    for (request, seq) in requests.iter().zip([1, 1, 1, 2]) {
        assert_eq!(request.line, "POST /hook?a=b HTTP/1.1");
        assert_eq!(request.header("host"), receiver.address.to_string());
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("authorization"), "Bearer very-secret-token");
        assert_eq!(request.header("x-extra"), "ä b");
        assert!(request.header("user-agent").starts_with("mailbell/") && request.header("cookie").is_empty());
        assert_eq!(request.event(), records[seq - 1]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let timestamp: u64 = request.header("webhook-timestamp").parse().unwrap();
        assert!(timestamp <= now && timestamp + PATIENCE.as_secs() > now);
        let signature = request.header("webhook-signature").strip_prefix("v1,").unwrap();
        assert_eq!(signature, hmac(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", request));
    }
    let ids: Vec<_> = requests.iter().map(Request::id).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3] && !ids[0].contains('.'), "{ids:?}");
    // The first failure is logged, and that it works again; no secret is, anywhere.
    let log = server.log();
    assert!(log.contains("webhook app: seq 1") && log.contains("answered 500; again in 1s"), "{log}");
    assert!(log.contains("works again after 2 failed tries"), "{log}");
    assert_eq!(log.matches("answered 500").count(), 1, "{log}");
    let everything =
        format!("{log}{}{}", status(&server), String::from_utf8_lossy(&server.run(&["status"], "").stdout));
    assert!(!everything.contains("very-secret") && !everything.contains("MfKQ") && !everything.contains("a=b"));
    server.stop();
}

/// HMAC-SHA256 over what is signed, in the simplest way.
fn hmac(key: &[u8], request: &Request) -> String {
    use sha2::{Digest, Sha256};
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = key.iter().flat_map(|letter| {
        let value = alphabet.iter().position(|other| other == letter).unwrap();
        (0..6).rev().map(move |bit| value >> bit & 1)
    });
    let bits: Vec<usize> = bits.collect();
    let octets: Vec<u8> =
        bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |octet, bit| octet << 1 | *bit as u8)).collect();
    let mut block = [0_u8; 64];
    block[..octets.len()].copy_from_slice(&octets);
    let signed =
        [request.id().as_bytes(), b".", request.header("webhook-timestamp").as_bytes(), b".", &request.body].concat();
    let inner = Sha256::new_with_prefix(block.map(|octet| octet ^ 0x36)).chain_update(signed).finalize();
    let digest = Sha256::new_with_prefix(block.map(|octet| octet ^ 0x5c)).chain_update(inner).finalize();
    let mut text = String::new();
    for part in digest.chunks(3) {
        let number = part.iter().fold(0_u32, |number, octet| number << 8 | u32::from(*octet)) << (8 * (3 - part.len()));
        for place in 0..4 {
            let letter = alphabet[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place > part.len() { '=' } else { letter.into() });
        }
    }
    text
}

#[test]
fn whatever_the_receiver_answers_no_event_is_lost_or_out_of_order() {
    let header_flood = "X: y\r\n".repeat(300);
    let odd: Vec<(String, bool)> = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 299\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\n\r\nto the end", true),
        // A 2xx counts, whatever becomes of its body.
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", true),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false),
        ("220 mail.example ESMTP\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false),
        ("\r\n\r\n", false),
        ("", false),
        (header_flood.as_str(), false),
    ]
    .map(|(text, is_good)| (text.to_owned(), is_good))
    .into();
    let count = odd.len();
    let acknowledged = odd.iter().filter(|(_, is_good)| *is_good).count();
    let script = odd.clone();
    // Each oddity once, for the first try of one event.
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    let receiver = Receiver::start(move |request, _| {
        let (text, is_good) = &script[request.seq() as usize - 1];
        match seen.lock().unwrap().insert(request.seq()) {
            true if *is_good
                && !text.contains("100\r\n\r\nshort")
                && !text.contains("HTTP/1.0")
                && !text.contains("nonsense") =>
            {
                Act::Say(text.clone())
            }
            true => Act::SayAndClose(text.clone()),
            false => Act::status(200),
        }
    });
    let server = with("webhook-odd", &receiver, "");
    send_some(&server, count);
    let done = wait_for_seq(&server, count as u64);
    let seqs: Vec<u64> = receiver.requests().iter().map(Request::seq).collect();
    let wanted: Vec<u64> =
        (1..=count as u64).flat_map(|seq| vec![seq; if odd[seq as usize - 1].1 { 1 } else { 2 }]).collect();
    assert_eq!(seqs, wanted);
    // A kept connection that ends without an answer was closed before the request came: that is no failure.
    assert_eq!(done["retries"], (count - acknowledged - 1) as u64);
    assert!(server.log().contains("redirects are not followed"));
    server.stop();
}

#[test]
fn a_connection_is_used_again_and_one_that_was_closed_costs_no_try() {
    // The third answer is the last of its connection, and does not say so.
    let receiver = Receiver::start(|_, before| match before {
        2 => Act::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()),
        _ => Act::status(200),
    });
    let server = with("webhook-kept", &receiver, "");
    for seq in 1..=6 {
        send_some(&server, 1);
        wait_for_seq(&server, seq);
    }
    let connections: Vec<_> = receiver.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1, 1]);
    assert_eq!(status(&server)["retries"], 0);
    server.stop();
}

#[test]
fn a_receiver_that_hangs_trickles_or_floods_holds_up_neither_mail_nor_a_stop() {
    let receiver = Receiver::start(|request, before| match before {
        0 => Act::Hang,
        1 => Act::Trickle("HTTP/1.1 200 OK\r\n".into(), "X: y\r\n"),
        2 => Act::Flood("HTTP/1.1 200 OK\r\n".into(), "X"),
        3 => Act::Flood("HTTP/1.1 503 Oh\r\n\r\n".into(), "flood "),
        // These acknowledge.
        4 => Act::Flood("HTTP/1.1 200 OK\r\n\r\n".into(), "flood "),
        5 => Act::Trickle("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), "1\r\nx\r\n"),
        _ if request.seq() < 3 => Act::status(200),
        _ => Act::Hang,
    });
    let server = with("webhook-slow", &receiver, "timeout = '2s'");
    send_some(&server, 2);
    let done = wait_for_seq(&server, 2);
    assert_eq!(done["retries"], 4);
    // The third one hangs while the server stops, and comes again with the same id.
    send_some(&server, 1);
    receiver.wait_for(7);
    let server = Server::start_in(server.stop(), &[]);
    let requests = receiver.wait_for(8);
    assert_eq!(requests[6].id(), requests[7].id());
    assert_eq!((status(&server)["last_seq"].clone(), status(&server)["backlog"].clone()), (2.into(), 1.into()));
    server.stop();
}

#[test]
fn retry_after_says_when() {
    let receiver = Receiver::start(|_, before| match before {
        0 => Act::Say("HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".into()),
        1 => {
            let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 2;
            let date = mailbell::message::date::rfc5322(soon).replace("+0000", "GMT");
            Act::Say(format!("HTTP/1.1 429 x\r\nRetry-After: {date}\r\nContent-Length: 0\r\n\r\n"))
        }
        _ => Act::status(200),
    });
    // By the settings alone it would take hours.
    let url = receiver.url();
    let text = configuration(&url, "").replace("1s..1s", "5h..6h");
    let server = Server::with("webhook-after", &text);
    send_some(&server, 1);
    assert_eq!(wait_for_seq(&server, 1)["retries"], 2);
    server.stop();
}

#[test]
fn a_message_is_sent_as_it_is_stored_and_one_that_is_gone_is_empty() {
    let receiver = Receiver::start(|_, before| Act::status(if before == 0 { 500 } else { 200 }));
    let server = with("webhook-message", &receiver, "body = 'message'\nusers = ['alice']\nsecret_file = 'app.secret'");
    // Without the secret nothing is sent.
    let large = "Subject: large\n\n".to_owned() + &"0123456789abcdef0123456789abcdef\n".repeat(60_000);
    server.send("alice@example.org", &large);
    wait_for("a failure", || status(&server)["last_error"].as_str().filter(|why| why.contains("app.secret")).map(drop));
    server.send("bob@example.org", "Subject: for another user\n\nx\n");
    for subject in ["gone", "compressed", "last"] {
        server.send("alice@example.org", &format!("Subject: {subject}\n\n{subject}\n"));
    }
    let path = |seq: usize| std::path::PathBuf::from(server.records()[seq - 1]["path"].as_str().unwrap());
    let stored = [1, 4, 5].map(|seq| fs::read(path(seq)).unwrap());
    fs::remove_file(path(3)).unwrap();
    let file_name = path(4).file_name().unwrap().to_str().unwrap().to_owned();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    std::io::Write::write_all(&mut gzip, &stored[1]).unwrap();
    fs::write(server.path("mail/alice/cur").join(format!("{file_name}:2,SZ")), gzip.finish().unwrap()).unwrap();
    fs::remove_file(path(4)).unwrap();
    secret_file(&server.scratch, "app.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    wait_for_seq(&server, 5);
    let requests = receiver.requests();
    let bodies: Vec<&[u8]> = requests.iter().map(|request| request.body.as_slice()).collect();
    assert!(
        bodies == [&stored[0][..], &stored[0], b"", &stored[1], &stored[2]],
        "{:?}",
        bodies.iter().map(|body| body.len()).collect::<Vec<_>>()
    );
    for request in &requests {
        assert_eq!(request.header("content-type"), "message/rfc822");
        assert_eq!(
            request.header("webhook-signature"),
            format!("v1,{}", hmac(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", request))
        );
    }
    server.stop();
}

#[cfg(feature = "mime")]
#[test]
fn a_parsed_message_is_sent_with_its_text_also_of_one_that_is_gone() {
    let receiver = Receiver::start(|_, before| Act::status(if before == 0 { 503 } else { 200 }));
    let server = with("webhook-parsed", &receiver, "body = 'parsed'");
    server.send("alice@example.org", "Subject: one\n\ncaf\u{e9}\n");
    receiver.wait_for(1);
    server.send("alice@example.org", "Subject: two\n\ngone\n");
    wait_for("the record", || (server.records().len() == 2).then_some(()));
    fs::remove_file(server.records()[1]["path"].as_str().unwrap()).unwrap();
    wait_for_seq(&server, 2);
    let requests = receiver.requests();
    let parsed = requests[1].event();
    assert_eq!(requests[1].header("content-type"), "application/json");
    assert_eq!((&parsed["event"], requests[0].id()), (&server.records()[0], requests[1].id()));
    assert!(
        parsed["text"].as_str().unwrap().starts_with("caf") && parsed["attachments"].as_array().unwrap().is_empty()
    );
    let gone = requests.last().unwrap().event();
    assert_eq!(gone["event"]["seq"], 2);
    assert!(gone["text"].as_str().unwrap_or_default().is_empty());
    server.stop();
}

#[test]
fn after_kill_9_each_event_came_in_order_and_with_its_id() {
    let receiver = Receiver::start(|_, before| Act::status(if before % 3 == 0 { 500 } else { 200 }));
    let mut scratch =
        Scratch::prepared("webhook-kill", &configuration(&receiver.url(), "").replace("1s..1s", "1s..2s"));
    for round in 0..3_u64 {
        let server = Server::start_in(scratch, &[]);
        send_some(&server, 5);
        receiver.wait_for(round as usize * 5 + 3);
        scratch = server.kill();
    }
    let server = Server::start_in(scratch, &[]);
    wait_for_seq(&server, 15);
    let requests = receiver.requests();
    let mut ids = std::collections::BTreeMap::new();
    let mut highest = 0;
    for request in &requests {
        let seq = request.seq();
        assert!(seq <= highest + 1, "seq {seq} came after {highest}");
        highest = highest.max(seq);
        assert_eq!(*ids.entry(seq).or_insert_with(|| request.id()), request.id());
    }
    assert_eq!((highest, ids.len()), (15, 15));
    server.stop();
}

#[test]
fn several_jobs_go_on_beside_one_that_fails() {
    let receiver = Receiver::start(|request, _| Act::status(if request.seq() == 2 { 500 } else { 200 }));
    let server = with("webhook-jobs", &receiver, "jobs = 4");
    send_some(&server, 12);
    wait_for("the last one", || receiver.requests().iter().any(|request| request.seq() == 12).then_some(()));
    let seen = wait_for("all but one", || Some(status(&server)).filter(|status| status["backlog"] == 1));
    assert_eq!(seen["last_seq"], 1);
    assert!(seen["last_error"].as_str().unwrap_or("seq 2: answered 500").contains("answered 500"), "{seen}");
    server.stop();
}

#[test]
fn what_was_given_up_is_shown_and_counted() {
    let receiver = Receiver::start(|request, _| Act::status(if request.seq() == 1 { 410 } else { 200 }));
    let server = with("webhook-given-up", &receiver, "give_up = '1s'\n[metrics]\nlisten = '127.0.0.1:0'");
    send_some(&server, 2);
    let done = wait_for_seq(&server, 2);
    assert_eq!((&done["given_up"], &done["backlog"]), (&1.into(), &0.into()));
    let event = &done["given_up_events"][0];
    assert_eq!((&event["seq"], &event["user"], &event["why"]), (&1.into(), &"alice".into(), &"answered 410".into()));
    let text = String::from_utf8(server.run(&["status"], "").stdout).unwrap();
    assert!(text.contains("webhook:app  seq 1  alice") && text.contains("answered 410"), "{text}");
    assert!(server.log().contains("answered 410; given up after"), "{}", server.log());
    let mut metrics = std::net::TcpStream::connect(server.address("metrics")).unwrap();
    std::io::Write::write_all(&mut metrics, b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut metrics, &mut text).unwrap();
    assert!(text.contains("mailbell_subscriber_given_up_total{subscriber=\"webhook:app\"} 1"), "{text}");
    server.stop();
}

#[test]
fn tls_is_verified_by_a_ca_or_a_fingerprint() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = pair.cert.der().clone();
    let server_config = || {
        let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap()
    };
    let fingerprint: String = {
        use sha2::{Digest, Sha256};
        Sha256::digest(&certificate).iter().map(|octet| format!("{octet:02x}")).collect()
    };
    let receiver = Receiver::start_tls(server_config(), |_, _| Act::status(200));
    let url = format!("https://localhost:{}/", receiver.address.port());
    let start = |name: &str, more: &str| {
        let scratch = Scratch::prepared(name, &configuration(&url, more));
        fs::write(scratch.path("ca.pem"), pair.cert.pem()).unwrap();
        Server::start_in(scratch, &[])
    };
    for (name, more) in [("ca", "ca = 'ca.pem'".to_owned()), ("print", format!("fingerprint = ['{fingerprint}']"))] {
        let server = start(name, &more);
        send_some(&server, 3);
        wait_for_seq(&server, 3);
        server.stop();
    }
    let requests = receiver.requests();
    assert_eq!(requests.iter().map(|request| request.connection).collect::<std::collections::BTreeSet<_>>().len(), 2);
    // Another certificate: nothing is sent.
    let server = start("wrong", &format!("fingerprint = ['{}']", fingerprint.replace(|digit| digit != '0', "0")));
    send_some(&server, 1);
    let why = wait_for("a failure", || status(&server)["last_error"].as_str().map(str::to_owned));
    assert!(why.contains("certificate") && why.contains(&fingerprint), "{why}");
    let output = server.run(&["check", "--online"], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not trusted"), "{output:?}");
    assert_eq!(receiver.requests().len(), requests.len());
    // A reload takes new settings over, and the event goes out.
    fs::write(server.path("mailbell.toml"), configuration(&url, &format!("fingerprint = ['{fingerprint}']"))).unwrap();
    server.signal("HUP");
    wait_for_seq(&server, 1);
    server.stop();
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let scratch = Scratch::prepared("webhook-check", "");
    secret_file(&scratch, "good", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    secret_file(&scratch, "bad", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    secret_file(&scratch, "open", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    fs::set_permissions(scratch.path("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let file = scratch.path("mailbell.toml");
    let lines = BASIC.lines().count();
    let check = |more: &str, arguments: &[&str]| {
        fs::write(&file, format!("{BASIC}[[webhook]]\nname = 'app'\n{more}\n")).unwrap();
        let output = run(&file, &[&["check"], arguments].concat(), "");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
        )
    };
    let url = "url = 'http://127.0.0.1:9/'\n";
    for (more, line, hint) in [
        ("body = 'event'", 1, "needs `url`"),
        ("url = 'app.example'", 3, "https://app.example/new-mail"),
        ("url = 'https://me:pw@app.example/'", 3, "Authorization"),
        ("url = 'http://127.0.0.1/'\nca = 'x.pem'", 4, "https://"),
        ("url = 'http://127.0.0.1/'\nbody = 'mesage'", 4, "did you mean \"message\"?"),
        ("url = 'http://127.0.0.1/'\nbody = 'evnt'", 4, "did you mean \"event\"?"),
        ("url = 'http://127.0.0.1/'\nheaders = { Host = 'x' }", 4, "written by mailbell"),
        ("url = 'http://127.0.0.1/'\nheaders = { \"a b\" = 'x' }", 4, "not the name of a header field"),
        ("url = 'http://127.0.0.1/'\nheaders = { A = \"x\\ny\" }", 4, "control character"),
        ("url = 'http://127.0.0.1/'\nheaders = { A = '@missing' }", 4, "missing"),
        ("url = 'http://127.0.0.1/'\nsecret_file = 'missing'", 4, "missing"),
        ("url = 'http://127.0.0.1/'\nsecret_file = 'bad'", 4, "whsec_"),
        ("url = 'http://127.0.0.1/'\nsecret_file = 'open'", 4, "chmod o="),
        ("url = 'http://127.0.0.1/'\ntimeout = '0s'", 4, "1s"),
        ("url = 'http://127.0.0.1/'\nsecret = 'x'", 4, "unknown key"),
        (
            "url = 'http://127.0.0.1/'\n[[webhook]]\nname = 'app'\nurl = 'http://127.0.0.1/'",
            5,
            "another webhook's name",
        ),
    ] {
        let (code, text) = check(more, &[]);
        assert_eq!(code, Some(78), "{more}: {text}");
        let place = format!("mailbell.toml:{}: ", lines + line);
        assert!(text.contains(&place) && text.contains(hint), "{more}: {text}");
        assert!(!text.contains("MfKQ"), "{text}");
    }
    let (code, text) = check(&format!("{url}secret_file = 'good'\nheaders = {{ A = '@good' }}"), &[]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check("url = 'http://app.example/'", &[]);
    assert!(code == Some(0) && text.contains("warning") && text.contains("not encrypted"), "{text}");
    // What is there, and what is not.
    let receiver = Receiver::start(|_, _| Act::status(405));
    let (code, text) = check(&format!("url = '{}'", receiver.url()), &["--online"]);
    assert!(code == Some(0) && text.contains("answers a HEAD with 405"), "{text}");
    assert_eq!(receiver.requests()[0].line, "HEAD /hook?a=b HTTP/1.1");
    let (code, text) = check(url, &["--online"]);
    assert!(code == Some(78) && text.contains("cannot connect"), "{text}");
}
