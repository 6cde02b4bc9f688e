//! Pipes on the real binary: every line once, whatever the reader does and however the server ends.

mod common;

use common::{BASIC, Journal, Scratch, Server, wait_for};
use mailbell::journal::Record;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

fn with_format(format: &str) -> String {
    format!("{BASIC}format = '{format}'\n")
}

/// A reader that does not block: it is there even while no server is.
fn reader(fifo: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(fifo).unwrap()
}

/// Reads until there are so many whole lines.
fn take_lines(reader: &mut File, count: usize) -> Vec<String> {
    let mut octets = Vec::new();
    wait_for("lines", || {
        // The server may be down just now, or have nothing to say.
        let mut block = [0; 4096];
        while octets.iter().filter(|octet| **octet == b'\n').count() < count {
            // One octet at a time near the end, so that what is not asked for stays in the pipe.
            match reader.read(&mut block[..1]) {
                Ok(length) if length > 0 => octets.extend_from_slice(&block[..length]),
                _ => return None,
            }
        }
        Some(())
    });
    String::from_utf8(octets).unwrap().lines().map(str::to_owned).collect()
}

fn rest(reader: &mut File) -> String {
    let mut octets = Vec::new();
    let _ = reader.read_to_end(&mut octets);
    String::from_utf8(octets).unwrap()
}

fn seqs(from: usize, to: usize) -> Vec<String> {
    (from..=to).map(|seq| seq.to_string()).collect()
}

fn message(subject: &str) -> String {
    format!("Subject: {subject}\n\nx\n")
}

#[test]
fn a_reader_that_stays_over_clean_restarts_gets_each_line_once() {
    let mut server = Server::with("restarts", &with_format("{seq}"));
    let mut reader = reader(&server.path("notify"));
    let mut seen = Vec::new();
    for round in 0..6 {
        for _ in 0..4 {
            server.send("alice@example.org", &message("x"));
        }
        // It reads a little more than half of what came, and the server stops while the rest is in the pipe.
        seen.extend(take_lines(&mut reader, 2 + round % 2));
        server = Server::start_in(server.stop(), &[]);
    }
    seen.extend(take_lines(&mut reader, 24 - seen.len()));
    assert_eq!(seen, seqs(1, 24));
    assert_eq!(rest(&mut reader), "");
    server.stop();
}

#[test]
fn a_line_that_is_half_read_at_a_clean_stop_is_read_to_its_end() {
    let server = Server::with("half", &with_format("{seq} {subject}"));
    let mut reader = reader(&server.path("notify"));
    for subject in ["first", "second", "third"] {
        server.send("alice@example.org", &message(subject));
    }
    let mut beginning = Vec::new();
    wait_for("octets", || {
        let mut octets = [0; 12];
        let wanted = beginning.len()..octets.len();
        let count = reader.read(&mut octets[..wanted.len()]).unwrap_or(0);
        beginning.extend_from_slice(&octets[..count]);
        (beginning.len() == 12).then_some(())
    });
    assert_eq!(beginning, b"1 first\n2 se");
    let scratch = server.stop();
    assert_eq!(rest(&mut reader), "cond\n");
    let server = Server::start_in(scratch, &[]);
    assert_eq!(take_lines(&mut reader, 1), ["3 third"]);
    server.stop();
}

#[test]
fn after_kill_9_every_line_comes_and_a_reader_that_stayed_gets_none_twice() {
    let mut server = Server::with("kills", &with_format("{seq} {id}"));
    let mut staying = reader(&server.path("notify"));
    let mut seen = Vec::new();
    for round in 0..8 {
        for _ in 0..3 {
            server.send("alice@example.org", &message("x"));
        }
        // One line at least stays in the pipe, and tells where the last run ended.
        seen.extend(take_lines(&mut staying, if round == 0 { 2 } else { 3 - round % 2 }));
        server = Server::start_in(server.kill(), &[]);
    }
    seen.extend(take_lines(&mut staying, 24 - seen.len()));
    let told = |server: &Server| -> Vec<String> {
        server.records().iter().map(|record| format!("{} {}", record["seq"], record["id"].as_str().unwrap())).collect()
    };
    assert_eq!(seen, told(&server));
    assert_eq!(rest(&mut staying), "");
    // Without a reader the kernel drops what is in the pipe; it is told again, from the first line that was not read.
    drop(staying);
    for _ in 0..5 {
        server.send("alice@example.org", &message("x"));
    }
    let mut leaving = reader(&server.path("notify"));
    let two = take_lines(&mut leaving, 2);
    // What was taken is counted while the reader still holds the pipe.
    wait_for("the two to be counted", || {
        let status: serde_json::Value = serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap();
        (status["subscribers"][0]["last_seq"] == 26).then_some(())
    });
    drop(leaving);
    let server = Server::start_in(server.kill(), &[]);
    let mut again = reader(&server.path("notify"));
    let three = take_lines(&mut again, 3);
    assert_eq!([two, three].concat(), told(&server)[24..]);
    assert_eq!(rest(&mut again), "");
    server.stop();
}

/// Fills the journal of a server that is down, as fast as the disk goes.
fn fill(scratch: &Scratch, count: u64) {
    let journal = Journal::open(&scratch.path("state"));
    for _ in 0..count / 100 {
        let records: Vec<Record> = (0..100)
            .map(|n| {
                let json = serde_json::json!({
                    "seq": 0, "event": "MessageNew", "timestamp": "2026-11-23T08:44:59.000007Z", "user": "alice",
                    "id": format!("1.M{n}"), "path": format!("/var/lib/mailbell/mail/alice/new/1.M{n},S=1,W=2"), "size": 3,
                    "via": "smtp", "subject": "A subject of some length", "from": "a@example.com", "key": format!("mid:<{n}>"),
                });
                Record::parse(json.to_string().as_bytes()).unwrap()
            })
            .collect();
        journal.append(records);
    }
}

/// Resident memory, KiB.
fn resident(server: &Server) -> u64 {
    let value = common::process_status(format!("/proc/{}", server.pid()).as_ref(), "VmRSS:").unwrap();
    value.trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_long_backlog_waits_for_a_reader_and_costs_no_memory() {
    // 12 MB of records; a release build under test is given its 100,000.
    let count = if std::env::var_os("MAILBELL_TEST_BINARY").is_some() { 100_000 } else { 20_000 };
    let scratch = Server::with("backlog", &with_format("{seq} {path}")).stop();
    // What the journal itself needs for so many records (duplicates, ids) is no subscriber's.
    fill(&scratch, count);
    let without = Server::start_in(with_pipes(scratch, "pipe = []\n"), &[]);
    let base = resident(&without);
    let server = Server::start_in(with_pipes(without.stop(), ""), &[]);
    wait_for("a line in the pipe", || {
        (rustix::io::ioctl_fionread(reader(&server.path("notify"))).ok()? > 0).then_some(())
    });
    let waiting = resident(&server);
    let mut lines = BufReader::new(File::open(server.path("notify")).unwrap()).lines();
    for seq in 1..=count {
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("{seq} /")), "{line} is not {seq}");
    }
    let after = resident(&server);
    println!("resident: {base} KiB without a pipe, {waiting} KiB with {count} waiting, {after} KiB when all were read");
    // Records in memory would be more than the octets on disk; half of that is far from what else may vary.
    let segments = common::files(&server.path("state/journal")).into_iter();
    let journal: u64 = segments.map(|path| fs::metadata(path).unwrap().len()).sum::<u64>() / 1024;
    assert!(waiting < base + journal / 2 && after < base + journal / 2, "the backlog of {journal} KiB is in memory");
    server.stop();
}

/// The same configuration with other pipes: `extra` goes to the top, and an empty one keeps the pipe.
fn with_pipes(scratch: Scratch, extra: &str) -> Scratch {
    let file = scratch.path("mailbell.toml");
    let whole = with_format("{seq} {path}");
    let basic = whole.split("[[pipe]]").next().unwrap();
    fs::write(file, if extra.is_empty() { whole.clone() } else { format!("{extra}{basic}") }).unwrap();
    scratch
}

#[test]
fn readers_as_people_write_them() {
    let server = Server::start("shells");
    let fifo = server.path("notify");
    let shell = |script: &str| {
        let script = script.replace("FIFO", fifo.to_str().unwrap());
        Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let output = |child: std::process::Child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    // The loop of the README, with a reader that is there before the mail.
    let loops =
        shell("while read -r dir event file; do cat \"$dir$file\" | grep ^Subject; ((++n == 2)) && exit; done < FIFO");
    for subject in ["one", "two", "three", "four", "five"] {
        server.send("alice@example.org", &message(subject));
    }
    assert_eq!(output(loops), "Subject: one\nSubject: two\n");
    // One line for each opening: `read` takes no more than its line.
    let once = "read -r dir event file < FIFO; grep ^Subject \"$dir$file\"";
    assert_eq!(output(shell(&format!("{once}; {once}"))), "Subject: three\nSubject: four\n");
    // `head` takes all that is there and throws away what it does not print: gone is gone.
    server.send("alice@example.org", &message("six"));
    // Five is there already; with six it is more than one line and a half.
    let line = server.records()[0]["path"].as_str().unwrap().len() as u64;
    wait_for("six in the pipe", || (rustix::io::ioctl_fionread(reader(&fifo)).unwrap() > line * 3 / 2).then_some(()));
    assert_eq!(output(shell("head -n1 FIFO")).lines().count(), 1);
    // `cat` sees no end while the server lives.
    let mut cat = shell("exec cat FIFO");
    let mut lines = BufReader::new(cat.stdout.take().unwrap()).lines();
    for subject in ["seven", "eight"] {
        server.send("alice@example.org", &message(subject));
        lines.next().unwrap().unwrap();
    }
    server.stop();
    assert!(lines.next().is_none() && cat.wait().unwrap().success());
}

#[test]
fn each_pipe_has_its_own_reader_and_a_reload_adds_and_removes_them() {
    let base = with_format("{seq} one");
    let second = "[[pipe]]\npath = 'second'\nformat = '{seq} two'\nmode = '0600'\nusers = ['bob']\n";
    let server = Server::with("reload", &base);
    let mut one = reader(&server.path("notify"));
    let mut session = server.smtp();
    session.expect("220");
    server.send("alice@example.org", &message("x"));
    let reload = |configuration: &str| {
        fs::write(server.path("mailbell.toml"), configuration).unwrap();
        let before = server.log().matches("reloaded").count();
        server.signal("HUP");
        wait_for("the reload", || (server.log().matches("reloaded").count() > before).then_some(()));
    };
    reload(&format!("{base}{second}"));
    let mut two = reader(&server.path("second"));
    assert_eq!(fs::metadata(server.path("second")).unwrap().permissions().mode() & 0o777, 0o600);
    server.send("alice@example.org", &message("x"));
    server.send("bob@example.org", &message("x"));
    assert_eq!(take_lines(&mut two, 1), ["3 two"]);
    assert_eq!(take_lines(&mut one, 2), ["1 one", "2 one"]);
    // The first one is taken out with a line in it, and put back.
    reload(&format!("pipe = []\n{}", BASIC.split("[[pipe]]").next().unwrap()));
    wait_for("the line to be taken out", || (rustix::io::ioctl_fionread(&one).unwrap() == 0).then_some(()));
    assert!(server.path("notify").exists() && server.path("second").exists());
    server.send("bob@example.org", &message("x"));
    reload(&format!("{base}{second}"));
    assert_eq!(take_lines(&mut one, 2), ["3 one", "4 one"]);
    assert_eq!(take_lines(&mut two, 1), ["4 two"]);
    session.say("NOOP", "250");
    server.stop();
}

#[test]
fn an_idle_server_with_unread_lines_sleeps() {
    let server = Server::start("idle");
    server.send("alice@example.org", &message("x"));
    wait_for("the line", || (rustix::io::ioctl_fionread(reader(&server.path("notify"))).unwrap() > 0).then_some(()));
    let subscriber = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
        let mut found = Vec::new();
        for task in tasks {
            let name = fs::read_to_string(task.path().join("comm")).unwrap();
            if name.trim().ends_with("notify") {
                found.extend(common::process_status(&task.path(), "voluntary_ctxt_switches:"));
            }
        }
        found
    };
    assert_eq!(subscriber().len(), 1);
    // The journal is synced first; after that there is nothing to do.
    common::wait_for_rest("the subscriber to sleep", subscriber);
    server.stop();
}

#[test]
fn a_pipe_without_backlog_tells_what_comes_while_somebody_listens() {
    // Whether somebody does is found out from inside the sandbox.
    let server = Server::with("none", &format!("{}backlog = 'none'\n", with_format("{seq}")));
    let passed_over = |seq: u64| {
        wait_for("it to be passed over", || {
            let status: serde_json::Value =
                serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap();
            (status["subscribers"][0]["last_seq"] == seq).then_some(())
        });
    };
    server.send("alice@example.org", &message("nobody is here"));
    passed_over(1);
    let mut first = reader(&server.path("notify"));
    server.send("alice@example.org", &message("to the first"));
    assert_eq!(take_lines(&mut first, 1), ["2"]);
    drop(first);
    server.send("alice@example.org", &message("nobody is here"));
    passed_over(3);
    let mut second = reader(&server.path("notify"));
    server.send("alice@example.org", &message("to the second"));
    assert_eq!(take_lines(&mut second, 1), ["4"]);
    assert_eq!(rest(&mut second), "");
    server.stop();
}

#[test]
fn a_fifo_that_is_taken_away_comes_back() {
    let server = Server::with("away", &with_format("{seq}"));
    server.send("alice@example.org", &message("x"));
    fs::remove_file(server.path("notify")).unwrap();
    wait_for("the FIFO", || server.path("notify").exists().then_some(()));
    server.send("alice@example.org", &message("x"));
    assert_eq!(take_lines(&mut reader(&server.path("notify")), 2), ["1", "2"]);
    assert!(server.log().contains("taken away"));
    server.stop();
}

#[test]
fn what_is_no_fifo_is_refused_with_a_sentence() {
    let scratch = Scratch::prepared("no-fifo", BASIC);
    File::create(scratch.path("notify")).unwrap().write_all(b"precious").unwrap();
    let output = common::run(&scratch.path("mailbell.toml"), &["serve"], "");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("notify: exists and is not a FIFO; remove it"), "{said}");
    assert_eq!(fs::read(scratch.path("notify")).unwrap(), b"precious");
}
