//! Old messages are deleted, the journal stays within its size, and nobody is disturbed: on the real binary.

mod common;

use common::{BASIC, Scratch, Server, files, wait_for};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// Puts a message of this age into a user's Maildir.
fn put(scratch: &Scratch, user: &str, folder: &str, days: u64, rest: &str) -> PathBuf {
    let maildir = scratch.path("mail").join(user);
    for part in ["new", "cur", "tmp"] {
        fs::create_dir_all(maildir.join(part)).unwrap();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let path = maildir.join(folder).join(format!("{}.M1P1Q{days}.h{rest}", now - days * DAY));
    fs::write(&path, format!("Subject: {days} days\n\nx\n")).unwrap();
    path
}

fn prepared(name: &str, mail: &str, users: &str, more: &str) -> Scratch {
    let text =
        BASIC.replace("[mail]\n", &format!("[mail]\n{mail}\n")).replace("[users]\n", &format!("[users]\n{users}\n"));
    Scratch::prepared(name, &format!("{text}{more}"))
}

/// Waits until a file is gone.
fn gone(path: &Path) {
    wait_for(&format!("the end of {}", path.display()), || (!path.exists()).then_some(()));
}

#[test]
fn each_users_old_mail_goes_and_the_rest_stays() {
    let scratch = prepared(
        "retention",
        "delete_after = \"30d\"\ncompress_after = \"1d\"",
        "delete_after = { bob = \"7d\", carol = \"off\" }",
        "",
    );
    let old = [
        put(&scratch, "alice", "new", 31, ""),
        put(&scratch, "alice", "cur", 40, ",S=24:2,S"),
        put(&scratch, "bob", "new", 8, ""),
    ];
    let gzip = put(&scratch, "alice", "cur", 50, ",S=24:2,SZ");
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&gzip).unwrap(), flate2::Compression::default());
    encoder.write_all(b"Subject: 50 days\n\nx\n").unwrap();
    encoder.finish().unwrap();
    let young = [
        put(&scratch, "alice", "new", 29, ""),
        put(&scratch, "bob", "new", 6, ""),
        put(&scratch, "carol", "new", 900, ""),
    ];
    let server = Server::start_in(scratch, &[]);
    old.iter().chain([&gzip]).for_each(|path| gone(path));
    wait_for("the log", || server.log().contains("bob: 1 old messages deleted").then_some(()));
    assert!(server.log().contains("alice: 3 old messages deleted"), "{}", server.log());
    assert!(young.iter().all(|path| path.exists()));
    // Each message in new/ became an event before it went.
    assert_eq!(server.records().len(), 5);
    let mut talk = server.pop3();
    talk.expect("+OK");
    talk.say("CAPA", "+OK");
    let capabilities = String::from_utf8(talk.multi_line()).unwrap();
    assert!(capabilities.contains("EXPIRE 7\r\n"), "{capabilities}");
    server.stop();
}

#[test]
fn an_open_pop3_session_keeps_what_it_has_listed() {
    // Shorter than the pause between two passes is long, so that the first pass comes while the session is open.
    let scratch = prepared("retention-pop3", "delete_after = \"7d\"", "", "[journal]\nkeep = \"8s\"\n");
    let path = put(&scratch, "alice", "cur", 8, ":2,");
    let other = put(&scratch, "bob", "cur", 8, ":2,");
    let server = Server::start_in(scratch, &[("MAILBELL_LOG", "debug")]);
    let mut session = server.pop3_as("alice");
    gone(&other);
    wait_for("the pass", || server.log().contains("alice: a POP3 session is open").then_some(()));
    session.say("RETR 1", "+OK");
    assert!(String::from_utf8(session.multi_line()).unwrap().contains("8 days"));
    assert!(path.exists());
    session.say("QUIT", "+OK");
    // The next pass.
    gone(&path);
    server.stop();
}

#[test]
fn a_message_stays_until_its_hook_is_done() {
    let hook = "[[hook]]\nname = \"slow\"\ncommand = [\"./slow\"]\n";
    let scratch = prepared("retention-hook", "delete_after = \"7d\"", "", &format!("{hook}[journal]\nkeep = \"8s\"\n"));
    let folder = scratch.0.display();
    fs::write(
        scratch.path("slow"),
        format!("#!/bin/sh\nuntil test -e {folder}/go; do sleep 0.05; done\ncat > {folder}/$MAILBELL_SEQ.eml\n"),
    )
    .unwrap();
    fs::set_permissions(scratch.path("slow"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // The hook begins at the end of the journal, so its cursor is there before the messages.
    let server = Server::start_in(Server::start_in(scratch, &[]).stop(), &[]);
    let first = put(&server.scratch, "alice", "new", 8, "a");
    let far_too_old = put(&server.scratch, "alice", "new", 15, "b");
    // Now, because the journal keeps them for seconds only.
    let records = wait_for("both events", || Some(server.records()).filter(|records| records.len() == 2));
    gone(&far_too_old);
    assert!(first.exists());
    fs::write(server.path("go"), "").unwrap();
    let seq = if records[0]["path"].as_str().unwrap() == first.to_str().unwrap() { 1 } else { 2 };
    let got = wait_for("the hook", || {
        fs::read_to_string(server.path(&format!("{seq}.eml"))).ok().filter(|text| !text.is_empty())
    });
    assert!(got.contains("8 days"), "{got}");
    gone(&first);
    server.stop();
}

#[test]
fn a_message_stays_for_a_hook_that_would_read_it_by_its_id() {
    let hook = "[[hook]]\nname = \"pictures\"\ncommand = [\"/bin/false\"]\nstdin = \"none\"\nretry = \"1h..1h\"\n";
    let scratch = prepared("retention-cat", "delete_after = \"7d\"", "", hook);
    // The hook begins at the end of the journal, so its cursor is there before the messages.
    let scratch = Server::start_in(scratch, &[]).stop();
    let first = put(&scratch, "alice", "new", 8, "a");
    let far_too_old = put(&scratch, "alice", "new", 15, "b");
    let server = Server::start_in(scratch, &[]);
    gone(&far_too_old);
    wait_for("the pass", || server.log().contains("1 more wait for a hook").then_some(()));
    assert!(first.exists());
    server.stop();
}

#[test]
fn the_journal_stays_within_its_size_and_tells_what_was_lost() {
    let hook = "[[hook]]\nname = \"stuck\"\ncommand = [\"/bin/false\"]\nretry = \"1h..1h\"\nstdin = \"none\"\n";
    let scratch = prepared("journal-size", "", "", &format!("{hook}[journal]\nmax_size = \"64KiB\"\n"));
    let server = Server::start_in(scratch, &[]);
    let size = || {
        files(&server.path("state/journal")).iter().map(|path| fs::metadata(path).map_or(0, |it| it.len())).sum::<u64>()
    };
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    let subject = "x".repeat(800);
    for number in 0..300 {
        talk.say("MAIL FROM:<sender@example.com>", "250");
        talk.say("RCPT TO:<alice@example.org>", "250");
        talk.say("DATA", "354");
        talk.say(&format!("Subject: {number} {subject}\r\n\r\nx\r\n."), "250");
    }
    wait_for("a small journal", || (size() < 64 * 1024 + 3 * 16 * 1024).then_some(()));
    let status = |name: &str| -> serde_json::Value {
        let output = server.run(&["status", "--json"], "");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = status["subscribers"].as_array().unwrap().clone();
        all.into_iter().find(|each| each["name"].as_str().unwrap().starts_with(name)).unwrap()
    };
    // Segments may be dropped while the status is made.
    wait_for("each event to be lost or to wait", || {
        let stuck = status("hook:stuck");
        let number = |name: &str| stuck[name].as_u64().unwrap();
        (number("lost") > 100 && number("lost") + number("backlog") == 300 - number("last_seq")).then_some(())
    });
    assert!(server.log().contains("the journal is larger than journal.max_size"), "{}", server.log());
    // New events are told as ever.
    assert_eq!(server.records().last().unwrap()["seq"], 300);
    server.kill();
}
