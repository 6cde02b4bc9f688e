//! One user of this machine holds every place for a stream: other users still get theirs. Needs root, to be two users.
#![cfg(feature = "http")]

mod common;

use common::{BASIC, PATIENCE, Server, is_root, skipped};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const NOBODY: u32 = 65_534;
const PLACES: usize = 64;
const ADDRESS: &str = "MAILBELL_TEST_HTTP";

/// Asks for a stream; with it, the code of the answer.
fn open(address: &str) -> (BufReader<TcpStream>, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let (mut reader, mut line) = (BufReader::new(stream), String::new());
    reader.read_line(&mut line).unwrap();
    (reader, line.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// The program that the test below runs as another user: takes all places, says so, and counts the streams that end, until
/// its input ends. Without the address it has nothing to do.
#[test]
fn the_other_user() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let mut streams: Vec<_> = (0..PLACES).map(|_| open(&address)).collect();
    assert!(streams.iter().all(|(_, code)| code == "200"));
    println!("\nheld");
    for line in std::io::stdin().lock().lines() {
        assert_eq!(line.unwrap(), "oldest");
        // The oldest one ends; what came of it is read to its end.
        let ended = streams.remove(0).0.read_to_end(&mut Vec::new()).is_ok();
        println!("\nended {ended}");
    }
}

#[test]
fn a_user_with_all_places_gives_up_half_of_them_to_another() {
    if !is_root() {
        return skipped("needs root");
    }
    let server = Server::with("http-users", &format!("{BASIC}[http]\nlisten = \"127.0.0.1:0\"\n"));
    let address = server.address("http").to_string();
    // The build folder may be closed to other users.
    let program = server.path("holder");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [&server.path(""), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut holder = Command::new(&program)
        .args(["--exact", "the_other_user", "--nocapture"])
        .env(ADDRESS, &address)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line == "held"), "the other user has all places");
    let mut orders = holder.stdin.take().unwrap();
    let mut ours = Vec::new();
    for number in 1..=PLACES / 2 {
        let (stream, code) = open(&address);
        assert_eq!(code, "200", "stream {number}");
        ours.push(stream);
        orders.write_all(b"oldest\n").unwrap();
        assert!(said.any(|line| line == "ended true"));
    }
    // Both have as many.
    assert_eq!(open(&address).1, "503");
    server.send("alice@example.org", "Subject: to all\n\nx\n");
    for stream in &mut ours {
        let found = stream.lines().map(Result::unwrap).find(|line| line.starts_with("id: "));
        assert_eq!(found.as_deref(), Some("id: 1"));
    }
    drop(orders);
    assert!(holder.wait().unwrap().success());
    server.stop();
}
