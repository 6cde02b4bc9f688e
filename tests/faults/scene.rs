//! A server with a pipe and a hook, everything that both were told, and the story that every fault goes through.

use crate::common::{BASIC, PATIENCE, Scratch, Server, Talk, files, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The pipe and the hook write this for each event.
const TOLD: &str = "format = '{seq} {id} {subject}'\n[[hook]]\nname = \"told\"\ncommand = [\"HOOK\"]\nstdin = \"none\"\n\
                    retry = \"1s..1s\"\n";

/// A folder with [`BASIC`], the two subscribers, and further sections.
pub fn prepared(name: &str, sections: &str) -> Scratch {
    let scratch = Scratch::prepared(&format!("fault-{name}"), "");
    let hook = scratch.path("hook");
    let script = format!(
        "#!/bin/sh\necho \"$MAILBELL_SEQ $MAILBELL_ID $MAILBELL_SUBJECT\" >> {}\n",
        scratch.path("told-by-hook").display()
    );
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let configuration = format!("{BASIC}{}{sections}", TOLD.replace("HOOK", hook.to_str().unwrap()));
    fs::write(scratch.path("mailbell.toml"), configuration).unwrap();
    scratch
}

/// One line that a subscriber was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub seq: u64,
    pub id: String,
    pub subject: String,
}

fn parse(text: &str) -> Vec<Told> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            assert_eq!(words.len(), 3, "not a whole line: {line:?}");
            Told { seq: words[0].parse().unwrap(), id: words[1].into(), subject: words[2].into() }
        })
        .collect()
}

/// A reader of the pipe that opens it again when it was replaced.
pub struct Pipe {
    text: Arc<Mutex<Vec<u8>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pipe {
    pub fn follow(path: PathBuf) -> Pipe {
        let (text, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (to, end) = (text.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
            let open = || {
                let metadata = fs::symlink_metadata(&path).ok()?;
                let is_fifo = std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type());
                is_fifo.then(|| fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).ok())?
            };
            let mut file = None;
            while !end.load(Ordering::Relaxed) {
                if let Some(current) = &mut file {
                    let mut block = [0; 4096];
                    while let Ok(count @ 1..) = fs::File::read(current, &mut block) {
                        to.lock().unwrap().extend_from_slice(&block[..count]);
                    }
                }
                let now = fs::symlink_metadata(&path).ok().map(|metadata| metadata.ino());
                let held = file.as_ref().and_then(|file| file.metadata().ok()).map(|metadata| metadata.ino());
                if now.is_some() && now != held {
                    file = open().or(file);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Pipe { text, over, thread: Some(thread) }
    }

    pub fn told(&self) -> Vec<Told> {
        parse(&String::from_utf8_lossy(&self.text.lock().unwrap()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub fn told_by_hook(scratch: &Scratch) -> Vec<Told> {
    parse(&fs::read_to_string(scratch.path("told-by-hook")).unwrap_or_default())
}

/// Sends one message to alice; gives the reply that decided: the one to the data, or the first that is no success.
/// `None` when the connection ended before.
pub fn send(server: &Server, subject: &str, octets: usize) -> Option<String> {
    let stream = std::net::TcpStream::connect(server.address("smtp")).ok()?;
    drop(stream);
    let mut talk = Talk::to(server.address("smtp"));
    let text = format!("Subject: {subject}\r\n\r\n{}.", "a line of text, a line of text\r\n".repeat(octets / 32 + 1));
    let steps = ["", "EHLO client.example", "MAIL FROM:<a@example.com>", "RCPT TO:<alice@example.org>", "DATA", &text];
    let mut last = None;
    for step in steps {
        // The server may have gone, or may refuse before it has read everything.
        if !step.is_empty() {
            let _ = std::io::Write::write_all(&mut talk.stream(), format!("{step}\r\n").as_bytes());
        }
        loop {
            let line = talk.line()?;
            let more = line.as_bytes().get(3) == Some(&b'-');
            last = Some(line);
            if !more {
                break;
            }
        }
        if last.as_ref().is_some_and(|line| !line.starts_with('2') && !line.starts_with('3')) {
            break;
        }
    }
    last
}

/// Sends until it is acknowledged.
pub fn send_until_stored(server: &Server, subject: &str) {
    wait_for(&format!("{subject} to be acknowledged"), || {
        let reply = send(server, subject, 0).unwrap_or_default();
        assert!(reply.starts_with('2') || reply.starts_with('4'), "{subject}: {reply}");
        if !reply.starts_with("250") {
            std::thread::sleep(Duration::from_millis(100));
        }
        reply.starts_with("250").then_some(())
    });
}

/// What a subscriber may have been told of numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// One message has one number, and one number is one message's.
    Exact,
    /// A record was destroyed: its message may have been given another number, but no number is given twice.
    NotReused,
    /// The journal was taken away whole: numbers may begin anew.
    Anew,
}

/// No number and no message was told in a way that [`Numbers`] rules out.
pub fn check_numbers(subscriber: &str, told: &[Told], numbers: Numbers) {
    let (mut by_seq, mut by_id) = (BTreeMap::new(), BTreeMap::new());
    for line in told {
        if numbers != Numbers::Anew {
            let first = by_seq.entry(line.seq).or_insert(&line.id);
            assert_eq!(*first, &line.id, "{subscriber}: seq {} was told of two messages: {told:#?}", line.seq);
        }
        if numbers == Numbers::Exact {
            let first = by_id.entry(&line.id).or_insert(line.seq);
            assert_eq!(*first, line.seq, "{subscriber}: {} was told under two numbers: {told:#?}", line.id);
        }
    }
}

/// The subjects that are in alice's Maildir, each as often as it is there.
pub fn stored(maildir: &std::path::Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for file in files(&maildir.join("new")) {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("half").to_owned();
        *found.entry(subject).or_default() += 1;
    }
    found
}

pub fn wait_until_told(what: &str, subjects: &BTreeSet<String>, told: impl Fn() -> Vec<Told>) {
    let mut missing = BTreeSet::new();
    let end = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < end {
        let seen: BTreeSet<_> = told().into_iter().map(|line| line.subject).collect();
        missing = subjects.difference(&seen).cloned().collect();
        if missing.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the {what} was not told of {missing:?}, but of {:#?}", told());
}

/// What `watch --from all` is told, up to these subjects.
fn watch_all(server: &Server, subjects: &BTreeSet<String>) -> Vec<Told> {
    let output = server.path("told-by-watch");
    let mut watch = std::process::Command::new(crate::common::binary())
        .args(["watch", "--from", "all", "--format", "{seq} {id} {subject}", "-c"])
        .arg(server.path("mailbell.toml"))
        .stdout(fs::File::create(&output).unwrap())
        .spawn()
        .unwrap();
    let told = || parse(&fs::read_to_string(&output).unwrap());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_until_told("watch", subjects, told)));
    watch.kill().unwrap();
    watch.wait().unwrap();
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    told()
}

/// When messages are told at the latest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Soon,
    AfterTheNextStart,
}

/// A fault of files: how it is made, and how it goes away.
pub struct Fault<'a> {
    /// Made between a stop and a start, instead of under a running server.
    pub while_stopped: bool,
    pub make: &'a dyn Fn(&Scratch),
    pub mend: &'a dyn Fn(&Server),
    /// What the reply to mail begins with while the fault is there.
    pub reply: &'a [&'a str],
    /// All of these are in the log at the end.
    pub logged: &'a [&'a str],
    pub numbers: Numbers,
    /// Messages that came during the fault and after it are told while the server runs, or at the latest after the next
    /// start. `None`: those that came before the next start may never be told.
    pub told: Option<When>,
}

impl Default for Fault<'_> {
    fn default() -> Self {
        Fault {
            while_stopped: false,
            make: &|_| {},
            mend: &|_| {},
            reply: &["250"],
            logged: &[],
            numbers: Numbers::Exact,
            told: Some(When::Soon),
        }
    }
}

impl Fault<'_> {
    /// The story: mail before, the fault, mail during it, the fault goes, mail after it, a restart, mail again.
    pub fn play(&self, name: &str) {
        let mut server = Server::start_in(prepared(name, ""), &[]);
        let pipe = Pipe::follow(server.path("notify"));
        let mut acknowledged = BTreeSet::new();
        for number in 0..3 {
            let subject = format!("before-{number}");
            send_until_stored(&server, &subject);
            acknowledged.insert(subject);
        }
        // The journal's first segment is sealed, so that both kinds are there.
        let told = |server: &Server, what: &BTreeSet<String>| {
            wait_until_told("pipe", what, || pipe.told());
            wait_until_told("hook", what, || told_by_hook(&server.scratch));
        };
        told(&server, &acknowledged);
        let scratch = server.stop();
        seal(&scratch);
        server = Server::start_in(scratch, &[]);
        for number in 3..6 {
            let subject = format!("before-{number}");
            send_until_stored(&server, &subject);
            acknowledged.insert(subject);
        }
        told(&server, &acknowledged);
        if self.while_stopped {
            let scratch = server.stop();
            (self.make)(&scratch);
            server = Server::start_in(scratch, &[]);
        } else {
            (self.make)(&server.scratch);
        }
        let mut during = BTreeSet::new();
        for number in 0..2 {
            let subject = format!("during-{number}");
            let reply = send(&server, &subject, 0).unwrap_or_default();
            assert!(self.reply.iter().any(|start| reply.starts_with(start)), "{subject}: {reply}");
            if reply.starts_with("250") {
                during.insert(subject);
            }
        }
        (self.mend)(&server);
        let mut after = BTreeSet::new();
        for number in 0..2 {
            let subject = format!("after-{number}");
            send_until_stored(&server, &subject);
            after.insert(subject);
        }
        if self.told == Some(When::Soon) {
            told(&server, &after);
        }
        server = Server::start_in(server.stop(), &[]);
        send_until_stored(&server, "again");
        let again = BTreeSet::from(["again".to_owned()]);
        after.extend(again.clone());
        told(&server, if self.told.is_some() { &after } else { &again });
        if self.told.is_some() {
            told(&server, &during);
        }
        // A reader that begins with the oldest event comes to the newest.
        let from_the_oldest = watch_all(&server, &again);
        check_numbers("watch", &from_the_oldest, Numbers::NotReused);
        check_numbers("pipe", &pipe.told(), self.numbers);
        check_numbers("hook", &told_by_hook(&server.scratch), self.numbers);
        let there = stored(&server.path("mail/alice"));
        for subject in during.union(&after) {
            assert_eq!(there.get(subject), Some(&1), "{subject} was acknowledged: {there:?}");
        }
        let log = server.log();
        for words in self.logged {
            assert!(log.contains(words), "{words:?} is not in the log:\n{log}");
        }
        assert!(!log.contains("panicked"), "{log}");
        assert!(complaints(&log) < 50, "the log is flooded:\n{log}");
        server.stop();
    }
}

/// Removes a folder in which a running server may write meanwhile.
pub fn remove_all(folder: &std::path::Path) {
    wait_for("the folder to be gone", || fs::remove_dir_all(folder).ok());
}

/// Every file of a folder of the state that begins so.
pub fn in_state(scratch: &Scratch, folder: &str, start: &str) -> Vec<PathBuf> {
    let wanted = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    files(&scratch.path("state").join(folder)).into_iter().filter(wanted).collect()
}

/// The segments of the journal, oldest first.
pub fn segments(scratch: &Scratch) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains(".jsonl");
    in_state(scratch, "journal", "0").into_iter().filter(is_segment).collect()
}

/// Compresses the newest segment of a stopped server, so that the next record begins another one.
fn seal(scratch: &Scratch) {
    let newest = segments(scratch).pop().expect("a segment");
    let status = std::process::Command::new("gzip").arg(&newest).status().unwrap();
    assert!(status.success());
}

/// Lines of the log that are more than information.
pub fn complaints(log: &str) -> usize {
    log.lines().filter(|line| !line.contains(" INFO ") && !line.starts_with("mailbell: ready")).count()
}
