//! What is in a message: the further fields of its record, `cat --text`, `--html`, `--json` and `--attachments`, and hooks
//! with `stdin = "parsed"`.
#![cfg(feature = "mime")]

mod common;

use common::{BASIC, Scratch, Server, Talk, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HOSTILE: &str = include_str!("content/hostile-attachment-names.eml");

/// Accepts mail by LMTP, as a front server hands it over.
const FRONT: &str = "[lmtp]\nlisten = [\"127.0.0.1:0\"]\n[event]\nheaders = [\"X-Spam-Flag\", \"x-priority\"]\nauthserv = \"mx.example.org\"\n";

fn front(name: &str, more: &str) -> Server {
    Server::with(name, &format!("{BASIC}{more}{FRONT}"))
}

/// Gives a message to the server by SMTP or LMTP; gives its record.
fn send(server: &Server, kind: &str, message: &str) -> Value {
    let before = server.records().len();
    let mut talk = Talk::to(server.address(kind));
    talk.expect("220");
    talk.say(if kind == "lmtp" { "LHLO mx.example.org" } else { "EHLO mx.example.org" }, "250");
    talk.say("MAIL FROM:<a@example.com>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("DATA", "354");
    talk.write(message.replace('\n', "\r\n").as_bytes());
    talk.say(".", "250");
    record(server, before)
}

/// The record of this index, when it is there.
fn record(server: &Server, index: usize) -> Value {
    wait_for("the record", || server.records().get(index).cloned())
}

fn id(record: &Value) -> &str {
    record["id"].as_str().unwrap()
}

fn stored(record: &Value) -> String {
    String::from_utf8_lossy(&fs::read(record["path"].as_str().unwrap()).unwrap()).into_owned()
}

fn printed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn cat(server: &Server, record: &Value, option: &str) -> String {
    printed(server.run(&["cat", id(record), option], ""))
}

/// Saves the attachments of a message; gives their paths as they are printed.
fn save(server: &Server, record: &Value, folder: &Path) -> Vec<PathBuf> {
    let output = server.run(&["cat", id(record), "--attachments", folder.to_str().unwrap()], "");
    printed(output).lines().map(PathBuf::from).collect()
}

fn names(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
}

#[test]
fn the_record_has_the_further_fields() {
    let server = front("content-record", "");
    let long = "x".repeat(3_000);
    let record = send(
        &server,
        "smtp",
        &format!(
            "From: a@example.com\nCc: =?utf-8?q?J=C3=BCrgen?= <j@example.com>,\n k@example.com\nSender: s@example.com\nIn-Reply-To: <1@x>\n\
             References: <0@x>\n <1@x>\nList-Id: News <news.example.com>\nAuto-Submitted: auto-generated\n\
             X-SPAM-Flag: =?utf-8?q?J=C3=A4?=\nx-spam-flag: second\nX-Priority: {long}\n\nx\n"
        ),
    );
    for (field, value) in [
        ("cc", json!("Jürgen <j@example.com>, k@example.com")),
        ("sender", json!("s@example.com")),
        ("in_reply_to", json!("<1@x>")),
        ("references", json!("<0@x> <1@x>")),
        ("list_id", json!("News <news.example.com>")),
        ("auto_submitted", json!("auto-generated")),
        ("headers", json!({"x-spam-flag": "Jä", "x-priority": format!("{}...", "x".repeat(2_045))})),
        ("verified", Value::Null),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    let bare = send(&server, "smtp", "Subject: bare\n\nx\n");
    for field in ["cc", "sender", "in_reply_to", "references", "list_id", "auto_submitted", "verified"] {
        assert_eq!(bare.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(bare["headers"], json!({"x-spam-flag": null, "x-priority": null}));
    server.stop();
    let plain = Server::start("content-record-plain");
    assert_eq!(send(&plain, "smtp", "X-Priority: 1\n\nx\n")["headers"], json!({}));
    plain.stop();
}

#[test]
fn a_match_and_a_template_name_a_header_field_of_the_events() {
    let pipe = "[[pipe]]\npath = \"spam\"\nformat = \"{subject} {header.X-Spam-Flag} {header.x-priority}{headers}\"\nmatch = { \"header.X-Spam-Flag\" = \"y*\", via = \"lmtp\" }\n";
    let server = front("content-match", pipe);
    let mut reader =
        Command::new("head").arg("-n1").arg(server.path("spam")).stdout(std::process::Stdio::piped()).spawn().unwrap();
    for (kind, subject, flag) in [("lmtp", "one", "NO"), ("smtp", "two", "YES"), ("lmtp", "three", "YES")] {
        send(&server, kind, &format!("Subject: {subject}\nX-Spam-Flag: {flag}\n\nx\n"));
    }
    let mut line = String::new();
    std::io::Read::read_to_string(reader.stdout.as_mut().unwrap(), &mut line).unwrap();
    reader.wait().unwrap();
    assert_eq!(line, "three YES {\"x-spam-flag\":\"YES\",\"x-priority\":null}\n");
    let watch = |arguments: &[&str]| server.run(&[&["watch", "--from", "all", "--count", "1"], arguments].concat(), "");
    let matched = watch(&[
        "--match",
        "header.x-spam-flag=yes",
        "--",
        "sh",
        "-c",
        "echo $MAILBELL_HEADER_X_SPAM_FLAG $MAILBELL_SUBJECT",
    ]);
    assert_eq!(printed(matched), "YES two\n");
    assert_eq!(printed(watch(&["--format", "{header.x-spam-flag}: {subject}"])), "NO: one\n");
    for wrong in [["--match", "header.x-other=yes"], ["--format", "{header.x-other}"]] {
        assert_eq!(watch(&wrong).status.code(), Some(64), "{wrong:?}");
    }
    server.stop();
}

#[test]
fn only_a_server_in_front_is_believed_and_a_stranger_cannot_write_its_field() {
    let server = front("content-verified", "");
    let pass = "Authentication-Results: mx.example.org; dmarc=pass header.from=bank.example\n";
    let other = "Authentication-Results: other.example; dmarc=fail\n";
    for (fields, meant) in [
        (format!("{other}{pass}"), json!("pass")),
        (
            "Authentication-Results: MX.example.org 1; spf=pass;\n\tdmarc=fail (p=none)\n".to_owned() + pass,
            json!("fail"),
        ),
        ("Authentication-Results: mx.example.org; spf=pass\n".to_owned() + pass, json!("none")),
        (other.to_owned(), Value::Null),
        (String::new(), Value::Null),
    ] {
        let message = format!("{fields}Subject: x\n\n{pass}");
        let record = send(&server, "lmtp", &message);
        assert_eq!(record["verified"], meant, "{fields}");
        assert!(stored(&record).ends_with(&message));
        // The same from anybody.
        let record = send(&server, "smtp", &message);
        assert_eq!(record["verified"], Value::Null, "{fields}");
        let kept = if fields.contains(other) { other } else { "" };
        let file = stored(&record);
        assert!(
            file.ends_with(&format!("GMT\n{kept}Subject: x\n\n{pass}"))
                || file.ends_with(&format!("+0000\n{kept}Subject: x\n\n{pass}")),
            "{file}"
        );
        let size = file.replace('\n', "\r\n").len();
        assert_eq!(record["size"], json!(size));
    }
    let delivered = server.run(&["deliver", "alice"], &format!("{pass}Subject: d\n\nx\n"));
    assert!(delivered.status.success(), "{delivered:?}");
    assert_eq!(record(&server, 10)["verified"], json!("pass"));
    server.stop();
}

#[test]
fn text_html_and_json_of_a_message_wherever_it_is() {
    let server = Server::start("content-cat");
    let message = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\
        Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe=20\n--b\n\
        Content-Type: text/html; charset=utf-8\n\n<p>Grüße <a href=\"https://x.example/\">hier</a></p>\n--b--\n";
    let record = send(&server, "smtp", message);
    let mut found = Vec::new();
    for _ in 0..2 {
        assert_eq!(cat(&server, &record, "--text"), "Grüße \n");
        assert_eq!(cat(&server, &record, "--html"), "<p>Grüße <a href=\"https://x.example/\">hier</a></p>\n");
        let object: Value = serde_json::from_str(&cat(&server, &record, "--json")).unwrap();
        assert_eq!(object["event"], record);
        assert_eq!((&object["text"], &object["text_cut"]), (&json!("Grüße "), &json!(false)));
        let subject = object["headers"].as_array().unwrap().iter().find(|field| field["name"] == "Subject").unwrap();
        assert_eq!(subject["value"], "Grüße");
        found.push(object);
        // The second time it is compressed, in cur/.
        let path = PathBuf::from(record["path"].as_str().unwrap());
        if path.exists() {
            let name = format!("{}:2,SZ", path.file_name().unwrap().to_str().unwrap());
            let packed = path.parent().unwrap().parent().unwrap().join("cur").join(name);
            let status = Command::new("sh")
                .arg("-c")
                .arg("gzip -c \"$0\" > \"$1\" && rm \"$0\"")
                .args([&path, &packed])
                .status();
            assert!(status.unwrap().success());
        }
    }
    assert_eq!(found[0], found[1]);
    // Of HTML alone the text is made.
    let html = send(
        &server,
        "smtp",
        "Content-Type: text/html\n\n<h1>Bill</h1><script>x</script><p>See <a href='https://x.example/7'>it</a>\n",
    );
    assert_eq!(cat(&server, &html, "--text"), "Bill\n\nSee it <https://x.example/7>\n");
    let none = send(&server, "smtp", "Content-Type: application/pdf\n\nx\n");
    assert_eq!((cat(&server, &none, "--text"), cat(&server, &none, "--html")), (String::new(), String::new()));
    for (arguments, code) in [
        (&["cat", id(&record), "--text", "--json"][..], 64),
        (&["cat", "--json"], 64),
        (&["cat", id(&record), "--attachments"], 64),
        (&["cat", "1.none", "--json"], 66),
        (&["cat", id(&record), "--attachments", "/nonexistent/mailbell/x"], 73),
    ] {
        assert_eq!(server.run(arguments, "").status.code(), Some(code), "{arguments:?}");
    }
    server.stop();
}

#[test]
fn attachments_with_hostile_names_stay_in_their_folder() {
    let server = Server::start("content-hostile");
    let record = send(&server, "smtp", HOSTILE);
    let folder = server.path("saved/here");
    fs::create_dir(server.path("saved")).unwrap();
    let paths = save(&server, &record, &folder);
    assert_eq!(names(&paths), ["passwd", "absolute", "up_down", "rf", "same.txt", "same-2.txt"]);
    for (number, path) in (1..).zip(&paths) {
        assert_eq!((path.parent(), fs::read_to_string(path).unwrap()), (Some(&*folder), number.to_string()));
    }
    let object: Value = serde_json::from_str(&cat(&server, &record, "--json")).unwrap();
    let told: Vec<_> =
        object["attachments"].as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(told, names(&paths));
    assert_eq!(object["text"], "text");

    // What is there stays: a file, a link to one elsewhere, a link to nothing.
    let other = server.path("other");
    fs::write(&other, "untouched").unwrap();
    let folder = server.path("second");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("passwd"), "mine").unwrap();
    symlink(&other, folder.join("absolute")).unwrap();
    symlink(server.path("made"), folder.join("rf")).unwrap();
    assert_eq!(
        names(&save(&server, &record, &folder)),
        ["passwd-2", "absolute-2", "up_down", "rf-2", "same.txt", "same-2.txt"]
    );
    assert_eq!(names(&save(&server, &record, &folder))[4..], ["same-3.txt", "same-4.txt"]);
    assert_eq!((fs::read_to_string(&other).unwrap().as_str(), server.path("made").exists()), ("untouched", false));
    assert_eq!(fs::read_to_string(folder.join("passwd")).unwrap(), "mine");
    server.stop();
}

#[test]
fn a_hook_saves_attachments_and_nothing_outside_its_folder() {
    let scratch = Scratch::new("content-hook-folder");
    let (folder, before) = (scratch.path("a/b/saved"), scratch.path("a"));
    fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "'{}' cat \"$MAILBELL_ID\" --attachments '{}' > '{}'",
        common::binary().display(),
        folder.display(),
        scratch.path("printed").display()
    );
    let hook = format!(
        "[[hook]]\nname = \"save\"\nstdin = \"none\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nmatch = {{ content_type = \"multipart/*\" }}\n"
    );
    let scratch_of_server = Scratch::prepared("content-hook", &format!("{BASIC}{hook}"));
    let config = scratch_of_server.path("mailbell.toml");
    let server = Server::start_in(scratch_of_server, &[("MAILBELL_CONFIG", config.to_str().unwrap())]);
    let hostile: String = [
        "../out",
        "..\\\\out",
        "/etc/mailbell-test-out",
        "....//out",
        "a/../../out",
        ".",
        "..",
        "~/out",
        "$(touch out)",
        "`touch out`",
        "out;touch out2",
        "%2e%2e%2fout",
        "=?utf-8?q?..=2Fout?=",
        "=?utf-8?b?Li4vb3V0?=",
        "out\\nx",
        "-o out",
    ]
    .iter()
    .map(|name| format!("--b\nContent-Disposition: attachment; filename=\"{name}\"\n\nx\n"))
    .chain(["--b\nContent-Disposition: attachment; filename*0*=utf-8''%2e%2e; filename*1*=%2fout\n\nx\n".to_owned()])
    .collect();
    send(&server, "smtp", &format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n{hostile}--b--\n"));
    let printed = wait_for("the hook", || {
        let text = fs::read_to_string(scratch.path("printed")).unwrap_or_default();
        (text.lines().count() == 17).then_some(text)
    });
    let files = common::files(&folder);
    assert_eq!(files.len(), 17, "{files:?}");
    for line in printed.lines() {
        let path = Path::new(line);
        assert!(path.parent() == Some(&folder) && files.iter().any(|file| file == path), "{line}");
    }
    // Nothing else is anywhere near.
    let everything = Command::new("find").arg(&before).arg("-type").arg("f").output().unwrap();
    assert_eq!(String::from_utf8(everything.stdout).unwrap().lines().count(), 17);
    assert!(!Path::new("/etc/mailbell-test-out").exists());
    server.stop();
}

#[test]
fn a_hook_reads_the_parsed_message_also_of_one_that_is_gone() {
    let scratch = Scratch::new("content-parsed-out");
    let (out, gate) = (scratch.path("out"), scratch.path("gate"));
    let script = format!("cat >> '{}'; while [ ! -e '{}' ]; do sleep 0.05; done", out.display(), gate.display());
    let hook = format!("[[hook]]\nname = \"parsed\"\nstdin = \"parsed\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n");
    let server = Server::with("content-parsed", &format!("{BASIC}{hook}"));
    let first = send(
        &server,
        "smtp",
        "Subject: one\nContent-Type: text/plain; charset=gbk\nContent-Transfer-Encoding: base64\n\nxOO6ww==\n",
    );
    // While the first one runs, the second one goes.
    let second = send(&server, "smtp", "Subject: two\n\nx\n");
    fs::remove_file(second["path"].as_str().unwrap()).unwrap();
    fs::write(&gate, "").unwrap();
    let lines = wait_for("both", || {
        let text = fs::read_to_string(&out).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() == 2).then_some(lines)
    });
    assert_eq!((&lines[0]["event"], &lines[0]["text"]), (&first, &json!("你好")));
    assert_eq!(
        lines[1],
        json!({"event": second, "text": null, "html": null, "text_cut": false, "attachments": [], "headers": []})
    );
    server.stop();
}

#[test]
fn watch_shows_people_the_first_lines() {
    let server = Server::start("content-watch");
    send(
        &server,
        "smtp",
        "From: \"Ann B\" <a@example.com>\nSubject: Hi\nContent-Type: text/html\n\n<p>One</p><p>two \x1b[31m</p>\n",
    );
    let gone = send(&server, "smtp", "From: b@example.com\nSubject: Gone\n\nx\n");
    fs::remove_file(gone["path"].as_str().unwrap()).unwrap();
    let shown = printed(server.run(&["watch", "--text", "--from", "all", "--count", "2"], ""));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[1..3], ["  One", "  two \u{fffd}[31m"], "{shown}");
    assert!(
        lines[0].contains(" alice ") && lines[0].contains(" Ann B <a@example.com> ") && lines[0].ends_with(" Hi"),
        "{shown}"
    );
    assert!(lines.len() == 4 && lines[3].ends_with(" Gone"), "{shown}");
    server.stop();
}

/// A message of 25 MiB with an attachment of some 18, and one of the same size that is only boundaries.
#[test]
fn a_large_message_takes_little_memory() {
    let server = Server::with("content-large", &BASIC.replace("[smtp]\n", "[smtp]\nmax_message_size = \"40MiB\"\n"));
    let new = server.path("mail/alice/new");
    let line = format!("{}\n", "QUJD".repeat(19));
    let large = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n{}--b--\n",
        line.repeat(25 * 1024 * 1024 / line.len())
    );
    let endless = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n".repeat(25 * 1024 * 1024 / 4));
    send(&server, "smtp", "Subject: makes the Maildir\n\n");
    for (name, message, attachments) in [("1.large", &large, 1), ("2.endless", &endless, 0)] {
        let temporary = server.path("mail/alice/tmp").join(name);
        fs::File::create(&temporary).unwrap().write_all(message.as_bytes()).unwrap();
        fs::rename(&temporary, new.join(name)).unwrap();
        let record = wait_for("its record", || server.records().into_iter().find(|record| record["id"] == name));
        // No more than 60 MiB of its own memory, code and stacks included.
        let output = Command::new("sh")
            .args([
                "-c",
                "ulimit -d 61440; exec \"$0\" cat \"$1\" --json",
                common::binary().to_str().unwrap(),
                id(&record),
            ])
            .env("MAILBELL_CONFIG", server.path("mailbell.toml"))
            .output()
            .unwrap();
        let object: Value = serde_json::from_str(&printed(output)).unwrap();
        assert!(object["attachments"].as_array().unwrap().len() >= attachments, "{name}");
        assert_eq!(object["text"], if attachments == 1 { json!("text") } else { Value::Null }, "{name}");
    }
    server.stop();
}
