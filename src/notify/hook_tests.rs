use crate::journal::{Record, cursors};
use crate::ledger::Journal;
use crate::notify::testing::{Scratch, add, wait_for};
use crate::notify::{Filter, HookInput, HookSettings, Retry, Subscribers};
use std::fs;
use std::time::Duration;

struct Fixture {
    scratch: Scratch,
    journal: Journal,
    settings: HookSettings,
    subscribers: Option<Subscribers>,
}

impl Fixture {
    /// With a shell script, in which `$D` is the scratch folder.
    fn start(name: &str, script: &str, change: impl FnOnce(&mut HookSettings)) -> Fixture {
        let scratch = Scratch::new(name);
        let program = scratch.path("hook");
        fs::write(&program, format!("D={}\n{script}\n", scratch.0.display())).unwrap();
        let mut settings = HookSettings {
            name: name.into(),
            command: ["sh", program.to_str().unwrap(), "one argument"].map(str::to_owned).into(),
            stdin: HookInput::None,
            timeout: Duration::from_secs(10),
            retry: Retry {
                jobs: 1,
                from: Duration::from_millis(10),
                to: Duration::from_millis(40),
                give_up: Duration::from_secs(60),
            },
            is_paused: false,
            filter: Filter::default(),
        };
        change(&mut settings);
        let journal = scratch.journal();
        let mut fixture = Fixture { scratch, journal, settings, subscribers: None };
        fixture.begin();
        fixture
    }

    fn begin(&mut self) {
        let subscribers = Subscribers::start(&self.scratch.0, &[], std::slice::from_ref(&self.settings));
        self.subscribers = Some(subscribers.unwrap());
    }

    fn end(&mut self) {
        self.subscribers.take().unwrap().stop();
    }

    fn add(&self, change: impl FnOnce(&mut Record)) -> u64 {
        add(&self.journal, "alice", change)
    }

    fn add_some(&self, count: usize) {
        for _ in 0..count {
            self.add(|_| {});
        }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path(name)).unwrap_or_default()
    }

    fn wait_for_text(&self, name: &str, text: &str) {
        wait_for("the hook", || self.text(name) == text);
    }

    fn wait_for_seq(&self, seq: u64) {
        wait_for("the cursor", || cursors(&self.scratch.0).unwrap()[0].1.place.acknowledged == seq);
    }

    fn status(&self) -> crate::notify::SubscriberStatus {
        self.subscribers.as_ref().unwrap().status().remove(0)
    }
}

#[test]
fn a_program_runs_once_for_each_record_in_order_with_a_clean_environment() {
    let script = "printf '%s|' \"$1\" \"$MAILBELL_SEQ\" \"$MAILBELL_USER\" \"$MAILBELL_SUBJECT\" \"${MAILBELL_AUTH-unset}\" \
                  \"$MAILBELL_EVENT\" \"$(pwd)\" >> $D/out; cat >> $D/out; echo >> $D/out; ls -l /proc/self/fd > $D/fds";
    let fixture = Fixture::start("order", script, |_| {});
    fixture.add(|record| record.summary.subject = Some("tab\tand \u{1b}[2J $(touch /tmp/x) `y` 'z'".into()));
    for _ in 0..4 {
        fixture.add(|_| {});
    }
    fixture.wait_for_seq(5);
    let out = fixture.text("out");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "one argument|1|alice|tab and  [2J $(touch /tmp/x) `y` 'z'||MessageNew|/|");
    assert_eq!(lines[4], "one argument|5|alice|s||MessageNew|/|");
    assert_eq!(lines.len(), 5);
    // Nothing that we have open is inherited: no journal, cursor, fixture or inotify. (Whoever runs the test may hand down
    // descriptors of its own.)
    let fds = fixture.text("fds");
    let ours = |line: &&str| line.contains("anon_inode") || line.contains(fixture.scratch.0.to_str().unwrap());
    assert_eq!(fds.lines().filter(ours).filter(|line| !line.ends_with("/fds")).count(), 0, "{fds}");
}

#[test]
fn standard_input_is_the_message_wherever_it_is_by_now() {
    use std::io::Write;
    let script = "cat > $D/out.$MAILBELL_SEQ; test ! -f /dev/stdin || echo $MAILBELL_SEQ >> $D/files";
    let fixture = Fixture::start("stdin", script, |settings| settings.stdin = HookInput::Message);
    for folder in ["new", "cur"] {
        fs::create_dir_all(fixture.scratch.path("mail").join(folder)).unwrap();
    }
    let message = "Subject: x\n\n".to_owned() + &"line\n".repeat(100_000);
    let path = |name: &str| fixture.scratch.path("mail").join(name);
    let gzip = |name: &str| {
        let mut gzip = flate2::write::GzEncoder::new(fs::File::create(path(name)).unwrap(), Default::default());
        gzip.write_all(message.as_bytes()).unwrap();
        gzip.finish().unwrap();
    };
    let told = |record: &mut Record, id: &str| {
        record.id = id.into();
        record.path = path(&format!("new/{id},S=1")).to_str().unwrap().into();
    };
    fs::write(path("new/1.M1,S=1"), &message).unwrap();
    fixture.add(|record| told(record, "1.M1"));
    fs::write(path("cur/1.M2,S=1:2,S"), &message).unwrap();
    fixture.add(|record| told(record, "1.M2"));
    gzip("cur/1.M3,S=1:2,SZ");
    fixture.add(|record| told(record, "1.M3"));
    fixture.add(|record| told(record, "1.M4"));
    fixture.wait_for_seq(4);
    for seq in 1..=3 {
        assert!(fixture.text(&format!("out.{seq}")) == message, "{seq}");
    }
    assert_eq!(fs::read(fixture.scratch.path("out.4")).unwrap(), b"");
    assert_eq!(fixture.text("files"), "1\n2\n", "a plain file is given itself");
}

#[test]
fn standard_input_may_be_the_record_or_not_be_read_at_all() {
    let fixture = Fixture::start("event", "cat > $D/out", |settings| settings.stdin = HookInput::Event);
    fixture.add(|record| record.summary.subject = Some("ä".repeat(20_000)));
    fixture.wait_for_seq(1);
    let value: serde_json::Value = serde_json::from_str(&fixture.text("out")).unwrap();
    assert_eq!((value["seq"].as_u64(), value["subject"].as_str().unwrap().len()), (Some(1), 2_047));
    let fixture = Fixture::start("deaf", "exit 0", |settings| settings.stdin = HookInput::Event);
    fixture.add(|record| record.rcpt_to = Some("x".repeat(200_000)));
    fixture.wait_for_seq(1);
    assert_eq!(fixture.status().retries, 0);
}

#[test]
fn a_failing_record_is_tried_again_and_later_ones_wait_for_it() {
    let script = "echo $MAILBELL_SEQ >> $D/out; test $MAILBELL_SEQ != 2 || test -e $D/ok";
    let fixture = Fixture::start("again", script, |_| {});
    fixture.add_some(3);
    wait_for("three tries", || fixture.text("out").starts_with("1\n2\n2\n2\n"));
    // The cursor's file is written a little later.
    wait_for("the cursor", || fixture.status().retries >= 2);
    let status = fixture.status();
    assert_eq!((status.name.as_str(), status.last_seq, status.backlog), ("hook:again", 1, 2));
    assert!(status.given_up == 0 && status.oldest_unread.is_some());
    fs::write(fixture.scratch.path("ok"), "").unwrap();
    fixture.wait_for_seq(3);
    let out = fixture.text("out");
    assert!(out.ends_with("2\n3\n") && !out.contains("3\n2"), "{out}");
}

#[test]
fn what_fails_for_too_long_is_given_up_and_counted() {
    let fixture = Fixture::start("give-up", "echo $MAILBELL_SEQ >> $D/out; test $MAILBELL_SEQ != 1", |settings| {
        settings.retry.give_up = Duration::from_millis(500)
    });
    fixture.add(|_| {});
    fixture.add(|_| {});
    fixture.wait_for_seq(2);
    assert_eq!(fixture.status().given_up, 1);
    let out = fixture.text("out");
    assert!(out.starts_with("1\n1\n") && out.ends_with("1\n2\n"), "{out}");
    assert_eq!(fixture.status().retries as usize, out.lines().count() - 1);
}

#[test]
fn a_program_that_is_not_there_is_tried_again_until_it_is() {
    let mut fixture =
        Fixture::start("absent", "exit 0", |settings| settings.command = vec!["/nonexistent/hook".into()]);
    fixture.add(|_| {});
    wait_for("some tries", || fixture.status().retries > 2);
    fixture.end();
    fixture.settings.command = vec!["true".into()];
    fixture.begin();
    fixture.wait_for_seq(1);
}

#[test]
fn a_timeout_ends_the_whole_process_group() {
    let script = "sleep 1000 & echo $! >> $D/pids; echo $$ >> $D/pids; wait";
    let fixture = Fixture::start("timeout", script, |settings| {
        settings.timeout = Duration::from_millis(100);
        settings.retry.give_up = Duration::ZERO;
    });
    fixture.add(|_| {});
    fixture.wait_for_seq(1);
    let pids = fixture.text("pids");
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        // It may be a zombie for as long as nobody adopts it.
        let gone = || {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        wait_for("the end of the group", gone);
    }
}

#[test]
fn a_program_that_does_not_listen_is_killed() {
    let fixture = Fixture::start("deaf", "trap '' TERM; while :; do sleep 0.1; done", |settings| {
        settings.timeout = Duration::from_millis(100);
        settings.retry.give_up = Duration::ZERO;
    });
    fixture.add(|_| {});
    fixture.wait_for_seq(1);
    assert_eq!(fixture.status().given_up, 1);
}

#[test]
fn a_program_may_print_without_end() {
    let fixture =
        Fixture::start("noise", "head -c 3000000 /dev/zero; head -c 100000 /dev/zero | tr '\\0' 'x' >&2", |_| {});
    fixture.add(|_| {});
    fixture.wait_for_seq(1);
    assert_eq!(fixture.status().retries, 0);
}

#[test]
fn with_more_jobs_a_failing_record_is_passed_by_and_a_restart_repeats_nothing() {
    let script = "echo $MAILBELL_SEQ >> $D/out; test $MAILBELL_SEQ != 2 || test -e $D/ok";
    let mut fixture = Fixture::start("jobs", script, |settings| {
        settings.retry.jobs = 3;
        (settings.retry.from, settings.retry.to) = (Duration::from_millis(200), Duration::from_secs(1));
    });
    fixture.add_some(30);
    let ran = |fixture: &Fixture| {
        let mut seqs: Vec<u64> = fixture.text("out").lines().map(|line| line.parse().unwrap()).collect();
        seqs.sort_unstable();
        seqs.dedup();
        seqs
    };
    wait_for("all but one", || ran(&fixture).len() == 30);
    assert_eq!(fixture.status().last_seq, 1);
    fixture.end();
    fs::write(fixture.scratch.path("out"), "").unwrap();
    fixture.begin();
    fixture.add(|_| {});
    wait_for("the failing one and the new one", || ran(&fixture) == [2, 31]);
    fs::write(fixture.scratch.path("ok"), "").unwrap();
    fixture.wait_for_seq(31);
    assert_eq!(ran(&fixture), [2, 31]);
}

#[test]
fn jobs_run_at_the_same_time() {
    let script =
        "touch $D/here.$MAILBELL_SEQ; while ! test -e $D/here.1 -a -e $D/here.2 -a -e $D/here.3; do sleep 0.01; done";
    let fixture = Fixture::start("parallel", script, |settings| settings.retry.jobs = 3);
    fixture.add_some(3);
    fixture.wait_for_seq(3);
    assert_eq!(fixture.status().retries, 0);
}

#[test]
fn a_clean_stop_waits_for_what_runs() {
    let mut fixture = Fixture::start("stop", "echo began >> $D/out; sleep 0.3; echo done >> $D/out", |_| {});
    fixture.add(|_| {});
    fixture.wait_for_text("out", "began\n");
    fixture.end();
    assert_eq!(fixture.text("out"), "began\ndone\n");
    fixture.begin();
    fixture.wait_for_seq(1);
    assert_eq!(fixture.text("out"), "began\ndone\n");
}

#[test]
fn a_clean_stop_ends_what_takes_too_long_and_runs_it_again() {
    // That it answers SIGTERM with exit 0 does not mean that it was done.
    let script = "trap 'exit 0' TERM; echo $MAILBELL_SEQ >> $D/out; test -e $D/ok || { sleep 1000 & wait; }";
    let mut fixture = Fixture::start("slow", script, |settings| settings.timeout = Duration::from_secs(1000));
    fixture.add(|_| {});
    fixture.wait_for_text("out", "1\n");
    fixture.end();
    fs::write(fixture.scratch.path("ok"), "").unwrap();
    fixture.begin();
    fixture.wait_for_seq(1);
    assert_eq!((fixture.text("out").as_str(), fixture.status().retries), ("1\n1\n", 0));
}

#[test]
fn a_crash_repeats_what_ran_and_nothing_that_was_done() {
    let script = "echo $MAILBELL_SEQ >> $D/out; test $MAILBELL_SEQ != 1 || test -e $D/ok";
    let mut fixture = Fixture::start("crash", script, |settings| settings.retry.jobs = 2);
    fixture.add_some(9);
    wait_for("the last one", || fixture.text("out").contains('9'));
    // What the file said at that moment is what a crash would have left.
    let kept = || cursors(&fixture.scratch.0).unwrap().remove(0).1;
    wait_for("the cursor", || kept().place.written == 9 && kept().begun.iter().all(|begun| begun.seq == 1));
    let file = fixture.scratch.path("cursors/hook:crash");
    let crash = fs::read(&file).unwrap();
    fixture.end();
    fs::write(&file, crash).unwrap();
    fs::write(fixture.scratch.path("out"), "").unwrap();
    fs::write(fixture.scratch.path("ok"), "").unwrap();
    fixture.begin();
    fixture.wait_for_seq(9);
    assert_eq!(fixture.text("out"), "1\n");
    // What a cursor of version 0.1.0 and a tally behind it, or a damaged file, do not tell of is done again.
    for (tally, wanted) in
        [(r#"{"begun":[],"given_up":0,"lost":0,"lost_to":0,"offered":8,"retries":0}"#, "9\n"), ("damage", "8\n9\n")]
    {
        fixture.end();
        fs::write(fixture.scratch.path("out"), "").unwrap();
        fs::create_dir(fixture.scratch.path("tallies")).unwrap();
        fs::write(&file, format!("{:020} {:020}\n", 7, 9)).unwrap();
        fs::write(fixture.scratch.path("tallies/hook:crash"), tally).unwrap();
        fixture.begin();
        fixture.wait_for_seq(9);
        assert!(!fixture.scratch.path("tallies").exists());
        let mut again: Vec<_> = fixture.text("out").lines().map(|line| line.to_owned() + "\n").collect();
        again.sort_unstable();
        assert_eq!(again.concat(), wanted);
    }
}

#[test]
fn what_a_new_filter_does_not_want_is_not_waited_for() {
    let mut fixture = Fixture::start("filter", "echo $MAILBELL_SEQ >> $D/out; test $MAILBELL_SEQ -gt 2", |settings| {
        settings.retry.jobs = 3;
        (settings.retry.from, settings.retry.to) = (Duration::from_secs(60), Duration::from_secs(60));
    });
    fixture.add_some(5);
    let kept = |fixture: &Fixture| cursors(&fixture.scratch.0).unwrap().remove(0).1;
    wait_for("the cursor", || kept(&fixture).place.written == 5 && kept(&fixture).begun.len() == 2);
    fixture.end();
    assert_eq!((kept(&fixture).place.acknowledged, kept(&fixture).begun.len()), (0, 2));
    fixture.settings.filter = Filter::new(vec!["bob".into()], vec![]).unwrap();
    fixture.begin();
    fixture.wait_for_seq(5);
    assert_eq!(kept(&fixture).begun, []);
    assert_eq!((fixture.status().backlog, fixture.text("out").lines().count()), (0, 5));
}
