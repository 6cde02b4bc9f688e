//! What the system gives the process: limits, rights that end with the start, the workers' sandbox, address families.

mod common;

use common::{BASIC, Scratch, Server, files, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_file_size_limit_refuses_a_message_and_not_the_server() {
    let scratch = Scratch::prepared("fsize", BASIC);
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -f 512; exec "$0" serve -c "$1""#])
        .arg(common::binary())
        .arg(scratch.path("mailbell.toml"))
        .stdin(Stdio::null());
    let server = Server::start_by(scratch, command);
    let mut talk = server.smtp();
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    talk.say("MAIL FROM:<sender@example.com>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("DATA", "354");
    talk.write("Subject: large\r\n\r\n".as_bytes());
    (0..1024).for_each(|_| talk.write("0123456789abcdef".repeat(64).as_bytes()));
    talk.say("\r\n.", "452");
    talk.say("QUIT", "221");
    server.send("alice@example.org", "Subject: small\n\nx\n");
    assert_eq!(server.new_files("alice").len(), 1);
    let scratch = server.stop();
    assert!(files(&scratch.path("mail/alice/tmp")).is_empty());
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    let scratch = Scratch::prepared("nofile", BASIC);
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -S -n 64; ulimit -H -n 300; exec "$0" serve -c "$1""#])
        .arg(common::binary())
        .arg(scratch.path("mailbell.toml"))
        .stdin(Stdio::null());
    let server = Server::start_by(scratch, command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["300", "300"], "{line}");
    server.stop();
}

#[test]
fn the_right_to_bind_low_ports_ends_with_the_start() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    let hook =
        "[[hook]]\nname = \"h\"\nstdin = \"none\"\ncommand = [\"/bin/sh\", \"-c\", \"grep ^Cap /proc/self/status\"]\n";
    let scratch = Scratch::prepared("caps", &format!("{BASIC}{hook}"));
    let binary = scratch.path("binary");
    common::copy_binary(&binary);
    assert!(Command::new("chown").args(["-R", "nobody"]).arg(&scratch.0).status().unwrap().success());
    let mut command = Command::new("setpriv");
    let right = ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"];
    command.args(["--reuid=nobody", "--clear-groups"]).args(right).arg(binary).args(["serve", "-c"]);
    command.arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
    let server = Server::start_by(scratch, command);
    server.send("alice@example.org", "Subject: x\n\nx\n");
    let log = wait_for("the hook", || Some(server.log()).filter(|log| log.contains("CapAmb:")));
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert!(status.contains(&format!("{set}\t0000000000000000")), "{status}");
        let line = log.lines().find(|line| line.contains(set)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    server.stop();
}

#[test]
fn a_link_of_the_servers_own_user_opens_no_way_for_sessions() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    let scratch = Scratch::prepared("own-link", &format!("user = \"nobody\"\n{BASIC}"));
    for file in ["users", "aliases", "mailbell.toml"] {
        fs::set_permissions(scratch.path(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    let other = Scratch::new("own-link-elsewhere");
    Command::new("chown").arg("nobody").arg(&other.0).status().unwrap();
    let server = Server::start_in(scratch, &[]);
    let link = server.path("mail/alice");
    let answer = |wanted: &str| {
        let mut talk = server.smtp();
        talk.expect("220");
        talk.say("EHLO client.example", "250");
        talk.say("MAIL FROM:<sender@example.com>", "250");
        talk.say("RCPT TO:<alice@example.org>", "250");
        talk.say("DATA", "354");
        talk.say("Subject: x\r\n\r\nx\r\n.", wanted);
    };
    let reload = |times: usize| {
        server.signal("HUP");
        wait_for("the reload", || (server.log().matches(" reloaded").count() == times).then_some(()));
    };
    std::os::unix::fs::symlink(&other.0, &link).unwrap();
    Command::new("chown").args(["-h", "nobody"]).arg(&link).status().unwrap();
    reload(1);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    if server.log().contains("landlock: this kernel") || status.contains("NoNewPrivs:\t1") {
        return eprintln!("skipped: this kernel has no Landlock");
    }
    answer("451");
    assert!(server.log().contains("sessions do not follow this link"), "{}", server.log());
    assert_eq!(fs::read_dir(&other.0).unwrap().count(), 0);
    Command::new("chown").args(["-h", "root"]).arg(&link).status().unwrap();
    reload(2);
    answer("250");
    assert_eq!(files(&other.path("new")).len(), 1);
    server.stop();
}

/// Runs a command of the binary in a network of its own, where the kernel refuses IPv6 sockets, as one without IPv6 does.
fn without_ipv6(arguments: &[&str]) -> Command {
    // seccomp(2): errno 97 (EAFNOSUPPORT) for socket(AF_INET6, ...), and nothing else.
    let filter = format!(
        "my $f = pack('SCCL' x 6, 0x20,0,0,0, 0x15,0,3,{}, 0x20,0,0,16, 0x15,0,1,10, 0x06,0,0,0x50061, \
         0x06,0,0,0x7fff0000); my $p = pack('S x6 P', 6, $f); syscall({prctl}, 38, 1, 0, 0, 0) == 0 or die; \
         syscall({prctl}, 22, 2, $p, 0, 0) == 0 or die; exec @ARGV",
        libc::SYS_socket,
        prctl = libc::SYS_prctl
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "perl", "-e", &filter]).arg(common::binary()).args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn a_kernel_without_ipv6_costs_the_default_listeners_for_ipv6_only() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    let scratch = Scratch::prepared("no-ipv6", &BASIC.replace("[smtp]\nlisten = [\"127.0.0.1:0\"]\n", ""));
    let file = scratch.path("mailbell.toml");
    let file_name = file.to_str().unwrap().to_owned();
    let output = without_ipv6(&["check", "-c", &file_name]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: `smtp.listen`: not listening on [::]:25: this kernel has no such"), "{said}");
    let server = Server::start_by(scratch, without_ipv6(&["serve", "-c", &file_name]));
    assert!(server.log().contains("smtp: not listening on [::]:25"), "{}", server.log());
    assert!(server.log().contains("ready smtp=0.0.0.0:25 pop3="), "{}", server.log());
    let scratch = server.stop();

    let text = fs::read_to_string(&file).unwrap() + "[submission]\nlisten = [\"[::]:587\"]\n";
    fs::write(&file, text).unwrap();
    for command in ["check", "serve"] {
        let output = without_ipv6(&[command, "-c", &file_name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("[::]:587") && said.contains("this kernel has no such addresses"), "{said}");
    }
    drop(scratch);
}
