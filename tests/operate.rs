//! A server in operation: systemd's protocols, the change of user, the sandbox, reload, status, metrics, and missing
//! descriptors.

mod common;

use common::{BASIC, PATIENCE, Scratch, Server, Talk, files, wait_for};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

fn server_command(scratch: &Scratch) -> Command {
    let mut command = Command::new(common::binary());
    command.args(["serve", "-c"]).arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn systemd_is_told_of_every_change() {
    let scratch = Scratch::prepared("systemd", BASIC);
    let socket = UnixDatagram::bind(scratch.path("notify.sock")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut text = [0; 256];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let path = scratch.path("notify.sock");
    let server = Server::start_in(scratch, &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let places = format!("smtp={} pop3={}", server.address("smtp"), server.address("pop3"));
    assert_eq!(told(), format!("READY=1\nSTATUS=ready {places}"));
    server.signal("HUP");
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1");
    server.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    server.stop_already();
}

#[test]
fn sockets_that_systemd_opened_are_taken_over() {
    let scratch = Scratch::prepared("activation", BASIC);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // sd_listen_fds(3): descriptors from 3 on, and the pid of the process that they are for.
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=smtp exec "$0" serve -c "$1" 3<&0 0</dev/null"#])
        .arg(common::binary())
        .arg(scratch.path("mailbell.toml"))
        .stdin(OwnedFd::from(listener));
    let server = Server::start_by(scratch, command);
    assert_eq!(server.address("smtp"), address);
    server.send("alice@example.org", "Subject: x\n\nx\n");
    assert_eq!(server.records().len(), 1);
    server.stop();
}

#[test]
fn started_as_root_it_keeps_nothing_of_it() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let hook = "[[hook]]\nname = \"h\"\ncommand = [\"/bin/sh\", \"-c\", \"echo $HOME $USER $LOGNAME $PWD\"]\n";
    let configuration = format!("user = \"nobody\"\n{BASIC}{hook}");
    let scratch = Scratch::prepared("drop", &configuration);
    for file in ["users", "aliases", "mailbell.toml"] {
        Command::new("chmod").arg("0644").arg(scratch.path(file)).status().unwrap();
    }
    Command::new("chmod").arg("0755").arg(&scratch.0).status().unwrap();
    let server = Server::start_in(scratch, &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(field("Uid:").iter().all(|id| id != "0"), "{status}");
    assert!(field("Gid:").iter().all(|id| id != "0"), "{status}");
    assert!(field("Groups:").is_empty(), "{status}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{status}");
    }
    // The folder of the pipe is root's.
    let pipe = fs::metadata(server.path("notify")).unwrap();
    assert_eq!((pipe.uid().to_string(), pipe.mode() & 0o777), (field("Uid:")[0].clone(), 0o640));
    assert_eq!(server.run(&["check"], "").status.code(), Some(0));
    server.send("alice@example.org", "Subject: x\n\nx\n");
    assert_eq!(server.new_files("alice").len(), 1);
    let entry = Command::new("getent").args(["passwd", "nobody"]).output().unwrap();
    let entry = String::from_utf8(entry.stdout).unwrap();
    let home = entry.split(':').nth(5).unwrap();
    wait_for("the hook", || server.log().contains(&format!("seq 1: {home} nobody nobody /\n")).then_some(()));
    server.stop();
}

#[test]
fn workers_reach_the_mail_and_nothing_else() {
    let server = Server::start("landlock");
    let other = Scratch::new("elsewhere");
    fs::create_dir_all(server.path("mail")).unwrap();
    std::os::unix::fs::symlink(&other.0, server.path("mail/alice")).unwrap();
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    let workers = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap();
    let held: Vec<String> =
        workers.map(|task| status(task.unwrap())).filter(|it| it.contains("NoNewPrivs:\t1")).collect();
    if held.is_empty() {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    assert!(held.iter().all(|status| status.contains("Name:\tworker")), "{held:?}");
    talk.say("MAIL FROM:<sender@example.com>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("DATA", "354");
    talk.say("Subject: x\r\n\r\nx\r\n.", "451");
    assert_eq!(fs::read_dir(&other.0).unwrap().count(), 0);
    talk.say("QUIT", "221");
    // Root's link counts from the next reload on.
    server.signal("HUP");
    wait_for("the reload", || server.log().contains("reloaded").then_some(()));
    server.send("alice@example.org", "Subject: x\n\nx\n");
    assert_eq!(files(&other.path("new")).len(), 1);
    server.stop();
}

#[test]
fn what_a_reload_names_is_within_reach() {
    let server = Server::start("reach");
    let other = Scratch::new("reach-elsewhere");
    let (pipe, ran, maildir) = (other.path("pipes/notify"), other.path("ran"), other.path("Maildir"));
    let configuration = format!(
        "{BASIC}[[pipe]]\npath = {pipe:?}\nformat = \"{{seq}}\"\n\
         [[hook]]\nname = \"h\"\ncommand = [\"/bin/sh\", \"-c\", \"echo $MAILBELL_SEQ >>{}\"]\n\
         [[watch]]\nuser = \"bob\"\nmaildir = {maildir:?}\n",
        ran.display()
    );
    fs::write(server.path("mailbell.toml"), &configuration).unwrap();
    server.signal("HUP");
    wait_for("the pipe", || pipe.exists().then_some(()));
    server.send("alice@example.org", "Subject: x\n\nx\n");
    wait_for("the hook", || (fs::read_to_string(&ran).ok()? == "1\n").then_some(()));
    // A Maildir that is removed and made again has another inode each time.
    for seq in 2..4 {
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(maildir.join(part)).unwrap();
        }
        fs::write(maildir.join("tmp/1"), "Subject: y\n\ny\n").unwrap();
        fs::rename(maildir.join("tmp/1"), maildir.join(format!("new/{seq}.x"))).unwrap();
        wait_for("its message", || (server.records().len() == seq).then_some(()));
        fs::remove_dir_all(&maildir).unwrap();
    }
    // Another mail.root counts from the next start. Until then, a message in this one becomes an event.
    let elsewhere = configuration.replacen("root = \"mail\"", "root = \"other\"", 1);
    assert_ne!(elsewhere, configuration);
    fs::write(server.path("mailbell.toml"), elsewhere).unwrap();
    server.signal("HUP");
    wait_for("the second reload", || (server.log().matches("reloaded").count() == 2).then_some(()));
    fs::write(server.path("mail/alice/new/4.x"), "Subject: z\n\nz\n").unwrap();
    wait_for("its message", || (server.records().len() == 4).then_some(()));
    let mut lines = BufReader::new(fs::File::open(&pipe).unwrap()).lines();
    assert_eq!([(); 3].map(|()| lines.next().unwrap().unwrap()), ["1", "2", "3"]);
    server.stop();
}

#[test]
fn a_reload_brings_new_users_and_keeps_sessions_and_a_broken_file_changes_nothing() {
    let server = Server::start("reload");
    let mut before = server.smtp();
    before.expect("220");
    before.say("EHLO x", "250");
    before.say("MAIL FROM:<>", "250");
    before.say("RCPT TO:<dora@example.org>", "550");
    let added = server.run(&["user", "add", "dora", "--stdin"], "secret-d\n");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    server.signal("HUP");
    wait_for("the reload", || server.log().contains("reloaded").then_some(()));
    // A transaction keeps the accounts that it began with.
    before.say("RCPT TO:<dora@example.org>", "550");
    before.say("RSET", "250");
    before.say("MAIL FROM:<>", "250");
    before.say("RCPT TO:<dora@example.org>", "250");
    before.say("DATA", "354");
    before.say("Subject: x\r\n\r\nx\r\n.", "250");
    let mut pop3 = server.pop3_as("dora");
    pop3.say("STAT", "+OK 1 ");

    fs::write(server.path("users"), "alice:{PLAIN}secret-a\nwhat is this\n").unwrap();
    server.signal("HUP");
    let log = wait_for("the complaint", || Some(server.log()).filter(|log| log.contains("the old settings stay")));
    assert!(log.contains("users:2: "), "{log}");
    pop3.say("NOOP", "+OK");
    server.send("dora@example.org", "Subject: y\n\ny\n");
    server.stop();
}

#[test]
fn status_tells_what_runs_and_what_waits() {
    let server = Server::start("status");
    server.send("alice@example.org", "Subject: x\n\nx\n");
    server.send("bob@example.org", "Subject: y\n\ny\n");
    let _session = server.pop3_as("alice");
    let json = |server: &Server| {
        let output = server.run(&["status", "--json"], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let status = wait_for("the pipe to have its lines", || {
        Some(json(&server)).filter(|status| status["subscribers"][0]["backlog"] == 2)
    });
    assert_eq!(status["running"], true);
    assert_eq!(status["pid"], server.pid());
    assert_eq!(status["last_seq"], 2);
    assert_eq!(status["maildrops_open"], 1);
    assert_eq!(status["counters"]["messages_accepted"], 2);
    assert_eq!(status["counters"]["logins"], 1);
    assert!(status["subscribers"][0]["oldest_unread"].as_str().unwrap().starts_with("20"), "{status}");
    let output = server.run(&["status"], "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("messages  2 accepted"));

    let scratch = server.stop();
    let output = common::run(&scratch.path("mailbell.toml"), &["status", "--json"], "");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&status["running"], &status["last_seq"]), (&false.into(), &2.into()));
    assert_eq!(status["subscribers"][0]["backlog"], 2, "{status}");
}

#[test]
fn a_reader_of_the_state_folder_gets_what_its_files_tell() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let server = Server::start("reader");
    let file = server.path("mailbell.toml");
    let status = || {
        let mut command = Command::new(common::binary());
        command.args(["status", "--json", "-c"]).arg(&file).uid(65_534).gid(65_534);
        command.output()
    };
    fs::set_permissions(&server.scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    let Ok(told) = status() else {
        eprintln!("skipped: needs a binary that the user nobody may run");
        return;
    };
    assert_eq!(told.status.code(), Some(77));
    server.send("alice@example.org", "Subject: x\n\nx\n");
    Command::new("chmod").args(["-R", "o+rX"]).arg(server.path("state")).status().unwrap();
    let told = status().unwrap();
    assert!(String::from_utf8_lossy(&told.stdout).contains("\"running\":null"), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains("\"last_seq\":1,"), "{told:?}");
    // A journal that cannot be read is an error and not an empty one, also when no server runs.
    let scratch = server.stop();
    assert!(String::from_utf8_lossy(&status().unwrap().stdout).contains("\"running\":false"));
    fs::set_permissions(scratch.path("state/journal"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(status().unwrap().status.code(), Some(77));
}

#[test]
fn prometheus_gets_the_same_numbers() {
    let server = Server::with("metrics", &format!("{BASIC}[metrics]\nlisten = \"127.0.0.1:0\"\n"));
    server.send("alice@example.org", "Subject: x\n\nx\n");
    let get = |request: &str| {
        let mut talk = Talk::to(server.address("metrics"));
        talk.write(request.as_bytes());
        let mut text = String::new();
        let mut stream = talk.stream();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let text = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(body.contains("\nmailbell_messages_accepted_total 1\n"), "{body}");
    assert!(body.contains("\nmailbell_journal_last_seq 1\n"), "{body}");
    assert!(body.contains("mailbell_subscriber_backlog{subscriber=\"pipe:"), "{body}");
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("mailbell_") && line.rsplit(' ').next().unwrap().parse::<u64>().is_ok(), "{line}");
    }
    assert!(get("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404 "));
    assert!(get("POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405 "));
    server.stop();
}

#[test]
fn the_server_goes_on_after_it_ran_out_of_descriptors() {
    let scratch =
        Scratch::prepared("emfile", &format!("{BASIC}[limits]\nconnections = 200\nconnections_per_ip = 200\n"));
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 48; exec "$0" serve -c "$1""#])
        .arg(common::binary())
        .arg(scratch.path("mailbell.toml"))
        .stdin(Stdio::null());
    let server = Server::start_by(scratch, command);
    // Its session has begun when the others come: a session that begins without descriptors is told 421.
    let mut first = server.smtp();
    first.expect("220");
    let crowd: Vec<Talk> = (0..60).map(|_| server.smtp()).collect();
    wait_for("the descriptors to run out", || server.log().contains("trying again").then_some(()));
    first.say("NOOP", "250");
    drop((first, crowd));
    server.send("alice@example.org", "Subject: x\n\nx\n");
    server.stop();
}

#[test]
fn a_second_signal_ends_at_once() {
    let server = Server::start("twice");
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO x", "250");
    talk.say("MAIL FROM:<>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("DATA", "354");
    talk.write(b"half");
    server.signal("TERM");
    wait_for("the stop to begin", || server.log().contains("stopping").then_some(()));
    server.signal("TERM");
    let scratch = server.wait_for_end();
    assert!(common::files(&scratch.path("mail/alice/new")).is_empty());
}

#[test]
fn a_start_that_fails_says_why_with_its_exit_code() {
    let scratch = Scratch::prepared("codes", BASIC);
    let run = |scratch: &Scratch| server_command(scratch).output().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fs::write(scratch.path("mailbell.toml"), BASIC.replacen("127.0.0.1:0", &address.to_string(), 1)).unwrap();
    let output = run(&scratch);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains(&address.to_string()) && text.contains("another program"), "{text}");

    fs::write(scratch.path("mailbell.toml"), format!("user = \"no-such-user-here\"\n{BASIC}")).unwrap();
    let output = run(&scratch);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));

    fs::write(scratch.path("mailbell.toml"), BASIC).unwrap();
    fs::write(scratch.path("users"), "nonsense\n").unwrap();
    let output = run(&scratch);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));

    fs::remove_file(scratch.path("mailbell.toml")).unwrap();
    assert_eq!(run(&scratch).status.code(), Some(78));
}

#[test]
fn usage_errors_are_64_and_help_is_0() {
    let run =
        |arguments: &[&str]| Command::new(common::binary()).args(arguments).stdin(Stdio::null()).output().unwrap();
    for command in ["serve", "check", "user", "watch", "cat", "deliver", "status"] {
        for help in ["-h", "--help"] {
            let output = run(&[command, help]);
            assert_eq!(output.status.code(), Some(0), "{command} {help}");
            assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("mailbell {command}")), "{command}");
        }
        for version in ["-V", "--version"] {
            let output = run(&[command, version]);
            assert_eq!(output.status.code(), Some(0), "{command} {version}");
            assert!(String::from_utf8_lossy(&output.stdout).starts_with("mailbell 0."), "{command}");
        }
        assert_eq!(run(&[command, "--no-such-option"]).status.code(), Some(64), "{command}");
    }
    assert_eq!(run(&[]).status.code(), Some(64));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    for words in [&["--version"][..], &["user", "add", "--version"], &["sendmail", "--version"]] {
        assert!(String::from_utf8_lossy(&run(words).stdout).starts_with("mailbell 0."), "{words:?}");
    }
}
