//! What the pages show works: blocks of code are taken out of the pages and run against a real server, and each block of TOML
//! passes `mailbell check`. A new page gets both without a line here.
//!
//! A comment above a block says how it is run, one key a line; `not run: REASON` says why it is not. A page whose blocks have
//! a test of their own says so by a line `<!-- blocks: run by tests/NAME.rs -->`.
//!
//! ```text
//! <!-- run
//! with: above            the server has the block of TOML above; without it, the settings of every test
//! config: [[pipe]]       a further line of settings; may come several times
//! as: /usr/local/bin/x   the block is not run but stored here, for the server to run
//! stub: handle lp        programs that print their name, arguments and standard input
//! port: 8080             a port of the block's own: replaced by a free one, and waited for
//! to: bob@example.org    who gets the mail (alice)
//! send: Subject: hello   a message, before the block is run; `\n` is a line end; may come several times
//! until: hello           the block goes on by itself: it is stopped when this was printed; mail is sent each second
//! expect: hello          what the block must have printed, or the server logged; may come several times
//! -->
//! ```
//!
//! In a block, the addresses of the embedded default stand for those of the test's server, absolute paths in /etc, /run, /srv,
//! /var and so on for paths in a folder of the test, `ID` for the id of the last message and `PASSWORD` for a password.
#![cfg(all(
    feature = "mime",
    feature = "http",
    feature = "webhook",
    feature = "mqtt",
    feature = "relay",
    feature = "remote"
))]

mod common;

use common::pages::{self, Block};
use common::{PATIENCE, Scratch, Server, skipped, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Settings that a block replaces key by key.
const BASE: &str = r#"
hostname = "mail.example.org"
domains = ["example.org", "localhost"]
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
[http]
listen = "127.0.0.1:0"
[[pipe]]
path = "/run/mail/notify"
"#;
const USERS: [&str; 10] = ["alice", "bob", "carol", "anna", "cam", "printer", "support", "ups", "nas", "dave"];
/// Folders that a page may name, which are folders of the test here.
const FOLDERS: [&str; 7] = ["/etc/", "/run/", "/srv/", "/var/", "/usr/local/", "/home/", "/backup"];

/// A file of settings, or a part of one, by its sections: (header, lines).
fn sections(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found = vec![(String::new(), Vec::new())];
    for line in text.lines() {
        if line.starts_with('[') {
            found.push((line.split('#').next().unwrap().trim().to_owned(), Vec::new()));
        } else {
            found.last_mut().unwrap().1.push(line.to_owned());
        }
    }
    found
}

fn key(line: &str) -> &str {
    line.split('=').next().unwrap().trim()
}

/// `BASE` with the keys of a block in place of its own.
fn merged(block: &str) -> String {
    let mut all = sections(block);
    for (header, lines) in sections(BASE) {
        let is_list = header.starts_with("[[");
        match all.iter_mut().find(|(name, _)| *name == header) {
            Some(_) if is_list => {}
            Some((_, there)) => {
                let missing = |line: &&String| !there.iter().any(|other| key(other) == key(line));
                let missing: Vec<_> = lines.iter().filter(missing).cloned().collect();
                there.splice(0..0, missing);
            }
            None => all.push((header, lines)),
        }
    }
    let text = |(header, lines): &(String, Vec<String>)| format!("{header}\n{}\n", lines.join("\n"));
    all.iter().map(text).collect()
}

/// The folder of a block's test. The server, or the test, owns the folder itself.
struct Place {
    folder: PathBuf,
    /// What stands in the block for a port or an address, and what is there instead.
    ports: BTreeMap<String, String>,
}

impl Place {
    fn new(settings: &str, ports: BTreeMap<String, String>) -> (Place, Scratch) {
        let scratch = Scratch::prepared("guide", "");
        let place = Place { folder: scratch.0.clone(), ports };
        for folder in ["bin", "root/run/mail", "root/usr/local/bin", "mail", "state"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        let users: String = USERS.iter().map(|user| format!("{user}:{{PLAIN}}secret-{}\n", &user[..1])).collect();
        fs::write(place.path("users"), users).unwrap();
        // The folder of the embedded default.
        std::os::unix::fs::symlink(".", place.path("mailbell-data")).unwrap();
        std::os::unix::fs::symlink("root/run/mail/notify", place.path("notify")).unwrap();
        std::os::unix::fs::symlink(common::binary(), place.path("bin/mailbell")).unwrap();
        std::os::unix::fs::symlink(pages::root().join("target/peers/node_modules"), place.path("node_modules"))
            .unwrap();
        let settings = place.ports(&place.inside(&merged(settings)));
        // The accounts are those of the test, and the server stays as it was started.
        let own = |line: &&str| {
            !["user = \"mailbell\"", "group = \"mail\""]
                .contains(&line.split_whitespace().collect::<Vec<_>>().join(" ").as_str())
        };
        let settings: String = settings.lines().filter(own).map(|line| format!("{line}\n")).collect();
        place.make_what_is_named(&settings);
        fs::write(place.path("mailbell.toml"), settings).unwrap();
        (place, scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text with paths of this folder.
    fn inside(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for folder in FOLDERS {
            for before in ["\"", " ", "'", "@", "<", ">", "(", "=", ":"] {
                let there = format!("{before}{}{folder}", self.path("root").display());
                text = text.replace(&format!("{before}{folder}"), &there);
            }
        }
        text
    }

    /// Files and folders that settings name: each is made as `check` wants it.
    fn make_what_is_named(&self, settings: &str) {
        let root = self.path("root").display().to_string();
        for line in settings.lines() {
            for quoted in line.split('"').skip(1).step_by(2) {
                let path = quoted.trim_start_matches('@');
                if !path.starts_with(&root) {
                    continue;
                }
                let path = Path::new(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let key = key(line);
                if key == "command" {
                    self.program(path, "#!/bin/sh\n");
                } else if key.ends_with("_file") || quoted.starts_with('@') {
                    fs::write(
                        path,
                        if key == "secret_file" { "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n" } else { "secret\n" },
                    )
                    .unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
                } else if ["certificate", "key", "ca"].contains(&key) {
                    let from = if key == "key" { "p256.key" } else { "p256.pem" };
                    fs::copy(pages::root().join("tests/certificates").join(from), path).unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
                } else if key == "maildir" {
                    ["tmp", "new", "cur"].iter().for_each(|name| fs::create_dir_all(path.join(name)).unwrap());
                } else if key == "file" {
                    fs::copy(self.path("users"), path).unwrap();
                } else if key == "aliases" {
                    fs::copy(self.path("aliases"), path).unwrap();
                }
            }
        }
    }

    /// Not written by this process: a program that another thread starts could hold the descriptor, and then it cannot be run.
    fn program(&self, path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let write = "printf '%s' \"$1\" > \"$0\" && chmod +x \"$0\"";
        assert!(Command::new("sh").args(["-c", write]).arg(path).arg(text).status().unwrap().success());
    }

    fn ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// The values of a key of a marker.
fn values<'a>(marker: &'a str, wanted: &str) -> Vec<&'a str> {
    let pair = |line: &'a str| line.split_once(':').map(|(key, value)| (key.trim(), value.trim()));
    marker.lines().filter_map(pair).filter(|(key, _)| *key == wanted).map(|(_, value)| value).collect()
}

const KEYS: [&str; 9] = ["with", "config", "as", "stub", "port", "to", "send", "until", "expect"];

/// What is set for a block; `check` must accept it.
fn settings(block: &Block, marker: &str) -> String {
    let above = if values(marker, "with").is_empty() { "" } else { block.toml_above.as_deref().unwrap() };
    format!("{}\n{above}", values(marker, "config").join("\n"))
}

fn path_variable(place: &Place) -> String {
    format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap())
}

fn start(block: &Block, place: &Place, output: &Path, id: Option<&str>) -> Child {
    let text = place.ports(&place.inside(&block.text)).replace("PASSWORD", "secret-a");
    let text = id.map_or(text.clone(), |id| text.replace(" ID", &format!(" {id}")));
    let (file, program) = match block.language.as_str() {
        "sh" => ("block.sh", vec!["sh", "-e"]),
        "python" => ("block.py", vec!["python3", "-u"]),
        "js" => ("block.mjs", vec!["node"]),
        other => panic!("{}: nothing here runs `{other}`", block.place),
    };
    fs::write(place.path(file), text).unwrap();
    let into = fs::OpenOptions::new().create(true).append(true).open(output).unwrap();
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(file).current_dir(&place.folder).process_group(0);
    command.env("PATH", path_variable(place)).env("USER", "alice").env("MAILBELL_CONFIG", place.path("mailbell.toml"));
    command.stdin(Stdio::null()).stdout(into.try_clone().unwrap()).stderr(into).spawn().unwrap()
}

fn send(server: &Server, marker: &str) {
    let to = values(marker, "to").first().copied().unwrap_or("alice@example.org");
    for message in values(marker, "send") {
        let message = message.replace("\\n", "\n");
        server.send(to, &if message.contains("\n\n") { message + "\n" } else { message + "\n\nIt works.\n" });
    }
}

fn run(block: &Block, marker: &str) -> Result<(), String> {
    for line in marker.lines().skip(1) {
        let key = line.split(':').next().unwrap().trim();
        assert!(KEYS.contains(&key), "{}: the marker has an unknown key: {line}", block.place);
    }
    let mut ports = BTreeMap::from([":9180\"", ":2525\""].map(|port| (port.to_owned(), ":0\"".to_owned())));
    let own_port = values(marker, "port").first().map(|port| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for (before, after) in [(":", ""), ("", ")"), ("", ",")] {
            ports.insert(format!("{before}{port}{after}"), format!("{before}{free}{after}"));
        }
        free
    });
    let (mut place, scratch) = Place::new(&settings(block, marker), ports);
    for name in values(marker, "stub").join(" ").split_whitespace() {
        place.program(&place.path("bin").join(name), "#!/bin/sh\necho \"$(basename \"$0\") $*\"\nexec cat\n");
    }
    let output = place.path("output");
    fs::write(&output, "").unwrap();
    let is_stored = values(marker, "as").first().copied();
    if let Some(path) = is_stored {
        let path = place.inside(&format!(" {path}")).trim().to_owned();
        place.program(Path::new(&path), &place.ports(&place.inside(&block.text)));
    }
    let mut child = (own_port.is_some() && is_stored.is_none()).then(|| start(block, &place, &output, None));
    if let (Some(port), Some(child)) = (own_port, &mut child) {
        wait_for("the block to listen", || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(())
        });
    }
    let environment = [
        ("PATH", path_variable(&place)),
        ("MAILBELL_CONFIG", place.path("mailbell.toml").to_str().unwrap().to_owned()),
    ];
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = Server::start_in(scratch, &environment);
    place.ports.retain(|from, _| !from.ends_with('"'));
    for (kind, default) in [("smtp", 2525), ("pop3", 1110), ("http", 9180)] {
        for host in ["127.0.0.1", "localhost"] {
            place.ports.insert(format!("{host}:{default}"), server.address(kind).to_string());
        }
    }
    send(&server, marker);
    let count = values(marker, "send").len().to_string();
    let ids = server.run(&["watch", "--from", "all", "--count", &count, "--format", "{id}"], "").stdout;
    let id = String::from_utf8(ids).unwrap().lines().last().map(str::to_owned);
    if child.is_none() && is_stored.is_none() {
        child = Some(start(block, &place, &output, id.as_deref()));
    }
    let printed = || fs::read_to_string(&output).unwrap() + &server.log();
    let goes_on = values(marker, "until");
    let wanted: Vec<_> = goes_on.iter().chain(&values(marker, "expect")).map(|text| place.inside(text)).collect();
    assert!(!wanted.is_empty(), "{}: the marker wants nothing (until:, expect:)", block.place);
    let (mut status, mut sent, end) = (None, Instant::now(), Instant::now() + PATIENCE);
    let result = loop {
        if let Some(child) = &mut child {
            status = status.or(child.try_wait().unwrap());
        }
        let missing: Vec<_> = wanted.iter().filter(|text| !printed().contains(*text)).collect();
        let is_over = !goes_on.is_empty() || child.is_none() || status.is_some();
        if status.is_some_and(|status| !status.success()) {
            break Err(format!("ended with {}", status.unwrap()));
        } else if is_over && missing.is_empty() {
            break Ok(());
        } else if Instant::now() > end {
            break Err(format!("did not print {missing:?}, or did not end"));
        }
        if !goes_on.is_empty() && sent.elapsed() > Duration::from_secs(1) && status.is_none() {
            (sent, _) = (Instant::now(), send(&server, marker));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if let Some(mut child) = child {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).stderr(Stdio::null()).status();
        let _ = child.wait();
    }
    let result =
        result.map_err(|why| format!("{}: {why}; it printed, and the server logged:\n{}", block.place, printed()));
    server.kill();
    result
}

fn all_blocks() -> Vec<Block> {
    let own = |page: &String| !pages::read(page).contains("\n<!-- blocks: run by ");
    pages::all().into_iter().filter(own).flat_map(|page| pages::blocks(&page)).collect()
}

/// Runs a job for each block, a few at a time, and fails with all that went wrong.
fn each(blocks: &[&Block], job: impl Fn(&Block) -> Result<(), String> + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(block) = blocks.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(block)));
                    let done = done.unwrap_or_else(|_| Err(format!("{}: a panic", block.place)));
                    wrong.lock().unwrap().extend(done.err());
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} blocks:\n{}", wrong.len(), blocks.len(), wrong.join("\n"));
}

#[test]
fn every_block_of_toml_passes_check() {
    let all = all_blocks();
    let is_skipped = |block: &Block| block.marker.as_deref().is_some_and(|marker| marker.starts_with("not run: "));
    let blocks: Vec<_> = all.iter().filter(|block| block.language == "toml" && !is_skipped(block)).collect();
    assert!(blocks.len() > 20, "only {} blocks of TOML were found", blocks.len());
    each(&blocks, |block| {
        let (place, _scratch) = Place::new(&block.text, BTreeMap::new());
        let output = common::run(&place.path("mailbell.toml"), &["check"], "");
        let said = || String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        output.status.success().then_some(()).ok_or_else(|| format!("{}: check:\n{}", block.place, said()))
    });
}

#[test]
fn every_block_that_is_marked_so_runs() {
    for program in ["python3", "node", "curl", "jq"] {
        if Command::new(program).arg("--version").output().is_err() {
            return skipped(&format!("needs {program}"));
        }
    }
    if !pages::root().join("target/peers/node_modules/eventsource").is_dir() {
        return skipped("needs the packages of scripts/install-peers");
    }
    let all = all_blocks();
    let is_run = |block: &&Block| block.marker.as_deref().is_some_and(|marker| marker.starts_with("run"));
    let only = std::env::var("MAILBELL_BLOCK").unwrap_or_default();
    let blocks: Vec<_> = all.iter().filter(is_run).filter(|block| block.place.contains(&only)).collect();
    assert!(!only.is_empty() || blocks.len() > 10, "only {} blocks are run", blocks.len());
    each(&blocks, |block| run(block, block.marker.as_deref().unwrap()));
}
