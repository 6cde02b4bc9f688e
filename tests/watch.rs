//! `mailbell watch` on the real binary: lines, places, cursors, commands, signals, with and without a server.

mod common;

use common::{BASIC, Journal, PATIENCE, Scratch, Server, run, wait_for};
use mailbell::journal::Record;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

fn command(scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(common::binary());
    command.arg("watch").arg("-c").arg(scratch.path("mailbell.toml")).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to its end.
fn watch(scratch: &Scratch, arguments: &[&str]) -> Output {
    command(scratch, arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// A watch that runs, its lines read by a thread so that a test can give up.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(scratch: &Scratch, arguments: &[&str]) -> Watch {
        let mut child = command(scratch, arguments).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        Watch { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// Its exit code, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the end of watch", || self.child.try_wait().unwrap());
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }

    fn stop(self) {
        self.signal("TERM");
        let (code, said) = self.end();
        assert_eq!(code, Some(0), "{said}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A state folder with a journal and no server; `seq` is what tells the records apart.
struct State {
    scratch: Scratch,
    journal: Journal,
}

impl State {
    fn new(name: &str, count: usize) -> State {
        let scratch = Scratch::prepared(name, BASIC);
        let journal = Journal::open(&scratch.path("state"));
        let state = State { scratch, journal };
        state.add(count, "subject");
        state
    }

    fn add(&self, count: usize, subject: &str) {
        let user = if subject == "for bob" { "bob" } else { "alice" };
        let json = serde_json::json!({
            "seq": 0, "event": "MessageNew", "timestamp": "2026-11-23T08:44:59.000007Z", "user": user, "id": "1.M2",
            "path": "/mail/new/1.M2", "size": 3, "via": "smtp", "subject": subject, "from": "a@example.com", "key": "k",
        });
        for _ in 0..count {
            self.journal.append(vec![Record::parse(json.to_string().as_bytes()).unwrap()]);
        }
    }
}

#[test]
fn it_follows_a_server_from_its_first_mail_on_and_across_its_end() {
    let scratch = Scratch::prepared("follow", BASIC);
    // Before there is a journal at all.
    let first = Watch::start(&scratch, &["--format", "{seq} {user} {subject}"]);
    let server = Server::start_in(scratch, &[]);
    // It looks for the journal now and then, and nothing that comes meanwhile may be missed.
    server.send("alice@example.org", "Subject: one\n\nx\n");
    assert_eq!(first.line(), "1 alice one");
    let now = Watch::start(&server.scratch, &["--format", "json"]);
    let all =
        Watch::start(&server.scratch, &["--from", "all", "--user", "bob", "--user", "alice", "--match", "subject=*E*"]);
    assert_eq!(
        all.line().rsplit_once(' ').unwrap().0,
        format!("{}/ MOVED_TO", server.path("mail/alice/new").display())
    );
    server.send("bob@example.org", "Subject: two\n\nx\n");
    let record: serde_json::Value = serde_json::from_str(&now.line()).unwrap();
    assert_eq!((&record["seq"], &record["user"], &record["subject"]), (&2.into(), &"bob".into(), &"two".into()));
    assert_eq!(first.line(), "2 bob two");
    let scratch = server.stop();
    let server = Server::start_in(scratch, &[]);
    server.send("alice@example.org", "Subject: three\n\nx\n");
    assert_eq!(first.line(), "3 alice three");
    let server = Server::start_in(server.kill(), &[]);
    server.send("alice@example.org", "Subject: four\n\nx\n");
    assert_eq!(first.line(), "4 alice four");
    let path = |seq: usize| server.records()[seq - 1]["path"].as_str().unwrap().replace("/new/", "/new/ MOVED_TO ");
    assert_eq!(all.line(), path(3), "three has an e, two has none");
    server.send("alice@example.org", "Subject: five\n\nx\n");
    assert_eq!(all.line(), path(5), "five has an e, four has none");
    [first, now, all].into_iter().for_each(Watch::stop);
    server.stop();
}

#[test]
fn it_begins_where_it_is_told_and_ends_after_the_count() {
    let state = State::new("from", 5);
    let seqs = |arguments: &[&str]| {
        let output = watch(&state.scratch, &[&["--format", "{seq}"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(seqs(&["--from", "all", "--count", "5"]), "1\n2\n3\n4\n5\n");
    assert_eq!(seqs(&["--from", "4", "--count", "1"]), "4\n");
    assert_eq!(seqs(&["--from", "0", "--count", "1"]), "1\n");
    state.add(1, "for bob");
    assert_eq!(seqs(&["--from", "1", "--user", "bob", "--count", "1"]), "6\n");
    let tsv = watch(&state.scratch, &["--from", "6", "--count", "1", "--format", "tsv"]);
    let wanted = "6\t2026-11-23T08:44:59.000007Z\tbob\t1.M2\t3\t-\t-\t-\ta@example.com\tfor bob\t/mail/new/1.M2\n";
    assert_eq!(text(&tsv.stdout), wanted);
}

#[test]
fn a_named_cursor_goes_on_where_it_was_and_serves_one_at_a_time() {
    let state = State::new("cursor", 3);
    let arguments = ["--cursor", "it", "--format", "{seq}"];
    // A new one begins at the end.
    let first = Watch::start(&state.scratch, &arguments);
    // It is written when it is held.
    wait_for("the cursor", || (!place(&state.scratch, "it").is_empty()).then_some(()));
    let second = watch(&state.scratch, &arguments);
    assert_eq!(second.status.code(), Some(75));
    assert!(text(&second.stderr).contains("cursor watch:it: another process is using it"), "{}", text(&second.stderr));
    // Another name is another place; --from says where it begins, and only there.
    for seqs in ["1\n2\n", "3\n"] {
        let count = seqs.lines().count().to_string();
        let other = ["--from", "all", "--cursor", "other", "--format", "{seq}", "--count", &count];
        assert_eq!(text(&watch(&state.scratch, &other).stdout), seqs);
    }
    state.add(1, "x");
    assert_eq!(first.line(), "4");
    first.stop();
    state.add(2, "x");
    let mut again = Watch::start(&state.scratch, &arguments);
    assert_eq!([again.line(), again.line()], ["5", "6"]);
    wait_for("the cursor", || place(&state.scratch, "it").starts_with("00000000000000000006").then_some(()));
    again.child.kill().unwrap();
    again.child.wait().unwrap();
    state.add(1, "x");
    assert_eq!(Watch::start(&state.scratch, &arguments).line(), "7");
}

/// Whether it looks at the journal and sleeps.
fn waits(child: &Child) -> bool {
    let process = Path::new("/proc").join(child.id().to_string());
    let descriptors = fs::read_dir(process.join("fd")).unwrap().flatten();
    let looks =
        descriptors.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("anon_inode:inotify")));
    looks && common::process_status(&process, "State:").is_some_and(|state| state.starts_with('S'))
}

fn place(scratch: &Scratch, name: &str) -> String {
    fs::read_to_string(scratch.path(&format!("state/cursors/watch:{name}"))).unwrap_or_default()
}

#[test]
fn a_command_gets_each_event_and_exit_0_acknowledges() {
    let state = State::new("command", 0);
    state.add(1, "a\tb $(id) `id`");
    state.add(1, "second");
    let out = state.scratch.path("out");
    let script = r#"printf '%s|%s|%s|' "$1" "$MAILBELL_SEQ" "$MAILBELL_SUBJECT" >> "$0"; jq -r .seq >> "$0""#;
    let run = ["--from", "all", "--count", "2", "--", "sh", "-c", script, out.to_str().unwrap(), "--count"];
    let output = watch(&state.scratch, &run);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(fs::read_to_string(out).unwrap(), "--count|1|a b $(id) `id`|1\n--count|2|second|2\n");
}

#[test]
fn without_a_cursor_a_command_that_fails_ends_it_with_its_code() {
    let state = State::new("fails", 2);
    for (command, code, said) in [
        (&["sh", "-c", "exit 3"][..], 3, "sh: event 1: exit status: 3"),
        (&["sh", "-c", "kill -9 $$"], 137, "signal: 9"),
        (&["/nonexistent/program"], 127, "/nonexistent/program: No such file"),
    ] {
        let output = watch(&state.scratch, &[&["--from", "all", "--"], command].concat());
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[test]
fn with_a_cursor_a_command_that_fails_is_run_again() {
    let state = State::new("retry", 2);
    let out = state.scratch.path("out");
    let script = r#"echo $MAILBELL_SEQ >> "$0"; test "$(wc -l < "$0")" != 1"#;
    let run = ["--from", "all", "--cursor", "x", "--count", "2", "--", "sh", "-c", script, out.to_str().unwrap()];
    let output = watch(&state.scratch, &run);
    assert!(output.status.success());
    assert_eq!(fs::read_to_string(out).unwrap(), "1\n1\n2\n");
    assert!(text(&output.stderr).contains("sh: event 1: exit status: 1; again in 1s"), "{}", text(&output.stderr));
    assert!(place(&state.scratch, "x").contains("\"retries\":1}"), "{}", place(&state.scratch, "x"));
}

#[test]
fn a_signal_ends_it_and_what_it_runs_and_the_event_comes_again() {
    let state = State::new("signal", 1);
    let pid = state.scratch.path("pid");
    // That it answers with exit 0 does not say that it was done.
    let script = r#"trap 'exit 0' TERM; echo $$ > "$0.new"; mv "$0.new" "$0"; sleep 1000 & wait"#;
    let run = ["--from", "all", "--cursor", "x", "--", "sh", "-c", script, pid.to_str().unwrap()];
    let running = Watch::start(&state.scratch, &run);
    let child = wait_for("the command", || fs::read_to_string(&pid).ok());
    running.signal("INT");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!Path::new(&format!("/proc/{}", child.trim())).exists());
    let again = ["--cursor", "x", "--format", "{seq}", "--count", "1"];
    assert_eq!(text(&watch(&state.scratch, &again).stdout), "1\n");
}

#[test]
fn a_reader_that_goes_is_a_good_end_and_a_slow_one_holds_nothing_up() {
    let state = State::new("reader", 20_000);
    let head = format!(
        "{} watch -c {} --from all --format '{{seq}}' | head -n1; echo ${{PIPESTATUS[0]}}",
        common::binary().display(),
        state.scratch.path("mailbell.toml").display()
    );
    let output = Command::new("bash").args(["-c", &head]).output().unwrap();
    assert_eq!(text(&output.stdout), "1\n0\n", "{}", text(&output.stderr));
    // It leaves while nothing happens.
    let mut child = command(&state.scratch, &[]).spawn().unwrap();
    wait_for("it to wait", || waits(&child).then_some(()));
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdout.take());
    let status = wait_for("the end of watch", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    // It sleeps, and a signal is heard all the same; what is in the pipe is whole lines.
    let mut child =
        command(&state.scratch, &["--from", "all", "--cursor", "slow", "--format", "json"]).spawn().unwrap();
    wait_for("the pipe to be full", || {
        place(&state.scratch, "slow").get(..20)?.parse().ok().filter(|seq: &u64| *seq > 50)
    });
    wait_for("it to wait", || waits(&child).then_some(()));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let status = wait_for("the end of watch", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    let told =
        rest.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap());
    let told: Vec<_> = told.collect();
    assert_eq!(told, (1..=told.len() as u64).collect::<Vec<_>>());
    assert_eq!(place(&state.scratch, "slow")[..20].parse::<usize>().unwrap(), told.len());
}

#[test]
fn what_is_wrong_is_said_with_its_exit_code() {
    let state = State::new("usage", 0);
    for (arguments, code, said) in [
        (&["--format", "{sbject}"][..], 64, "did you mean `subject`"),
        (&["--from", "soon"], 64, "now, or all"),
        (&["--match", "form=x"], 64, "did you mean `from`"),
        (&["--frm", "x"], 64, "--frm"),
    ] {
        let output = watch(&state.scratch, arguments);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
    let help = watch(&state.scratch, &["--help"]);
    assert!(help.status.success() && text(&help.stdout).starts_with("Usage: mailbell watch"));
}

#[test]
fn what_the_journal_dropped_is_said() {
    let state = State::new("dropped", 5);
    watch(&state.scratch, &["--cursor", "c", "--from", "all", "--count", "1"]);
    let folder = state.scratch.path("state/journal");
    let file = |seq: u64| folder.join(format!("{seq:020}.jsonl"));
    let kept: Vec<_> =
        fs::read_to_string(file(1)).unwrap().lines().skip(3).map(|line| line.to_owned() + "\n").collect();
    fs::remove_file(file(1)).unwrap();
    fs::write(file(4), kept.concat()).unwrap();
    let output = watch(&state.scratch, &["--from", "2", "--count", "1", "--format", "{seq}"]);
    assert_eq!(text(&output.stdout), "4\n");
    assert!(text(&output.stderr).contains("events 2 to 3 are not in the journal any more"));
    let output = watch(&state.scratch, &["--from", "all", "--count", "2", "--format", "{seq}"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("4\n5\n".into(), String::new()));
    // Status counts it before the cursor comes to it, and afterwards.
    for backlog in [2, 1] {
        let status = run(&state.scratch.path("mailbell.toml"), &["status", "--json"], "");
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let cursor = &status["subscribers"][0];
        assert_eq!((cursor["lost"].as_u64(), cursor["backlog"].as_u64()), (Some(2), Some(backlog)), "{status}");
        watch(&state.scratch, &["--cursor", "c", "--count", "1"]);
    }
}

#[test]
fn a_terminal_gets_the_view_for_people() {
    let state = State::new("terminal", 0);
    state.add(1, "\u{1b}[2J\u{1b}]0;evil\u{7}Hello");
    let run = |environment: &str| {
        let watch = format!(
            "{environment} {} watch -c {} --from all --count 1",
            common::binary().display(),
            state.scratch.path("mailbell.toml").display()
        );
        let output = Command::new("script").args(["-qec", &watch, "/dev/null"]).stdin(Stdio::null()).output();
        output.map(|output| text(&output.stdout))
    };
    let Ok(coloured) = run("TERM=xterm NO_COLOR=") else {
        return common::skipped("needs script(1)");
    };
    assert!(coloured.contains("\u{1b}[1;36malice"), "{coloured:?}");
    let plain = run("TERM=xterm NO_COLOR=1").unwrap();
    assert!(plain.starts_with("2026-11-23 08:44:59Z alice        a@example.com"), "{plain:?}");
    assert!(
        plain.contains("\u{FFFD}[2J\u{FFFD}]0;evil\u{FFFD}H") && !plain.contains('\u{1b}') && !plain.contains('\u{7}'),
        "{plain:?}"
    );
}

#[test]
fn an_idle_watch_uses_nothing() {
    let state = State::new("idle", 1);
    let running = Watch::start(&state.scratch, &["--from", "all", "--cursor", "x", "--format", "{seq}"]);
    assert_eq!(running.line(), "1");
    let process = format!("/proc/{}", running.child.id());
    common::wait_for_rest("watch to sleep", || {
        common::process_status(process.as_ref(), "voluntary_ctxt_switches:").unwrap()
    });
    running.stop();
}

#[test]
fn a_torn_line_of_a_killed_server_is_neither_told_nor_in_the_way() {
    let state = State::new("torn", 1);
    let running = Watch::start(&state.scratch, &["--from", "all", "--format", "{seq} {subject}"]);
    assert_eq!(running.line(), "1 subject");
    let path = state.scratch.path("state/journal/00000000000000000001.jsonl");
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"seq\":2,\"ev").unwrap();
    let State { scratch, journal } = state;
    drop(journal);
    let state = State { journal: Journal::open(&scratch.path("state")), scratch };
    state.add(2, "after");
    assert_eq!([running.line(), running.line()], ["2 after", "3 after"]);
    running.stop();
}
