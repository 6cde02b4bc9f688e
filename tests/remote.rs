//! `[[remote]]` against Debian's Dovecot, on the real binary.
#![cfg(feature = "remote")]

mod common;

use common::dovecot::Dovecot;
use common::{BASIC, Scratch, Server, run, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A `[[remote]]` for Dovecot, with more settings.
fn remote(port: u16, protocol: &str, settings: &str) -> String {
    let secret = if settings.contains("_command") { "" } else { "password_file = \"work.pw\"\n" };
    format!(
        "\n[[remote]]\nname = \"work\"\nprotocol = \"{protocol}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\n\
         login = \"me@example.com\"\nuser = \"alice\"\n{secret}{settings}"
    )
}

fn prepared(name: &str, remotes: &str) -> Scratch {
    let scratch = Scratch::prepared(name, &format!("{BASIC}{remotes}"));
    fs::write(scratch.path("work.pw"), "secret\n").unwrap();
    fs::set_permissions(scratch.path("work.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    scratch
}

fn serve(name: &str, remotes: &str) -> Server {
    Server::start_in(prepared(name, remotes), &[])
}

fn status(server: &Server) -> Vec<Value> {
    let output = server.run(&["status", "--json"], "");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["remotes"].as_array().unwrap().clone()
}

/// Waits until every folder was looked at and is idle, or waits for its next look.
fn settled(server: &Server) {
    wait_for("a good pass of each folder", || {
        let all = status(server);
        (!all.is_empty() && all.iter().all(|each| each["last_success"].is_string() && each["state"] != "fetching"))
            .then_some(())
    });
}

fn subjects(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["subject"].as_str().unwrap_or("")).collect()
}

fn fetch(server: &Server) -> i32 {
    server.run(&["fetch", "work"], "").status.code().unwrap()
}

#[test]
fn what_arrives_there_is_stored_and_recorded_here() {
    let Some(dovecot) = Dovecot::start("idle") else { return };
    dovecot.deliver("old", "old@x");
    let server = serve("remote-idle", &remote(dovecot.imap, "imap", ""));
    settled(&server);
    assert!(server.records().is_empty(), "only_new");
    dovecot.deliver("first", "1@x");
    let records = wait_for("the record", || Some(server.records()).filter(|records| records.len() == 1));
    let record = &records[0];
    for (field, value) in [
        ("subject", "first"),
        ("via", "poll"),
        ("user", "alice"),
        ("remote", "work"),
        ("folder", "INBOX"),
        ("message_id", "<1@x>"),
        ("key", "mid:<1@x>"),
    ] {
        assert_eq!(record[field], value, "{field}: {record}");
    }
    assert!(record["mail_from"].is_null() && record["rcpt_to"].is_null(), "{record}");
    let uid = record["uid"].as_str().unwrap();
    let (validity, number) = uid.split_once('.').unwrap();
    let uri = format!("imap://me%40example.com@127.0.0.1:{}/INBOX;UIDVALIDITY={validity}/;UID={number}", dovecot.imap);
    assert_eq!(record["uri"], uri);
    let text = fs::read_to_string(record["path"].as_str().unwrap()).unwrap();
    assert!(text.contains(&format!("(fetched from work, folder INBOX, uid {uid})")), "{text}");
    assert!(text.ends_with("\nSubject: first\nMessage-ID: <1@x>\n\nbody of first\n"), "{text}");
    assert_eq!(dovecot.messages().len(), 2, "after = leave");

    // A restart gives nothing twice, and what came meanwhile.
    let scratch = server.stop();
    dovecot.deliver("second", "2@x");
    let server = Server::start_in(scratch, &[]);
    let records = wait_for("the second record", || Some(server.records()).filter(|records| records.len() >= 2));
    assert_eq!(subjects(&records), ["first", "second"]);
    dovecot.deliver("third", "");
    assert_eq!(fetch(&server), 0);
    assert_eq!(subjects(&server.records()), ["first", "second", "third"]);
    assert_eq!(server.new_files("alice").len(), 3);
    let entry = &status(&server)[0];
    assert_eq!((&entry["remote"], &entry["folder"], &entry["parked"]), (&"work".into(), &"INBOX".into(), &0.into()));
    assert!(!server.log().contains("secret"));
    server.stop();
}

#[test]
fn tls_by_a_ca_a_fingerprint_and_starttls() {
    let Some(dovecot) = Dovecot::start("tls") else { return };
    dovecot.deliver("one", "1@x");
    let ca = format!("ca = {:?}\n", dovecot.scratch.path("ca.pem"));
    let wrong = format!("fingerprint = [\"{}\"]\n", "0".repeat(64));
    let of = |protocol: &str, port: u16, tls: &str, trust: &str| {
        let settings = format!("only_new = false\n{trust}");
        remote(port, protocol, &settings).replace("tls = \"off\"", &format!("tls = \"{tls}\""))
    };
    let fetch = |remotes: String| {
        let scratch = prepared("remote-tls", &remotes);
        let output = run(&scratch.path("mailbell.toml"), &["fetch", "--once", "work"], "");
        let records = common::records(&scratch.path("state/journal"));
        (output.status.code().unwrap(), records, String::from_utf8(output.stderr).unwrap())
    };
    let (code, _, said) = fetch(of("imap", dovecot.imaps, "implicit", &wrong));
    assert!(code == 75 && said.contains("none of `fingerprint`; the fingerprint that came is "), "{said}");
    let came = said.split("the fingerprint that came is ").nth(1).unwrap().trim().to_uppercase();
    let fingerprint = format!("fingerprint = [\"{came}\"]\n");
    for (protocol, port, tls) in [
        ("imap", dovecot.imaps, "implicit"),
        ("imap", dovecot.imap, "starttls"),
        ("pop3", dovecot.pop3s, "implicit"),
        ("pop3", dovecot.pop3, "starttls"),
    ] {
        for trust in [&ca, &fingerprint] {
            let (code, records, said) = fetch(of(protocol, port, tls, trust));
            assert_eq!((code, records.len()), (0, 1), "{protocol} {tls} {trust}: {said}");
            assert!(records[0]["tls"].as_str().unwrap().starts_with("TLSv1."), "{}", records[0]);
        }
    }
    // The system's roots know nothing of it; neither does this certificate name another host.
    let (code, records, said) = fetch(of("imap", dovecot.imaps, "implicit", ""));
    assert!(
        code == 75 && records.is_empty() && said.contains("not trusted") || said.contains("ca-certificates"),
        "{said}"
    );
}

#[test]
fn a_stop_says_goodbye() {
    let Some(dovecot) = Dovecot::start("stop") else { return };
    let server = serve("remote-stop", &remote(dovecot.imap, "imap", ""));
    settled(&server);
    server.stop();
    wait_for("Dovecot's word of it", || dovecot.log().contains("Logged out").then_some(()));
}

#[test]
fn several_folders_and_everything_that_was_there() {
    let Some(dovecot) = Dovecot::start("folders") else { return };
    dovecot.admin(&["mailbox", "create", "-u", "me@example.com", "Entw\u{fc}rfe"]);
    for number in 0..20 {
        dovecot.deliver(&format!("m{number:02}"), &format!("{number}@x"));
    }
    let folder = ".Entw&APw-rfe";
    dovecot.deliver_to(&format!("Maildir/{folder}"), "Subject: draft\n\nx\n");
    let settings = "only_new = false\nfolders = [\"INBOX\", \"Entw\u{fc}rfe\", \"Missing\"]\n";
    let server = serve("remote-folders", &remote(dovecot.imap, "imap", settings));
    let records = wait_for("all records", || Some(server.records()).filter(|records| records.len() == 21));
    let draft = records.iter().find(|record| record["subject"] == "draft").unwrap();
    assert_eq!(draft["folder"], "Entw\u{fc}rfe");
    let mut of_inbox: Vec<_> = subjects(&records).into_iter().filter(|subject| *subject != "draft").collect();
    assert!(of_inbox.is_sorted(), "in the order of their UIDs: {of_inbox:?}");
    of_inbox.dedup();
    assert_eq!(of_inbox.len(), 20);
    let missing = wait_for("the missing folder's error", || {
        status(&server).into_iter().find(|each| each["folder"] == "Missing" && each["last_error"].is_string())
    });
    assert!(missing["last_error"].as_str().unwrap().contains("cannot be opened"), "{missing}");
    assert!(missing["next_try"].is_string());
}

#[test]
fn mail_that_stays_there_rings_here() {
    let Some(dovecot) = Dovecot::start("ring") else { return };
    let server = serve("remote-ring", &remote(dovecot.imap, "imap", "store = false\n"));
    settled(&server);
    dovecot.deliver("stays", "1@x");
    let records = wait_for("the record", || Some(server.records()).filter(|records| records.len() == 1));
    let record = &records[0];
    assert!(record["path"].is_null() && record["uri"].is_string(), "{record}");
    assert_eq!(record["id"], format!("work.{}", record["uid"].as_str().unwrap()));
    assert_eq!((record["subject"].as_str(), record["via"].as_str()), (Some("stays"), Some("poll")));
    assert!(record["size"].as_u64().unwrap() > 80, "{record}");
    assert!(server.new_files("alice").is_empty());
    // Over a restart it is known.
    let server = Server::start_in(server.kill(), &[]);
    settled(&server);
    dovecot.deliver("stays too", "2@x");
    assert_eq!(fetch(&server), 0);
    assert_eq!(subjects(&server.records()), ["stays", "stays too"]);
}

#[test]
fn mail_that_stays_there_is_fetched_for_hooks_and_cat() {
    let Some(mut dovecot) = Dovecot::start("ring-hook") else { return };
    let hook = "[[pipe]]\npath = \"paths\"\nformat = \"path\"\n[[pipe]]\npath = \"ids\"\nformat = \"{id}\"\n\
                [[hook]]\nname = \"h\"\ncommand = [\"./hook\"]\nstdin = \"message\"\n";
    let scratch = prepared("remote-ring-hook", &format!("{hook}{}", remote(dovecot.imap, "imap", "store = false\n")));
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{ echo \"uri $MAILBELL_URI path $MAILBELL_PATH.\"; cat; echo end; } >> out\n";
    fs::write(scratch.path("hook"), script).unwrap();
    fs::set_permissions(scratch.path("hook"), fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::start_in(scratch, &[]);
    settled(&server);
    let mut ids = fs::File::options().read(true).write(true).open(server.path("ids")).unwrap();
    let mut paths = fs::File::options().read(true).write(true).open(server.path("paths")).unwrap();
    dovecot.deliver("stays", "1@x");
    let out = wait_for("the hook", || fs::read_to_string(server.path("out")).ok().filter(|out| out.ends_with("end\n")));
    assert!(out.starts_with("uri imap://me%40example.com@127.0.0.1:") && out.contains("/;UID=1 path .\n"), "{out}");
    assert!(out.contains("Subject: stays\nMessage-ID: <1@x>\n\nbody of stays\n"), "{out}");
    let id = server.records()[0]["id"].as_str().unwrap().to_owned();
    let mut line = vec![0; 100];
    let count = std::io::Read::read(&mut ids, &mut line).unwrap();
    assert_eq!(String::from_utf8_lossy(&line[..count]), format!("{id}\n"));
    let printed = server.run(&["cat", &id], "");
    assert!(String::from_utf8_lossy(&printed.stdout).ends_with("\n\nbody of stays\n"), "{printed:?}");
    // A line that names a file is written for stored mail alone, so the next stored message has the first one.
    server.send("alice@example.org", "Subject: stored\n\nx\n");
    let count = std::io::Read::read(&mut paths, &mut line).unwrap();
    assert!(String::from_utf8_lossy(&line[..count]).starts_with('/'), "{}", String::from_utf8_lossy(&line[..count]));
    dovecot.down();
    assert_eq!(server.run(&["cat", &id], "").status.code(), Some(75));
    assert_eq!(server.run(&["cat", "work.1.77"], "").status.code(), Some(66));
}

#[test]
fn check_looks_at_secrets_users_and_servers() {
    let Some(dovecot) = Dovecot::start("check") else { return };
    dovecot.deliver("one", "1@x");
    let scratch = prepared("remote-check", &remote(dovecot.imap, "imap", "folders = [\"INBOX\", \"Missing\"]\n"));
    let check = |arguments: &[&str]| {
        let output = run(&scratch.path("mailbell.toml"), &[&["check"], arguments].concat(), "");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    let (code, said) = check(&[]);
    assert!(code == 0 && said.contains("warning: `remote.tls`: password and mail are not encrypted"), "{said}");
    let (code, said) = check(&["--online"]);
    assert!(
        said.contains(&format!("remote work/INBOX: connected to 127.0.0.1:{} without TLS", dovecot.imap)),
        "{said}"
    );
    assert!(said.contains("the server has IDLE, UIDPLUS, MOVE, ID"), "{said}");
    assert!(said.contains("INBOX: 1 messages; a first run fetches none of them"), "{said}");
    assert!(code == 78 && said.contains("work/Missing: the folder cannot be opened"), "{said}");
    assert!(!scratch.path("state/remote").exists(), "nothing is kept");
    fs::set_permissions(scratch.path("work.pw"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = check(&[]);
    assert!(code == 78 && said.contains(":26: `remote.password_file`: ") && said.contains("chmod o="), "{said}");
    fs::remove_file(scratch.path("work.pw")).unwrap();
    let text = fs::read_to_string(scratch.path("mailbell.toml")).unwrap();
    let text = text.replace("user = \"alice\"", "user = \"alcie\"\nstore = false");
    fs::write(scratch.path("mailbell.toml"), text).unwrap();
    let (code, said) = check(&[]);
    for part in
        ["work.pw: No such file", "there is no account \"alcie\"; did you mean \"alice\"?", "`remote.store`: no pipe"]
    {
        assert!(code == 78 && said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_is_stored_is_deleted_moved_or_marked_there() {
    let Some(dovecot) = Dovecot::start("after") else { return };
    dovecot.deliver("not ours", "0@x");
    for (after, check) in [
        ("delete", "only ours went"),
        ("move:Archive", "it is in the archive"),
        ("seen", "it has the flag"),
        ("1s", "it went later"),
    ] {
        if after == "move:Archive" {
            dovecot.admin(&["mailbox", "create", "-u", "me@example.com", "Archive"]);
        }
        let server =
            serve("remote-after", &remote(dovecot.imap, "imap", &format!("after = \"{after}\"\nidle = \"1s\"\n")));
        settled(&server);
        dovecot.deliver(after, &format!("{after}@x"));
        wait_for("the record", || (server.records().len() == 1).then_some(()));
        let status = || dovecot.admin(&["mailbox", "status", "-u", "me@example.com", "messages unseen", "*"]);
        let wanted = match after {
            "delete" | "1s" => "INBOX messages=1 unseen=1",
            "seen" => "INBOX messages=2 unseen=1",
            _ => "Archive messages=1",
        };
        wait_for(check, || status().contains(wanted).then_some(()));
        server.stop();
        if after == "seen" {
            dovecot.admin(&["expunge", "-u", "me@example.com", "mailbox", "INBOX", "subject", "seen"]);
        }
    }
}

#[test]
fn new_ids_for_old_messages_are_told_by_key() {
    let Some(mut dovecot) = Dovecot::start("resync") else { return };
    for number in 0..30 {
        dovecot.deliver(&format!("old {number}"), if number % 2 == 0 { "" } else { "old@x" });
    }
    let settings = "only_new = false\n";
    let server = serve("remote-resync", &remote(dovecot.imap, "imap", settings));
    wait_for("all records", || (server.records().len() == 30).then_some(()));
    settled(&server);
    let scratch = server.stop();
    dovecot.down();
    for name in ["dovecot-uidlist", "dovecot.index", "dovecot.index.log", "dovecot.index.cache"] {
        let _ = fs::remove_file(dovecot.scratch.path(&format!("Maildir/{name}")));
    }
    fs::write(dovecot.scratch.path("Maildir/dovecot-uidvalidity"), "0000abcd").unwrap();
    for number in 0..5 {
        dovecot.deliver(&format!("new {number}"), &format!("new{number}@x"));
    }
    dovecot.up();
    let server = Server::start_in(scratch, &[]);
    settled(&server);
    let records = server.records();
    assert_eq!(subjects(&records[30..]), ["new 0", "new 1", "new 2", "new 3", "new 4"], "{}", server.log());
    assert!(server.log().contains("30 known by key, 0 by age, 5 new"), "{}", server.log());
}

#[test]
fn pop3_stores_and_deletes() {
    let Some(dovecot) = Dovecot::start("pop3") else { return };
    dovecot.deliver("old", "0@x");
    let server = serve("remote-pop3", &remote(dovecot.pop3, "pop3", "after = \"delete\"\n"));
    settled(&server);
    assert!(server.records().is_empty(), "only_new");
    dovecot.deliver("first", "1@x");
    dovecot.deliver("second\n.dot", "2@x");
    assert_eq!(fetch(&server), 0);
    let records = server.records();
    assert_eq!(records.len(), 2);
    assert!(records[0]["folder"].is_null() && records[0]["uri"].is_null() && records[0]["uid"].is_string());
    let text = fs::read_to_string(records[0]["path"].as_str().unwrap()).unwrap();
    assert!(text.contains(&format!("(fetched from work, uid {})", records[0]["uid"].as_str().unwrap())), "{text}");
    assert_eq!(dovecot.messages().len(), 1, "only ours went");
    let server = Server::start_in(server.kill(), &[]);
    settled(&server);
    assert_eq!(fetch(&server), 0);
    assert_eq!(server.records().len(), 2);
}

#[test]
fn pop3_rings_without_storing() {
    let Some(dovecot) = Dovecot::start("pop3-ring") else { return };
    dovecot.deliver("old", "0@x");
    let scratch = prepared("remote-pop3-ring", &remote(dovecot.pop3, "pop3", "store = false\nonly_new = false\n"));
    let once = || run(&scratch.path("mailbell.toml"), &["fetch", "--once", "work"], "");
    assert_eq!(once().status.code(), Some(0));
    dovecot.deliver("new", "1@x");
    let output = once();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let records = common::records(&scratch.path("state/journal"));
    assert_eq!(subjects(&records), ["old", "new"]);
    let id = records[0]["id"].as_str().unwrap().strip_prefix("work.").unwrap();
    assert!(records[0]["path"].is_null() && id.len() == 16, "{}", records[0]);
}

#[test]
fn tokens_log_in_and_a_refused_one_is_asked_for_again() {
    let Some(dovecot) = Dovecot::start("oauth") else { return };
    let settings = "token_command = [\"./token\"]\n";
    let scratch = prepared("remote-oauth", &remote(dovecot.imap, "imap", settings));
    fs::write(
        scratch.path("token"),
        "#!/bin/sh\necho x >> \"$(dirname \"$0\")/calls\"\ncat \"$(dirname \"$0\")/current\"\n",
    )
    .unwrap();
    fs::set_permissions(scratch.path("token"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(scratch.path("current"), "wrong-token\nmore\n").unwrap();
    let server = Server::start_in(scratch, &[]);
    let refused = wait_for("the refusal", || status(&server).into_iter().find(|each| each["state"] == "refused"));
    assert!(refused["next_try"].is_string(), "{refused}");
    wait_for("the second try", || {
        (fs::read_to_string(server.path("calls")).unwrap().lines().count() == 2).then_some(())
    });
    fs::write(server.path("current"), "secret\nmore\n").unwrap();
    assert_eq!(fetch(&server), 0);
    dovecot.deliver("by token", "1@x");
    wait_for("the record", || (server.records().len() == 1).then_some(()));
    assert!(!server.log().contains("wrong-token"), "{}", server.log());
}

#[test]
fn a_refused_password_and_a_dead_server_have_their_codes() {
    let Some(mut dovecot) = Dovecot::start("codes") else { return };
    let scratch = prepared("remote-codes", &remote(dovecot.imap, "imap", ""));
    let file = scratch.path("mailbell.toml");
    let fetch = || run(&file, &["fetch", "--once", "work"], "").status.code().unwrap();
    assert_eq!(fetch(), 0);
    fs::write(scratch.path("work.pw"), "wrong\n").unwrap();
    assert_eq!(fetch(), 77);
    assert_eq!(run(&file, &["fetch", "other"], "").status.code(), Some(64));
    dovecot.down();
    assert_eq!(fetch(), 75);
    let server = Server::start_in(scratch, &[]);
    let output = server.run(&["fetch", "work"], "");
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    dovecot.up();
    assert_eq!(server.run(&["fetch", "work"], "").status.code(), Some(77));
    fs::write(server.path("work.pw"), "secret\n").unwrap();
    assert_eq!(server.run(&["fetch", "work"], "").status.code(), Some(0));
}

#[test]
fn a_reload_takes_changed_remotes_over() {
    let Some(dovecot) = Dovecot::start("reload") else { return };
    let server = serve("remote-reload", "");
    assert!(status(&server).is_empty());
    fs::write(server.path("mailbell.toml"), format!("{BASIC}{}", remote(dovecot.imap, "imap", ""))).unwrap();
    server.signal("HUP");
    wait_for("the remote", || (!status(&server).is_empty()).then_some(()));
    settled(&server);
    dovecot.deliver("first", "1@x");
    wait_for("the record", || (server.records().len() == 1).then_some(()));
    fs::write(server.path("mailbell.toml"), format!("{BASIC}{}", remote(dovecot.imap, "imap", "store = false\n")))
        .unwrap();
    server.signal("HUP");
    let second = wait_for("a record without a file", || {
        dovecot.deliver("again", "");
        std::thread::sleep(std::time::Duration::from_millis(200));
        server.records().into_iter().find(|record| record["path"].is_null())
    });
    assert_eq!(second["subject"], "again");
    fs::write(server.path("mailbell.toml"), BASIC).unwrap();
    server.signal("HUP");
    wait_for("no remote", || status(&server).is_empty().then_some(()));
    server.stop();
}

#[test]
fn imap_gives_every_message_once_over_kills_of_either_side() {
    every_message_comes_once("imap");
}

#[test]
fn pop3_gives_every_message_once_over_kills_of_either_side() {
    every_message_comes_once("pop3");
}

fn every_message_comes_once(protocol: &str) {
    let Some(mut dovecot) = Dovecot::start(&format!("kills-{protocol}")) else { return };
    let ca = dovecot.scratch.path("ca.pem");
    let settings = format!("only_new = false\nafter = \"delete\"\nca = {ca:?}\n");
    let (port, tls) = if protocol == "imap" { (dovecot.imap, "off") } else { (dovecot.pop3s, "implicit") };
    let settings = remote(port, protocol, &settings).replace("tls = \"off\"", &format!("tls = \"{tls}\""));
    let mut scratch = prepared("remote-kills", &settings);
    for number in 0..300 {
        dovecot.deliver(&format!("m{number}"), &format!("{number}@x"));
    }
    for round in 0_u64..12 {
        let server = Server::start_in(scratch, &[]);
        std::thread::sleep(std::time::Duration::from_millis(40 + round * 37 % 160));
        if round % 3 == 2 {
            dovecot.down();
            dovecot.up();
        }
        scratch = server.kill();
    }
    let server = Server::start_in(scratch, &[]);
    wait_for("all messages", || (server.records().len() >= 300 && dovecot.messages().is_empty()).then_some(()));
    settled(&server);
    let mut all: Vec<String> =
        server.records().iter().map(|record| record["subject"].as_str().unwrap().to_owned()).collect();
    all.sort();
    if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
        let twice: Vec<_> = server.records().into_iter().filter(|record| record["subject"] == pair[0]).collect();
        panic!("twice: {twice:#?}");
    }
    assert_eq!(all.len(), 300);
    all.dedup();
    assert_eq!(all.len(), 300, "none twice");
    assert_eq!(server.new_files("alice").len(), 300);
}
