//! Runs each dialogue in `tests/dialogues/` against the real binary: one file for each rule of the protocol.
//!
//! `C: text` is sent with CRLF, `C-: text` without; `\r \n \t \xHH \\` are escapes. `S: pattern` is one line that must come,
//! with `*` for anything and the same escapes; after the last line the server must have sent nothing more. `S-EOF` is the
//! end of the connection. `C*20: text` is sent 20 times; `C-*20:` and `S*20:` work the same way. `@ message TEXT` puts a
//! message into alice's Maildir before a POP3 dialogue; `@ door=KIND` chooses the listener. `# text` names the rule.

mod common;
#[path = "common/script.rs"]
mod script;

use common::{BASIC, Server, Talk};
use script::{matches, repeated, unescape};
use std::fs;
use std::net::Shutdown;
use std::path::Path;

const CONFIGURATION: &str = r#"
[lmtp]
listen = ["127.0.0.1:0"]
[submission]
listen = ["127.0.0.1:0"]
"#;

fn play(server: &Server, file: &Path, number: u8, default_door: &str) -> Result<(), String> {
    let script = fs::read_to_string(file).unwrap();
    let mut door = default_door;
    for line in script.lines() {
        if let Some(kind) = line.strip_prefix("@ door=") {
            door = kind.trim();
        } else if let Some(message) = line.strip_prefix("@ message ") {
            let new = server.path("mail/alice/new");
            fs::create_dir_all(&new).unwrap();
            for other in ["tmp", "cur"] {
                fs::create_dir_all(server.path("mail/alice").join(other)).unwrap();
            }
            let number = fs::read_dir(&new).unwrap().count();
            let tmp = server.path("mail/alice/tmp/dialogue");
            fs::write(&tmp, unescape(message)).unwrap();
            fs::rename(tmp, new.join(format!("17000000{number:02}.M0P1Q{number}.test"))).unwrap();
        }
    }
    let mut talk = Talk::from(std::net::Ipv4Addr::new(127, 0, 1, number), server.address(door));
    let mut expected_any = false;
    let lines = script.lines().enumerate().flat_map(|(number, line)| repeated(line).map(move |line| (number, line)));
    for (number, line) in lines {
        let line = line.as_str();
        let at = |text: String| Err(format!("{}:{}: {text}", file.file_name().unwrap().display(), number + 1));
        if let Some(text) = line.strip_prefix("C: ").or_else(|| (line == "C:").then_some("")) {
            let mut octets = unescape(text);
            octets.extend_from_slice(b"\r\n");
            talk.write(&octets);
        } else if let Some(text) = line.strip_prefix("C-: ") {
            talk.write(&unescape(text));
        } else if let Some(pattern) = line.strip_prefix("S: ").or_else(|| (line == "S:").then_some("")) {
            expected_any = true;
            match talk.octets() {
                Some(got) if matches(&unescape(pattern), &got) => {}
                Some(got) => return at(format!("expected {pattern}, got {}", got.escape_ascii())),
                None => return at(format!("expected {pattern:?}, the connection was closed")),
            }
        } else if line == "S-EOF" {
            if !talk.is_closed() {
                return at("expected the end of the connection".into());
            }
        } else if !(line.is_empty() || line.starts_with('#') || line.starts_with("@ ")) {
            return at(format!("not a line of a dialogue: {line:?}"));
        }
    }
    assert!(expected_any, "{} expects nothing", file.display());
    // Nothing more may come unasked: all that the server sent stands before the end that answers ours.
    let _ = talk.stream().shutdown(Shutdown::Write);
    match talk.octets() {
        None => Ok(()),
        Some(more) => Err(format!("{}: the server says more than expected: {}", file.display(), more.escape_ascii())),
    }
}

/// All of a folder, at its listener where a dialogue names no other one.
fn play_all(protocol: &str, listener: &str, configuration: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues").join(protocol);
    let server = Server::with(protocol, configuration);
    let scripts = common::files(&folder);
    assert!(scripts.len() > 10, "only {} dialogues in {}", scripts.len(), folder.display());
    let mut failures = Vec::new();
    for (script, number) in scripts.iter().zip(1..) {
        let _ = fs::remove_dir_all(server.path("mail/alice"));
        failures.extend(play(&server, script, number, listener).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn smtp() {
    let smtp = "[smtp]\nmax_message_size = \"100KiB\"\nmax_recipients = 5\n";
    play_all("smtp", "smtp", &(BASIC.replace("[smtp]\n", smtp) + CONFIGURATION));
}

/// Mail to other servers: which clients may send it, and what they may ask for. No message is sent.
#[test]
#[cfg(feature = "relay")]
fn smtp_relay() {
    let relay = "[relay]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"off\"\n";
    play_all("smtp-relay", "smtp", &format!("{BASIC}{CONFIGURATION}{relay}"));
}

#[test]
fn pop3() {
    play_all("pop3", "pop3", BASIC);
}

#[test]
fn patterns_match_as_they_say() {
    assert!(
        matches(b"250 *", b"250 ok") && matches(b"*", b"") && matches(b"a*b*c", b"aXbYc") && !matches(b"a*b", b"a")
    );
}
