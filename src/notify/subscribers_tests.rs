use super::*;
use crate::ledger::Journal;
use crate::notify::testing::{Scratch, add, wait_for};
use crate::notify::{Backlog, Filter, Format, HookInput, HookSettings, PipeSettings, Retry};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

pub(super) fn both(pipes: &[PipeSettings], hooks: &[HookSettings]) -> Vec<Settings> {
    let pipes = pipes.iter().cloned().map(Settings::Pipe);
    pipes.chain(hooks.iter().cloned().map(Settings::Hook)).collect()
}

fn pipe(scratch: &Scratch, name: &str, format: &str) -> PipeSettings {
    PipeSettings {
        path: scratch.path(name),
        format: Format::parse(format).unwrap(),
        mode: 0o640,
        filter: Filter::default(),
        backlog: Backlog::All,
    }
}

fn hook(scratch: &Scratch, name: &str, script: &str) -> HookSettings {
    HookSettings {
        name: name.into(),
        command: ["sh", "-c", &script.replace("$D", scratch.0.to_str().unwrap())].map(str::to_owned).into(),
        stdin: HookInput::None,
        timeout: Duration::from_secs(10),
        retry: Retry {
            jobs: 1,
            from: Duration::from_millis(10),
            to: Duration::from_millis(10),
            give_up: Duration::from_secs(60),
        },
        is_paused: false,
        filter: Filter::default(),
    }
}

/// What comes out of a FIFO until there is a line that says `last`.
fn read_until(scratch: &Scratch, name: &str, last: &str) -> String {
    let mut reader = OpenOptions::new().read(true).custom_flags(0o4000).open(scratch.path(name)).unwrap();
    let mut found = Vec::new();
    wait_for("lines", || {
        let _ = reader.read_to_end(&mut found);
        String::from_utf8_lossy(&found).lines().any(|line| line == last)
    });
    String::from_utf8(found).unwrap()
}

fn add_some(journal: &Journal, count: usize) {
    for _ in 0..count {
        add(journal, "alice", |_| {});
    }
}

#[test]
fn a_reload_adds_removes_and_changes_and_leaves_the_others_alone() {
    let scratch = Scratch::new("reload");
    let journal = scratch.journal();
    let (one, two) = (pipe(&scratch, "one", "{seq}"), pipe(&scratch, "two", "{seq}"));
    let slow = hook(
        &scratch,
        "slow",
        "echo $MAILBELL_SEQ >> $D/began; until test -e $D/go; do sleep 0.01; done; echo $MAILBELL_SEQ >> $D/done",
    );
    let mut subscribers =
        Subscribers::start(&scratch.0, &[one.clone(), two.clone()], std::slice::from_ref(&slow)).unwrap();
    let inode = fs::metadata(&two.path).unwrap().ino();
    let thread_of =
        |subscribers: &Subscribers| subscribers.running[&format!("pipe:{}", one.path.display())].thread.thread().id();
    let thread = thread_of(&subscribers);
    add_some(&journal, 2);
    wait_for("the hook to run", || scratch.path("began").exists());
    // The hook runs until the reload is done: a reload that waited for it would never be.
    let changed = HookSettings { retry: Retry { jobs: 2, ..slow.retry }, ..slow.clone() };
    let three = pipe(&scratch, "three", "{seq}");
    let other = pipe(&scratch, "two", "two {seq}");
    assert!(subscribers.reload_both(&[one.clone(), other.clone(), three.clone()], &[changed]).is_empty());
    fs::write(scratch.path("go"), "").unwrap();
    assert_eq!(thread_of(&subscribers), thread);
    add_some(&journal, 1);
    assert_eq!(read_until(&scratch, "one", "3"), "1\n2\n3\n");
    // It changes in its own time; what was read before that has the old form.
    assert_eq!(read_until(&scratch, "two", "two 3").replace("two ", ""), "1\n2\n3\n");
    assert_eq!(read_until(&scratch, "three", "3"), "3\n");
    assert_eq!(fs::metadata(&two.path).unwrap().ino(), inode);
    wait_for("the hook", || fs::read_to_string(scratch.path("done")).is_ok_and(|text| text.lines().count() == 3));
    let began = fs::read_to_string(scratch.path("began")).unwrap();
    assert_eq!(began.lines().collect::<std::collections::BTreeSet<_>>().len(), began.lines().count(), "{began}");
    // A pipe that is taken out leaves its FIFO and its cursor, and loses nothing when it comes back, even at once.
    assert!(subscribers.reload_both(std::slice::from_ref(&one), &[]).is_empty());
    add_some(&journal, 1);
    assert_eq!(
        subscribers.status().iter().map(|status| status.name.clone()).collect::<Vec<_>>(),
        [format!("pipe:{}", one.path.display())]
    );
    assert!(subscribers.reload_both(&[one, other], &[]).is_empty());
    assert_eq!(read_until(&scratch, "two", "two 4"), "two 4\n");
    subscribers.stop();
}

#[test]
fn a_reload_that_changes_a_pipe_does_not_end_its_reader() {
    let scratch = Scratch::new("endless");
    let journal = scratch.journal();
    let mut settings = pipe(&scratch, "notify", "0 {seq}");
    let mut subscribers = Subscribers::start(&scratch.0, std::slice::from_ref(&settings), &[]).unwrap();
    let mut reader = BufReader::new(fs::File::open(&settings.path).unwrap());
    for round in 1..20 {
        add_some(&journal, 1);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.ends_with(&format!(" {round}\n")), "{line:?} in round {round}");
        settings.format = Format::parse(&format!("{round} {{seq}}")).unwrap();
        assert!(subscribers.reload_both(std::slice::from_ref(&settings), &[]).is_empty());
    }
    // One that is taken out ends it.
    assert!(subscribers.reload_both(&[], &[]).is_empty());
    assert_eq!(reader.read_line(&mut String::new()).unwrap(), 0);
    subscribers.stop();
}

#[test]
fn what_a_second_reload_took_back_is_never_run() {
    let scratch = Scratch::new("back");
    let journal = scratch.journal();
    let slow = hook(&scratch, "hook", "echo began >> $D/began; sleep 0.5");
    let wrong = hook(&scratch, "hook", "echo $MAILBELL_SEQ >> $D/wrong");
    let right = hook(&scratch, "hook", "echo $MAILBELL_SEQ >> $D/right");
    let mut subscribers = Subscribers::start(&scratch.0, &[], std::slice::from_ref(&slow)).unwrap();
    add_some(&journal, 3);
    wait_for("the hook to run", || scratch.path("began").exists());
    assert!(subscribers.reload_both(&[], &[wrong]).is_empty());
    assert!(subscribers.reload_both(&[], &[right]).is_empty());
    wait_for("the rest", || fs::read_to_string(scratch.path("right")).is_ok_and(|text| text == "2\n3\n"));
    assert!(!scratch.path("wrong").exists());
    subscribers.stop();
}

#[test]
fn what_cannot_be_had_at_a_reload_is_tried_again() {
    let scratch = Scratch::new("again");
    let journal = scratch.journal();
    let settings = pipe(&scratch, "notify", "{seq}");
    fs::write(&settings.path, "in the way").unwrap();
    let mut subscribers = Subscribers::start(&scratch.0, &[], &[]).unwrap();
    for _ in 0..2 {
        let problems = subscribers.reload_both(std::slice::from_ref(&settings), &[]);
        assert!(problems.len() == 1 && problems[0].contains("notify"), "{problems:?}");
    }
    add_some(&journal, 1);
    assert_eq!(subscribers.status()[0].backlog, 1);
    fs::remove_file(&settings.path).unwrap();
    wait_for("the pipe", || settings.path.exists());
    assert_eq!(read_until(&scratch, "notify", "1"), "1\n");
    assert!(subscribers.reload_both(std::slice::from_ref(&settings), &[]).is_empty());
    subscribers.stop();
}

#[test]
fn what_cannot_be_had_is_said_and_the_rest_runs() {
    let scratch = Scratch::new("wrong");
    let journal = scratch.journal();
    fs::write(scratch.path("file"), "").unwrap();
    let (good, bad) = (pipe(&scratch, "good", "{seq}"), pipe(&scratch, "file", "{seq}"));
    let error = Subscribers::start(&scratch.0, &[good.clone(), bad.clone()], &[]).err().unwrap();
    assert!(error.contains(&format!("pipe:{}: ", bad.path.display())), "{error}");
    let mut subscribers = Subscribers::start(&scratch.0, std::slice::from_ref(&good), &[]).unwrap();
    let problems = subscribers.reload_both(&[bad, good.clone(), good.clone()], &[]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problems = subscribers.reload_both(&[good.clone(), pipe(&scratch, "good", "{id}")], &[]);
    assert!(problems[0].contains("twice"), "{problems:?}");
    add_some(&journal, 1);
    assert_eq!(read_until(&scratch, "good", "1"), "1\n");
    subscribers.stop();
}

#[test]
fn each_gets_what_its_filter_wants() {
    let scratch = Scratch::new("filters");
    let journal = scratch.journal();
    let mut bob = pipe(&scratch, "bob", "{seq}");
    bob.filter = Filter::new(vec!["bob".into()], vec![("subject".into(), "*invoice*".into())]).unwrap();
    let subscribers = Subscribers::start(&scratch.0, &[bob.clone(), pipe(&scratch, "all", "{seq}")], &[]).unwrap();
    for (user, subject) in [("alice", "Invoice"), ("bob", "hello"), ("bob", "Your INVOICE"), ("alice", "x")] {
        add(&journal, user, |record| record.summary.subject = Some(subject.into()));
    }
    assert_eq!(read_until(&scratch, "bob", "3"), "3\n");
    assert_eq!(read_until(&scratch, "all", "4"), "1\n2\n3\n4\n");
    // What nobody wants is not a backlog.
    wait_for("both cursors", || subscribers.status().iter().all(|status| status.last_seq == 4 && status.backlog == 0));
    // Nor does it wait behind what somebody wants.
    add(&journal, "bob", |record| record.summary.subject = Some("invoice".into()));
    add_some(&journal, 3);
    let name = format!("pipe:{}", bob.path.display());
    wait_for("one line to wait for bob", || {
        let status = subscribers.status();
        status.iter().any(|status| status.name == name && (status.last_seq, status.backlog) == (4, 1))
    });
    subscribers.stop();
    assert!(status_of_files(&scratch.0).unwrap().iter().any(|status| status.name == name && status.last_seq == 4));
}

#[test]
fn records_that_the_journal_dropped_are_counted() {
    let scratch = Scratch::new("dropped");
    let journal = scratch.journal();
    let settings = pipe(&scratch, "notify", "{seq}");
    let counted = hook(&scratch, "count", "true");
    let run =
        || Subscribers::start(&scratch.0, std::slice::from_ref(&settings), std::slice::from_ref(&counted)).unwrap();
    run().stop();
    add_some(&journal, 5);
    drop(journal);
    // As if the first three had been in a segment that `keep` dropped.
    let folder = scratch.path("journal");
    let text = fs::read_to_string(folder.join(format!("{:020}.jsonl", 1))).unwrap();
    let kept: Vec<_> = text.lines().skip(3).collect();
    fs::remove_file(folder.join(format!("{:020}.jsonl", 1))).unwrap();
    fs::write(folder.join(format!("{:020}.jsonl", 4)), kept.join("\n") + "\n").unwrap();
    assert!(
        status_of_files(&scratch.0).unwrap().iter().all(|status| (status.lost, status.backlog) == (3, 2)),
        "nobody runs"
    );
    let subscribers = run();
    assert_eq!(read_until(&scratch, "notify", "5"), "4\n5\n");
    wait_for("the counts", || subscribers.status().iter().all(|status| status.lost == 3 && status.last_seq == 5));
    subscribers.stop();
    assert!(status_of_files(&scratch.0).unwrap().iter().all(|status| status.lost == 3));
}

#[test]
fn status_tells_the_oldest_unread() {
    let scratch = Scratch::new("status");
    let journal = scratch.journal();
    let subscribers = Subscribers::start(&scratch.0, &[pipe(&scratch, "notify", "{seq}")], &[]).unwrap();
    let status = subscribers.status().remove(0);
    assert_eq!((status.last_seq, status.backlog, status.oldest_unread), (0, 0, None));
    add(&journal, "alice", |record| record.timestamp = 7_000_000);
    add_some(&journal, 2);
    let status = subscribers.status().remove(0);
    assert_eq!((status.last_seq, status.backlog, status.oldest_unread), (0, 3, Some(7_000_000)));
    subscribers.stop();
}

#[test]
fn a_thread_s_name_is_the_end_of_its_subscriber_s() {
    assert_eq!(thread_name("pipe:/run/mail/notify"), "run/mail/notify");
    assert_eq!(thread_name("hook:a"), "hook:a");
    assert_eq!(thread_name("hook:ä\0"), "hook:");
}
