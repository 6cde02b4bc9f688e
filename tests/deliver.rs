//! `mailbell deliver`, `sendmail` and `cat` on the real binary, with and without a server beside them.

mod common;

use common::{BASIC, Scratch, Server, binary, files, records, run, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn deliver(scratch: &Scratch, arguments: &[&str], message: &str) -> Output {
    run(&scratch.path("mailbell.toml"), &[&["deliver"], arguments].concat(), message)
}

#[track_caller]
fn code(output: &Output, expected: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(expected), "{said}");
    said
}

fn new(scratch: &Scratch, user: &str) -> Vec<PathBuf> {
    files(&scratch.path(&format!("mail/{user}/new")))
}

fn journal(scratch: &Scratch) -> Vec<serde_json::Value> {
    records(&scratch.path("state/journal"))
}

#[test]
fn a_message_is_stored_and_recorded_without_a_server() {
    let scratch = Scratch::prepared("deliver", BASIC);
    code(&deliver(&scratch, &["-f", "a@example.com", "alice"], "Subject: one\r\n\r\nbody\r\n"), 0);
    let text = fs::read_to_string(&new(&scratch, "alice")[0]).unwrap();
    let above = "Return-Path: <a@example.com>\nDelivered-To: alice\nReceived: by mail.example.org ";
    assert!(text.starts_with(above), "{text}");
    assert!(text.contains(" with local id ") && text.ends_with("+0000\nSubject: one\n\nbody\n"), "{text}");
    let record = journal(&scratch).remove(0);
    for (field, value) in [
        ("seq", "1"),
        ("user", "\"alice\""),
        ("via", "\"deliver\""),
        ("mail_from", "\"a@example.com\""),
        ("rcpt_to", "\"alice\""),
        ("client", "null"),
        ("helo", "null"),
        ("subject", "\"one\""),
    ] {
        assert_eq!(record[field].to_string(), value, "{field}");
    }
    assert_eq!(record["path"].as_str().unwrap(), new(&scratch, "alice")[0].to_str().unwrap());
    // Users, addresses, subaddresses and aliases, each user once.
    code(&deliver(&scratch, &["--", "Bob", "team@example.org", "<carol+tag@example.org>", "alice"], "x\n"), 0);
    let told: Vec<_> = journal(&scratch)[1..].iter().map(|r| format!("{} {}", r["user"], r["rcpt_to"])).collect();
    assert_eq!(told, ["\"bob\" \"Bob\"", "\"alice\" \"team@example.org\"", "\"carol\" \"carol+tag@example.org\""]);
    let inode = |user: &str| fs::metadata(new(&scratch, user).last().unwrap()).unwrap().ino();
    assert!(inode("bob") == inode("alice") && inode("carol") == inode("alice"));
}

#[test]
fn the_sender_is_what_the_mta_says() {
    let scratch = Scratch::prepared("sender", BASIC);
    let from_line = "From b@example.com  Mon Nov 23 08:44:59 2026\nSubject: x\n\nFrom here\n";
    for (arguments, environment, sender) in [
        (&["-f", ""][..], None, ""),
        (&["-f", "<>"], Some("env@example.com"), ""),
        (&["-f", "MAILER-DAEMON"], None, ""),
        (&["-f", "<a@example.com>"], None, "a@example.com"),
        (&["--from=a@example.com"], None, "a@example.com"),
        (&[], Some("env@example.com"), "env@example.com"),
        (&[], None, "b@example.com"),
    ] {
        let mut command = Command::new(binary());
        command.arg("deliver").args(arguments).arg("alice").env("MAILBELL_CONFIG", scratch.path("mailbell.toml"));
        command.env_remove("SENDER").envs(environment.map(|sender| ("SENDER", sender)));
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(from_line.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let record = journal(&scratch).pop().unwrap();
        assert_eq!(record["mail_from"], sender, "{arguments:?}");
        let text = fs::read_to_string(record["path"].as_str().unwrap()).unwrap();
        assert!(text.contains(&format!("Return-Path: <{sender}>\n")), "{text}");
        assert!(text.ends_with("+0000\nSubject: x\n\nFrom here\n"), "{text}");
    }
}

#[test]
fn exit_codes_tell_what_is_wrong_and_nothing_is_stored_then() {
    let configuration = BASIC
        .replace("min_free = \"1MiB\"", "min_free = \"1MiB\"\nquota = \"100KiB\"")
        .replace("[smtp]", "[smtp]\nmax_message_size = \"64KiB\"");
    let scratch = Scratch::prepared("codes", &configuration);
    let large = "x".repeat(70_000);
    let loops = "Received: x\n".repeat(101) + "\n";
    for (arguments, message, expected, said) in [
        (&["nobody"][..], "x", 67, "nobody: no such user"),
        (&["alice", "nobody@example.org"], "x", 67, "nobody@example.org: no such user"),
        (&["alice@elsewhere.example"], "x", 67, "not a domain of ours"),
        (&["a b"], "x", 67, "a b"),
        (&[], "x", 64, "no recipient"),
        (&["--nonsense", "alice"], "x", 64, "nonsense"),
        (&["alice"], &large, 65, "too large"),
        (&["alice"], &loops, 65, "Received"),
    ] {
        let told = code(&deliver(&scratch, arguments, message), expected);
        assert!(told.starts_with("mailbell: ") && told.contains(said), "{told}");
    }
    assert!(new(&scratch, "alice").is_empty() && journal(&scratch).is_empty());
    let half = "x".repeat(60_000);
    code(&deliver(&scratch, &["alice"], &half), 0);
    let told = code(&deliver(&scratch, &["alice", "bob"], &half), 75);
    assert!(told.contains("mailbox full"), "{told}");
    assert_eq!((new(&scratch, "alice").len(), new(&scratch, "bob").len(), journal(&scratch).len()), (1, 0, 1));
    assert!(files(&scratch.path("mail/alice/tmp")).is_empty() && files(&scratch.path("mail/bob/tmp")).is_empty());
    fs::write(scratch.path("mailbell.toml"), "nonsense = 1\n").unwrap();
    let told = code(&deliver(&scratch, &["alice"], "x"), 78);
    assert!(told.contains("mailbell.toml:1: "), "{told}");
    fs::write(scratch.path("mailbell.toml"), BASIC.replace("min_free = \"1MiB\"", "min_free = \"1000000GiB\""))
        .unwrap();
    code(&deliver(&scratch, &["alice"], "x"), 75);
}

#[test]
fn deliveries_at_once_wait_for_each_other() {
    let scratch = Scratch::prepared("at-once", BASIC);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let scratch = &scratch;
            scope.spawn(move || code(&deliver(scratch, &["alice"], &format!("Subject: {number}\n\n")), 0));
        }
    });
    let records = journal(&scratch);
    assert!(records.iter().map(|record| record["seq"].as_u64().unwrap()).eq(1..=8));
    assert_eq!(new(&scratch, "alice").len(), 8);
}

#[test]
fn beside_a_server_the_server_records() {
    let server = Server::start("beside");
    let told = server.run(&["deliver", "-f", "a@example.com", "alice", "team"], "Subject: beside\n\nx\n");
    code(&told, 0);
    let records = wait_for("two records", || Some(server.records()).filter(|records| records.len() == 2));
    for record in &records {
        assert_eq!((&record["via"], &record["subject"]), (&"deliver".into(), &"beside".into()));
        assert_eq!(record["mail_from"], "a@example.com");
    }
    let mut told: Vec<_> = records.iter().map(|record| format!("{} {}", record["user"], record["rcpt_to"])).collect();
    told.sort();
    assert_eq!(told, [r#""alice" "alice""#, r#""bob" "team""#]);
    // A message to a recipient alone says so.
    code(&server.run(&["deliver", "carol@example.org"], "Subject: carol\n\nx\n"), 0);
    let records = wait_for("the third", || Some(server.records()).filter(|records| records.len() == 3));
    assert_eq!((&records[2]["rcpt_to"], &records[2]["mail_from"]), (&"carol@example.org".into(), &"".into()));
    // Nothing comes twice, neither now nor at the next start.
    let scratch = server.stop();
    let server = Server::start_in(scratch, &[]);
    server.send("alice@example.org", "Subject: last\n\nx\n");
    assert_eq!(server.records().len(), 4);
    server.stop();
}

#[test]
fn a_server_starts_beside_a_delivery_that_takes_its_time() {
    let scratch = Scratch::prepared("slow", BASIC);
    let mut slow = Command::new(binary());
    slow.args(["deliver", "-c"]).arg(scratch.path("mailbell.toml")).arg("alice").stdin(Stdio::piped());
    let mut slow = slow.spawn().unwrap();
    let mut message = slow.stdin.take().unwrap();
    message.write_all(b"Subject: slow\n\n").unwrap();
    // The other one takes the lock that the slow one must not have.
    code(&deliver(&scratch, &["bob"], "Subject: fast\n\n"), 0);
    let server = Server::start_in(scratch, &[]);
    drop(message);
    assert!(slow.wait().unwrap().success());
    wait_for("both records", || (server.records().len() == 2).then_some(()));
    server.stop();
}

fn sendmail(scratch: &Scratch, arguments: &[&str], message: &str) -> Output {
    let link = scratch.path("sendmail");
    if !link.exists() {
        symlink(binary(), &link).unwrap();
    }
    let mut child = Command::new(&link)
        .args(arguments)
        .env("MAILBELL_CONFIG", scratch.path("mailbell.toml"))
        .env("LOGNAME", "cron")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let _ = pipe.write_all(message.as_bytes());
    drop(pipe);
    child.wait_with_output().unwrap()
}

#[test]
fn cron_and_scripts_send_by_the_name_of_sendmail() {
    let scratch = Scratch::prepared("sendmail", BASIC);
    // As cron does.
    let message = "To: alice\nSubject: Cron <alice@host> job\nContent-Type: text/plain\n\nout\n..\n.\nnot this\n";
    code(&sendmail(&scratch, &["-FCronDaemon", "-odi", "-oem", "alice"], message), 0);
    let text = fs::read_to_string(&new(&scratch, "alice")[0]).unwrap();
    assert!(text.starts_with("Return-Path: <cron@mail.example.org>\n"), "{text}");
    for line in ["\nFrom: \"CronDaemon\" <cron@mail.example.org>\n", "\nDate: ", "\nMessage-ID: <"] {
        assert_eq!(text.matches(line).count(), 1, "{line:?} in {text}");
    }
    assert!(text.ends_with("\n\nout\n..\n"), "{text}");
    // As a script does.
    let message =
        "From: Me <me@example.org>\nTo: Team: team@example.org;\nBcc: Carol <carol@example.org>\nSubject: x\n\n.\ny\n";
    code(&sendmail(&scratch, &["-t", "-i", "-f", "bounce@example.org"], message), 0);
    let records = journal(&scratch);
    let told: Vec<_> = records[1..].iter().map(|record| record["user"].as_str().unwrap()).collect();
    assert_eq!(told, ["alice", "bob", "carol"]);
    assert_eq!((&records[1]["mail_from"], &records[1]["via"]), (&"bounce@example.org".into(), &"deliver".into()));
    let text = fs::read_to_string(&new(&scratch, "carol")[0]).unwrap();
    assert!(!text.to_lowercase().contains("bcc") && text.ends_with("\nSubject: x\n\n.\ny\n"), "{text}");
    assert_eq!(text.matches("\nFrom: ").count(), 1);
    // As a person at a prompt does.
    code(&run(&scratch.path("mailbell.toml"), &["sendmail", "bob"], "hello\n"), 0);
    let text = fs::read_to_string(new(&scratch, "bob").last().unwrap()).unwrap();
    assert!(text.contains("\nFrom: ") && text.ends_with("@mail.example.org\n\nhello\n"), "{text}");
    for (arguments, expected) in
        [(&["-bd"][..], 64), (&["-t"], 64), (&[""], 64), (&["nobody"], 67), (&["-Z", "alice"], 64)]
    {
        code(&sendmail(&scratch, arguments, "Subject: x\n\nx\n"), expected);
    }
    assert_eq!(journal(&scratch).len(), 5);
    assert_eq!(sendmail(&scratch, &["-bp"], "").stdout, b"Mail queue is empty\n");
    code(&sendmail(&scratch, &["-bi"], ""), 0);
}

/// A list in one argument, a name before an address, root without an alias: what cron, mutt and daemons do.
#[test]
fn sendmail_takes_what_programs_give_it() {
    let scratch = Scratch::prepared("arguments", BASIC);
    for (arguments, users) in [
        (&["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "alice,bob"][..], &["alice", "bob"][..]),
        (&["-i", "Alice <alice@example.org>"], &["alice"]),
        (&["-i", "\"B, Bob\" <bob@example.org>, carol@example.org (Carol)"], &["bob", "carol"]),
        (&["-i", "root"], &["alice"]),
        (&["-i", "-f", "Cron <cron@example.org>", "root@example.org"], &["alice"]),
    ] {
        let before = journal(&scratch).len();
        code(&sendmail(&scratch, arguments, "Subject: x\n\nx\n"), 0);
        let records = journal(&scratch).split_off(before);
        let told: Vec<_> = records.iter().map(|record| record["user"].as_str().unwrap()).collect();
        assert_eq!(told, users, "{arguments:?}");
    }
    assert_eq!(journal(&scratch).pop().unwrap()["mail_from"], "cron@example.org");
}

#[test]
fn no_argument_and_no_variable_writes_a_header_field() {
    let scratch = Scratch::prepared("injection", BASIC);
    for arguments in [
        &["-f", "a@b\nX-Evil: 2", "alice"][..],
        &["-ra@b\r\nX-Evil: 2", "alice"],
        &["-F", "Name\nX-Evil: 2", "alice"],
        &["alice\nX-Evil: 2"],
        &["alice", "a\u{2028}b@example.org"],
    ] {
        let told = code(&sendmail(&scratch, arguments, "Subject: x\n\nx\n"), 64);
        assert!(told.contains("control character"), "{told}");
    }
    let told = code(&deliver(&scratch, &["-f", "a@b\nX-Evil: 2", "alice"], "Subject: x\n\n"), 64);
    assert!(told.contains("control character"), "{told}");
    assert!(journal(&scratch).is_empty());
    // What is not an argument of the caller is left out.
    code(&deliver(&scratch, &["alice"], "From a\u{1}b@c  Mon Nov 23 08:44:59 2026\nSubject: x\n\n"), 0);
    assert_eq!(journal(&scratch)[0]["mail_from"], "");
    for name in ["joe\nX-Evil: 2", "joe, root@example.org", "a b"] {
        let mut command = Command::new(binary());
        command.args(["sendmail", "alice"]).env("MAILBELL_CONFIG", scratch.path("mailbell.toml"));
        command.env("LOGNAME", name).env("USER", name).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"Subject: x\n\nx\n").unwrap();
        assert!(child.wait().unwrap().success());
        let record = journal(&scratch).pop().unwrap();
        let sender = record["mail_from"].as_str().unwrap();
        assert!(sender == "root@mail.example.org" || sender.starts_with("uid"), "{sender}");
        let text = fs::read_to_string(record["path"].as_str().unwrap()).unwrap();
        assert!(!text.contains("X-Evil") && text.contains(&format!("\nFrom: {sender}\n")), "{text}");
    }
}

#[test]
fn sendmail_speaks_smtp_on_standard_input() {
    let scratch = Scratch::prepared("bs", BASIC);
    let dialogue = "EHLO client\r\nMAIL FROM:<a@example.com> BODY=8BITMIME\r\nRCPT TO:<team@example.org>\r\n\
                    RCPT TO:<nobody>\r\nDATA\r\nSubject: one\r\n\r\n..dot\r\n.\r\nAUTH PLAIN AGEAYg==\r\n\
                    MAIL FROM:<>\r\nRCPT TO:<Carol>\r\nBDAT 9\r\nSubject: BDAT 8 LAST\r\ntwo\r\n\r\nxQUIT\r\n";
    let output = sendmail(&scratch, &["-bs"], dialogue);
    code(&output, 0);
    let said = String::from_utf8(output.stdout).unwrap();
    let codes: Vec<&str> =
        said.lines().filter(|line| line.as_bytes()[3] == b' ').map(|line| line.split(' ').next().unwrap()).collect();
    let expected = ["220", "250", "250", "250", "550", "354", "250", "502", "250", "250", "250", "250", "221"];
    assert_eq!(codes, expected, "{said}");
    let told: Vec<_> = journal(&scratch)
        .iter()
        .map(|record| format!("{} {} {}", record["user"], record["via"], record["subject"]))
        .collect();
    let expected = [r#""alice" "deliver" "one""#, r#""bob" "deliver" "one""#, r#""carol" "deliver" "two""#];
    assert_eq!(told, expected, "{said}");
    let text = fs::read_to_string(&new(&scratch, "bob")[0]).unwrap();
    assert!(text.ends_with("\n\n.dot\n"), "{text}");
    // A script writes bare line feeds; the end of the input is an end.
    let script = "HELO x\nMAIL FROM:<a@example.com>\nRCPT TO:<bob>\nDATA\nSubject: three\n\n..dot\n.\n";
    code(&sendmail(&scratch, &["-bs"], script), 0);
    assert_eq!(journal(&scratch).len(), 4);
    let text = fs::read_to_string(journal(&scratch)[3]["path"].as_str().unwrap()).unwrap();
    assert!(text.ends_with("Subject: three\n\n.dot\n"), "{text}");
    // Half a message is none.
    code(&sendmail(&scratch, &["-bs"], "HELO x\nMAIL FROM:<>\nRCPT TO:<bob>\nDATA\nSubject: half\n"), 74);
    assert_eq!(journal(&scratch).len(), 4);
}

#[test]
fn cat_prints_a_message_wherever_it_lies() {
    let configuration = format!("{BASIC}[[watch]]\nuser = \"bob\"\nmaildir = \"home/Maildir\"\n");
    let scratch = Scratch::prepared("cat", &configuration);
    let cat = |id: &str| run(&scratch.path("mailbell.toml"), &["cat", id], "");
    let long = "Subject: long\n\n".to_owned() + &"line\n".repeat(100_000);
    code(&deliver(&scratch, &["alice"], &long), 0);
    let id = journal(&scratch)[0]["id"].as_str().unwrap().to_owned();
    let path = new(&scratch, "alice").remove(0);
    let stored = fs::read(&path).unwrap();
    let is_it = |id: &str| {
        let output = cat(id);
        code(&output, 0);
        assert!(output.stdout == stored, "{id}: {} octets", output.stdout.len());
    };
    is_it(&id);
    is_it(path.to_str().unwrap());
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let seen = scratch.path(&format!("mail/alice/cur/{name}:2,S"));
    fs::rename(&path, &seen).unwrap();
    is_it(&id);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&stored).unwrap();
    fs::write(&seen, gzip.finish().unwrap()).unwrap();
    is_it(&id);
    fs::create_dir_all(scratch.path("home/Maildir/new")).unwrap();
    fs::write(scratch.path("home/Maildir/new/foreign.host"), "Subject: foreign\n").unwrap();
    assert_eq!(cat("foreign.host").stdout, b"Subject: foreign\n");
    // Names that share an id are found as they are, with flags or without.
    for (name, given) in [("mail,1:2,S", "mail,1"), ("mail,2", "mail,2"), ("12:30:01", "12:30:01")] {
        fs::write(scratch.path(&format!("home/Maildir/new/{name}")), format!("Subject: {name}\n")).unwrap();
        assert_eq!(String::from_utf8_lossy(&cat(given).stdout), format!("Subject: {name}\n"));
    }
    for wrong in ["no-such-id", "", "../../mailbell.toml", &id[..id.len() - 1]] {
        assert!(code(&cat(wrong), 66).contains("no message"));
    }
    code(&run(&scratch.path("mailbell.toml"), &["cat"], ""), 64);
    // A reader that has seen enough is no failure.
    let mut child = Command::new(binary())
        .args(["cat", &id])
        .env("MAILBELL_CONFIG", scratch.path("mailbell.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut head = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut head).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn started_as_root_it_stores_as_the_user_of_the_server() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let scratch = Scratch::prepared("as-user", &format!("user = \"nobody\"\n{BASIC}"));
    let nobody = Command::new("id").args(["-u", "nobody"]).output().unwrap();
    let nobody: u32 = String::from_utf8(nobody.stdout).unwrap().trim().parse().unwrap();
    // No server was ever started: its folders are made, and belong to the user `nobody`, in a folder of root's.
    code(&deliver(&scratch, &["alice"], "Subject: x\n\n"), 0);
    assert_eq!(["state", "mail"].map(|folder| fs::metadata(scratch.path(folder)).unwrap().uid()), [nobody; 2]);
    let file = &new(&scratch, "alice")[0];
    let metadata = fs::metadata(file).unwrap();
    assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o777), (nobody, 0o640));
    assert_eq!(fs::metadata(scratch.path("state/lock")).unwrap().uid(), nobody);
    // Where the user `nobody` cannot write, the exit code is that of permissions.
    fs::set_permissions(scratch.path("mail"), fs::Permissions::from_mode(0o500)).unwrap();
    code(&deliver(&scratch, &["bob"], "Subject: x\n\n"), 77);
    fs::set_permissions(scratch.path("state"), fs::Permissions::from_mode(0o000)).unwrap();
    code(&deliver(&scratch, &["alice"], "Subject: x\n\n"), 77);
}

/// Other programs' deliveries while a server runs: each is one event, for accounts and for `[[watch]]`.
#[test]
fn another_programs_deliveries_are_events() {
    let configuration = format!("{BASIC}[[watch]]\nuser = \"bob\"\nmaildir = \"home/bob/Maildir\"\n");
    let server = Server::start_in(Scratch::prepared("foreign", &configuration), &[]);
    // The Maildir comes to be after the server.
    let maildir = server.path("home/bob/Maildir");
    make_maildir(&maildir);
    let put = |maildir: &Path, name: &str| {
        fs::write(maildir.join("tmp").join(name), format!("Subject: {name}\n\n")).unwrap();
        fs::rename(maildir.join("tmp").join(name), maildir.join("new").join(name)).unwrap();
    };
    let event = |count: usize| {
        let records = wait_for("the record", || Some(server.records()).filter(|records| records.len() >= count));
        assert_eq!(records.len(), count);
        records[count - 1].clone()
    };
    put(&maildir, "1.foreign");
    let record = event(1);
    assert_eq!(
        (&record["user"], &record["via"], &record["id"]),
        (&"bob".into(), &"maildir".into(), &"1.foreign".into())
    );
    server.send("alice@example.org", "Subject: own\n\nx\n");
    assert_eq!(event(2)["via"], "smtp");
    put(&server.path("mail/alice"), "2.foreign");
    assert_eq!((&event(3)["user"], &event(3)["via"]), (&"alice".into(), &"maildir".into()));
    // While it is down, and while it restarts.
    let scratch = server.kill();
    put(&scratch.path("home/bob/Maildir"), "3.foreign");
    let server = Server::start_in(scratch, &[]);
    put(&server.path("home/bob/Maildir"), "4.foreign");
    let records = wait_for("both", || Some(server.records()).filter(|records| records.len() >= 5));
    let subjects: Vec<_> = records.iter().map(|record| record["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["1.foreign", "own", "2.foreign", "3.foreign", "4.foreign"]);
    server.stop();
}

fn make_maildir(maildir: &Path) {
    ["tmp", "new", "cur"].iter().for_each(|folder| fs::create_dir_all(maildir.join(folder)).unwrap());
}

/// A file name of any octets reaches the hook and `cat`, by what the event says.
#[test]
fn a_file_name_that_is_not_utf8_reaches_the_hook_and_cat() {
    use std::os::unix::ffi::OsStrExt;
    let configuration = format!(
        "{BASIC}[[watch]]\nuser = \"bob\"\nmaildir = \"home/Maildir\"\n[[hook]]\nname = \"keep\"\n\
         command = [\"/bin/sh\", \"-c\", 'cat > \"$0/$MAILBELL_SEQ.new\"; mv \"$0/$MAILBELL_SEQ.new\" \"$0/$MAILBELL_SEQ\"', \
         \"HOOKED\"]\n"
    );
    let scratch = Scratch::prepared("latin1", &configuration);
    let hooked = scratch.path("hooked");
    fs::create_dir(&hooked).unwrap();
    let text = fs::read_to_string(scratch.path("mailbell.toml")).unwrap();
    fs::write(scratch.path("mailbell.toml"), text.replace("HOOKED", hooked.to_str().unwrap())).unwrap();
    let maildir = scratch.path("home/Maildir");
    make_maildir(&maildir);
    let server = Server::start_in(scratch, &[]);
    fn name(octets: &[u8]) -> &std::ffi::OsStr {
        std::ffi::OsStr::from_bytes(octets)
    }
    let put = |octets: &[u8], message: &str| {
        fs::write(maildir.join("tmp/one"), message).unwrap();
        fs::rename(maildir.join("tmp/one"), maildir.join("new").join(name(octets))).unwrap();
    };
    put(b"1700000001.gr\xFC\xDFe.host", "Subject: one\n\nx\n");
    put(b"1700000002.gr\xFC\xDCe.host", "Subject: two\n\nx\n");
    for (seq, subject, id) in [(1, "one", "1700000001.gr%FC%DFe.host"), (2, "two", "1700000002.gr%FC%DCe.host")] {
        let file = hooked.join(seq.to_string());
        wait_for("the hook", || file.exists().then_some(()));
        let message = format!("Subject: {subject}\n\nx\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), message);
        let record = &server.records()[seq - 1];
        assert_eq!((&record["id"], &record["subject"]), (&id.into(), &subject.into()));
        assert!(record["path"].as_str().unwrap().ends_with(&format!("/new/{id}")));
        for given in [id, record["path"].as_str().unwrap()] {
            assert_eq!(String::from_utf8_lossy(&server.run(&["cat", given], "").stdout), message);
        }
    }
    // With flags, in cur/.
    let flagged = maildir.join("cur").join(name(b"1700000001.gr\xFC\xDFe.host:2,S"));
    fs::rename(maildir.join("new").join(name(b"1700000001.gr\xFC\xDFe.host")), flagged).unwrap();
    assert_eq!(server.run(&["cat", "1700000001.gr%FC%DFe.host"], "").stdout, b"Subject: one\n\nx\n");
    let scratch = server.stop();
    let server = Server::start_in(scratch, &[]);
    put(b"1700000003.host.x", "Subject: last\n\n");
    wait_for("the last", || (server.records().len() >= 3).then_some(()));
    assert_eq!(server.records().len(), 3);
    server.stop();
}

/// A watched user gets the files of that user and no others: not by a link to a folder, a link to a file, nor a hard link.
#[test]
fn a_watched_user_cannot_read_files_of_others() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let configuration = format!("{BASIC}[[watch]]\nuser = \"bob\"\nmaildir = \"home/Maildir\"\n");
    let scratch = Scratch::prepared("thief", &configuration);
    let maildir = scratch.path("home/Maildir");
    make_maildir(&maildir);
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(2002), Some(2002)).unwrap();
    ["", "tmp", "cur"].iter().for_each(|folder| give(&maildir.join(folder)));
    let users = scratch.path("users");
    fs::remove_dir(maildir.join("new")).unwrap();
    symlink(scratch.path(""), maildir.join("new")).unwrap();
    give(&maildir.join("new"));
    let server = Server::start_in(scratch, &[]);
    fs::remove_file(maildir.join("new")).unwrap();
    fs::create_dir(maildir.join("new")).unwrap();
    give(&maildir.join("new"));
    symlink(&users, maildir.join("new/1.link")).unwrap();
    fs::hard_link(&users, maildir.join("new/2.hard")).unwrap();
    fs::write(maildir.join("tmp/3.own"), "Subject: own\n\n").unwrap();
    give(&maildir.join("tmp/3.own"));
    fs::rename(maildir.join("tmp/3.own"), maildir.join("new/3.own")).unwrap();
    let records = wait_for("bob's own", || Some(server.records()).filter(|records| !records.is_empty()));
    assert_eq!((records.len(), &records[0]["subject"]), (1, &"own".into()));
    for id in ["users", "1.link", "2.hard"] {
        let output = server.run(&["cat", id], "");
        assert!(output.stdout.is_empty() && !output.status.success(), "{id}");
    }
    // What an event was about is replaced by a link: nothing is read.
    fs::remove_file(maildir.join("new/3.own")).unwrap();
    symlink(&users, maildir.join("new/3.own")).unwrap();
    let output = server.run(&["cat", "3.own"], "");
    assert!(output.stdout.is_empty() && !output.status.success());
    server.stop();
}

/// `sendmail` of a user without any rights; the binary is copied where that user can run it.
fn as_nobody(scratch: &Scratch, arguments: &[&str], message: &str) -> Output {
    let binary = scratch.path("sendmail");
    if !binary.exists() {
        common::copy_binary(&binary);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(binary);
    command.args(arguments).env("MAILBELL_CONFIG", scratch.path("mailbell.toml")).env("LOGNAME", "joe");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(message.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_user_without_rights_sends_whatever_smtp_auth_says() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let configuration = BASIC.replace("[smtp]", "[smtp]\nauth = \"required\"");
    let scratch = Scratch::prepared("auth-required", &configuration);
    fs::set_permissions(scratch.path("users"), fs::Permissions::from_mode(0o640)).unwrap();
    let told = code(&as_nobody(&scratch, &["alice"], "x\n"), 75);
    assert!(told.contains("is `mailbell serve` running?"), "{told}");
    let server = Server::start_in(scratch, &[]);
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO x", "250");
    talk.say("MAIL FROM:<a@example.com>", "530");
    code(&as_nobody(&server.scratch, &["-i", "-oem", "alice, Bob <bob@example.org>"], "Subject: cron\n\nx\n"), 0);
    let told: Vec<_> =
        server.records().iter().map(|record| format!("{} {}", record["user"], record["subject"])).collect();
    assert_eq!(told, [r#""alice" "cron""#, r#""bob" "cron""#]);
    code(&as_nobody(&server.scratch, &["nobody"], "x\n"), 67);
    code(&as_nobody(&server.scratch, &["a@elsewhere.example"], "x\n"), 67);
    let dialogue = "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<carol>\r\nDATA\r\nSubject: bs\r\n\r\n.\r\nQUIT\r\n";
    let output = as_nobody(&server.scratch, &["-bs"], dialogue);
    code(&output, 0);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("221 2.0.0 Bye\r\n"), "{output:?}");
    assert_eq!(server.records()[2]["subject"], "bs");
    server.stop();
}

#[test]
fn a_user_without_rights_gives_the_message_to_the_server() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // A listener whose address is known before the server has it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = BASIC.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let scratch = Scratch::prepared("hand-over", &configuration);
    fs::set_permissions(scratch.path("users"), fs::Permissions::from_mode(0o640)).unwrap();
    let told = code(&as_nobody(&scratch, &["alice"], "x\n"), 75);
    assert!(told.contains("the server cannot be asked"), "{told}");
    let server = Server::start_in(scratch, &[]);
    code(&as_nobody(&server.scratch, &["-i", "alice", "bob@example.org"], "Subject: gr\u{fc}n\n\n.dot\n.\n\u{e4}"), 0);
    let records = server.records();
    let told: Vec<_> = records.iter().map(|record| (&record["user"], &record["mail_from"], &record["via"])).collect();
    let (joe, smtp) = ("joe@mail.example.org".into(), "smtp".into());
    assert_eq!(told, [(&"alice".into(), &joe, &smtp), (&"bob".into(), &joe, &smtp)]);
    let text = fs::read_to_string(records[0]["path"].as_str().unwrap()).unwrap();
    assert!(text.ends_with("\n\n.dot\n.\n\u{e4}\n"), "{text}");
    for line in ["\nFrom: joe@mail.example.org\n", "\nDate: ", "\nMessage-ID: <"] {
        assert_eq!(text.matches(line).count(), 1, "{line:?} in {text}");
    }
    let told = code(&as_nobody(&server.scratch, &["nobody"], "x\n"), 67);
    assert!(told.contains("550"), "{told}");
    code(&as_nobody(&server.scratch, &[], "x\n"), 64);
    code(&as_nobody(&server.scratch, &["a>\r\nRCPT TO:<bob"], "x\n"), 64);
    code(&as_nobody(&server.scratch, &["-f", "a>\r\nRCPT TO:<bob", "alice"], "x\n"), 64);
    server.stop();

    // Where a proxy stands on this machine, and with an address that needs SMTPUTF8.
    let configuration = configuration + "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n";
    let scratch = Scratch::prepared("hand-over-proxy", &configuration);
    let server = Server::start_in(scratch, &[]);
    code(&as_nobody(&server.scratch, &["-f", "\u{fc}@example.com", "alice"], "x\n"), 0);
    assert_eq!(server.records()[0]["mail_from"], "\u{fc}@example.com");
    server.stop();
}

/// Delivery by link(2) and unlink(2): for a moment the file of the server's own user has two names.
#[test]
fn a_delivery_by_link_is_one_event() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let configuration = format!("{BASIC}[[watch]]\nuser = \"bob\"\nmaildir = \"home/Maildir\"\n");
    let scratch = Scratch::prepared("by-link", &configuration);
    let maildir = scratch.path("home/Maildir");
    make_maildir(&maildir);
    ["", "tmp", "new", "cur"]
        .iter()
        .for_each(|folder| std::os::unix::fs::chown(maildir.join(folder), Some(2002), Some(2002)).unwrap());
    let server = Server::start_in(scratch, &[]);
    let (tmp, new) = (maildir.join("tmp/1.M1.host"), maildir.join("new/1.M1.host"));
    fs::write(&tmp, "Subject: by link\n\nx\n").unwrap();
    fs::hard_link(&tmp, &new).unwrap();
    // The server has looked at it while it had two names.
    fs::write(maildir.join("tmp/2.M2.host"), "Subject: by rename\n\nx\n").unwrap();
    fs::rename(maildir.join("tmp/2.M2.host"), maildir.join("new/2.M2.host")).unwrap();
    wait_for("the second", || (server.records().len() == 1).then_some(()));
    assert_eq!(server.records()[0]["subject"], "by rename");
    fs::remove_file(&tmp).unwrap();
    wait_for("the first", || (server.records().len() == 2).then_some(()));
    assert_eq!(server.records()[1]["subject"], "by link");
    server.stop();
}
