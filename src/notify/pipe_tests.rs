use super::*;
use crate::journal::cursors;
use crate::ledger::Journal;
use crate::notify::testing::{Scratch, add, wait_for};
use crate::notify::{Filter, Subscribers};
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Fixture {
    scratch: Scratch,
    journal: Journal,
    settings: PipeSettings,
    subscribers: Option<Subscribers>,
}

impl Fixture {
    fn start(name: &str, backlog: Backlog) -> Fixture {
        Fixture::with(name, |settings| settings.backlog = backlog)
    }

    fn with(name: &str, change: impl FnOnce(&mut PipeSettings)) -> Fixture {
        let scratch = Scratch::new(name);
        let mut settings = PipeSettings {
            path: scratch.path(&format!("run/{name}")),
            format: Format::parse("{seq} {id}").unwrap(),
            mode: 0o640,
            filter: Filter::default(),
            backlog: Backlog::All,
        };
        change(&mut settings);
        let journal = scratch.journal();
        let mut fixture = Fixture { scratch, journal, settings, subscribers: None };
        fixture.begin();
        fixture
    }

    fn begin(&mut self) {
        let subscribers = Subscribers::start(&self.scratch.0, std::slice::from_ref(&self.settings), &[]);
        self.subscribers = Some(subscribers.unwrap());
    }

    fn end(&mut self) {
        self.subscribers.take().unwrap().stop();
    }

    fn add(&self, count: u64) {
        for _ in 0..count {
            add(&self.journal, "alice", |record| record.timestamp = now());
        }
    }

    fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    fn reader(&self) -> File {
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(self.path()).unwrap()
    }

    /// The place of the only cursor.
    fn place(&self) -> Place {
        cursors(&self.scratch.0).unwrap()[0].1.place
    }

    /// How often its thread went to sleep.
    fn context_switches(&self) -> u64 {
        let name = self.settings.path.file_name().unwrap().to_str().unwrap();
        let mut sum = None;
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            if read("comm").trim().ends_with(&format!("/{name}")) {
                let status = read("status");
                let line = status.lines().find(|line| line.starts_with("voluntary")).unwrap();
                sum = line.split_whitespace().nth(1).map(|number| number.parse::<u64>().unwrap());
            }
        }
        sum.expect("the thread is there")
    }

    /// Waits until its thread sleeps for longer than any of its pauses.
    fn wait_for_rest(&self) {
        let mut last = self.context_switches();
        wait_for("the thread to sleep", || {
            std::thread::sleep(Duration::from_millis(400));
            std::mem::replace(&mut last, self.context_switches()) == last
        });
    }

    fn wait_until_written(&self, seq: u64) {
        wait_for("a line to be written", || self.place().written >= seq);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // First, or a pipe that is missed is made again.
        self.subscribers.take().into_iter().for_each(Subscribers::stop);
    }
}

fn line(seq: u64) -> String {
    format!("{seq} 1.M{seq}\n")
}

fn lines(from: u64, to: u64) -> String {
    (from..=to).map(line).collect()
}

/// Reads exactly so much.
fn take(reader: &mut File, octets: usize) -> String {
    let mut found = vec![0; octets];
    let mut at = 0;
    wait_for("octets in the pipe", || {
        match reader.read(&mut found[at..]) {
            Ok(count) => at += count,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        at == octets
    });
    String::from_utf8(found).unwrap()
}

/// Everything that is in the pipe now.
fn rest(reader: &mut File) -> String {
    let mut found = Vec::new();
    let _ = reader.read_to_end(&mut found);
    String::from_utf8(found).unwrap()
}

#[path = "pipe_restart_tests.rs"]
mod restart;

#[test]
fn a_fifo_is_made_with_its_folder_and_its_mode_and_an_existing_one_is_kept() {
    let mut fixture = Fixture::with("made", |settings| settings.mode = 0o622);
    let metadata = fs::metadata(fixture.path()).unwrap();
    assert!(metadata.file_type().is_fifo());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o622);
    assert_eq!(fs::metadata(fixture.scratch.path("run")).unwrap().permissions().mode() & 0o7777, 0o755);
    fixture.end();
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o606)).unwrap();
    fixture.begin();
    let again = fs::metadata(fixture.path()).unwrap();
    assert_eq!((again.ino(), again.permissions().mode() & 0o7777), (metadata.ino(), 0o606));
    fixture.end();
    assert!(fixture.path().exists());
}

#[test]
fn what_is_no_fifo_is_left_alone() {
    let scratch = Scratch::new("file");
    fs::write(scratch.path("notify"), "precious").unwrap();
    let _journal = scratch.journal();
    let settings = PipeSettings {
        path: scratch.path("notify"),
        format: Format::Inotify,
        mode: 0o640,
        filter: Filter::default(),
        backlog: Backlog::All,
    };
    let error = Subscribers::start(&scratch.0, &[settings], &[]).err().unwrap();
    assert!(error.contains("notify: there is something here that is no FIFO"), "{error}");
    assert_eq!(fs::read(scratch.path("notify")).unwrap(), b"precious");
}

#[test]
fn a_new_pipe_begins_at_the_end_and_a_late_reader_gets_everything_since() {
    let mut fixture = Fixture::start("late", Backlog::All);
    fixture.add(3);
    let mut reader = fixture.reader();
    assert_eq!(take(&mut reader, lines(1, 3).len()), lines(1, 3));
    wait_for("the cursor", || fixture.place() == Place::at(3));
    fixture.end();
    let mut other = fixture.settings.clone();
    other.path = fixture.scratch.path("other");
    let subscribers = Subscribers::start(&fixture.scratch.0, &[other.clone()], &[]).unwrap();
    fixture.add(1);
    let mut reader = OpenOptions::new().read(true).open(&other.path).unwrap();
    assert_eq!(take(&mut reader, line(4).len()), line(4));
    subscribers.stop();
}

#[test]
fn the_cursor_follows_the_reader_line_by_line_without_new_mail() {
    let fixture = Fixture::start("cursor", Backlog::All);
    fixture.add(3);
    fixture.wait_until_written(3);
    assert_eq!(fixture.place(), Place { acknowledged: 0, written: 3, waiting: 3 });
    let mut reader = fixture.reader();
    for seq in 1..=3 {
        assert_eq!(take(&mut reader, 3), line(seq)[..3]);
        std::thread::sleep(PAUSE * 3);
        assert_eq!(fixture.place().acknowledged, seq - 1);
        assert_eq!(take(&mut reader, line(seq).len() - 3), line(seq)[3..]);
        wait_for("the cursor", || fixture.place().acknowledged == seq);
    }
}

#[test]
fn a_full_pipe_waits_for_its_reader() {
    let mut fixture = Fixture::with("full", |settings| settings.format = Format::Json);
    const COUNT: u64 = 20_000;
    fixture.add(COUNT);
    let mut written = 0;
    wait_for("the pipe to be full", || {
        std::thread::sleep(Duration::from_millis(300));
        let before = std::mem::replace(&mut written, fixture.place().written);
        before > 1000 && before == written
    });
    assert!(written < COUNT && fixture.place().acknowledged == 0);
    fixture.wait_for_rest();
    assert_eq!(fixture.place().written, written);
    fixture.end();
    assert_eq!(fixture.place(), Place::at(0));
    fixture.begin();
    let mut reader = std::io::BufReader::new(OpenOptions::new().read(true).open(fixture.path()).unwrap());
    for seq in 1..=COUNT {
        let mut text = String::new();
        std::io::BufRead::read_line(&mut reader, &mut text).unwrap();
        assert!(text.starts_with(&format!("{{\"seq\":{seq},")), "{text}");
    }
    wait_for("the cursor", || fixture.place() == Place::at(COUNT));
}

#[test]
fn shells_read_lines_one_by_one_and_two_readers_share_them() {
    let fixture = Fixture::with("shell", |settings| settings.format = Format::Inotify);
    let script = format!(
        "for n in 1 2 3; do read -r dir event file; printf '%s\\n' \"$dir|$event|$file\"; done < {}",
        fixture.path().display()
    );
    let spawn = || Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let (one, two) = (spawn(), spawn());
    fixture.add(6);
    let text = |child: std::process::Child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let mut found: Vec<_> = (text(one) + &text(two)).lines().map(str::to_owned).collect();
    found.sort();
    let wanted: Vec<_> = (1..=6).map(|seq| format!("/mail/alice/new/|MOVED_TO|1.M{seq},S=1,W=2")).collect();
    // Two shells on one FIFO tear each other's lines; that no octet is lost is all that can be asked.
    if found != wanted {
        let length = |lines: &[String]| lines.iter().map(String::len).sum::<usize>();
        assert!(length(&found) <= length(&wanted) + 12);
    }
    wait_for("the cursor", || fixture.place() == Place::at(6));
    fixture.add(3);
    assert_eq!(text(spawn()).lines().count(), 3);
    // `head` takes a whole buffer, and what it does with it is its own affair.
    fixture.add(2);
    fixture.wait_until_written(11);
    let head = Command::new("head").arg("-n1").arg(fixture.path()).output().unwrap();
    assert_eq!(head.stdout, b"/mail/alice/new/ MOVED_TO 1.M10,S=1,W=2\n");
    wait_for("the cursor", || fixture.place() == Place::at(11));
}

#[test]
fn a_fifo_that_is_taken_away_is_made_again_and_nothing_is_lost() {
    let fixture = Fixture::start("away", Backlog::All);
    fixture.add(2);
    fixture.wait_until_written(2);
    let mut old = fixture.reader();
    assert_eq!(take(&mut old, line(1).len() + 1), line(1) + "2");
    fs::remove_file(fixture.path()).unwrap();
    wait_for("a new FIFO", || fixture.path().exists());
    fixture.add(1);
    let mut reader = fixture.reader();
    assert_eq!(take(&mut reader, line(3).len()), line(3));
    assert_eq!(rest(&mut old), line(2)[1..]);
    // Replaced by something else, until that is gone.
    fixture.add(1);
    fixture.wait_until_written(4);
    fs::write(fixture.scratch.path("file"), "").unwrap();
    fs::rename(fixture.scratch.path("file"), fixture.path()).unwrap();
    fixture.add(1);
    std::thread::sleep(Duration::from_millis(50));
    assert!(fs::metadata(fixture.path()).unwrap().is_file());
    fs::remove_file(fixture.path()).unwrap();
    wait_for("a new FIFO", || fs::metadata(fixture.path()).is_ok_and(|metadata| metadata.file_type().is_fifo()));
    let mut reader = fixture.reader();
    assert_eq!(take(&mut reader, lines(4, 5).len()), lines(4, 5));
}

#[test]
fn backlog_none_gives_what_comes_while_a_reader_is_there() {
    let mut fixture = Fixture::start("none", Backlog::None);
    fixture.add(3);
    wait_for("the cursor", || fixture.place() == Place::at(3));
    let mut reader = fixture.reader();
    assert_eq!(rest(&mut reader), "");
    fixture.add(2);
    assert_eq!(take(&mut reader, lines(4, 5).len()), lines(4, 5));
    // What a reader leaves behind is not for the next one.
    fixture.add(2);
    fixture.wait_until_written(7);
    drop(reader);
    wait_for("the lines to be taken out", || fixture.place() == Place::at(7));
    fixture.add(1);
    wait_for("the cursor", || fixture.place() == Place::at(8));
    let mut reader = fixture.reader();
    assert_eq!(rest(&mut reader), "");
    fixture.add(1);
    assert_eq!(take(&mut reader, line(9).len()), line(9));
    fixture.end();
    drop(reader);
    fixture.add(1);
    fixture.begin();
    wait_for("the cursor", || fixture.place() == Place::at(10));
    let mut reader = fixture.reader();
    fixture.add(1);
    assert_eq!(take(&mut reader, line(11).len()), line(11));
}

#[test]
fn a_late_reader_gets_what_is_not_older_than_the_age() {
    let age = Duration::from_secs(3600);
    let mut fixture = Fixture::start("age", Backlog::Age(age));
    let old = |fixture: &Fixture| add(&fixture.journal, "alice", |record| record.timestamp = now() - 4_000_000_000);
    old(&fixture);
    fixture.add(2);
    fixture.wait_until_written(3);
    let mut reader = fixture.reader();
    assert_eq!(take(&mut reader, lines(2, 3).len()), lines(2, 3));
    // To a reader that is there, also what is old is told.
    old(&fixture);
    assert_eq!(take(&mut reader, line(4).len()), line(4));
    // A slow reader keeps what is in the pipe; when it goes, it is passed over.
    add(&fixture.journal, "alice", |record| record.timestamp = now() - 3_599_500_000);
    fixture.wait_until_written(5);
    std::thread::sleep(Duration::from_millis(1600));
    assert_eq!(fixture.place(), Place { acknowledged: 4, written: 5, waiting: 1 });
    drop(reader);
    wait_for("the old line to be taken out", || fixture.place() == Place::at(5));
    fixture.add(1);
    let mut reader = fixture.reader();
    assert_eq!(take(&mut reader, line(6).len()), line(6));
    fixture.end();
}

#[test]
fn what_is_too_old_is_taken_out_once() {
    let fixture = Fixture::start("once", Backlog::Age(Duration::from_secs(1)));
    // Stored in the last part of a second, and looked at in the first part of the one after the next.
    let fraction = 1_000_000 - now() % 1_000_000;
    std::thread::sleep(Duration::from_micros(fraction));
    let second = now() / 1_000_000 * 1_000_000;
    add(&fixture.journal, "alice", |record| record.timestamp = second - 100_000);
    wait_for("the cursor", || fixture.place() == Place::at(1));
    fixture.wait_for_rest();
}

#[test]
fn a_fifo_whose_folder_was_moved_is_made_anew_when_there_is_something_to_say() {
    let fixture = Fixture::start("moved", Backlog::All);
    fixture.add(1);
    fixture.wait_until_written(1);
    let folder = fixture.scratch.path("run");
    fs::rename(&folder, fixture.scratch.path("old")).unwrap();
    std::thread::sleep(ASK);
    fixture.add(1);
    wait_for("a new FIFO", || fixture.path().exists());
    assert_eq!(take(&mut fixture.reader(), lines(1, 2).len()), lines(1, 2));
}

#[test]
fn an_idle_pipe_sleeps() {
    let fixture = Fixture::start("idle", Backlog::All);
    fixture.add(1);
    fixture.wait_until_written(1);
    // An unread line is no reason to wake.
    fixture.wait_for_rest();
}
