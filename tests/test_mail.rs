//! `mailbell test`: each step has its line, and the first that fails decides the exit code.

mod common;

use common::{BASIC, Scratch, Server, files, run, wait_for};
use std::io::Read;
use std::process::{Command, Output};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The line of a step, without its time.
fn line<'t>(text: &'t str, step: &str) -> (&'t str, &'t str) {
    let is_line = |line: &&str| line.contains(&format!("ms  {step}: "));
    let line = text.lines().find(is_line).unwrap_or_else(|| panic!("no line for {step}: {text}"));
    let (word, rest) = line.split_once(' ').unwrap();
    (word, rest.split_once(": ").unwrap().1)
}

fn word<'t>(text: &'t str, step: &str) -> &'t str {
    line(text, step).0
}

/// Files of users' Maildirs.
fn messages(server: &Server) -> usize {
    ["alice", "bob", "carol"].iter().map(|user| server.new_files(user).len()).sum()
}

#[test]
fn each_step_is_shown_and_the_message_is_removed() {
    let server = Server::with("test-mail", &format!("{BASIC}\n[[hook]]\nname = \"ok\"\ncommand = [\"true\"]\n"));
    let mut pipe = std::fs::File::open(server.path("notify")).unwrap();
    let reader = std::thread::spawn(move || {
        let mut octets = [0; 4096];
        let count = pipe.read(&mut octets).unwrap();
        String::from_utf8(octets[..count].to_vec()).unwrap()
    });
    // The first account, and as much time as the reader needs on a busy machine.
    let output = server.run(&["test", "--stdin", "--timeout", "60"], "secret-a\n");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for step in ["server", "smtp", "stored", "recorded", "hook:ok", "pop3", "removed"] {
        assert_eq!(word(&text, step), "ok", "{step}: {text}");
    }
    let pipe = format!("pipe:{}", server.path("notify").display());
    assert_eq!(word(&text, &pipe), "ok", "{text}");
    assert!(text.ends_with("everything works\n"), "{text}");
    assert!(reader.join().unwrap().contains("MOVED_TO"));
    assert_eq!(messages(&server), 0);
    let record = &server.records()[0];
    assert_eq!((&record["subject"], &record["user"]), (&"mailbell test".into(), &"alice".into()));
}

#[test]
fn an_alias_reaches_each_of_its_users_and_deliver_is_another_way() {
    let server = Server::start("test-mail-alias");
    for way in [&["test", "team@example.org"][..], &["test", "--deliver", "team"]] {
        let output = server.run(way, "");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text.matches("  stored: ").count(), 2, "{text}");
        assert_eq!(word(&text, "pop3"), "skip");
    }
    assert_eq!(server.records().len(), 4);
    assert_eq!(messages(&server), 0);
}

#[test]
fn a_pipe_without_a_reader_is_named_and_is_no_failure() {
    let server = Server::start("test-mail-reader");
    let output = server.run(&["test"], "");
    let text = said(&output);
    let (word, what) = line(&text, &format!("pipe:{}", server.path("notify").display()));
    assert_eq!(word, "wait", "{text}");
    assert!(what.contains("no reader"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn a_hook_that_fails_is_named() {
    let hook = "\n[[hook]]\nname = \"bad\"\ncommand = [\"false\"]\nretry = \"1h..2h\"\n";
    let server = Server::with("test-mail-hook", &format!("{BASIC}{hook}"));
    let output = server.run(&["test"], "");
    let text = said(&output);
    assert_eq!(word(&text, "hook:bad"), "FAIL", "{text}");
    assert!(text.ends_with("failed: hook:bad\n"), "{text}");
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert_eq!(messages(&server), 0);
}

#[test]
fn a_wrong_password_is_named() {
    let server = Server::start("test-mail-password");
    let output = server.run(&["test", "--stdin", "bob"], "wrong\n");
    let text = said(&output);
    assert_eq!(line(&text, "pop3").0, "FAIL", "{text}");
    assert!(text.contains("mailbell user passwd") && text.ends_with("failed: pop3\n"), "{text}");
    assert_eq!(output.status.code(), Some(77), "{text}");
    assert!(!text.contains("wrong"), "the password is not shown: {text}");
    assert_eq!(messages(&server), 0);
}

#[test]
fn a_full_disk_is_named() {
    let server = Server::with("test-mail-disk", &BASIC.replace("1MiB", "900000GiB"));
    let output = server.run(&["test"], "");
    let text = said(&output);
    let (word, what) = line(&text, "smtp");
    assert!(word == "FAIL" && what.contains("452 4.3.1"), "{text}");
    assert!(text.contains("min_free"), "{text}");
    assert_eq!(output.status.code(), Some(75), "{text}");
}

#[test]
fn an_address_without_a_user_is_named() {
    let server = Server::start("test-mail-user");
    for address in ["nobody@example.org", "alice@elsewhere.example"] {
        let output = server.run(&["test", address], "");
        let text = said(&output);
        assert_eq!(word(&text, "address"), "FAIL", "{text}");
        assert_eq!(output.status.code(), Some(67), "{text}");
    }
    // A user that the server does not know yet.
    let mut users = std::fs::read_to_string(server.path("users")).unwrap();
    users += "dora:{PLAIN}secret-d\n";
    std::fs::write(server.path("users"), users).unwrap();
    let output = server.run(&["test", "dora"], "");
    let text = said(&output);
    assert!(word(&text, "smtp") == "FAIL" && text.contains("SIGHUP"), "{text}");
    assert_eq!(output.status.code(), Some(67), "{text}");
}

#[test]
fn a_listener_that_wants_a_login_is_passed_by() {
    let server = Server::with("test-mail-auth", &BASIC.replace("[smtp]", "[smtp]\nauth = \"required\""));
    let output = server.run(&["test"], "");
    let text = said(&output);
    assert_eq!(word(&text, "smtp"), "skip", "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    wait_for("the record", || (server.records().len() == 1).then_some(()));
}

/// Accounts inside the state folder keep workers out of all but its subfolders, as with the embedded default.
#[test]
fn with_the_accounts_in_the_state_folder_the_subscribers_are_known() {
    let scratch = Scratch::prepared("test-mail-state", &BASIC.replace("file = \"users\"", "file = \"state/users\""));
    std::fs::create_dir(scratch.path("state")).unwrap();
    std::fs::rename(scratch.path("users"), scratch.path("state/users")).unwrap();
    let server = Server::start_in(scratch, &[]);
    let output = server.run(&["test"], "");
    let text = said(&output);
    assert_eq!(word(&text, &format!("pipe:{}", server.path("notify").display())), "wait", "{text}");
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn without_a_server_there_is_one_line() {
    let scratch = Scratch::prepared("test-mail-none", BASIC);
    std::fs::create_dir(scratch.path("state")).unwrap();
    let output = run(&scratch.path("mailbell.toml"), &["test"], "");
    let text = said(&output);
    assert_eq!(word(&text, "server"), "FAIL", "{text}");
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(files(&scratch.path("state")).is_empty());
}

/// Without a configuration file, as on the first try: in a network of its own, because the default ports may be in use.
#[test]
fn a_fresh_server_with_the_default_settings_works_and_the_pipe_says_what_to_do() {
    let in_own_network = |script: &str, scratch: &Scratch| {
        Command::new("unshare")
            .args(["-n", "sh", "-c", &format!("ip link set lo up || exit 99; {script}")])
            .current_dir(scratch.path(""))
            .env_remove("MAILBELL_CONFIG")
            .env("USER", "me")
            .output()
    };
    let scratch = Scratch::new("test-mail-fresh");
    if !in_own_network("true", &scratch).is_ok_and(|output| output.status.success()) {
        return common::skipped("needs root, unshare(1) and ip(8)");
    }
    if std::path::Path::new("/etc/mailbell/mailbell.toml").exists() {
        return common::skipped("needs a machine without /etc/mailbell/mailbell.toml");
    }
    let binary = common::binary();
    let script = format!(
        "'{0}' serve 2> log & server=$!
        for each in $(seq 600); do grep -q 'mailbell: ready' log && break; sleep 0.1; done
        '{0}' test; code=$?
        kill $server; wait $server; exit $code",
        binary.display()
    );
    let output = in_own_network(&script, &scratch).unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for step in ["server", "smtp", "stored", "recorded", "removed"] {
        assert_eq!(word(&text, step), "ok", "{step}: {text}");
    }
    let pipe = scratch.path("mailbell-data/notify");
    let (word, what) = line(&text, &format!("pipe:{}", pipe.display()));
    assert!(word == "wait" && what.ends_with(&format!("try: cat {}", pipe.display())), "{text}");
    assert!(text.ends_with("everything works\n"), "{text}");
}
