//! POP3 sessions on the real binary: one for each maildrop, beside other programs in the Maildir, and how they end.

mod common;

use common::{BASIC, Scratch, Server, Talk, wait_for};
use md5::{Digest, Md5};
use std::fs;
use std::path::PathBuf;

/// Puts a file into alice's Maildir as another program does.
fn put(server: &Server, name: &str, octets: &[u8]) {
    let maildir = server.path("mail/alice");
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    fs::write(maildir.join("tmp/one"), octets).unwrap();
    fs::rename(maildir.join("tmp/one"), maildir.join(name)).unwrap();
}

/// `new/NAME` and `cur/NAME` of alice's files, sorted.
fn names(server: &Server) -> Vec<String> {
    let maildir = server.path("mail/alice");
    let folders = ["cur", "new"].map(|folder| common::files(&maildir.join(folder)));
    folders.concat().iter().map(|path| path.strip_prefix(&maildir).unwrap().display().to_string()).collect()
}

fn with_pop3(setting: &str) -> String {
    BASIC.replace("[pop3]\n", &format!("[pop3]\n{setting}\n"))
}

#[test]
fn one_session_for_each_maildrop_and_its_lock_dies_with_it() {
    let server = Server::start("pop3-lock");
    let mut first = server.pop3_as("alice");
    let mut second = server.pop3();
    second.expect("+OK");
    second.say("USER alice", "+OK");
    second.say("PASS secret-a", "-ERR [IN-USE] ");
    // The connection stays good, for another user, too.
    server.pop3_as("bob").say("QUIT", "+OK");
    first.say("QUIT", "+OK");
    second.say("USER alice", "+OK");
    second.say("PASS secret-a", "+OK");
    // No QUIT: the client is gone, and comes again at once.
    drop(second);
    let mut third = server.pop3_as("alice");
    third.say("QUIT", "+OK");
    for _ in 0..20 {
        drop(server.pop3_as("alice"));
    }
}

#[test]
fn other_programs_move_and_remove_under_a_session() {
    let server = Server::start("pop3-moves");
    for number in 1..=5 {
        put(&server, &format!("new/170000000{number}.M1P1Q1.test"), format!("Subject: {number}\n").as_bytes());
    }
    let maildir = server.path("mail/alice");
    let mut talk = server.pop3_as("alice");
    talk.say("STAT", "+OK 5 60");
    let rename = |from: &str, to: &str| fs::rename(maildir.join(from), maildir.join(to)).unwrap();
    rename("new/1700000001.M1P1Q1.test", "cur/1700000001.M1P1Q1.test:2,FS");
    rename("new/1700000004.M1P1Q1.test", "cur/1700000004.M1P1Q1.test:2,");
    fs::remove_file(maildir.join("new/1700000002.M1P1Q1.test")).unwrap();
    fs::remove_file(maildir.join("new/1700000003.M1P1Q1.test")).unwrap();
    put(&server, "new/1700000000.M1P1Q1.test", b"Subject: came before all\n");
    for number in [1, 4, 5] {
        talk.say(&format!("RETR {number}"), "+OK 12 octets");
        assert_eq!(talk.multi_line(), format!("Subject: {number}\r\n").as_bytes());
        talk.say(&format!("UIDL {number}"), &format!("+OK {number} 170000000{number}.M1P1Q1.test"));
    }
    talk.say("RETR 2", "-ERR ");
    talk.say("TOP 3 0", "-ERR ");
    talk.say("STAT", "+OK 5 60");
    // What is gone already is as good as deleted.
    for number in [1, 2, 5] {
        talk.say(&format!("DELE {number}"), "+OK");
    }
    rename("new/1700000005.M1P1Q1.test", "cur/1700000005.M1P1Q1.test:2,R");
    talk.say("QUIT", "+OK");
    assert_eq!(names(&server), ["cur/1700000004.M1P1Q1.test:2,S", "new/1700000000.M1P1Q1.test"]);
    let mut talk = server.pop3_as("alice");
    talk.say("UIDL 1", "+OK 1 1700000000.M1P1Q1.test");
    talk.say("UIDL 2", "+OK 2 1700000004.M1P1Q1.test");
}

#[test]
fn what_cannot_be_removed_is_said() {
    let server = Server::start("pop3-stuck");
    put(&server, "new/1700000001.M1P1Q1.test", b"Subject: 1\n");
    put(&server, "new/1700000002.M1P1Q1.test", b"Subject: 2\n");
    let mut talk = server.pop3_as("alice");
    talk.say("DELE 1", "+OK");
    talk.say("DELE 2", "+OK");
    // A folder under the message's name stands for whatever unlink(2) refuses, for root too.
    let path = server.path("mail/alice/new/1700000001.M1P1Q1.test");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    talk.say("QUIT", "-ERR [SYS/PERM] ");
    assert!(talk.is_closed());
    assert!(names(&server).is_empty());
}

#[test]
fn a_file_that_cannot_be_read_is_answered() {
    let server = Server::start("pop3-unreadable");
    put(&server, "cur/1700000001.M1P1Q1.test,S=5,W=6:2,S", b"\x1f\x8b\x08 damaged");
    put(&server, "cur/1700000002.M1P1Q1.test,S=5,W=6:2,S", b"x: y\n");
    let mut talk = server.pop3_as("alice");
    talk.say("RETR 1", "-ERR [SYS/TEMP] ");
    talk.say("RETR 2", "+OK");
    assert_eq!(talk.multi_line(), b"x: y\r\n");
}

#[test]
fn seen_messages_move_to_cur_unless_that_is_off() {
    for (setting, after) in
        [("", "cur/1700000001.M1P1Q1.test:2,S"), ("mark_seen = false", "new/1700000001.M1P1Q1.test")]
    {
        let server = Server::with("pop3-seen", &with_pop3(setting));
        put(&server, "new/1700000001.M1P1Q1.test", b"Subject: 1\n");
        put(&server, "new/1700000002.M1P1Q1.test", b"Subject: 2\n");
        let mut talk = server.pop3_as("alice");
        talk.say("RETR 1", "+OK");
        talk.multi_line();
        talk.say("TOP 2 0", "+OK");
        talk.multi_line();
        talk.say("QUIT", "+OK");
        assert_eq!(names(&server), [after, "new/1700000002.M1P1Q1.test"]);
    }
}

#[test]
fn after_rset_nothing_was_seen() {
    let server = Server::with("pop3-rset", &with_pop3(""));
    put(&server, "new/1700000001.M1P1Q1.test", b"Subject: 1\n");
    let mut talk = server.pop3_as("alice");
    talk.say("RETR 1", "+OK");
    talk.multi_line();
    talk.say("RSET", "+OK");
    talk.say("QUIT", "+OK");
    assert_eq!(names(&server), ["new/1700000001.M1P1Q1.test"]);
}

#[test]
fn no_end_but_quit_changes_anything() {
    let mut server = Server::with("pop3-ends", &with_pop3("command_timeout = \"1s\""));
    put(&server, "new/1700000001.M1P1Q1.test", b"Subject: 1\n");
    let before = names(&server);
    let begin = |server: &Server| {
        let mut talk = server.pop3_as("alice");
        talk.say("RETR 1", "+OK");
        talk.multi_line();
        talk.say("DELE 1", "+OK");
        talk
    };
    // The client leaves, is silent, or errs too often.
    drop(begin(&server));
    assert!(begin(&server).is_closed(), "RFC 1939 section 3: closed without a word");
    let mut talk = begin(&server);
    while talk.line_after("NONSENSE").is_some_and(|line| line.starts_with("-ERR")) {}
    // The server stops, or is killed.
    let mut talk = begin(&server);
    server.signal("TERM");
    talk.expect("-ERR [SYS/TEMP] ");
    assert!(talk.is_closed());
    server = Server::start_in(server.stop_already(), &[]);
    let talk = begin(&server);
    server = Server::start_in(server.kill(), &[]);
    drop(talk);
    assert_eq!(names(&server), before);
    begin(&server).say("QUIT", "+OK");
    assert!(names(&server).is_empty());
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// RFC 2104.
fn hmac_md5(key: &[u8], text: &[u8]) -> String {
    let pad = |with: u8| (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect::<Vec<u8>>();
    let inner = Md5::digest([&pad(0x36)[..], text].concat());
    hex(&Md5::digest([&pad(0x5c)[..], &inner].concat()))
}

#[test]
fn apop_and_cram_md5_with_stamps_that_never_come_twice() {
    use mailbell::message::base64;
    let server = Server::start("pop3-apop");
    let mut stamps = Vec::new();
    for _ in 0..5 {
        let mut talk = server.pop3();
        let greeting = talk.expect("+OK").remove(0);
        let stamp = &greeting[greeting.find('<').unwrap()..];
        assert!(stamp.ends_with("@mail.example.org>"), "{stamp}");
        stamps.push(stamp.to_owned());
        let digest = hex(&Md5::digest([stamp.as_bytes(), b"secret-a"].concat()));
        talk.say(&format!("APOP alice {digest}"), "+OK");
        talk.say("QUIT", "+OK");

        let mut talk = server.pop3();
        talk.expect("+OK");
        let challenge = talk.say("AUTH CRAM-MD5", "+ ").remove(0);
        let challenge = base64::decode(&challenge.as_bytes()[2..]).unwrap();
        let answer = format!("alice {}", hmac_md5(b"secret-a", &challenge));
        stamps.push(String::from_utf8(challenge).unwrap());
        talk.say(&base64::encode(answer.as_bytes()), "+OK");
        talk.say("QUIT", "+OK");
    }
    stamps.sort();
    stamps.dedup();
    assert_eq!(stamps.len(), 10);
}

#[test]
fn neither_is_offered_where_one_secret_is_hashed() {
    let scratch = Scratch::new("pop3-hashed");
    fs::write(scratch.path("mailbell.toml"), BASIC).unwrap();
    fs::write(scratch.path("users"), "alice:{PLAIN}secret-a\n").unwrap();
    fs::write(scratch.path("aliases"), "").unwrap();
    let added = common::run(&scratch.path("mailbell.toml"), &["user", "add", "--stdin", "bob"], "secret-b\n");
    assert!(added.status.success(), "{added:?}");
    let server = Server::start_in(scratch, &[]);
    let mut talk = server.pop3();
    let greeting = talk.expect("+OK").remove(0);
    assert!(!greeting.contains('<'), "{greeting}");
    talk.say("CAPA", "+OK");
    let capabilities = String::from_utf8(talk.multi_line()).unwrap();
    assert!(capabilities.contains("SASL PLAIN LOGIN\r\n"), "{capabilities}");
    talk.say("AUTH CRAM-MD5", "-ERR ");
    talk.say("APOP alice 00112233445566778899aabbccddeeff", "-ERR ");
    talk.say("AUTH PLAIN AGJvYgBzZWNyZXQtYg==", "+OK");
}

/// Each user polls, keeps the connection, and is silent. What such a session costs is what scripts/footprint prints.
#[test]
fn a_thousand_idle_sessions_are_served_and_their_threads_leave() {
    const SESSIONS: usize = 1000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = limit.maximum.map_or(4096, |maximum| maximum.min(4096));
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(wanted), maximum: limit.maximum },
    )
    .unwrap();
    let scratch = Scratch::new("pop3-idle");
    let limits = "[limits]\nconnections = 1100\nconnections_per_ip = 1100\n";
    fs::write(scratch.path("mailbell.toml"), format!("{BASIC}{limits}")).unwrap();
    let users: String = (0..SESSIONS).map(|number| format!("u{number}:{{PLAIN}}secret-u\n")).collect();
    fs::write(scratch.path("users"), users).unwrap();
    fs::write(scratch.path("aliases"), "").unwrap();
    let server = Server::start_in(scratch, &[]);
    let mut talks: Vec<Talk> = (0..SESSIONS)
        .map(|number| {
            let mut talk = server.pop3_as(&format!("u{number}"));
            talk.say("STAT", "+OK 0 0");
            talk
        })
        .collect();
    assert!(threads(server.pid()) >= SESSIONS);
    for talk in &mut talks {
        talk.say("QUIT", "+OK");
    }
    wait_for("the threads' end", || (threads(server.pid()) < 50).then_some(()));
}

fn proc(pid: u32, name: &str) -> PathBuf {
    format!("/proc/{pid}/{name}").into()
}

fn threads(pid: u32) -> usize {
    fs::read_dir(proc(pid, "task")).unwrap().count()
}
