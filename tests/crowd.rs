//! Clients that hold places without using them: they do not keep others out, and they hold up neither a stop nor a reload.

mod common;

use common::{BASIC, Server, Talk, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// A generous bound for what must come.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + MINUTE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn with_limits(name: &str, limits: &str) -> Server {
    Server::with(name, &format!("{BASIC}[lmtp]\nlisten = [\"./lmtp.sock\"]\n[limits]\n{limits}\n"))
}

/// Sends commands and reads nothing, until the server can take no more of them.
fn flood(mut stream: impl Write + Send + 'static, command: &'static [u8]) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let commands = command.repeat(8_000);
        // It ends with an error when the server closes the connection, and never by itself.
        while stream.write_all(&commands).is_ok() {}
    })
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(MINUTE)).unwrap();
    stream
}

#[test]
fn a_client_that_never_reads_is_cut_by_the_command_timeout() {
    let server = with_limits("crowd-reads-not", "command_timeout = \"1s\"");
    let smtp = flood(tcp(server.address("smtp")), b"HELP\r\n");
    let lmtp = flood(UnixStream::connect(server.path("lmtp.sock")).unwrap(), b"HELP\r\n");
    smtp.join().unwrap();
    lmtp.join().unwrap();
    server.stop();
}

#[test]
fn a_client_that_never_reads_is_cut_by_the_session_timeout() {
    let server = with_limits("crowd-session", "session_timeout = \"2s\"");
    server.send("alice@example.org", &"a line of a message\n".repeat(5_000));
    let mut pop3 = tcp(server.address("pop3"));
    pop3.write_all(b"USER alice\r\nPASS secret-a\r\n").unwrap();
    flood(pop3, b"RETR 1\r\n").join().unwrap();
    server.stop();
}

#[test]
fn a_silent_client_of_a_unix_socket_is_cut() {
    let server = with_limits("crowd-unix", "command_timeout = \"1s\"");
    let mut silent = UnixStream::connect(server.path("lmtp.sock")).unwrap();
    silent.set_read_timeout(Some(MINUTE)).unwrap();
    let mut said = String::new();
    silent.read_to_string(&mut said).unwrap();
    assert!(said.contains("421 4.4.2"), "{said}");
    server.stop();
}

#[test]
fn a_local_user_has_no_more_places_than_an_address() {
    let server = with_limits("crowd-uid", "connections_per_ip = 2");
    let connect = || {
        let mut stream = UnixStream::connect(server.path("lmtp.sock")).unwrap();
        stream.set_read_timeout(Some(MINUTE)).unwrap();
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).unwrap();
        (stream, String::from_utf8_lossy(&greeting).into_owned())
    };
    let first = [connect(), connect()];
    assert!(first.iter().all(|(_, greeting)| greeting == "220"));
    assert_eq!(connect().1, "421");
    server.smtp().expect("220");
    server.stop();
}

#[test]
fn clients_that_hold_all_places_give_way_to_a_new_one() {
    let server = with_limits("crowd", "connections = 8\nconnections_per_ip = 8");
    let mut floods: Vec<_> = (0..5).map(|_| flood(tcp(server.address("smtp")), b"HELP\r\n")).collect();
    floods.push(flood(UnixStream::connect(server.path("lmtp.sock")).unwrap(), b"HELP\r\n"));
    // One that stops in a message, and one that says nothing.
    let mut data = server.smtp();
    data.expect("220");
    for line in ["HELO client.example", "MAIL FROM:<>", "RCPT TO:<alice@example.org>"] {
        data.say(line, "250");
    }
    data.say("DATA", "354");
    data.write(b"Subject: half\r\n");
    let mut silent = server.smtp();
    silent.expect("220");
    until("a place", || server.smtp().line().filter(|line| line.starts_with("220")));
    until("a place for POP3", || server.pop3().line().filter(|line| line.starts_with("+OK")));
    server.stop();
    for flood in floods {
        flood.join().unwrap();
    }
}

#[test]
fn a_stop_ends_what_is_silent_and_waits_for_what_comes() {
    let server = with_limits("crowd-stop", "");
    let floods = [
        flood(tcp(server.address("smtp")), b"HELP\r\n"),
        flood(UnixStream::connect(server.path("lmtp.sock")).unwrap(), b"HELP\r\n"),
    ];
    let mut talks: Vec<Talk> = (0..2).map(|_| server.smtp()).collect();
    for data in &mut talks {
        data.expect("220");
        for line in ["HELO client.example", "MAIL FROM:<>", "RCPT TO:<alice@example.org>"] {
            data.say(line, "250");
        }
        data.say("DATA", "354");
        data.write(b"Subject: half\r\n\r\n");
    }
    let (mut silent, mut coming) = (talks.remove(0), talks.remove(0));
    server.signal("TERM");
    let is_cut = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let sender = std::thread::spawn({
        let is_cut = is_cut.clone();
        move || {
            while !is_cut.load(std::sync::atomic::Ordering::SeqCst) {
                coming.write(b"more\r\n");
                std::thread::sleep(Duration::from_millis(50));
            }
            coming.say(".", "250");
        }
    });
    silent.expect("421");
    is_cut.store(true, std::sync::atomic::Ordering::SeqCst);
    sender.join().unwrap();
    let scratch = server.stop_already();
    assert_eq!(common::files(&scratch.path("mail/alice/new")).len(), 1);
    for flood in floods {
        flood.join().unwrap();
    }
}

#[test]
fn a_fifo_in_place_of_a_file_holds_up_nothing_and_many_reloads_cost_no_threads() {
    let server = Server::start("crowd-reload");
    let threads = || fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    // What is opened with the first message stays open.
    for user in ["alice", "bob"] {
        server.send(&format!("{user}@example.org"), "Subject: first\n");
    }
    // A subscriber may still be about to open the journal and its cursor; a reload that keeps something would keep 300.
    let before = (threads() + 4, descriptors() + 8);
    for name in ["users", "aliases", "mailbell.toml"] {
        let (path, kept) = (server.path(name), server.path("kept"));
        let reports = || server.log().matches("is not a regular file").count();
        let before = reports();
        fs::rename(&path, &kept).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        server.signal("HUP");
        until("the report", || (reports() > before).then_some(()));
        server.send("alice@example.org", "Subject: the old settings stay\n");
        fs::rename(&kept, &path).unwrap();
    }
    for number in 0..300 {
        server.signal("HUP");
        if number % 30 == 0 {
            server.send("bob@example.org", "Subject: meanwhile\n");
        }
    }
    fs::write(server.path("users"), "dave:{PLAIN}secret-d\n").unwrap();
    fs::write(server.path("aliases"), "").unwrap();
    server.signal("HUP");
    wait_for("the last reload", || {
        let mut talk = server.smtp();
        talk.expect("220");
        talk.say("HELO client.example", "250");
        talk.say("MAIL FROM:<>", "250");
        talk.line_after("RCPT TO:<dave@example.org>").filter(|line| line.starts_with("250"))
    });
    // Worker threads that are not needed leave after 10 seconds.
    let end = Instant::now() + MINUTE;
    while threads() > before.0 || descriptors() > before.1 {
        let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().collect();
        let names = open.into_iter().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let names: Vec<_> = names.collect();
        assert!(Instant::now() < end, "{before:?}, now {} threads and {names:?}", threads());
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop();
}

#[test]
fn without_descriptors_a_client_is_told_so_and_is_served_later() {
    let server = Server::start("crowd-descriptors");
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let limit = |count: usize| {
        let arguments = [format!("--pid={}", server.pid()), format!("--nofile={count}:{count}")];
        assert!(std::process::Command::new("prlimit").args(arguments).status().unwrap().success());
    };
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: needs prlimit");
        return;
    }
    limit(open + 2);
    let mut held = Vec::new();
    let refused = until("a refusal", || {
        let mut talk = server.smtp();
        let line = talk.line().unwrap();
        held.push(talk);
        (!line.starts_with("220")).then_some(line)
    });
    assert_eq!(refused, "421 4.3.1 Out of resources, try again later");
    drop(held);
    until("a place", || server.smtp().line().filter(|line| line.starts_with("220")));
    server.stop();
}
