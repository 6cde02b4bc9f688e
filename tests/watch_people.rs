//! `mailbell watch` for people: their own mail (`--follow-user`), and columns that fit the terminal.

mod common;

use common::{BASIC, Journal, PATIENCE, Scratch, is_root};
use mailbell::journal::Record;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

fn add(journal: &Journal, user: &str, subject: &str, from: &str) {
    let json = serde_json::json!({
        "seq": 0, "event": "MessageNew", "timestamp": "2026-11-23T08:44:59.000007Z", "user": user, "id": "1.M2",
        "path": "/mail/new/1.M2", "size": 3, "via": "smtp", "subject": subject, "from": from, "key": "k",
    });
    journal.append(vec![Record::parse(json.to_string().as_bytes()).unwrap()]);
}

/// `mailbell watch` as called by this user through sudo.
fn watch(scratch: &Scratch, user: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(common::binary());
    command.arg("watch").arg("-c").arg(scratch.path("mailbell.toml")).args(["--format", "{user} {subject}"]);
    command.args(arguments).env("SUDO_USER", user).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn a_user_follows_the_own_account_and_those_of_the_own_aliases() {
    if !is_root() {
        return common::skipped("needs root, whose SUDO_USER counts");
    }
    let scratch = Scratch::prepared("follow-user", &BASIC.replace("[users]", "[users]\ncatch_all = \"carol\""));
    fs::write(scratch.path("aliases"), "jane: bob, dora\ndora: carol\nteam: alice, bob\n").unwrap();
    let journal = Journal::open(&scratch.path("state"));
    for (user, subject) in [("alice", "1"), ("bob", "2"), ("carol", "3"), ("jane", "4"), ("Alice", "5"), ("other", "6")]
    {
        add(&journal, user, subject, "a@example.com");
    }
    for (user, lines) in [
        ("alice", "alice 1\nAlice 5\n"),
        ("ALICE", "alice 1\nAlice 5\n"),
        ("jane", "bob 2\ncarol 3\njane 4\n"),
        ("team", "alice 1\nbob 2\nAlice 5\n"),
        // Without an alias, root's mail goes to the catch-all.
        ("root", "carol 3\n"),
    ] {
        let count = lines.lines().count().to_string();
        let output = watch(&scratch, user, &["--from", "all", "--count", &count, "--follow-user"]).output().unwrap();
        assert_eq!(printed(&output), lines, "{user}");
    }
    // A command gets the same events, and a cursor passes over the others.
    let mut command = Command::new(common::binary());
    let command = command.arg("watch").arg("-c").arg(scratch.path("mailbell.toml"));
    command.args(["--follow-user", "--from", "all", "--cursor", "own", "--count", "1"]);
    let output = command.args(["--", "sh", "-c", "echo $MAILBELL_USER $MAILBELL_SUBJECT"]).env("SUDO_USER", "bob");
    assert_eq!(printed(&output.output().unwrap()), "bob 2\n");
}

#[test]
fn an_account_that_is_added_later_is_followed_from_then_on() {
    if !is_root() {
        return common::skipped("needs root, whose SUDO_USER counts");
    }
    let scratch = Scratch::prepared("follow-user-later", BASIC);
    let journal = Journal::open(&scratch.path("state"));
    let mut child = watch(&scratch, "jane", &["--from", "all", "--count", "4", "--follow-user"]).spawn().unwrap();
    let (sender, lines) = channel();
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    let next = || lines.recv_timeout(PATIENCE).expect("a line");
    add(&journal, "alice", "no", "a@example.com");
    add(&journal, "jane", "one", "a@example.com");
    assert_eq!(next(), "jane one");
    fs::write(scratch.path("aliases"), "jane: alice\n").unwrap();
    add(&journal, "bob", "no", "a@example.com");
    add(&journal, "alice", "two", "a@example.com");
    assert_eq!(next(), "alice two");
    // What is wrong is said, and what was known before counts.
    fs::write(scratch.path("aliases"), "jane: nobody-of-this-name\n").unwrap();
    add(&journal, "alice", "three", "a@example.com");
    assert_eq!(next(), "alice three");
    fs::write(scratch.path("aliases"), "jane: bob\n").unwrap();
    add(&journal, "alice", "no", "a@example.com");
    add(&journal, "bob", "four", "a@example.com");
    assert_eq!(next(), "bob four");
    let output = child.wait_with_output().unwrap();
    reader.join().unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.success() && said.contains("no account and no alias") && said.contains("nobody-of-this-name"),
        "{said}"
    );
}

#[test]
fn the_name_comes_from_the_system_and_only_root_may_say_another() {
    let scratch = Scratch::prepared("follow-user-name", BASIC);
    let wrong = watch(&scratch, "alice", &["--follow-user", "--user", "bob"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
    if !is_root() {
        return common::skipped("needs root, to become another user");
    }
    // Every system has the user nobody. SUDO_USER counts for root alone.
    let id = |option: &str| {
        let output = Command::new("id").args([option, "nobody"]).output().unwrap();
        text(&output.stdout).trim().parse::<u32>().unwrap()
    };
    use std::os::unix::process::CommandExt;
    let journal = Journal::open(&scratch.path("state"));
    add(&journal, "alice", "1", "a@example.com");
    add(&journal, "nobody", "2", "a@example.com");
    drop(journal);
    let open = Command::new("chmod").args(["-R", "a+rX"]).arg(scratch.path("")).status().unwrap();
    assert!(open.success());
    let mut command = watch(&scratch, "alice", &["--from", "all", "--count", "1", "--follow-user"]);
    let output = command.uid(id("-u")).gid(id("-g")).output().unwrap();
    assert_eq!(printed(&output), "nobody 2\n");
}

#[test]
fn columns_fit_the_terminal_and_names_come_before_addresses() {
    let scratch = Scratch::prepared("watch-columns", BASIC);
    let journal = Journal::open(&scratch.path("state"));
    add(
        &journal,
        "alice",
        "会議の議事録を送ります。ご確認ください。よろしくお願いいたします。",
        "\"山田 太郎\" <taro@example.jp>",
    );
    add(&journal, "bob", "Grüße an alle, die diese lange Zeile bis zum Ende lesen", "ann@example.org (Ann Example)");
    for columns in [40_usize, 60, 80, 120] {
        let line = format!(
            "stty cols {columns}; {} watch -c {} --from all --count 2",
            common::binary().display(),
            scratch.path("mailbell.toml").display()
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("NO_COLOR", "1").env("TERM", "xterm").stdin(Stdio::null());
        let Ok(output) = command.output() else {
            return common::skipped("needs script(1)");
        };
        let shown = text(&output.stdout).replace('\r', "");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 2, "{columns}: {shown}");
        // Letters of Japanese take two columns each.
        let width = |line: &str| line.chars().map(|letter| if letter >= '\u{2e80}' { 2 } else { 1 }).sum::<usize>();
        for line in &lines {
            assert!((columns / 2..=columns).contains(&width(line)), "{columns}: {line}");
        }
        let place =
            |line: &str, name: &str| width(&line[..line.find(name).unwrap_or_else(|| panic!("{columns}: {shown}"))]);
        assert_eq!(place(lines[0], "山田"), place(lines[1], "Ann Ex"), "{shown}");
        assert_eq!(place(lines[0], "会議"), place(lines[1], "Gr"), "{shown}");
    }
}
