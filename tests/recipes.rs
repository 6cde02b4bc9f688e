//! The programs in docs/examples do what docs/recipes.md says, as hooks of a real server.
#![cfg(feature = "mime")]

mod common;

use common::{BASIC, Scratch, Server, skipped, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
    path.to_str().unwrap().to_owned()
}

/// A server with one hook: what stands behind the program's path in `command`, and further settings.
fn server(name: &str, program: &str, arguments: &[&Path], more: &str) -> Server {
    let arguments: String =
        arguments.iter().map(|argument| format!(", {:?}", argument.display().to_string())).collect();
    let hook =
        format!("[[hook]]\nname = \"x\"\nretry = \"1s..1s\"\ncommand = [{:?}{arguments}]\n{more}\n", example(program));
    let scratch = Scratch::prepared(name, &format!("{BASIC}{hook}"));
    let (config, print) = (scratch.path("mailbell.toml"), scratch.path("print"));
    script(&print, &format!("cat \"$2\" >> '{}'", scratch.path("printed").display()));
    let binary = common::binary();
    let environment = [
        ("MAILBELL_CONFIG", config.to_str().unwrap()),
        ("MAILBELL", binary.to_str().unwrap()),
        ("PRINT", print.to_str().unwrap()),
    ];
    Server::start_in(scratch, &environment)
}

fn script(path: &Path, text: &str) {
    // Not written by this process: a program that another thread starts could hold the descriptor, and then it does not run.
    let write = "printf '%s\\n' '#!/bin/sh' \"$1\" > \"$0\" && chmod +x \"$0\"";
    assert!(Command::new("sh").args(["-c", write]).arg(path).arg(text).status().unwrap().success());
}

fn multipart(head: &str, parts: &[(&str, &str)]) -> String {
    let part =
        |(name, text): &(&str, &str)| format!("--b\nContent-Disposition: attachment; filename=\"{name}\"\n\n{text}\n");
    let parts: String = parts.iter().map(part).collect();
    format!("{head}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n{parts}--b--\n")
}

fn files_below(folder: &Path) -> Vec<String> {
    let output = Command::new("find").args(["-L", ".", "-type", "f"]).current_dir(folder).output().unwrap();
    let mut files: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    files.sort();
    files
}

fn last_is_done(server: &Server) {
    wait_for("the hook", || {
        let status = server.run(&["status", "--json"], "");
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
        let hook = status["subscribers"].as_array()?.iter().find(|each| each["name"] == "hook:x")?.clone();
        (hook["backlog"] == 0 && hook["last_seq"] == server.records().len()).then_some(())
    });
}

#[test]
fn invoices_are_saved_by_sender_and_month() {
    let root = Scratch::new("recipe-invoices-root");
    let server =
        server("recipe-invoices", "save-invoices", &[&root.0], "stdin = \"none\"\nmatch = { subject = \"*invoice*\" }");
    for (from, text) in [
        ("\"Shop\" <a@shop.example>", "one"),
        ("a@shop.example", "one"),
        ("a@shop.example", "two"),
        ("x@../../evil", "three"),
    ] {
        server.send(
            "alice@example.org",
            &multipart(&format!("From: {from}\nSubject: Your invoice\n"), &[("../invoice.pdf", text), ("-x", text)]),
        );
    }
    wait_for("four", || (server.records().len() == 4).then_some(()));
    last_is_done(&server);
    let month = &server.records()[0]["timestamp"].as_str().unwrap()[..7].to_owned();
    let names = [
        "evil/M/invoice.pdf",
        "evil/M/x",
        "shop.example/M/3-invoice.pdf",
        "shop.example/M/3-x",
        "shop.example/M/invoice.pdf",
        "shop.example/M/x",
    ];
    let names: Vec<String> = names.iter().map(|name| format!("./{}", name.replace('M', month))).collect();
    assert_eq!(files_below(&root.0), names);
    assert_eq!(fs::read_to_string(root.path(&names[4])).unwrap(), "one");
    server.stop();
}

#[test]
fn only_what_is_a_pdf_is_printed() {
    let server = server("recipe-print", "print-pdfs", &[], "stdin = \"none\"");
    server.send("alice@example.org", &multipart("Subject: x\n", &[("a.pdf", "no pdf"), ("b", "%PDF-1.7 yes")]));
    wait_for("one", || (server.records().len() == 1).then_some(()));
    last_is_done(&server);
    assert_eq!(fs::read_to_string(server.path("printed")).unwrap(), "%PDF-1.7 yes");
    server.stop();
}

#[test]
fn a_sentence_about_the_mail_is_spoken() {
    let scratch = Scratch::new("recipe-speak-out");
    let (spoken, program) = (scratch.path("spoken"), scratch.path("program"));
    script(&program, &format!("cat >> '{}'", spoken.display()));
    let server = server("recipe-speak", "speak", &[&program], "stdin = \"none\"\nmatch = { auto_submitted = \"\" }");
    server.send("alice@example.org", "From: \"Ann $(x)\" <a@b.example>\nSubject: =?utf-8?q?caf=C3=A9?=\n\nx\n");
    server.send("alice@example.org", "From: a@b.example\nAuto-Submitted: auto-replied\nSubject: away\n\nx\n");
    wait_for("both", || (server.records().len() == 2).then_some(()));
    last_is_done(&server);
    assert_eq!(fs::read_to_string(&spoken).unwrap(), "Mail from Ann $(x): café\n");
    server.stop();
}

#[test]
fn a_ticket_is_opened() {
    if Command::new("jq").arg("--version").output().is_err() || Command::new("curl").arg("--version").output().is_err()
    {
        return skipped("needs jq and curl");
    }
    use std::io::{Read, Write};
    let tracker = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = PathBuf::from(format!("http://{}/issues", tracker.local_addr().unwrap()));
    let scratch = Scratch::new("recipe-ticket-token");
    fs::write(scratch.path("token"), "secret\n").unwrap();
    let server = server("recipe-ticket", "open-ticket", &[&url, &scratch.path("token")], "stdin = \"parsed\"");
    server.send(
        "alice@example.org",
        "From: a@b.example\nSubject: It is \"broken\"\nContent-Type: text/html\n\n<p>Please<p>help\n",
    );
    let (mut stream, _) = tracker.accept().unwrap();
    let mut request = Vec::new();
    let body = loop {
        let mut block = [0; 4_096];
        let octets = stream.read(&mut block).unwrap();
        request.extend_from_slice(&block[..octets]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        if let Some(body) = body.and_then(|body| serde_json::from_str::<serde_json::Value>(&body).ok()) {
            assert!(text.contains("Authorization: token secret"));
            break body;
        }
    };
    stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    drop(stream);
    assert_eq!(body["title"], "It is \"broken\"");
    assert!(body["body"].as_str().unwrap().contains("Please\n\nhelp"), "{body}");
    last_is_done(&server);
    server.stop();
}

#[test]
fn a_code_counts_only_in_verified_mail() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("needs python3");
    }
    let scratch = Scratch::new("recipe-code-out");
    let (codes, program) = (scratch.path("codes"), scratch.path("unlock"));
    script(&program, &format!("echo \"$1\" >> '{}'", codes.display()));
    let more = "stdin = \"parsed\"\n[event]\nauthserv = \"mx.example.org\"\n";
    let server = server("recipe-code", "one-time-code", &[&program], more);
    let pass = "Authentication-Results: mx.example.org; dmarc=pass\n";
    server.send("alice@example.org", &format!("{pass}Subject: forged\n\nYour code is 111111.\n"));
    let sent = server.run(
        &["deliver", "alice"],
        &format!("{pass}Subject: true\n\nOrder 12345678: your code is 222222, not 333333.\n"),
    );
    assert!(sent.status.success(), "{sent:?}");
    wait_for("both", || (server.records().len() == 2).then_some(()));
    last_is_done(&server);
    assert_eq!(fs::read_to_string(&codes).unwrap(), "222222\n");
    server.stop();
}

#[test]
fn the_page_shows_what_is_there() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md")).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("(examples/{name})")), "docs/recipes.md does not show {name}");
    }
}
