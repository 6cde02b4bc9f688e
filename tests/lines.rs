//! Odd headers on the real binary: every line in every format is whole, and a shell and jq can read it.

mod common;

use common::{BASIC, Server};
use mailbell::message::letter::is_unsafe;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn odd_headers_come_out_of_every_format_whole() {
    let formats = ["inotify", "path", "tsv", "json", "{seq} {subject} {from}"];
    let mut configuration = BASIC.split("[[pipe]]").next().unwrap().to_owned();
    for (number, format) in formats.iter().enumerate() {
        configuration += &format!("[[pipe]]\npath = 'pipe{number}'\nformat = '{format}'\n");
    }
    let server = Server::with("odd", &configuration);
    let subjects = [
        "a\ttab and\n a fold\n\tand another",
        "\u{1b}[2J\u{1b}]0;title\u{7} bell",
        "$(touch /tmp/never) `id` ; rm -rf * | & > < \\ \" ' #",
        "=?utf-8?q?=00=0A=0Dnew_line=1B[31m?= =?iso-2022-jp?b?GyRCRnxLXBsoQg==?=",
        "{\"seq\":9}",
        "-",
        // Line ends of Unicode, and controls of the direction of text.
        "=?UTF-8?Q?one_line=E2=80=A87_/etc/passwd_forged=E2=80=A9=C2=85=E2=80=AEend?=",
        "raw \u{2028}two\u{2029}\u{85}\u{2066}",
    ];
    let long = "long ".repeat(2_000);
    for subject in subjects.into_iter().chain([&*long]) {
        server.send("alice@example.org", &format!("Subject: {subject}\nFrom: \"Ä, {subject}\" <a@x>\n\nx\n"));
    }
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("HELO x", "250");
    talk.say("MAIL FROM:<a@x>", "250");
    talk.say("RCPT TO:<bob@example.org>", "250");
    talk.say("DATA", "354");
    talk.write(b"Subject: \xff\xfe\x80 latin \xe4 and NUL \x00\r\n\r\nx\r\n");
    talk.say(".", "250");
    let count = subjects.len() + 2;
    let records = server.records();
    assert_eq!(records.len(), count);
    for (number, format) in formats.iter().enumerate() {
        let pipe = BufReader::new(File::open(server.path(&format!("pipe{number}"))).unwrap());
        let lines: Vec<String> = pipe.lines().take(count).map(Result::unwrap).collect();
        for (line, record) in lines.iter().zip(&records) {
            assert!(line.len() < 4096, "{line}");
            let tab = |letter: char| *format == "tsv" && letter == '\t';
            assert!(!line.chars().any(|letter| is_unsafe(letter) && !tab(letter)), "{line:?}");
            let path = record["path"].as_str().unwrap();
            match *format {
                "path" => assert_eq!(line, path),
                "inotify" => {
                    let words: Vec<_> = line.splitn(3, ' ').collect();
                    assert_eq!((format!("{}{}", words[0], words[2]), words[1]), (path.to_owned(), "MOVED_TO"));
                }
                "tsv" => {
                    let columns: Vec<_> = line.split('\t').collect();
                    assert!(columns.len() == 11 && columns.iter().all(|column| !column.is_empty()), "{line:?}");
                    assert_eq!((columns[0].to_owned(), columns[10]), (record["seq"].to_string(), path));
                }
                "json" => {
                    let value: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!((&value["path"], &value["seq"]), (&record["path"], &record["seq"]));
                    let said = value["subject"].as_str().unwrap();
                    let whole = record["subject"].as_str().unwrap();
                    assert!(said == whole || said.ends_with("...") && whole.starts_with(said.trim_end_matches("...")));
                }
                _ => assert!(line.starts_with(&format!("{} ", record["seq"]))),
            }
        }
    }
    assert!(!Path::new("/tmp/never").exists());
    // What jq and a shell make of them.
    let watch = |format: &str, script: &str| {
        let script = format!(
            "{} watch -c {} --from all --count {count} --format {format} | {script}",
            common::binary().display(),
            server.path("mailbell.toml").display()
        );
        let output = Command::new("bash").args(["-c", &script]).stderr(Stdio::inherit()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    if Command::new("jq").arg("--version").output().is_ok() {
        assert_eq!(watch("json", "jq -r .id").lines().count(), count);
    }
    for format in ["inotify", "path", "tsv", "json"] {
        let python = "python3 -c \"import sys; print(len(sys.stdin.buffer.read().decode().splitlines()))\"";
        let node =
            "node -e \"let n = 0; require('readline').createInterface({input: process.stdin, crlfDelay: Infinity})
            .on('line', () => n++).on('close', () => console.log(n))\"";
        let mut counts = vec!["while read -r line; do echo; done | wc -l"];
        for (program, script) in [("python3", python), ("node", node)] {
            match Command::new(program).arg("--version").output() {
                Ok(_) => counts.push(script),
                Err(_) => println!("skipped: needs {program}"),
            }
        }
        for script in counts {
            assert_eq!(watch(format, script).trim(), count.to_string(), "{format}: {script}");
        }
    }
    let read = "while read -r path subject; do test -f \"$path\" && echo \"$subject\"; done";
    assert_eq!(watch("'{path} {subject}'", read).lines().count(), count);
    let read = "while read -r dir event file; do test -f \"$dir$file\" && echo \"$event\"; done";
    assert_eq!(watch("inotify", read), "MOVED_TO\n".repeat(count));
    // A peer's HELO is one line of the log, whatever it says.
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("HELO x\u{2028}y\u{85}z", "");
    talk.say("MAIL FROM:<a\u{2028}b@x>", "");
    talk.say("QUIT", "221");
    assert!(!server.log().chars().any(|letter| is_unsafe(letter) && letter != '\n'), "{}", server.log());
    server.stop();
}
