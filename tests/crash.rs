//! The server is killed at each step of a message's life: what was acknowledged is there, nothing is there by halves, and
//! every message in `new/` has exactly one record after the next start. Needs `--features failpoints`.
#![cfg(feature = "failpoints")]

mod common;

use common::{BASIC, Scratch, Server, Talk, files, records, run};
use mailbell::maildir::failpoint::STEPS;
use std::collections::BTreeMap;
use std::fs;

const LAST_LINE: &str = "the last line\n";

fn message(subject: &str, lines: usize) -> String {
    format!("Subject: {subject}\n\n{}{LAST_LINE}", "a line in between\n".repeat(lines))
}

/// Sends to alice and bob; true when it was acknowledged. The server may die meanwhile.
fn send(server: &Server, subject: &str, lines: usize) -> bool {
    let mut talk = Talk::to(server.address("smtp"));
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    talk.say("MAIL FROM:<sender@example.com>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("RCPT TO:<bob@example.org>", "250");
    talk.say("DATA", "354");
    // The server dies when it likes, so the rest may not be taken any more.
    let text = message(subject, lines).replace('\n', "\r\n") + ".\r\n";
    let _ = std::io::Write::write_all(&mut talk.stream(), text.as_bytes());
    talk.line().is_some_and(|line| line.starts_with("250"))
}

/// Every message in `new/`, by user and id; each is whole.
fn stored(scratch: &Scratch) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for user in ["alice", "bob"] {
        for file in files(&scratch.path(&format!("mail/{user}/new"))) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("Return-Path: <") && text.ends_with(LAST_LINE), "half a message: {file:?}");
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(name.contains(&format!(",S={},", text.len())), "{name}");
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
            found.insert((user.to_owned(), name.split(',').next().unwrap().to_owned()), subject);
        }
    }
    found
}

/// Every record, by user and id, with its subject; none twice, and no gap in `seq`.
fn recorded(scratch: &Scratch) -> BTreeMap<(String, String), String> {
    let records = records(&scratch.path("state/journal"));
    let mut found = BTreeMap::new();
    for (record, seq) in records.iter().zip(1..) {
        assert_eq!(record["seq"], seq);
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        assert_eq!((record["via"].as_str(), record["mail_from"].as_str()), (Some("smtp"), Some("sender@example.com")));
        assert!(found.insert((text("user"), text("id")), text("subject")).is_none(), "twice: {record}");
    }
    found
}

fn copies(of: &BTreeMap<(String, String), String>, subject: &str) -> usize {
    of.values().filter(|other| *other == subject).count()
}

/// One message, the death of the server at a step, and the next start.
fn die_at(step: &str, lines: usize) {
    let scratch = Scratch::prepared(&format!("crash-{}", step.replace(':', "-")), BASIC);
    let server = Server::start_in(scratch, &[]);
    assert!(send(&server, "before", 1));
    let server = Server::start_in(server.stop(), &[("MAILBELL_FAIL_AT", step)]);
    let acknowledged = send(&server, "crash", lines);
    let scratch = server.wait_for_end();
    // Before anybody could repair anything.
    let found = stored(&scratch);
    if acknowledged {
        assert_eq!(copies(&found, "crash"), 2, "{step}: acknowledged and lost");
    }
    let server = Server::start_in(scratch, &[]);
    let scratch = server.stop();
    assert_eq!(stored(&scratch), found, "{step}: a start changes no mail");
    assert_eq!(recorded(&scratch), found, "{step}: each message in new/ has its one record");
    // The same once more, and mail goes on.
    let server = Server::start_in(scratch, &[]);
    assert!(send(&server, "after", 1));
    let scratch = server.stop();
    assert_eq!((copies(&stored(&scratch), "before"), copies(&stored(&scratch), "after")), (2, 2));
    assert_eq!(recorded(&scratch), stored(&scratch), "{step}");
}

#[test]
fn a_small_message_survives_a_death_at_every_step() {
    STEPS.iter().for_each(|step| die_at(step, 1));
}

#[test]
fn a_death_between_the_recipients_is_as_good() {
    ["after-rename:2", "after-dirsync:2"].iter().for_each(|step| die_at(step, 1));
}

#[test]
fn a_large_message_survives_a_death_at_every_step() {
    STEPS.iter().chain(&["after-write:2", "after-write:3"]).for_each(|step| die_at(step, 40_000));
}

#[test]
fn a_delivery_that_dies_is_recorded_by_the_next_server() {
    for step in STEPS {
        let scratch = Scratch::prepared("crash-deliver", BASIC);
        let mut command = std::process::Command::new(common::binary());
        command.args(["deliver", "-f", "sender@example.com", "alice", "bob"]).env("MAILBELL_FAIL_AT", step);
        command.env("MAILBELL_CONFIG", scratch.path("mailbell.toml")).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), message("crash", 1).as_bytes()).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step}");
        let found = stored(&scratch);
        let scratch = Server::start_in(scratch, &[]).stop();
        assert_eq!(records(&scratch.path("state/journal")).len(), found.len(), "{step}");
        let again = run(&scratch.path("mailbell.toml"), &["deliver", "alice"], &message("again", 1));
        assert!(again.status.success());
        assert_eq!(records(&scratch.path("state/journal")).len(), found.len() + 1);
    }
}

#[test]
fn nobody_is_told_of_a_record_that_is_not_on_disk() {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let scratch = Scratch::prepared("crash-untold", BASIC);
    let server = Server::start_in(scratch, &[("MAILBELL_FAIL_AT", "before-journal-sync")]);
    let options = fs::OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).clone();
    let mut pipe = options.open(server.path("notify")).unwrap();
    send(&server, "untold", 1);
    let scratch = server.wait_for_end();
    assert_eq!(records(&scratch.path("state/journal")).len(), 2, "they were written");
    let mut told = String::new();
    pipe.read_to_string(&mut told).unwrap();
    assert_eq!(told, "", "and not told");
    // The next start makes them safe, and tells.
    drop(pipe);
    let server = Server::start_in(scratch, &[]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(fs::File::open(server.path("notify")).unwrap()));
    for user in ["alice", "bob"] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains(&format!("/mail/{user}/new/ MOVED_TO ")), "{line}");
    }
    drop(lines);
    server.stop();
}
