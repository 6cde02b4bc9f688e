//! `[[mqtt]]` on the real binary, against a scripted broker.
#![cfg(feature = "mqtt")]

mod common;

use common::mqtt::{Sent, packet, take};
use common::{BASIC, PATIENCE, Scratch, Server, run, wait_for};
use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One connection of a scripted broker.
struct Broker {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
}

impl Broker {
    fn accept(listener: &TcpListener) -> Broker {
        Broker::over(accept(listener))
    }

    fn over(stream: impl Stream + 'static) -> Broker {
        Broker { stream: Box::new(stream), input: Vec::new() }
    }

    /// Takes CONNECT and says yes.
    fn welcome(listener: &TcpListener) -> Broker {
        let mut broker = Broker::accept(listener);
        broker.connect();
        broker
    }

    fn connect(&mut self) -> Sent {
        let connect = self.next();
        assert!(matches!(connect, Some(Sent::Connect { .. })), "{connect:?}");
        self.say("CONNACK 0");
        connect.unwrap()
    }

    fn say(&mut self, words: &str) {
        self.octets(&packet(words));
    }

    fn octets(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).and_then(|()| self.stream.flush()).unwrap();
    }

    /// The next packet; `None` at the end.
    fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = take(&mut self.input) {
                return Some(sent);
            }
            let mut block = [0; 4096];
            match self.stream.read(&mut block) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&block[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    return None;
                }
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The next PUBLISH: topic, record, and whether it is a repeat. It is acknowledged.
    fn event(&mut self) -> (String, Value, bool) {
        let (id, event) = self.unacknowledged();
        self.say(&format!("PUBACK {id}"));
        event
    }

    /// The same without an acknowledgement, with the packet identifier.
    fn unacknowledged(&mut self) -> (u16, (String, Value, bool)) {
        loop {
            match self.next() {
                Some(Sent::Publish { topic, payload, id, dup, .. }) => {
                    return (id, (topic, serde_json::from_slice(&payload).unwrap(), dup));
                }
                Some(Sent::Pingreq) => self.say("PINGRESP"),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Numbers of the next events.
    fn seqs(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.event().1["seq"].as_u64().unwrap()).collect()
    }

    /// Nothing but PINGREQ comes, then the connection ends.
    fn ends(&mut self) {
        while let Some(sent) = self.next() {
            assert!(matches!(sent, Sent::Pingreq | Sent::Publish { dup: true, .. }), "{sent}");
        }
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = wait_for("a connection to the broker", || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn prepared(name: &str, settings: &str) -> Scratch {
    let scratch = Scratch::prepared(name, &format!("{BASIC}\n[[mqtt]]\nname = \"home\"\n{settings}"));
    private(&scratch, "mqtt.pw", "secret-m\n");
    scratch
}

fn private(scratch: &Scratch, name: &str, text: &str) {
    fs::write(scratch.path(name), text).unwrap();
    fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

fn serve(name: &str, settings: &str) -> Server {
    Server::start_in(prepared(name, settings), &[])
}

fn url(port: u16) -> String {
    format!("url = \"mqtt://127.0.0.1:{port}\"\nretry = \"1s..1s\"\n")
}

fn status(server: &Server) -> Value {
    serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap()
}

/// What the status says of the cursor.
fn subscriber(server: &Server) -> Value {
    let status = status(server);
    let all = status["subscribers"].as_array().unwrap();
    all.iter().find(|each| each["name"] == "mqtt:home").unwrap().clone()
}

fn cursor_at(server: &Server, seq: u64) {
    wait_for("the cursor", || (subscriber(server)["last_seq"] == seq).then_some(()));
}

fn send(server: &Server, count: usize) {
    for number in 0..count {
        server.send("alice@example.org", &format!("Subject: number {number}\n\nx\n"));
    }
}

#[test]
fn each_message_is_published_once_and_a_clean_stop_says_goodbye() {
    let (listener, port) = listener();
    let settings = format!("{}login = \"mailbell\"\npassword_file = \"mqtt.pw\"\n", url(port));
    let server = serve("mqtt-plain", &settings);
    let mut broker = Broker::accept(&listener);
    let connect = broker.connect();
    let Sent::Connect { client_id, login, password, keep_alive, is_clean } = &connect else { unreachable!() };
    assert_eq!((login.as_deref(), password.as_deref()), (Some("mailbell"), Some("secret-m")));
    assert!(client_id.starts_with("mailbell") && client_id.len() <= 23 && *is_clean && *keep_alive > 0, "{connect}");
    server.send("bob@example.org", "Subject: hello\nFrom: a@example.com\n\nx\n");
    let (topic, record, dup) = broker.event();
    assert_eq!((topic.as_str(), dup), ("mail/bob", false));
    assert_eq!(record, server.records()[0]);
    cursor_at(&server, 1);
    let broker_status = &status(&server)["brokers"][0];
    assert_eq!((&broker_status["name"], &broker_status["connected"]), (&"mqtt:home".into(), &true.into()));
    let text = String::from_utf8(server.run(&["status"], "").stdout).unwrap();
    assert!(text.contains(&format!("mqtt:home  mqtt://127.0.0.1:{port}  connected\n")), "{text}");
    let goodbye = std::thread::spawn(move || broker.next());
    let scratch = server.stop();
    assert_eq!(goodbye.join().unwrap(), Some(Sent::Disconnect));
    // The next start repeats nothing, and has the same client id.
    let server = Server::start_in(scratch, &[]);
    let mut broker = Broker::accept(&listener);
    assert_eq!(broker.connect(), connect);
    send(&server, 1);
    assert_eq!(broker.event().1["seq"], 2);
    server.kill();
}

#[test]
fn what_kill_9_leaves_unacknowledged_comes_again_with_the_same_seq() {
    let (listener, port) = listener();
    let server = serve("mqtt-kill", &url(port));
    let mut broker = Broker::welcome(&listener);
    send(&server, 5);
    let first = broker.unacknowledged().1.1;
    assert_eq!(first["seq"], 1);
    let server = Server::start_in(server.kill(), &[]);
    let mut broker = Broker::welcome(&listener);
    let again = broker.event();
    assert_eq!(again.1, first);
    assert_eq!(broker.seqs(4), [2, 3, 4, 5]);
    cursor_at(&server, 5);
    server.kill();
}

#[test]
fn events_wait_while_the_broker_is_away_and_come_in_order() {
    let (listener, port) = listener();
    let server = serve("mqtt-away", &url(port));
    let mut broker = Broker::welcome(&listener);
    send(&server, 2);
    assert_eq!(broker.seqs(2), [1, 2]);
    cursor_at(&server, 2);
    drop((broker, listener));
    send(&server, 3);
    let failed = wait_for("the failure", || {
        let broker = status(&server)["brokers"][0].clone();
        broker["last_error"].is_string().then_some(broker)
    });
    assert!(failed["connected"] == false && failed["next_try"].is_string(), "{failed}");
    assert_eq!(subscriber(&server)["backlog"], 3);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut broker = Broker::welcome(&listener);
    assert_eq!(broker.seqs(3), [3, 4, 5]);
    cursor_at(&server, 5);
    let log = server.log();
    assert!(log.contains(&format!("mqtt home: mqtt://127.0.0.1:{port}: ")), "{log}");
    server.kill();
}

#[test]
fn a_rogue_broker_harms_nobody() {
    let (listener, port) = listener();
    let server = serve("mqtt-rogue", &url(port));
    send(&server, 2);
    // Each is a connection of its own; mail comes in meanwhile.
    let octets = [
        "HTTP/1.1 400 Bad Request\r\n\r\n".as_bytes().to_vec(),
        packet("30 ff ff ff 7f"),
        packet("40 ff ff ff 7f"),
        packet("ff ff ff ff ff ff"),
        packet("20 02 00 09"),
        packet("40 02 00 01"),
        [packet("CONNACK 0"), packet("CONNACK 0")].concat(),
        [packet("CONNACK 0"), packet("PUBACK 9999")].concat(),
        // PUBLISH of "x" with the topic "t".
        [packet("CONNACK 0"), packet("30 04 00 01 74 78")].concat(),
        [packet("CONNACK 0"), vec![0; 1 << 20]].concat(),
        Vec::new(),
    ];
    for octets in &octets {
        let mut broker = Broker::accept(&listener);
        assert!(matches!(broker.next(), Some(Sent::Connect { .. })));
        let _ = broker.stream.write_all(octets);
        if octets.is_empty() {
            continue;
        }
        while broker.next().is_some() {}
    }
    send(&server, 1);
    let mut broker = Broker::welcome(&listener);
    assert_eq!(broker.seqs(3), [1, 2, 3]);
    cursor_at(&server, 3);
    let log = server.log();
    for what in [
        "malformed PUBACK",
        "PUBLISH, which a publisher never gets",
        "acknowledged packet 9999",
        "CONNACK out of order",
    ] {
        assert!(log.contains(what), "{what} is not in\n{log}");
    }
    server.kill();
}

#[test]
fn a_puback_that_does_not_come_is_a_lost_connection() {
    let (listener, port) = listener();
    let server = serve("mqtt-deaf", &url(port));
    // One that takes the connection and says nothing at all is given up in the same way, at the same time.
    let (silent, silent_port) = self::listener();
    let other = serve("mqtt-silent", &url(silent_port));
    let mut broker = Broker::welcome(&listener);
    let mut dumb = Broker::accept(&silent);
    send(&server, 1);
    let (_, first) = broker.unacknowledged();
    assert!(!first.2);
    broker.ends();
    assert!(matches!(dumb.next(), Some(Sent::Connect { .. })));
    dumb.ends();
    let mut broker = Broker::welcome(&listener);
    let again = broker.event();
    assert_eq!((again.1, again.2), (first.1, true));
    cursor_at(&server, 1);
    wait_for("the log", || server.log().contains("no answer in time: PUBACK").then_some(()));
    wait_for("the log", || other.log().contains("no answer in time: CONNACK").then_some(()));
    // A stop does not wait for a broker that is silent.
    other.stop();
    server.kill();
}

#[test]
fn a_silent_connection_is_kept_alive() {
    let (listener, port) = listener();
    let server = serve("mqtt-ping", &url(port));
    let mut broker = Broker::welcome(&listener);
    assert_eq!(broker.next(), Some(Sent::Pingreq));
    broker.say("PINGRESP");
    send(&server, 1);
    assert_eq!(broker.seqs(1), [1]);
    server.kill();
}

#[test]
fn a_strangers_text_stays_within_its_level_of_the_topic() {
    let (listener, port) = listener();
    let settings = format!("{}topic = \"{{subject}}/{{from}}/x\"\npayload = \"{{seq}} {{subject}}\"\n", url(port));
    let server = serve("mqtt-topic", &settings);
    let mut broker = Broker::welcome(&listener);
    for (subject, topic, payload) in [
        ("$SYS/broker", "_SYS_broker", "$SYS/broker"),
        ("a/+/#", "a____", "a/+/#"),
        ("=?utf-8?q?a=00b=0Ac=E2=80=AEd?=", "abc_d", "abc d"),
    ] {
        server.send("alice@example.org", &format!("Subject: {subject}\nFrom: <x/y@z>\n\nx\n"));
        let Some(Sent::Publish { topic: came, payload: text, id, .. }) = broker.next() else { panic!("no PUBLISH") };
        broker.say(&format!("PUBACK {id}"));
        assert_eq!(came, format!("{topic}/<x_y@z>/x"));
        assert_eq!(String::from_utf8(text).unwrap(), format!("{id} {payload}"));
    }
    server.kill();
}

#[test]
fn home_assistant_finds_a_sensor_for_each_user() {
    let (listener, port) = listener();
    let server = serve("mqtt-discovery", &format!("{}discovery = \"homeassistant\"\n", url(port)));
    let mut broker = Broker::welcome(&listener);
    let mut next = || match broker.next() {
        Some(Sent::Publish { topic, payload, retain, id, .. }) => {
            broker.say(&format!("PUBACK {id}"));
            (topic, serde_json::from_slice::<Value>(&payload).unwrap(), retain)
        }
        other => panic!("{other:?}"),
    };
    let configs: Vec<_> = (0..3).map(|_| next()).collect();
    let names: Vec<_> = configs.iter().map(|(_, config, _)| config["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    for (topic, config, retain) in &configs {
        let id = config["unique_id"].as_str().unwrap();
        assert_eq!(*topic, format!("homeassistant/sensor/{id}/config"));
        assert!(*retain && config["state_topic"].is_string() && config["device"]["identifiers"].is_array(), "{config}");
    }
    server.send("bob@example.org", "Subject: hello\nFrom: a@example.com\n\nx\n");
    let (topic, state, retain) = next();
    assert!(
        retain && topic == configs[1].1["state_topic"] && topic == configs[1].1["json_attributes_topic"],
        "{topic}"
    );
    let record = &server.records()[0];
    for field in ["timestamp", "subject", "from", "user", "seq"] {
        assert_eq!(state[field], record[field]);
    }
    let (topic, event, retain) = next();
    assert_eq!((topic.as_str(), &event, retain), ("mail/bob", record, false));
    server.kill();
}

#[test]
fn a_reload_adds_changes_and_removes() {
    let (listener, port) = listener();
    let server = Server::start("mqtt-reload");
    let reload = |settings: &str| {
        let reloads = || server.log().matches("reloaded").count();
        let before = reloads();
        fs::write(server.path("mailbell.toml"), format!("{BASIC}{settings}")).unwrap();
        server.signal("HUP");
        wait_for("the reload", || (reloads() > before).then_some(()));
    };
    let section = |more: &str| format!("\n[[mqtt]]\nname = \"home\"\n{}{more}", url(port));
    reload(&section(""));
    let mut broker = Broker::welcome(&listener);
    send(&server, 1);
    assert_eq!(broker.event().0, "mail/alice");
    // As it was: the connection stays.
    reload(&section(""));
    send(&server, 1);
    assert_eq!(broker.event().1["seq"], 2);
    cursor_at(&server, 2);
    reload(&section("topic = \"other\"\n"));
    assert_eq!(broker.next(), Some(Sent::Disconnect));
    let mut broker = Broker::welcome(&listener);
    send(&server, 1);
    let event = broker.event();
    assert_eq!((event.0.as_str(), &event.1["seq"]), ("other", &3.into()));
    reload("");
    assert_eq!(broker.next(), Some(Sent::Disconnect));
    assert_eq!(status(&server)["brokers"], Value::Array(Vec::new()));
    server.stop();
}

#[test]
fn a_refused_password_is_read_anew_and_tried_after_a_reload() {
    let (listener, port) = listener();
    let settings = format!("{}login = \"mailbell\"\npassword_file = \"mqtt.pw\"\n", url(port));
    let scratch = prepared("mqtt-password", &settings);
    fs::set_permissions(scratch.path("mqtt.pw"), fs::Permissions::from_mode(0o644)).unwrap();
    // Others can read it: it is not used, and `check` says so.
    let output = run(&scratch.path("mailbell.toml"), &["check"], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && said.contains("`mqtt.password_file`"), "{said}");
    let server = Server::start_in(scratch, &[]);
    let error = |what: &str| {
        wait_for("the failure", || {
            status(&server)["brokers"][0]["last_error"].as_str().is_some_and(|error| error.contains(what)).then_some(())
        });
    };
    error("other users can read this secret");
    fs::set_permissions(server.path("mqtt.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    server.signal("HUP");
    let mut broker = Broker::accept(&listener);
    assert!(matches!(broker.next(), Some(Sent::Connect { password: Some(password), .. }) if password == "secret-m"));
    broker.say("CONNACK 5");
    error("not authorized");
    private(&server.scratch, "mqtt.pw", "another\n");
    server.signal("HUP");
    let mut broker = Broker::accept(&listener);
    assert!(matches!(broker.connect(), Sent::Connect { password: Some(password), .. } if password == "another"));
    let log = server.log();
    assert!(!log.contains("secret-m") && !log.contains("another"), "{log}");
    server.kill();
}

#[test]
fn check_tries_a_broker_and_warns_of_a_password_in_clear() {
    let (listener, port) = listener();
    let scratch = prepared("mqtt-check", &url(port));
    let broker = std::thread::spawn(move || {
        let mut broker = Broker::accept(&listener);
        let connect = broker.connect();
        (connect, broker.next())
    });
    let output = run(&scratch.path("mailbell.toml"), &["check", "--online"], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("mqtt home: connected to 127.0.0.1") && said.contains("takes the login"), "{said}");
    let (connect, end) = broker.join().unwrap();
    assert_eq!(end, Some(Sent::Disconnect));
    // Its client id is another one than the server's, which the broker would throw out.
    assert!(matches!(connect, Sent::Connect { client_id, .. } if client_id.ends_with("chk")));
    let output = run(&scratch.path("mailbell.toml"), &["check", "--online"], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && said.contains("`mqtt.url`: home: cannot connect"), "{said}");
    let warning = |url: &str| {
        let settings = format!("url = \"{url}\"\nlogin = \"x\"\npassword_file = \"mqtt.pw\"\n");
        let scratch = prepared("mqtt-warning", &settings);
        let output = run(&scratch.path("mailbell.toml"), &["check"], "");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stderr).contains("warning: `mqtt.url`: the password goes to")
    };
    assert!(warning("mqtt://203.0.113.5") && warning("mqtt://broker.example"));
    assert!(!warning("mqtt://192.168.1.5") && !warning("mqtt://homeassistant.local"));
}

/// TLS on the broker's side, with a certificate for 127.0.0.1 in `cert.pem`.
fn tls(scratch: &Scratch) -> (std::sync::Arc<rustls::ServerConfig>, String) {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
    fs::write(scratch.path("cert.pem"), pair.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let fingerprint = mailbell::net::remote::tls::fingerprint(pair.cert.der());
    (config.into(), mailbell::net::remote::tls::hexadecimal(&fingerprint))
}

#[test]
fn tls_by_a_ca_or_a_fingerprint() {
    let (listener, port) = listener();
    let scratch = prepared("mqtt-tls", "");
    let (config, fingerprint) = tls(&scratch);
    let write = |trust: &str| {
        let section =
            format!("[[mqtt]]\nname = \"home\"\nurl = \"mqtts://127.0.0.1:{port}\"\nretry = \"1s..1s\"\n{trust}");
        fs::write(scratch.path("mailbell.toml"), format!("{BASIC}\n{section}")).unwrap();
    };
    let welcome = || {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        Broker::over(rustls::StreamOwned::new(connection, accept(&listener)))
    };
    write("ca = \"cert.pem\"\n");
    let server = Server::start_in(Scratch(scratch.0.clone()), &[]);
    let mut broker = welcome();
    broker.connect();
    send(&server, 1);
    assert_eq!(broker.seqs(1), [1]);
    cursor_at(&server, 1);
    assert!(server.log().contains(&format!("fingerprint {fingerprint}")), "{}", server.log());
    // A fingerprint that is another certificate's: no CONNECT, and nothing else, is sent.
    write(&format!("fingerprint = [\"{}\"]\n", "ab".repeat(32)));
    server.signal("HUP");
    assert_eq!(broker.next(), Some(Sent::Disconnect));
    let mut refused = welcome();
    assert!(refused.stream.read(&mut [0; 100]).is_err(), "an alert ends the handshake");
    wait_for("the failure", || {
        server.log().contains("none of `fingerprint`; the fingerprint that came is").then_some(())
    });
    write(&format!("fingerprint = [\"{fingerprint}\"]\n"));
    server.signal("HUP");
    let mut broker = welcome();
    broker.connect();
    send(&server, 1);
    assert_eq!(broker.seqs(1), [2]);
    server.kill();
}

#[test]
fn the_metrics_have_the_broker() {
    let (listener, port) = listener();
    let settings = format!("{}[metrics]\nlisten = \"127.0.0.1:0\"\n", url(port));
    let server = serve("mqtt-metrics", &settings);
    let _broker = Broker::welcome(&listener);
    wait_for("the metrics", || {
        let mut stream = TcpStream::connect(server.address("metrics")).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.contains("mailbell_mqtt_connected{subscriber=\"mqtt:home\"} 1").then_some(())
    });
    server.kill();
}
