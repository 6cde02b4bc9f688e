//! The server is killed at each step of a message's way through the queue: what was acknowledged reaches the smarthost, twice
//! only where the smarthost had taken it and that was not noted yet; and the sender is told of what failed. Needs
//! `--features failpoints`.
#![cfg(all(feature = "failpoints", feature = "relay"))]

mod common;
#[path = "common/smarthost.rs"]
mod smarthost;

use common::{BASIC, Scratch, Server, Talk, files, wait_for};
use mailbell::maildir::failpoint::{QUEUE_STEPS, STEPS};
use serde_json::Value;
use smarthost::{Answer, Smarthost};
use std::collections::BTreeSet;
use std::fs;

const USERS: &str = "alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\ncarol:{PLAIN}secret-c\n";

fn id_of(record: &Value) -> String {
    record["id"].as_str().unwrap().to_owned()
}

/// Sends to two recipients elsewhere, of which the smarthost refuses one, and to users here; true when it was acknowledged.
fn send(server: &Server, subject: &str, lines: usize, here: &[&str]) -> bool {
    let mut talk = Talk::to(server.address("smtp"));
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    talk.say("AUTH PLAIN AGFsaWNlAHNlY3JldC1h", "235");
    talk.say("MAIL FROM:<alice@example.org>", "250");
    talk.say("RCPT TO:<yes@there.example>", "250");
    talk.say("RCPT TO:<no@there.example>", "250");
    for user in here {
        talk.say(&format!("RCPT TO:<{user}@example.org>"), "250");
    }
    talk.say("DATA", "354");
    // The server dies when it likes, so the rest may not be taken any more.
    let text = format!("Subject: {subject}\r\n\r\n{}.\r\n", "a line\r\n".repeat(lines));
    let _ = std::io::Write::write_all(&mut talk.stream(), text.as_bytes());
    talk.line().is_some_and(|line| line.starts_with("250"))
}

fn die_at(step: &str, lines: usize, here: &[&str]) {
    let smarthost = Smarthost::start();
    smarthost.rule(|command, _| command.contains("no@there").then(|| Answer::Say("550 5.1.1 no".into())));
    let relay =
        format!("[relay]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\nretry = \"1s..2s\"\n", smarthost.port);
    let scratch = Scratch::prepared(&format!("relay-crash-{}-{step}", here.len()), &format!("{BASIC}\n{relay}"));
    fs::write(scratch.path("users"), USERS).unwrap();
    let server = Server::start_in(scratch, &[("MAILBELL_FAIL_AT", step)]);
    let acknowledged = send(&server, "crash", lines, here);
    let scratch = server.wait_for_end();
    let server = Server::start_in(scratch, &[]);
    assert!(send(&server, "after", 1, here));
    wait_for("an empty queue", || files(&server.path("state/queue/waiting")).is_empty().then_some(()));
    let count = |subject: &str| {
        let taken = smarthost.taken();
        taken.iter().filter(|taken| taken.data.contains(&format!("Subject: {subject}\n"))).count()
    };
    let told = |subject: &str| {
        let notices = server.new_files("alice").into_iter().map(|file| fs::read_to_string(file).unwrap());
        notices.filter(|notice| notice.contains(&format!("Subject: {subject}\n"))).count()
    };
    assert_eq!((count("after"), told("after")), (1, 1), "{step}");
    for user in here {
        let stored = server.new_files(user).into_iter().map(|file| fs::read_to_string(file).unwrap());
        let stored: Vec<String> = stored.collect();
        let copies =
            |subject: &str| stored.iter().filter(|text| text.contains(&format!("Subject: {subject}\n"))).count();
        assert_eq!(copies("after"), 1, "{step}");
        assert!(copies("crash") <= 1 && (copies("crash") == 1 || !acknowledged), "{step}: {user}");
        // Each file has its one record.
        let own = |record: &Value| record["user"] == *user;
        let told: BTreeSet<String> = server.records().iter().filter(|record| own(record)).map(id_of).collect();
        assert_eq!(
            (told.len(), server.records().iter().filter(|record| own(record)).count()),
            (stored.len(), stored.len())
        );
    }
    // From its rename on the message is sent, beside the steps that follow: the death comes at any moment of that.
    let is_beside = STEPS.contains(&step) || matches!(step, "queue-renamed" | "queue-committed");
    let most = if is_beside || matches!(step, "queue-answered" | "queue-noted") { 2 } else { 1 };
    let most_told = if is_beside || step == "queue-told" { 2 } else { 1 };
    if acknowledged {
        assert!(count("crash") >= 1 && told("crash") >= 1, "{step}: acknowledged and lost");
    }
    assert!(count("crash") <= most, "{step}: {} times", count("crash"));
    assert!(told("crash") <= most_told, "{step}: told {} times", told("crash"));
    assert!(files(&server.path("state/queue/damaged")).is_empty(), "{step}");
    let scratch = server.stop();
    assert!(files(&scratch.path("state/queue/tries")).is_empty(), "{step}");
}

#[test]
fn a_message_survives_a_death_at_every_step() {
    QUEUE_STEPS.iter().filter(|step| **step != "queue-written").for_each(|step| die_at(step, 1, &[]));
}

#[test]
fn a_large_message_does_too() {
    ["queue-written", "queue-synced", "queue-answered"].iter().for_each(|step| die_at(step, 40_000, &[]));
}

/// Two renames: into the Maildirs, then into the queue. A death between them comes before the 250, so that the sender sends
/// again; behind both, nobody is missed.
#[test]
fn a_message_to_users_here_and_to_others_survives_a_death_at_every_step() {
    let steps = STEPS.iter().chain(&QUEUE_STEPS).filter(|step| **step != "queue-written");
    steps.for_each(|step| die_at(step, 1, &["bob", "carol"]));
}
