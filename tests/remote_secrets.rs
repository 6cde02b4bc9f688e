//! The password and the token of a remote are found nowhere: not in the log, the journal, the checkpoint, status, metrics,
//! nor in the arguments or the environment of any process, hooks and commands among them.
#![cfg(feature = "remote")]

mod common;

use common::dovecot::Dovecot;
use common::{BASIC, Scratch, Server, Talk, run, wait_for};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PASSWORD: &str = "pa55-of-the-remote";
const TOKEN: &str = "t0ken-that-is-refused";

fn script(scratch: &Scratch, name: &str, text: &str) {
    fs::write(scratch.path(name), format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{text}")).unwrap();
    fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Each file below a folder but those that the test itself put a secret into.
fn all_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all_files(&entry.path(), found);
        } else if kind.is_file() && !["work.pw", "token"].iter().any(|name| entry.file_name() == *name) {
            found.push(entry.path());
        }
    }
}

fn remote(name: &str, protocol: &str, port: u16, secret: &str) -> String {
    format!(
        "\n[[remote]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\n\
         login = \"me@example.com\"\nuser = \"alice\"\n{secret}\n"
    )
}

/// A server that repeats in its refusal what it was sent.
fn talkative() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"+OK ready\r\n");
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let answer = if line.starts_with("PASS") { format!("-ERR no: {line}\r\n") } else { "+OK\r\n".into() };
                let _ = stream.write_all(if line == "CAPA" { b"-ERR\r\n" } else { answer.as_bytes() });
            }
        }
    });
    port
}

#[test]
fn secrets_are_found_nowhere() {
    let Some(dovecot) = Dovecot::start("secrets") else { return };
    fs::write(dovecot.scratch.path("passwd"), format!("me@example.com:{{PLAIN}}{PASSWORD}::::::\n")).unwrap();
    let (file, token) = ("password_file = \"work.pw\"", "token_command = [\"./token\"]");
    let remotes = [
        remote("file", "imap", dovecot.imap, file),
        remote("pop", "pop3", dovecot.pop3, "password_command = [\"./password\"]"),
        remote("token", "imap", dovecot.imap, token),
        remote("talkative", "pop3", talkative(), file),
    ];
    let more =
        "[metrics]\nlisten = \"127.0.0.1:0\"\n[[hook]]\nname = \"h\"\ncommand = [\"./hook\"]\nstdin = \"message\"\n";
    let scratch = Scratch::prepared("remote-secrets", &format!("{BASIC}{more}{}", remotes.concat()));
    fs::write(scratch.path("work.pw"), format!("{PASSWORD}\n")).unwrap();
    fs::set_permissions(scratch.path("work.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    // What each of them can see: its own environment and arguments, and those of the process that started it.
    let see = "for pid in self $PPID; do cat /proc/$pid/environ /proc/$pid/cmdline; done >> seen-by-$(basename $0) 2>/dev/null\n";
    script(&scratch, "token", &format!("{see}echo {TOKEN}\n"));
    script(&scratch, "password", &format!("{see}cat work.pw\n"));
    script(&scratch, "hook", see);
    let server = Server::start_in(scratch, &[("MAILBELL_LOG", "trace")]);
    for (name, code) in [("file", 0), ("pop", 0), ("token", 77), ("talkative", 77)] {
        let output = server.run(&["fetch", name], "");
        assert_eq!(output.status.code(), Some(code), "{name}: {}", server.log());
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains(PASSWORD) && !said.contains(TOKEN), "{said}");
    }
    dovecot.deliver("rings", "1@x");
    wait_for("both records", || {
        assert_eq!(server.run(&["fetch", "pop"], "").status.code(), Some(0));
        (server.records().len() == 2).then_some(())
    });
    wait_for("the hook", || fs::metadata(server.path("seen-by-hook")).ok().filter(|file| file.len() > 0));
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for command in [&["status"][..], &["status", "--json"], &["check", "--online"]] {
        let output = server.run(command, "");
        seen.push((command.join(" "), [output.stdout, output.stderr].concat()));
    }
    let mut metrics = Talk::to(server.address("metrics"));
    metrics.write(b"GET /metrics HTTP/1.0\r\n\r\n");
    seen.push(("metrics".into(), metrics.octets().unwrap_or_default()));
    while let Some(octets) = metrics.octets().filter(|octets| !octets.is_empty()) {
        seen.push(("metrics".into(), octets));
    }
    for name in ["cmdline", "environ", "limits"] {
        let path = format!("/proc/{}/{name}", server.pid());
        seen.push((path.clone(), fs::read(path).unwrap()));
    }
    let limits = String::from_utf8_lossy(&seen.last().unwrap().1).into_owned();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let scratch = server.stop();
    let output = run(&scratch.path("mailbell.toml"), &["fetch", "--once", "talkative"], "");
    seen.push(("fetch --once".into(), [output.stdout, output.stderr].concat()));
    let mut files = Vec::new();
    all_files(&scratch.0, &mut files);
    for name in ["log", "seen-by-hook", "seen-by-token", "seen-by-password"] {
        assert!(files.iter().any(|path| path.ends_with(name)), "{name}: {files:?}");
    }
    seen.extend(files.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())));
    // As they are, and as they go over the wire: PLAIN, XOAUTH2.
    let needles = [
        PASSWORD.to_owned(),
        TOKEN.to_owned(),
        "AG1lQGV4YW1wbGUuY29tAHBhNTUtb2YtdGhlLXJlbW90ZQ".to_owned(),
        "dXNlcj1tZUBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB0MGtlbi10aGF0LWlzLXJlZnVzZWQ".to_owned(),
    ];
    for (place, octets) in &seen {
        let text = String::from_utf8_lossy(octets);
        for needle in &needles {
            assert!(!text.contains(needle.as_str()), "{needle} is in {place}");
        }
    }
}
