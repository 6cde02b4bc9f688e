//! The ledger of the real binary: a state of version 0.1.0 is taken over, damage stops no mail, and nothing is told
//! before it is on disk.

mod common;

use common::{BASIC, Scratch, Server, run, wait_for};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Lines that `watch` gives, without waiting for more than there are.
fn watch(scratch: &Scratch, count: usize, arguments: &[&str]) -> Vec<String> {
    let count = count.to_string();
    let arguments = [&["watch", "--count", count.as_str()], arguments].concat();
    let output = run(&scratch.path("mailbell.toml"), &arguments, "");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn shell_hook(name: &str, script: &str, retry: &str) -> String {
    format!(
        "[[hook]]\nname = \"{name}\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\nstdin = \"none\"\nretry = \"{retry}\"\n"
    )
}

#[test]
fn a_state_of_version_0_1_0_is_taken_over_and_nothing_is_told_twice() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state-0.1.0");
    let scratch = Scratch::new("state-0-1-0");
    copy_tree(&sample, &scratch.0);
    // It was written in this folder.
    let encode = |path: &str| format!("pipe:{}", path.replace('/', "%2F"));
    for folder in ["state/cursors", "state/tallies"] {
        let old = scratch.path(folder).join(encode("/tmp/state-0.1.0/notify"));
        fs::rename(old, scratch.path(folder).join(encode(scratch.path("notify").to_str().unwrap()))).unwrap();
    }
    fs::write(scratch.path("state/seen/.maildirs"), "").unwrap();
    let hooks =
        shell_hook("good", "echo $MAILBELL_SEQ >> $D/good", "1s..1s").replace("$D", scratch.0.to_str().unwrap());
    let configuration = BASIC.replace("path = \"notify\"\n", "path = \"notify\"\nformat = \"{seq} {id}\"\n") + &hooks;
    fs::write(scratch.path("mailbell.toml"), configuration).unwrap();
    fs::write(scratch.path("users"), "alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\n").unwrap();
    fs::write(scratch.path("aliases"), "").unwrap();

    let server = Server::start_in(scratch, &[]);
    server.send("alice@example.org", "Subject: new\nMessage-ID: <one@old>\n\nx\n");
    wait_for("the hook", || fs::read_to_string(server.path("good")).ok().filter(|text| text.ends_with('\n')));
    let scratch = server.stop();
    assert_eq!(fs::read_to_string(scratch.path("good")).unwrap(), "6\n", "1 to 5 were done before");
    let seqs = watch(&scratch, 6, &["--from", "all", "--format", "{seq} {user} {duplicate_of}"]);
    assert_eq!(seqs, ["1 alice ", "2 alice ", "3 bob ", "4 bob ", "5 alice 1", "6 alice 5"]);
    assert_eq!(watch(&scratch, 4, &["--cursor", "desk", "--format", "{seq}"]), ["3", "4", "5", "6"]);

    // A reader of the pipe took two lines before; it gets the others, and then what is new.
    let server = Server::start_in(scratch, &[]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(fs::File::open(server.path("notify")).unwrap()));
    let told: Vec<String> = (0..4).map(|_| lines.next().unwrap().unwrap()).collect();
    assert!(told.iter().map(|line| line.split(' ').next().unwrap()).eq(["3", "4", "5", "6"]), "{told:?}");
    drop(lines);
    server.stop();
}

#[test]
fn a_damaged_journal_stops_neither_the_start_nor_mail_nor_readers() {
    let server = Server::start_in(Scratch::prepared("damaged", BASIC), &[]);
    (0..3).for_each(|n| server.send("alice@example.org", &format!("Subject: {n}\n\nx\n")));
    let scratch = server.stop();
    let journal = scratch.path("state/journal");
    let plain = journal.join("00000000000000000001.jsonl");
    let whole = fs::read(&plain).unwrap();
    for damaged in [&b"\x1F\x8B\x08 no gzip"[..], b""] {
        // As if it had been compressed, cut short, and its index were gone.
        fs::remove_file(&plain).unwrap();
        fs::write(plain.with_extension("jsonl.gz"), damaged).unwrap();
        let server = Server::start_in(Scratch(scratch.0.clone()), &[]);
        server.send("alice@example.org", "Subject: after\n\nx\n");
        let seqs = watch(&server.scratch, 1, &["--from", "all", "--format", "{seq} {subject}"]);
        assert_eq!(seqs, ["4 after"], "the lost ones are passed");
        assert!(server.log().contains("records 1 to 3 are damaged and lost"), "{}", server.log());
        std::mem::forget(server.stop());
        fs::remove_file(journal.join("00000000000000000004.jsonl")).unwrap();
        fs::remove_file(plain.with_extension("jsonl.gz")).unwrap();
        fs::remove_file(journal.join("safe")).unwrap();
        fs::remove_dir_all(scratch.path("state/cursors")).unwrap();
        fs::remove_dir_all(scratch.path("state/seen")).unwrap();
        fs::write(&plain, &whole).unwrap();
        fs::write(journal.join("safe"), format!("{0:020} {0:020}\n", 3)).unwrap();
        fs::read_dir(scratch.path("mail/alice/new"))
            .unwrap()
            .for_each(|file| fs::remove_file(file.unwrap().path()).unwrap());
    }
}

#[test]
fn recipients_beside_a_message_go_when_another_process_recorded_it() {
    let server = Server::start_in(Scratch::prepared("beside", BASIC), &[]);
    let output = server.run(&["deliver", "alice", "bob"], "Subject: beside\n\nx\n");
    assert!(output.status.success(), "{output:?}");
    let records = wait_for("both records", || Some(server.records()).filter(|records| records.len() == 2));
    assert!(records.iter().all(|record| record["rcpt_to"] == record["user"]), "{records:?}");
    let file = server.new_files("alice").remove(0);
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
    let mut value = [0_u8; 100];
    wait_for("the attribute to go", || rustix::fs::getxattr(&file, "user.mailbell.rcpt_to", &mut value[..]).err());
    server.stop();
}
