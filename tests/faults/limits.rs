//! What the system gives the process runs out: descriptors, threads, memory, the size of a file.

use crate::common::{Scratch, Server, Talk, binary, copy_binary, is_root, wait_for};
use crate::scene::{
    Numbers, Pipe, check_numbers, complaints, prepared, send, send_until_stored, stored, wait_until_told,
};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

/// `serve` behind another program that sets a limit and becomes it.
fn limited(scratch: &Scratch, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(binary()).args(["serve", "-c"]).arg(scratch.path("mailbell.toml"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn descriptors_out() {
    let scratch = prepared("descriptors", "");
    let command = limited(&scratch, "prlimit", &["--nofile=60:60"]);
    let server = Server::start_by(scratch, command);
    let pipe = Pipe::follow(server.path("notify"));
    send_until_stored(&server, "before");
    // More connections than descriptors: each is served, refused with a reply, or waits in the kernel.
    let crowd: Vec<_> = (0..80).map(|_| std::net::TcpStream::connect(server.address("smtp")).unwrap()).collect();
    drop(crowd);
    send_until_stored(&server, "after");
    wait_until_told("pipe", &["before", "after"].map(str::to_owned).into(), || pipe.told());
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    assert_eq!(stored(&server.path("mail/alice")).len(), 2);
    let log = server.log();
    assert!(!log.contains("panicked") && complaints(&log) < 50, "{log}");
    server.stop();
}

/// A session that is open while descriptors are out stores its message or says "later"; it never loses one.
#[test]
fn descriptors_out_in_the_middle_of_a_transaction() {
    let scratch = prepared("descriptors-data", "");
    let command = limited(&scratch, "prlimit", &["--nofile=60:60"]);
    let server = Server::start_by(scratch, command);
    let mut talk = server.smtp();
    talk.expect("220");
    for line in ["EHLO client.example", "MAIL FROM:<a@example.com>", "RCPT TO:<alice@example.org>"] {
        talk.say(line, "250");
    }
    let crowd: Vec<_> = (0..80).map(|_| std::net::TcpStream::connect(server.address("smtp")).unwrap()).collect();
    wait_for("the descriptors to be used up", || {
        let used = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
        (used >= 55 || server.log().contains("descriptor") || server.log().contains("connections")).then_some(())
    });
    let reply = talk.line_after("DATA").expect("a reply");
    let reply = if reply.starts_with("354") {
        talk.line_after("Subject: in-the-middle\r\n\r\nx\r\n.").expect("a reply")
    } else {
        reply
    };
    assert!(reply.starts_with("250") || reply.starts_with('4'), "{reply}");
    assert_eq!(stored(&server.path("mail/alice")).len(), usize::from(reply.starts_with("250")));
    drop(crowd);
    send_until_stored(&server, "after");
    server.stop();
}

#[test]
fn threads_out() {
    if !is_root() {
        return;
    }
    // A limit of threads holds for a user; this one has nothing else.
    const USER: u32 = 54_321;
    let scratch = prepared("threads", "[limits]\nconnections = 200\nconnections_per_ip = 200\n");
    copy_binary(&scratch.path("mailbell"));
    for name in ["", "users", "aliases", "mailbell.toml", "hook"] {
        std::os::unix::fs::chown(scratch.path(name), Some(USER), Some(USER)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--clear-groups"]);
    command.args(["prlimit", "--nproc=24:24"]).arg(scratch.path("mailbell")).args(["serve", "-c"]);
    command.arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
    let server = Server::start_by(scratch, command);
    let pipe = Pipe::follow(server.path("notify"));
    send_until_stored(&server, "before");
    // Each client gets a greeting or a refusal with a reply; no connection is closed without one.
    let mut crowd: Vec<_> = (0..60).map(|_| Talk::to(server.address("smtp"))).collect();
    let mut greeted = 0;
    for talk in &mut crowd {
        let line = talk.line().expect("a greeting or a refusal");
        assert!(line.starts_with("220") || line.starts_with("421"), "{line}");
        greeted += usize::from(line.starts_with("220"));
    }
    assert!((1..60).contains(&greeted), "{greeted} of 60 were served");
    drop(crowd);
    send_until_stored(&server, "after");
    wait_until_told("pipe", &["before", "after"].map(str::to_owned).into(), || pipe.told());
    assert_eq!(stored(&server.path("mail/alice")).len(), 2);
    server.stop();
}

/// The kernel ends what goes beyond the limit of a memory cgroup; what was acknowledged is there, and the next start goes on.
#[test]
fn memory_out() {
    if !is_root() {
        return;
    }
    let Some(group) = MemoryGroup::new(24 << 20) else { return };
    let scratch = prepared("memory", "");
    let procs = group.0.join("cgroup.procs");
    let script = format!("echo $$ > {} && exec \"$@\"", procs.display());
    let command = limited(&scratch, "sh", &["-c", &script, "sh"]);
    let mut server = Server::start_by(scratch, command);
    let mut acknowledged = BTreeSet::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let server = &server;
        let senders: Vec<_> = (0..12)
            .map(|number| {
                scope.spawn(move || {
                    let subject = format!("large-{number}");
                    // A server that dies may leave the sender without any reply.
                    let reply = std::panic::catch_unwind(|| send(server, &subject, 4 << 20)).ok().flatten();
                    (subject, reply.unwrap_or_default())
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    acknowledged.extend(outcomes.into_iter().filter(|(_, reply)| reply.starts_with("250")).map(|(subject, _)| subject));
    println!("{} of 12 messages of 4 MiB were acknowledged", acknowledged.len());
    server = Server::start_in(server.kill(), &[]);
    send_until_stored(&server, "after");
    acknowledged.insert("after".into());
    let there = stored(&server.path("mail/alice"));
    assert!(acknowledged.iter().all(|subject| there.get(subject) == Some(&1)), "{acknowledged:?} {there:?}");
    let pipe = Pipe::follow(server.path("notify"));
    wait_until_told("pipe", &acknowledged, || pipe.told());
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    server.stop();
}

/// A memory cgroup of version 1 or 2 that goes when it is dropped.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn new(octets: u64) -> Option<MemoryGroup> {
        let name = format!("mailbell-test-{}", std::process::id());
        for (root, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = std::path::Path::new(root).join(&name);
            if fs::create_dir(&group).is_ok() {
                if fs::write(group.join(file), octets.to_string()).is_ok() {
                    return Some(MemoryGroup(group));
                }
                let _ = fs::remove_dir(&group);
            }
        }
        crate::common::skipped("needs a memory cgroup");
        None
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A message that would grow beyond RLIMIT_FSIZE is refused, the process lives, and smaller mail goes on.
#[test]
fn file_size_limit() {
    let scratch = prepared("file-size", "");
    let command = limited(&scratch, "prlimit", &["--fsize=200000:200000"]);
    let server = Server::start_by(scratch, command);
    let pipe = Pipe::follow(server.path("notify"));
    send_until_stored(&server, "before");
    let reply = send(&server, "too-large", 400_000).expect("a reply, not a dead server");
    assert!(reply.starts_with("452") || reply.starts_with("451") || reply.starts_with("552"), "{reply}");
    send_until_stored(&server, "after");
    wait_until_told("pipe", &["before", "after"].map(str::to_owned).into(), || pipe.told());
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    assert_eq!(stored(&server.path("mail/alice")).len(), 2);
    assert!(crate::common::files(&server.path("mail/alice/tmp")).is_empty());
    let log = server.log();
    assert!(log.contains("refused client="), "{log}");
    server.stop();
}
