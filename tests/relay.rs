//! Mail to a smarthost that answers everything that one can, on the real binary: what it takes, what is tried again, what
//! the sender is told.
#![cfg(feature = "relay")]

mod common;
#[path = "common/smarthost.rs"]
mod smarthost;

use common::{BASIC, Scratch, Server, files, run, wait_for, wait_for_rest};
use mailbell::queue::{Envelope, Queue, QueueId, Recipient};
use mailbell::smtp::dsn::{Notify, Ret};
use smarthost::{Answer, Smarthost};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

const MESSAGE: &str = "From: alice@example.org\nSubject: hello\nMessage-ID: <one@example.org>\n\nHello.\n.dot\n";

fn configuration(port: u16, more: &str) -> String {
    format!("{BASIC}\n[relay]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\nretry = \"1s..2s\"\n{more}\n")
}

fn serve(name: &str, smarthost: &Smarthost, more: &str) -> Server {
    Server::start_in(Scratch::prepared(name, &configuration(smarthost.port, more)), &[])
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        reverse_path: "alice@example.org".into(),
        recipients: recipients.iter().map(|address| Recipient::new(address)).collect(),
        user: Some("alice".into()),
        ..Envelope::default()
    }
}

fn put(scratch: &Scratch, envelope: Envelope, message: &str) -> QueueId {
    let queue = Queue::open(&scratch.path("state")).unwrap();
    let mut writer = queue.begin(envelope).unwrap();
    writer.write_all(message.as_bytes()).unwrap();
    writer.commit().unwrap()
}

fn waiting(scratch: &Scratch) -> usize {
    files(&scratch.path("state/queue/waiting")).len()
}

fn wait_until_empty(server: &Server) {
    wait_for("an empty queue", || (waiting(&server.scratch) == 0).then_some(()));
}

/// The notices in a user's Maildir.
fn notices(server: &Server, user: &str) -> Vec<String> {
    server.new_files(user).iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

fn say(text: &str) -> Option<Answer> {
    Some(Answer::Say(text.to_owned()))
}

#[test]
fn a_message_is_handed_over_as_it_was_stored() {
    let smarthost = Smarthost::start();
    let server = serve("relay-plain", &smarthost, "");
    let id = put(&server.scratch, envelope(&["bob@there.example", "carol@there.example"]), MESSAGE);
    wait_until_empty(&server);
    let taken = smarthost.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].data, MESSAGE);
    assert!(taken[0].mail.starts_with("MAIL FROM:<alice@example.org> SIZE="), "{}", taken[0].mail);
    assert_eq!(taken[0].rcpt, ["RCPT TO:<bob@there.example>", "RCPT TO:<carol@there.example>"]);
    wait_for("the log lines", || (server.log().matches(&format!("sent id={id} to=")).count() == 2).then_some(()));
    let status: serde_json::Value = serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap();
    assert_eq!(
        (status["queue"]["sent"].as_u64(), status["queue"]["messages"].as_u64()),
        (Some(2), Some(0)),
        "{status}"
    );
    let text = String::from_utf8(server.run(&["status"], "").stdout).unwrap();
    assert!(text.contains("0 waiting; recipients: 2 sent, 0 deferred, 0 bounced"), "{text}");
    assert!(files(&server.path("state/queue/tries")).is_empty());
}

#[test]
fn chunking_and_a_message_of_many_blocks() {
    let smarthost = Smarthost::start();
    smarthost.offer(&["CHUNKING", "PIPELINING", "8BITMIME", "SIZE"]);
    let server = serve("relay-chunking", &smarthost, "");
    let message = format!("Subject: large\n\n{}", "A line with é and a dot\n.\n..\n".repeat(20_000));
    put(&server.scratch, envelope(&["bob@there.example"]), &message);
    wait_until_empty(&server);
    assert_eq!(smarthost.taken()[0].data, message);
    assert!(smarthost.taken()[0].mail.contains(" BODY=8BITMIME"));
    smarthost.offer(&["8BITMIME"]);
    // Another connection, so that the other extensions count.
    wait_for("the goodbye", || (smarthost.count("QUIT") == 1).then_some(()));
    put(&server.scratch, envelope(&["bob@there.example"]), &message);
    wait_until_empty(&server);
    assert_eq!(smarthost.taken()[1].data, message);
}

#[test]
fn a_connection_serves_many_messages() {
    let smarthost = Smarthost::start();
    let scratch = Scratch::prepared("relay-reuse", &configuration(smarthost.port, ""));
    for _ in 0..150 {
        put(&scratch, envelope(&["bob@there.example"]), MESSAGE);
    }
    let server = Server::start_in(scratch, &[]);
    wait_until_empty(&server);
    assert_eq!(smarthost.taken().len(), 150);
    assert!(smarthost.connections.load(Ordering::SeqCst) <= 3, "{:?}", smarthost.connections);
    assert_eq!(smarthost.taken().iter().filter(|taken| taken.connection == 0).count(), 100, "and not more of one");
}

#[test]
fn each_recipient_has_its_own_result() {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, before| match command {
        "RCPT TO:<no@there.example>" => say("550 5.1.1 no such user"),
        "RCPT TO:<later@there.example>" if before < 6 => say("450 4.2.1 try later"),
        _ => None,
    });
    let server = serve("relay-each", &smarthost, "");
    let recipients = ["yes@there.example", "no@there.example", "later@there.example"];
    let id = put(&server.scratch, envelope(&recipients), MESSAGE);
    wait_until_empty(&server);
    let all: Vec<String> = smarthost.taken().into_iter().flat_map(|taken| taken.rcpt).collect();
    assert_eq!(all, ["RCPT TO:<yes@there.example>", "RCPT TO:<later@there.example>"], "each once");
    let notices = notices(&server, "alice");
    assert_eq!(notices.len(), 1);
    for part in [
        "Return-Path: <>\n",
        "To: alice@example.org\n",
        "Final-Recipient: rfc822;no@there.example\nAction: failed\nStatus: 5.1.1\n",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\n",
        "Subject: hello\n",
        "In-Reply-To: <one@example.org>\n",
    ] {
        assert!(notices[0].contains(part), "{part}: {}", notices[0]);
    }
    assert!(!notices[0].contains("yes@there") && !notices[0].contains("Hello.\n"), "{}", notices[0]);
    let record = wait_for("the record", || server.records().pop());
    assert_eq!((record["via"].as_str(), record["mail_from"].as_str()), (Some("bounce"), Some("")), "{record}");
    assert_eq!(record["user"], "alice");
    let log = server.log();
    for line in ["failed id=", "deferred id=", "sent id=", "bounced id="] {
        assert!(log.contains(&format!("{line}{id}")), "{line}: {log}");
    }
}

/// Every answer of the table in docs/faults.md that ends in a notice, and what the notice says.
#[test]
fn what_is_refused_for_good_comes_back() {
    let stages: [(&str, &str, &str); 6] = [
        ("MAIL", "553 5.7.1 not your address", "5.7.1"),
        ("MAIL", "552 5.3.4 too large", "5.3.4"),
        ("RCPT", "551 5.1.6 moved", "5.1.6"),
        ("DATA", "554 5.5.1 no", "5.5.1"),
        ("BODY", "554 5.7.1 spam", "5.7.1"),
        ("BODY", "550 no code", "5.0.0"),
    ];
    for (number, (stage, reply, status)) in stages.into_iter().enumerate() {
        let smarthost = Smarthost::start();
        smarthost.rule(move |command, _| command.starts_with(stage).then(|| Answer::Say(reply.into())));
        let server = serve(&format!("relay-refused-{number}"), &smarthost, "");
        put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
        wait_until_empty(&server);
        let notices = notices(&server, "alice");
        assert_eq!(notices.len(), 1, "{reply}");
        assert!(notices[0].contains(&format!("Status: {status}\n")), "{reply}: {}", notices[0]);
        assert!(notices[0].contains(&format!("Diagnostic-Code: smtp; {reply}\n")), "{reply}: {}", notices[0]);
    }
}

/// Every answer that is tried again: the first time so, then the smarthost takes the message, once.
#[test]
fn what_passes_by_itself_is_tried_again() {
    let stages = [
        ("CONNECT", Answer::Say("421 4.3.2 busy".into())),
        ("CONNECT", Answer::Say("554 5.7.1 your address is listed".into())),
        ("CONNECT", Answer::Close),
        ("CONNECT", Answer::Say("+OK not SMTP".into())),
        ("EHLO", Answer::Say("421 4.3.2 busy".into())),
        ("EHLO", Answer::Close),
        ("EHLO", Answer::Say("250-one\r\n251 two".into())),
        ("MAIL", Answer::Say("451 4.3.0 later".into())),
        ("MAIL", Answer::Say("421 4.3.0 later".into())),
        ("MAIL", Answer::Close),
        ("RCPT", Answer::Say("450 4.2.1 later".into())),
        ("RCPT", Answer::Say("421 4.2.1 later".into())),
        ("RCPT", Answer::Close),
        ("RCPT", Answer::Say("250-never\r\n250-ending".repeat(200))),
        ("DATA", Answer::Say("451 4.3.0 later".into())),
        ("DATA", Answer::Say("250 what".into())),
        ("DATA", Answer::Close),
        ("BODY", Answer::Say("451 4.7.1 greylisted".into())),
        ("BODY", Answer::Say("421 4.3.2 going".into())),
        ("BODY", Answer::Say("354 go on".into())),
        ("BODY", Answer::Close),
    ];
    for (number, (stage, answer)) in stages.into_iter().enumerate() {
        let smarthost = Smarthost::start();
        let shown = format!("{stage}: {answer:?}");
        smarthost.rule(move |command, before| (command.starts_with(stage) && before == 0).then(|| answer.clone()));
        let server = serve(&format!("relay-again-{number}"), &smarthost, "");
        put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
        wait_until_empty(&server);
        let taken = smarthost.taken();
        assert_eq!(taken.len(), 1, "{shown}");
        assert_eq!((taken[0].rcpt.len(), taken[0].data.as_str()), (1, MESSAGE), "{shown}");
        assert!(notices(&server, "alice").is_empty(), "{shown}");
    }
}

#[test]
fn a_message_that_stays_deferred_warns_and_is_given_up() {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, _| command.starts_with("RCPT").then(|| Answer::Say("450 4.2.1 never".into())));
    let server = serve("relay-give-up", &smarthost, "warn = \"2s\"\ngive_up = \"6s\"");
    put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
    wait_until_empty(&server);
    let notices = notices(&server, "alice");
    assert_eq!(notices.len(), 2, "{}", server.log());
    assert!(notices[0].contains("Action: delayed\nStatus: 4.2.1\n"), "{}", notices[0]);
    assert!(notices[0].contains("Will-Retry-Until: "));
    assert!(notices[1].contains("Action: failed\nStatus: 4.4.7\n"), "{}", notices[1]);
    assert!(notices[1].contains("450 4.2.1 never"));
    assert!(smarthost.taken().is_empty());
}

#[test]
fn a_smarthost_that_is_away_makes_messages_old() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let scratch = Scratch::prepared("relay-away", &configuration(port, "warn = \"off\"\ngive_up = \"3s\""));
    let server = Server::start_in(scratch, &[]);
    put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
    wait_until_empty(&server);
    let notices = notices(&server, "alice");
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("Status: 4.4.7\n") && notices[0].contains("cannot connect"), "{}", notices[0]);
    assert_eq!(server.log().matches("all messages wait, which is said once").count(), 1, "{}", server.log());
}

#[test]
fn a_login_that_fails_stops_the_queue_and_no_message() {
    let smarthost = Smarthost::start();
    smarthost.offer(&["AUTH PLAIN", "PIPELINING"]);
    smarthost.rule(|command, _| command.starts_with("AUTH").then(|| Answer::Say("535 5.7.8 wrong".into())));
    let more = "login = \"me\"\npassword_file = \"relay.pw\"\nwarn = \"off\"\ngive_up = \"2s\"";
    let scratch = Scratch::prepared("relay-login", &configuration(smarthost.port, more));
    fs::write(scratch.path("relay.pw"), "the-secret-of-the-relay\n").unwrap();
    fs::set_permissions(scratch.path("relay.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start_in(scratch, &[]);
    put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
    put(&server.scratch, envelope(&["carol@there.example"]), MESSAGE);
    // Longer than give_up.
    wait_for("some tries", || (smarthost.count("AUTH") >= 4).then_some(()));
    assert_eq!(waiting(&server.scratch), 2);
    assert!(notices(&server, "alice").is_empty());
    let log = server.log();
    assert_eq!(log.matches("all messages wait, which is said once").count(), 1, "{log}");
    assert!(!log.contains("the-secret-of-the-relay"));
    // Between two tries; while one runs it is "sending".
    wait_for("the state", || {
        let status: serde_json::Value = serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap();
        assert_eq!(status["queue"]["messages"], 2);
        (status["queue"]["state"] == "refused").then_some(())
    });
    wait_for("the reason in the queue", || {
        let listed = String::from_utf8(server.run(&["queue"], "").stdout).unwrap();
        (listed.contains("The smarthost cannot be used, and all wait: ") && listed.contains("wrong")).then_some(())
    });
    assert_eq!(smarthost.count("MAIL"), 0);
    smarthost.rule(|_, _| None);
    wait_until_empty(&server);
    assert_eq!(smarthost.taken().len(), 2);
    wait_for("the good news", || server.log().contains("the smarthost can be used again").then_some(()));
}

#[test]
fn without_tls_nothing_is_said() {
    let smarthost = Smarthost::start();
    let scratch =
        Scratch::prepared("relay-no-tls", &configuration(smarthost.port, "").replace("\"off\"", "\"starttls\""));
    let server = Server::start_in(scratch, &[]);
    put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
    wait_for("some tries", || (smarthost.count("EHLO") >= 2).then_some(()));
    assert_eq!((smarthost.count("MAIL"), smarthost.count("AUTH"), waiting(&server.scratch)), (0, 0, 1));
    wait_for("the log line", || server.log().contains("STARTTLS is not offered").then_some(()));
    // Offered, and then something else than TLS.
    smarthost.offer(&["STARTTLS"]);
    smarthost.rule(|command, _| (command == "STARTTLS").then(|| Answer::Say("220 go\r\n250 injected".into())));
    let before = smarthost.count("STARTTLS");
    wait_for("some tries", || (smarthost.count("STARTTLS") >= before + 2).then_some(()));
    assert_eq!((smarthost.count("MAIL"), waiting(&server.scratch)), (0, 1));
}

#[test]
fn certificates_are_checked() {
    let smarthost = Smarthost::start();
    smarthost.offer(&["AUTH PLAIN", "PIPELINING"]);
    let pair = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    for starttls in [true, false] {
        let port = smarthost::behind_tls(smarthost.port, starttls, &certificate, &key);
        let word = if starttls { "\"starttls\"" } else { "\"implicit\"" };
        let secret = "login = \"me\"\npassword_file = \"relay.pw\"\n";
        let with = |more: &str| {
            let text = configuration(port, &format!("{secret}{more}")).replace("\"off\"", word);
            text.replace("host = \"127.0.0.1\"", "host = \"localhost\"")
        };
        let scratch = Scratch::prepared(&format!("relay-tls-{starttls}"), &with("ca = \"other.pem\""));
        let other = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        fs::write(scratch.path("other.pem"), other.cert.pem()).unwrap();
        fs::write(scratch.path("ca.pem"), &certificate).unwrap();
        fs::write(scratch.path("relay.pw"), "secret\n").unwrap();
        fs::set_permissions(scratch.path("relay.pw"), fs::Permissions::from_mode(0o600)).unwrap();
        let server = Server::start_in(scratch, &[]);
        let before = smarthost.taken().len();
        put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
        wait_for("the log line", || server.log().contains("the certificate is not trusted").then_some(()));
        assert_eq!((smarthost.taken().len(), waiting(&server.scratch)), (before, 1));
        fs::write(server.path("mailbell.toml"), with("ca = \"ca.pem\"")).unwrap();
        server.signal("HUP");
        wait_until_empty(&server);
        assert_eq!(smarthost.taken().len(), before + 1);
        let checked = server.run(&["check", "--online"], "");
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(said.contains("relay localhost: connected to 127.0.0.1:") && said.contains("fingerprint"), "{said}");
        assert!(said.contains("logged in; offers PIPELINING"), "{said}");
    }
    assert!(smarthost.commands.lock().unwrap().iter().any(|command| command == "AUTH PLAIN AG1lAHNlY3JldA=="));
}

#[test]
fn a_secret_that_others_can_read_is_wrong() {
    let more = "login = \"me\"\npassword_file = \"relay.pw\"";
    let scratch = Scratch::prepared("relay-secret", &configuration(1, more));
    fs::write(scratch.path("relay.pw"), "secret\n").unwrap();
    fs::set_permissions(scratch.path("relay.pw"), fs::Permissions::from_mode(0o644)).unwrap();
    let checked = run(&scratch.path("mailbell.toml"), &["check"], "");
    let said = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(78), "{said}");
    assert!(said.contains("`relay.password_file`: ") && said.contains("other users can read this secret"), "{said}");
}

#[test]
fn a_line_of_a_gigabyte_costs_no_memory() {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, before| (command == "CONNECT" && before == 0).then_some(Answer::Flood));
    let server = serve("relay-flood", &smarthost, "");
    put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
    wait_until_empty(&server);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.split_ascii_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 64 * 1024, "{peak}");
    assert_eq!(smarthost.taken().len(), 1);
}

#[test]
fn a_notice_about_a_notice_is_none() {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, _| command.starts_with("RCPT").then(|| Answer::Say("550 5.1.1 no".into())));
    let server = serve("relay-null", &smarthost, "");
    put(&server.scratch, Envelope { reverse_path: String::new(), ..envelope(&["bob@there.example"]) }, MESSAGE);
    wait_until_empty(&server);
    assert!(notices(&server, "alice").is_empty());
    // To a sender elsewhere, the notice goes the way of all mail, and what becomes of it is told to nobody.
    let outside =
        Envelope { reverse_path: "zoe@elsewhere.example".into(), user: None, ..envelope(&["bob@there.example"]) };
    let id = put(&server.scratch, outside, MESSAGE);
    wait_for("both lines", || {
        let log = server.log();
        (log.contains(&format!("about={id}")) && log.matches("the message is a notice itself").count() == 2)
            .then_some(())
    });
    wait_until_empty(&server);
    let commands = smarthost.commands.lock().unwrap().clone();
    assert!(commands.iter().any(|command| command == "RCPT TO:<zoe@elsewhere.example>"), "{commands:?}");
    assert_eq!(commands.iter().filter(|command| command.starts_with("MAIL FROM:<>")).count(), 2, "{commands:?}");
}

#[test]
fn notices_heed_what_the_sender_asked_for() {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, _| command.contains("no@there").then(|| Answer::Say("550 5.1.1 no".into())));
    let server = serve("relay-dsn", &smarthost, "");
    let notify =
        |address: &str, value: &str| Recipient { notify: Notify::parse(value).unwrap(), ..Recipient::new(address) };
    // Nothing is told.
    let mut never = envelope(&[]);
    never.recipients = vec![notify("no@there.example", "NEVER"), notify("yes@there.example", "FAILURE")];
    put(&server.scratch, never, MESSAGE);
    wait_until_empty(&server);
    assert!(notices(&server, "alice").is_empty());
    // The smarthost has no DSN, so the success is told here; and RET=FULL brings the whole message back.
    let mut full = envelope(&[]);
    (full.ret, full.envid) = (Some(Ret::Full), Some("a+20b".into()));
    full.recipients = vec![notify("no@there.example", "FAILURE"), notify("yes@there.example", "SUCCESS,FAILURE")];
    full.recipients[1].orcpt = Some("rfc822;y+2Bes@there.example".into());
    put(&server.scratch, full, MESSAGE);
    wait_until_empty(&server);
    let notices = notices(&server, "alice");
    assert_eq!(notices.len(), 2);
    let relayed = notices.iter().find(|notice| notice.contains("Action: relayed\n")).unwrap();
    assert!(
        relayed.contains("Original-Recipient: rfc822;y+es@there.example\nFinal-Recipient: rfc822;yes@there.example\n")
    );
    assert!(relayed.contains("Original-Envelope-Id: a b\n") && relayed.contains("Status: 2.0.0\n"), "{relayed}");
    let failed = notices.iter().find(|notice| notice.contains("Action: failed\n")).unwrap();
    assert!(failed.contains("Content-Type: message/rfc822\n") && failed.contains("\nHello.\n.dot\n"), "{failed}");
    assert!(smarthost.taken().iter().all(|taken| !taken.mail.contains("RET=") && !taken.rcpt[0].contains("NOTIFY")));
}

#[test]
fn dsn_is_handed_on_where_the_smarthost_has_it() {
    let smarthost = Smarthost::start();
    smarthost.offer(&["DSN", "PIPELINING"]);
    let server = serve("relay-dsn-on", &smarthost, "");
    let mut full = envelope(&["yes@there.example"]);
    (full.ret, full.envid) = (Some(Ret::Full), Some("a+20b".into()));
    full.recipients[0].notify = Notify::parse("SUCCESS").unwrap();
    put(&server.scratch, full, MESSAGE);
    wait_until_empty(&server);
    assert!(notices(&server, "alice").is_empty());
    let taken = smarthost.taken().remove(0);
    assert!(taken.mail.ends_with(" RET=FULL ENVID=a+20b") && taken.rcpt[0].ends_with(" NOTIFY=SUCCESS"), "{taken:?}");
}

#[test]
fn from_replaces_the_envelope_sender_and_notices_come_home() {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, _| command.contains("no@there").then(|| Answer::Say("550 5.1.1 no".into())));
    let server = serve("relay-from", &smarthost, "from = \"office@provider.example\"");
    put(&server.scratch, envelope(&["yes@there.example", "no@there.example"]), MESSAGE);
    wait_until_empty(&server);
    assert!(smarthost.taken()[0].mail.starts_with("MAIL FROM:<office@provider.example> "));
    assert_eq!(notices(&server, "alice").len(), 1);
    assert!(notices(&server, "alice")[0].contains("To: alice@example.org\n"));
}

#[test]
fn what_the_smarthost_cannot_take_is_not_converted() {
    let smarthost = Smarthost::start();
    smarthost.offer(&["PIPELINING"]);
    let server = serve("relay-utf8", &smarthost, "");
    put(&server.scratch, envelope(&["bob@there.example"]), "Subject: x\n\né\n");
    put(&server.scratch, envelope(&["jõgeva@there.example"]), MESSAGE);
    put(&server.scratch, envelope(&["bob@bücher.example"]), MESSAGE);
    wait_until_empty(&server);
    let notices = notices(&server, "alice").concat();
    assert!(notices.contains("Status: 5.6.3\n") && notices.contains("Status: 5.6.7\n"), "{notices}");
    assert!(notices.contains("Final-Recipient: utf-8;jõgeva@there.example\n"));
    assert_eq!(smarthost.taken().len(), 1);
    assert_eq!(smarthost.taken()[0].rcpt, ["RCPT TO:<bob@xn--bcher-kva.example>"]);
}

#[test]
fn many_recipients_are_several_transactions() {
    let smarthost = Smarthost::start();
    // The second transaction is cut after 30 of them.
    smarthost.rule(|command, before| {
        (command.starts_with("RCPT") && (130..200).contains(&before)).then(|| Answer::Say("452 4.5.3 too many".into()))
    });
    let server = serve("relay-many", &smarthost, "");
    let recipients: Vec<String> = (0..250).map(|number| format!("r{number}@there.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    put(&server.scratch, envelope(&recipients), MESSAGE);
    wait_until_empty(&server);
    let mut all: Vec<String> = smarthost.taken().into_iter().flat_map(|taken| taken.rcpt).collect();
    assert_eq!(all.len(), 250);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 250, "each once");
    assert_eq!(smarthost.connections.load(Ordering::SeqCst), 1);
    assert_eq!(smarthost.count("DATA"), 4);
}

#[test]
fn a_circle_ends() {
    let smarthost = Smarthost::start();
    let server = serve("relay-circle", &smarthost, "");
    let own = "Received: from x ([192.0.2.1])\n\tby mail.example.org (mailbell) with ESMTP id 1;\n\tnow\n".repeat(4);
    put(&server.scratch, envelope(&["bob@there.example"]), &format!("{own}{MESSAGE}"));
    wait_until_empty(&server);
    assert!(smarthost.taken().is_empty());
    assert!(notices(&server, "alice")[0].contains("Status: 5.4.6\n"));
}

#[test]
fn the_queue_is_listed_retried_and_dropped() {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, _| command.contains("later@there").then(|| Answer::Say("450 4.2.1 later".into())));
    let more = "warn = \"off\"";
    let scratch = Scratch::prepared("relay-queue", &configuration(smarthost.port, more).replace("1s..2s", "1h..2h"));
    let file = scratch.path("mailbell.toml");
    let output = |arguments: &[&str]| {
        let output = run(&file, arguments, "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(output(&["queue"]), (Some(0), "Mail queue is empty\n".into()));
    let id = put(&scratch, envelope(&["later@there.example", "yes@there.example"]), MESSAGE);
    let listed = output(&["queue", "list"]).1;
    assert!(listed.starts_with(&format!("{id} ")) && listed.contains("    yes@there.example\n"), "{listed}");
    let server = Server::start_in(scratch, &[]);
    wait_for("the first try", || (smarthost.count("BODY") == 1).then_some(()));
    let listed = wait_for("the note", || Some(output(&["queue"]).1).filter(|text| text.contains("next try")));
    assert!(listed.contains("(450 4.2.1 later)\n") && listed.contains("    later@there.example\n"), "{listed}");
    assert!(!listed.contains("yes@there.example"), "done recipients are not listed: {listed}");
    let status = String::from_utf8(server.run(&["status"], "").stdout).unwrap();
    assert!(status.contains("1 waiting"), "{status}");
    // A retry comes at once, with a server and for one that starts later.
    let tries = || smarthost.count("RCPT TO:<later@there.example>");
    let before = tries();
    assert_eq!(output(&["queue", "retry"]).0, Some(0));
    wait_for("a try", || (tries() > before).then_some(()));
    let before = tries();
    assert_eq!(output(&["queue", "retry", id.as_str()]).0, Some(0));
    wait_for("a try", || (tries() > before).then_some(()));
    let scratch = server.stop();
    assert_eq!(output(&["queue", "retry", id.as_str()]).0, Some(0));
    let before = tries();
    let server = Server::start_in(scratch, &[]);
    wait_for("a try", || (tries() > before).then_some(()));
    for (arguments, code) in [
        (&["queue", "drop"][..], 64),
        (&["queue", "fly"], 64),
        (&["queue", "drop", "1.none"], 66),
        (&["queue", "drop", "../x"], 66),
    ] {
        assert_eq!(output(arguments).0, Some(code), "{arguments:?}");
    }
    smarthost.rule(|_, _| None);
    assert_eq!(output(&["queue", "drop", id.as_str()]), (Some(0), String::new()));
    assert_eq!(output(&["queue"]).1, "Mail queue is empty\n");
    // Proven by a message that comes after it.
    put(&server.scratch, envelope(&["after@there.example"]), MESSAGE);
    wait_until_empty(&server);
    wait_for_rest("the mail of the dropped message", || smarthost.taken().len());
    assert_eq!(smarthost.taken().len(), 2);
    assert!(notices(&server, "alice").is_empty());
}

#[test]
fn messages_wait_over_restarts_and_hanging_smarthosts() {
    for stage in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BODY"] {
        let smarthost = Smarthost::start();
        smarthost.rule(move |command, before| (command.starts_with(stage) && before == 0).then_some(Answer::Hang));
        let server = serve(&format!("relay-hang-{stage}"), &smarthost, "");
        put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
        wait_for("the hang", || (smarthost.count(stage) == 1).then_some(()));
        let scratch = server.stop();
        assert_eq!(waiting(&scratch), 1, "{stage}");
        let server = Server::start_in(scratch, &[]);
        wait_until_empty(&server);
        assert_eq!(smarthost.taken().len(), 1, "{stage}");
    }
}

#[test]
fn a_connection_that_ends_between_two_messages_is_replaced_at_once() {
    let smarthost = Smarthost::start();
    // The third MAIL finds a connection that had served two messages, and is gone.
    smarthost.rule(|command, before| (command.starts_with("MAIL") && before == 2).then_some(Answer::Close));
    // A try that counted would be followed by a wait that no test outlasts.
    let relay = configuration(smarthost.port, "").replace("retry = \"1s..2s\"", "retry = \"1h..2h\"");
    let scratch = Scratch::prepared("relay-between", &relay);
    for _ in 0..4 {
        put(&scratch, envelope(&["bob@there.example"]), MESSAGE);
    }
    let server = Server::start_in(scratch, &[]);
    wait_until_empty(&server);
    let connections: Vec<usize> = smarthost.taken().iter().map(|taken| taken.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1]);
    assert!(!server.log().contains("deferred"), "{}", server.log());
}

#[test]
fn a_stop_says_goodbye_on_a_connection_that_waits_for_another_message() {
    let smarthost = Smarthost::start();
    let server = serve("relay-goodbye", &smarthost, "");
    put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
    wait_until_empty(&server);
    server.stop();
    assert_eq!((smarthost.count("QUIT"), smarthost.connections.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn a_reload_names_another_smarthost() {
    let (one, other) = (Smarthost::start(), Smarthost::start());
    one.rule(|command, _| command.starts_with("CONNECT").then(|| Answer::Say("421 4.3.2 no".into())));
    let server = serve("relay-reload", &one, "");
    put(&server.scratch, envelope(&["bob@there.example"]), MESSAGE);
    wait_for("a try", || (one.count("CONNECT") >= 1).then_some(()));
    fs::write(server.path("mailbell.toml"), configuration(other.port, "")).unwrap();
    server.signal("HUP");
    wait_until_empty(&server);
    assert_eq!((one.taken().len(), other.taken().len()), (0, 1));
}

#[test]
fn a_queue_with_more_messages_than_a_process_may_open_files_is_listed_whole() {
    let scratch = Scratch::prepared("queue-long", &configuration(9, ""));
    for _ in 0..80 {
        put(&scratch, envelope(&["x@there.example"]), MESSAGE);
    }
    let shell = "ulimit -n 40; exec \"$0\" queue";
    let output = std::process::Command::new("sh")
        .args(["-c", shell])
        .arg(common::binary())
        .env("MAILBELL_CONFIG", scratch.path("mailbell.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), text.matches("x@there.example").count()), (Some(0), 80), "{text}");
    assert!(text.contains("\n80 messages, "), "{text}");
}
