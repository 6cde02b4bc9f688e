//! Helpers for tests on the real binary: a scratch folder, a server in it, and clients that send lines as given.
#![allow(dead_code)]

pub mod dovecot;
pub mod mqtt;
pub mod pages;
pub mod receiver;
#[cfg(feature = "tls")]
pub mod tls;

use mailbell::journal::Record;
use mailbell::ledger::{Keep, Ledger};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest that any single wait in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test; `MAILBELL_TEST_BINARY` puts another build (the static one) in its place.
pub fn binary() -> PathBuf {
    std::env::var_os("MAILBELL_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_mailbell").into(), PathBuf::from)
}

/// Copies the binary for a user that does not reach it where it is. `cp` writes it: a descriptor of this process that
/// writes it could be inherited by a program that another test starts, and then it could not be run.
pub fn copy_binary(to: &Path) {
    assert!(Command::new("cp").arg(binary()).arg(to).status().unwrap().success());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(to, mode).unwrap();
}

/// A folder that is removed when this is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mailbell-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// With a configuration, users and aliases in it.
    pub fn prepared(name: &str, configuration: &str) -> Scratch {
        let scratch = Scratch::new(name);
        fs::write(scratch.path("mailbell.toml"), configuration).unwrap();
        fs::write(scratch.path("users"), "alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\ncarol:{PLAIN}secret-c\n")
            .unwrap();
        fs::write(scratch.path("aliases"), "team: alice, bob\n").unwrap();
        scratch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a test's configuration begins with; accounts are alice, bob and carol with the secrets `secret-a` and so on.
pub const BASIC: &str = r#"
hostname = "mail.example.org"
domains = ["example.org"]
state = "state"
[mail]
root = "mail"
min_free = "1MiB"
[users]
file = "users"
aliases = "aliases"
[smtp]
listen = ["127.0.0.1:0"]
[pop3]
listen = ["127.0.0.1:0"]
[[pipe]]
path = "notify"
"#;

/// A running server.
pub struct Server {
    pub scratch: Scratch,
    child: Child,
    ready: String,
    log: PathBuf,
}

impl Server {
    /// Starts with [`BASIC`].
    pub fn start(name: &str) -> Server {
        Server::with(name, BASIC)
    }

    /// Starts with the given configuration.
    pub fn with(name: &str, configuration: &str) -> Server {
        Server::start_in(Scratch::prepared(name, configuration), &[])
    }

    /// Starts in a folder that has its configuration already.
    pub fn start_in(scratch: Scratch, environment: &[(&str, &str)]) -> Server {
        let mut command = Command::new(binary());
        command.args(["serve", "-c"]).arg(scratch.path("mailbell.toml")).envs(environment.iter().copied());
        command.stdin(Stdio::null());
        Server::start_by(scratch, command)
    }

    /// Starts by a command of the test's own that becomes the server.
    pub fn start_by(scratch: Scratch, mut command: Command) -> Server {
        let log = scratch.path("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let offset = fs::metadata(&log).unwrap().len() as usize;
        let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let ready = wait_for("the ready line", || {
            let text = String::from_utf8_lossy(&fs::read(&log).unwrap()[offset..]).into_owned();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{text}");
            }
            text.lines().find(|line| line.starts_with("mailbell: ready ")).map(str::to_owned)
        });
        Server { scratch, child, ready, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address of the first listener of a kind, from the ready line.
    pub fn address(&self, kind: &str) -> SocketAddr {
        let prefix = format!("{kind}=");
        let word = self.ready.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
        word.unwrap_or_else(|| panic!("no {kind} in {}", self.ready)).parse().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    pub fn smtp(&self) -> Talk {
        Talk::to(self.address("smtp"))
    }

    pub fn pop3(&self) -> Talk {
        Talk::to(self.address("pop3"))
    }

    /// A logged-in POP3 session.
    pub fn pop3_as(&self, user: &str) -> Talk {
        let mut talk = self.pop3();
        talk.expect("+OK");
        talk.say(&format!("USER {user}"), "+OK");
        talk.say(&format!("PASS secret-{}", &user[..1]), "+OK");
        talk
    }

    /// Sends one message in a session of its own.
    pub fn send(&self, to: &str, message: &str) {
        let mut talk = self.smtp();
        talk.expect("220");
        talk.say("EHLO client.example", "250");
        talk.say("MAIL FROM:<sender@example.com>", "250");
        talk.say(&format!("RCPT TO:<{to}>"), "250");
        talk.say("DATA", "354");
        talk.write(message.replace('\n', "\r\n").as_bytes());
        talk.say(".", "250");
        talk.say("QUIT", "221");
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// A clean stop; gives the folder back for the next start.
    pub fn stop(mut self) -> Scratch {
        self.signal("TERM");
        let status = wait_for("the clean stop", || self.child.try_wait().unwrap());
        assert!(status.success(), "stopped with {status}:\n{}", self.log());
        self.take_scratch()
    }

    /// Waits for the clean end of a server that was told to stop before.
    pub fn stop_already(mut self) -> Scratch {
        let status = wait_for("the clean stop", || self.child.try_wait().unwrap());
        assert!(status.success(), "stopped with {status}:\n{}", self.log());
        self.take_scratch()
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Scratch {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.take_scratch()
    }

    /// Waits for a server that ends by itself (a fail point).
    pub fn wait_for_end(mut self) -> Scratch {
        wait_for("the server's end", || self.child.try_wait().unwrap());
        self.take_scratch()
    }

    fn take_scratch(&mut self) -> Scratch {
        std::mem::replace(&mut self.scratch, Scratch(PathBuf::from("/nonexistent/mailbell")))
    }

    /// Runs another command of the binary with this server's configuration.
    pub fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        run(&self.path("mailbell.toml"), arguments, stdin)
    }

    /// The records of the journal, in order, from segments that are not compressed.
    pub fn records(&self) -> Vec<serde_json::Value> {
        records(&self.path("state/journal"))
    }

    /// Files in a user's `new/`.
    pub fn new_files(&self, user: &str) -> Vec<PathBuf> {
        files(&self.path(&format!("mail/{user}/new")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && self.log.exists() {
            eprintln!("--- the server's log:\n{}", self.log());
        }
    }
}

/// Runs a command of the binary: `run(config, ["user", "list"], "")`.
pub fn run(configuration: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(binary())
        .args(arguments)
        .env("MAILBELL_CONFIG", configuration)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub fn records(journal: &Path) -> Vec<serde_json::Value> {
    let mut segments: Vec<_> =
        files(journal).into_iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    segments.sort();
    // The server may be writing: what follows the last newline is no record yet.
    let lines = |octets: Vec<u8>| -> Vec<Vec<u8>> {
        octets
            .split_inclusive(|octet| *octet == b'\n')
            .filter(|line| line.ends_with(b"\n"))
            .map(<[u8]>::to_vec)
            .collect()
    };
    let lines = segments.iter().flat_map(|path| lines(fs::read(path).unwrap()));
    lines.map(|line| serde_json::from_slice(&line).unwrap()).collect()
}

pub fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    found.sort();
    found
}

/// True for root. A test that needs root and does not have it says that it was skipped, which `.ci/run` looks for.
pub fn is_root() -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        skipped("needs root");
    }
    is
}

/// Says that a test shows nothing on this machine.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// The state of a process from `/proc/PID/status`, with a field's name: `("VmRSS:", "12 kB")`.
pub fn process_status(folder: &Path, field: &str) -> Option<String> {
    let status = fs::read_to_string(folder.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
}

/// Waits until a counter stays the same for half a second: a process that polls never comes to rest. How long it takes
/// to do what it still has to do is its own affair.
pub fn wait_for_rest<T: PartialEq>(what: &str, mut count: impl FnMut() -> T) {
    let mut last = count();
    wait_for(what, || {
        std::thread::sleep(Duration::from_millis(500));
        let now = count();
        let rests = now == last;
        last = now;
        rests.then_some(())
    });
}

/// Asks until there is an answer, and fails after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client of a line protocol that sends what the test gives it.
pub struct Talk {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Talk {
    pub fn to(address: SocketAddr) -> Talk {
        Talk::over(TcpStream::connect(address).unwrap())
    }

    /// A client with an address of its own, so that what the server holds against another one does not slow it down.
    pub fn from(source: std::net::Ipv4Addr, address: SocketAddr) -> Talk {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from((source, 0))).unwrap();
        connect(&socket, &address).unwrap();
        Talk::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> Talk {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Talk { stream, reader }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn write(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    /// One line without its end; `None` at the end of the connection.
    pub fn line(&mut self) -> Option<String> {
        self.octets().map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    /// The same, octet for octet.
    pub fn octets(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no line came: {error}"),
        }
        // A server that is killed may leave half a line.
        let whole = line.ends_with(b"\n");
        line.truncate(line.strip_suffix(b"\r\n").unwrap_or(&line).len());
        assert!(!whole || !line.ends_with(b"\n"), "a line without CRLF: {}", line.escape_ascii());
        Some(line)
    }

    /// One whole reply: for SMTP all its lines, for POP3 its first.
    pub fn reply(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().expect("the server closed the connection");
            let more =
                line.len() > 3 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit) && line.as_bytes()[3] == b'-';
            lines.push(line);
            if !more {
                return lines;
            }
        }
    }

    pub fn expect(&mut self, start: &str) -> Vec<String> {
        let reply = self.reply();
        assert!(reply.last().unwrap().starts_with(start), "expected {start}, got {reply:?}");
        reply
    }

    /// Sends a line and expects a reply that begins so.
    pub fn say(&mut self, line: &str, start: &str) -> Vec<String> {
        self.write(format!("{line}\r\n").as_bytes());
        let reply = self.reply();
        assert!(reply.last().unwrap().starts_with(start), "to {line:?} expected {start}, got {reply:?}");
        reply
    }

    /// Sends a line and gives the next one; `None` at the end of the connection.
    pub fn line_after(&mut self, line: &str) -> Option<String> {
        let _ = self.stream.write_all(format!("{line}\r\n").as_bytes());
        self.line()
    }

    /// A POP3 multi-line answer's octets after its first line, dot-stuffing removed, without the final dot.
    pub fn multi_line(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        loop {
            let mut line = Vec::new();
            self.reader.read_until(b'\n', &mut line).unwrap();
            assert!(line.ends_with(b"\r\n"), "a line without CRLF: {}", line.escape_ascii());
            if line == b".\r\n" {
                return octets;
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// True when the server has closed the connection and sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// A journal without a server: what is appended is told at once. Dropping it is a clean stop.
pub struct Journal(Arc<Ledger>);

impl Journal {
    pub fn open(state: &Path) -> Journal {
        Journal(Ledger::open(state, Keep { age: Duration::MAX, size: u64::MAX }).unwrap())
    }

    pub fn append(&self, records: Vec<Record>) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let claim = || self.0.claim("nobody", COUNT.fetch_add(1, Ordering::Relaxed).to_string().as_bytes()).unwrap();
        self.0.found(records.into_iter().map(|record| (claim(), record)).collect());
        self.0.tick();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.0.stop();
    }
}
