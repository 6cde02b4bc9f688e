//! `mailbell status --check` on the real binary.

mod common;

use common::{BASIC, Scratch, Server, run, wait_for};
use std::process::Output;

fn line(output: &Output) -> (i32, String) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{output:?}");
    (output.status.code().unwrap(), text)
}

#[test]
fn the_line_and_the_exit_code_tell_how_the_server_is() {
    let hook = "[[hook]]\nname = \"stuck\"\ncommand = [\"/bin/false\"]\nstdin = \"none\"\nretry = \"1h..1h\"\n";
    let server = Server::with("status-check", &format!("{BASIC}{hook}"));
    let check = |more: &[&str]| line(&server.run(&[&["status", "--check"], more].concat(), ""));
    let (code, text) = check(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("OK: ") && text.contains(" | backlog=0 "), "{text}");
    for _ in 0..3 {
        server.send("alice@example.org", "Subject: x\n\nx\n");
    }
    wait_for("the backlog", || check(&[]).1.contains("backlog=3 ").then_some(()));
    // Exactly as many as may wait.
    assert_eq!(check(&["--max-backlog", "3"]).0, 0);
    let (code, text) = check(&["--max-backlog=2"]);
    assert_eq!(code, 1);
    assert!(text.starts_with("WARNING: ") && text.contains("hook:stuck: 3 events wait"), "{text}");
    assert_eq!(check(&["--max-age", "1h"]).0, 0);
    wait_for("some age", || (check(&["--max-age", "0s"]).0 == 1).then_some(()));
    for wrong in [&["--max-age", "1"][..], &["--max-backlog", "x"], &["--json"]] {
        assert_eq!(server.run(&[&["status", "--check"], wrong].concat(), "").status.code(), Some(64));
    }
    assert_eq!(server.run(&["status", "--max-age", "1h"], "").status.code(), Some(64));
    let scratch = server.stop();
    let (code, text) = line(&run(&scratch.path("mailbell.toml"), &["status", "--check"], ""));
    assert_eq!((code, text.as_str()), (2, "CRITICAL: no server is running\n"));
}

#[test]
fn a_disk_that_is_nearly_full_is_critical() {
    let scratch = Scratch::prepared("status-disk", &BASIC.replace("1MiB", "999999GiB"));
    let server = Server::start_in(scratch, &[]);
    let (code, text) = line(&server.run(&["status", "--check"], ""));
    assert!(code == 2 && text.starts_with("CRITICAL: the disk has ") && text.contains("mail is refused"), "{text}");
    server.stop();
}
