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
#[path = "guide/marker.rs"]
mod marker;
#[path = "guide/place.rs"]
mod place;

use common::pages::{self, Block};
use common::{PATIENCE, Server, skipped, wait_for};
use marker::Marker;
use place::Place;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A block that runs, in a process group of its own. It ends when this is dropped.
struct Running(Child);

impl Running {
    fn start(block: &Block, place: &Place, output: &Path, id: &str) -> Running {
        let text = place.ports(&place.inside(&block.text)).replace("PASSWORD", "secret-a");
        let (file, program) = match block.language.as_str() {
            "sh" => ("block.sh", ["sh", "-e"]),
            "python" => ("block.py", ["python3", "-u"]),
            "js" => ("block.mjs", ["node", "--no-warnings"]),
            "nginx" | "haproxy" => ("block.sh", ["sh", "-e"]),
            other => panic!("{}: nothing here runs `{other}`", block.place),
        };
        let text = match block.language.as_str() {
            "nginx" => behind_nginx(&text),
            "haproxy" => format!("cat > haproxy.cfg <<'END'\n{text}END\nhaproxy -c -V -f haproxy.cfg\n"),
            _ => text,
        };
        fs::write(place.path(file), text.replace(" ID", &format!(" {id}"))).unwrap();
        let into = fs::OpenOptions::new().create(true).append(true).open(output).unwrap();
        let mut command = Command::new(program[0]);
        command.args([program[1], file]).current_dir(&place.folder).process_group(0);
        command.env("PATH", place.path_variable()).env("MAILBELL_CONFIG", place.path("mailbell.toml"));
        command.env("USER", "alice").stdin(Stdio::null()).stdout(into.try_clone().unwrap()).stderr(into);
        Running(command.spawn().unwrap())
    }

    /// How it ended, if it has: true for exit code 0.
    fn success(&mut self) -> Option<bool> {
        self.0.try_wait().unwrap().map(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// A part of a configuration of nginx becomes a program that starts nginx with it, and prints the stream of events through it.
fn behind_nginx(part: &str) -> String {
    let port = free_port();
    let whole =
        format!("pid nginx.pid; events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; {part} }} }}");
    let begin =
        format!("cat > nginx.conf <<'END'\n{whole}\nEND\nnginx -p . -c nginx.conf -e stderr -g 'daemon off;' &\n");
    begin
        + &format!(
            "curl -sN --retry 60 --retry-connrefused --retry-delay 1 'http://127.0.0.1:{port}/events?from=all'\n"
        )
}

/// A port that is free now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a block as its marker says, and tells what it did instead of what was wanted.
fn run(block: &Block) -> Result<(), String> {
    let marker = Marker::of(block);
    // The server's listeners are found out from its ready line; a port of the block's own is chosen here.
    let mut ports = BTreeMap::from([":9180\"", ":2525\""].map(|port| (port.to_owned(), ":0\"".to_owned())));
    let own_port = marker.port.as_ref().map(|port| (port, free_port()));
    if let Some((port, free)) = own_port {
        for (before, after) in [(":", ""), ("", ")"), ("", ",")] {
            ports.insert(format!("{before}{port}{after}"), format!("{before}{free}{after}"));
        }
    }
    let (mut place, scratch) = Place::new(&marker.settings, ports);
    for name in &marker.stubs {
        place.program(&place.path("bin").join(name), "#!/bin/sh\necho \"$(basename \"$0\") $*\"\nexec cat\n");
    }
    if let Some(path) = &marker.stored_as {
        let path = place.inside(&format!(" {path}"));
        place.program(Path::new(path.trim()), &place.ports(&place.inside(&block.text)));
    }
    let output = place.path("output");
    fs::write(&output, "").unwrap();
    let mut running = None;
    if let Some((_, port)) = own_port {
        let block = running.insert(Running::start(block, &place, &output, ""));
        wait_for("the block to listen", || {
            let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            (listens || block.success().is_some()).then_some(())
        });
    }
    let (path, configuration) = (place.path_variable(), place.path("mailbell.toml").display().to_string());
    let server = Server::start_in(scratch, &[("PATH", &path), ("MAILBELL_CONFIG", &configuration)]);
    place.ports.retain(|from, _| !from.ends_with('"'));
    for (kind, default) in [("smtp", 2525), ("pop3", 1110), ("http", 9180)] {
        place.ports.insert(format!("127.0.0.1:{default}"), server.address(kind).to_string());
    }
    let send = || marker.messages.iter().for_each(|message| server.send(&marker.to, message));
    send();
    let count = marker.messages.len().to_string();
    let ids = server.run(&["watch", "--from", "all", "--count", &count, "--format", "{id}"], "").stdout;
    if running.is_none() && marker.stored_as.is_none() {
        let ids = String::from_utf8(ids).unwrap();
        running = Some(Running::start(block, &place, &output, ids.lines().last().unwrap_or_default()));
    }
    let printed = || fs::read_to_string(&output).unwrap() + &server.log();
    let wanted: Vec<_> = marker.until.iter().chain(&marker.expected).map(|text| place.inside(text)).collect();
    let (mut sent, end) = (Instant::now(), Instant::now() + PATIENCE);
    let what = loop {
        let ended = running.as_mut().map_or(Some(true), Running::success);
        let missing: Vec<_> = wanted.iter().filter(|text| !printed().contains(*text)).collect();
        if ended == Some(false) {
            break "its exit code is not 0".to_owned();
        } else if missing.is_empty() && (ended.is_some() || marker.until.is_some()) {
            server.kill();
            return Ok(());
        } else if Instant::now() > end {
            break format!("it does not end, or has not printed {missing:?}");
        }
        // A reader of what is new may have come too late for the first one.
        if marker.until.is_some() && ended.is_none() && sent.elapsed() > Duration::from_secs(1) {
            send();
            sent = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Err(format!("{}: {what}; it printed, and the server logged:\n{}", block.place, printed()))
}

fn all_blocks() -> Vec<Block> {
    let own = |page: &String| !pages::read(page).contains("\n<!-- blocks: run by ");
    pages::all().into_iter().filter(own).flat_map(|page| pages::blocks(&page)).collect()
}

/// Runs a job for each block, a few at a time, and fails with all that went wrong.
fn each(blocks: &[&Block], job: impl Fn(&Block) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
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
    for program in ["python3", "node", "curl", "jq", "openssl", "nginx", "haproxy"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        if !found.unwrap().success() {
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
    each(&blocks, run);
}
