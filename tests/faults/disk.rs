//! Disks: full, read-only, without inodes, broken. Root only: each is a file system of its own in a mount namespace that
//! a sleeping process holds, and is looked at through /proc/PID/root.

use crate::common::{Scratch, Server, binary, is_root, wait_for};
use crate::scene::{
    Numbers, Pipe, check_numbers, complaints, prepared, send, send_until_stored, stored, told_by_hook, wait_until_told,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mount namespace.
struct Space {
    holder: Child,
}

impl Space {
    fn new() -> Space {
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", "echo; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is in its namespace when it says so.
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Space { holder }
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.inside(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn inside(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m", "--"]).args(arguments);
        command
    }

    fn tmpfs(&self, at: &Path, options: &str) {
        fs::create_dir_all(at).unwrap();
        self.run(&["mount", "-t", "tmpfs", "-o", options, "tmpfs", at.to_str().unwrap()]);
    }

    /// The path as it is seen inside.
    fn view(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(path.strip_prefix("/").unwrap())
    }

    fn serve(&self, scratch: Scratch) -> Server {
        let mut command = self.inside(&[binary().to_str().unwrap(), "serve", "-c"]);
        command.arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
        Server::start_by(scratch, command)
    }

    /// Fills the file system until nothing more goes.
    fn fill(&self, folder: &Path) {
        use std::io::Write;
        let mut file = fs::File::create(self.view(&folder.join("filler"))).unwrap();
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self, folder: &Path) {
        fs::remove_file(self.view(&folder.join("filler"))).unwrap();
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// `min_free` out of the way, so that the disk itself says that it is full.
fn without_reserve(name: &str) -> Scratch {
    let scratch = prepared(name, "");
    let configuration = fs::read_to_string(scratch.path("mailbell.toml")).unwrap();
    fs::write(scratch.path("mailbell.toml"), configuration.replace("\"1MiB\"", "\"0B\"")).unwrap();
    scratch
}

struct Story<'a> {
    make: &'a dyn Fn(&Space, &Server),
    mend: &'a dyn Fn(&Space, &Server),
    /// What the reply to mail begins with while the fault is there; a Maildir in which a try failed is refused at RCPT.
    reply: &'a str,
    logged: &'a str,
}

/// Mail before, the fault, mail during it, the fault goes, everything is told.
fn play(space: &Space, scratch: Scratch, story: &Story) {
    let server = space.serve(scratch);
    let pipe = Pipe::follow(server.path("notify"));
    let mut all = BTreeSet::new();
    send_until_stored(&server, "before");
    all.insert("before".to_owned());
    wait_until_told("pipe", &all, || pipe.told());
    (story.make)(space, &server);
    for number in 0..3 {
        let subject = format!("during-{number}");
        let reply = send(&server, &subject, 10_000).expect("a reply");
        assert!(reply.starts_with(story.reply), "{subject}: {reply}");
        if reply.starts_with("250") {
            all.insert(subject);
        }
    }
    (story.mend)(space, &server);
    send_until_stored(&server, "after");
    all.insert("after".into());
    wait_until_told("pipe", &all, || pipe.told());
    wait_until_told("hook", &all, || told_by_hook(&server.scratch));
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    let maildir = space.view(&server.path("mail/alice"));
    let there = stored(&maildir);
    assert_eq!(there.keys().cloned().collect::<BTreeSet<_>>(), all);
    assert!(crate::common::files(&maildir.join("tmp")).is_empty(), "a try left something behind");
    let log = server.log();
    assert!(log.contains(story.logged), "{:?} is not in {log}", story.logged);
    assert!(!log.contains("panicked") && complaints(&log) < 50, "{log}");
    server.stop();
}

#[test]
fn the_disk_is_full_for_mail() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), without_reserve("full-mail"));
    let mail = scratch.path("mail");
    space.tmpfs(&mail, "size=4m");
    let story = Story {
        make: &|space, _| space.fill(&mail),
        mend: &|space, _| space.free(&mail),
        reply: "45",
        logged: "No space left",
    };
    play(&space, scratch, &story);
}

#[test]
fn the_disk_has_less_than_min_free() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), prepared("min-free", ""));
    let mail = scratch.path("mail");
    space.tmpfs(&mail, "size=4m");
    let make = |space: &Space, server: &Server| {
        fs::write(space.view(&mail.join("filler")), vec![0; 7 << 19]).unwrap();
        // The server asks the disk once in a while.
        wait_for("the refusal", || {
            let mut talk = server.smtp();
            talk.expect("220");
            talk.say("EHLO client.example", "250");
            talk.line_after("MAIL FROM:<>").filter(|line| line.starts_with("452 4.3.1"))
        });
    };
    play(
        &space,
        scratch,
        &Story { make: &make, mend: &|space, _| space.free(&mail), reply: "452 4.3.1", logged: "why=no-room" },
    );
}

#[test]
fn the_disk_is_full_for_the_state() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), without_reserve("full-state"));
    let state = scratch.path("state");
    space.tmpfs(&state, "size=2m");
    // Room that the journal had reserved is used up first, so that records cannot be written.
    let make = |space: &Space, server: &Server| {
        space.fill(&state);
        for number in 0..300 {
            let reply = send(server, "filling", 0).unwrap();
            assert!(reply.starts_with("250"), "{number}: {reply}");
        }
    };
    let mend = |space: &Space, server: &Server| {
        for file in crate::common::files(&space.view(&server.path("mail/alice/new"))) {
            if fs::read_to_string(&file).unwrap().contains("Subject: filling\n") {
                // Told or not, these are not counted.
                fs::remove_file(file).unwrap();
            }
        }
        space.free(&state);
    };
    play(&space, scratch, &Story { make: &make, mend: &mend, reply: "250", logged: "No space left" });
}

#[test]
fn the_disk_is_full_for_both() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), without_reserve("full-both"));
    let disk = scratch.path("disk");
    space.tmpfs(&disk, "size=4m");
    let configuration = fs::read_to_string(scratch.path("mailbell.toml")).unwrap();
    let configuration =
        configuration.replace("\"state\"", "\"disk/state\"").replace("root = \"mail\"", "root = \"disk/mail\"");
    fs::write(scratch.path("mailbell.toml"), configuration).unwrap();
    std::os::unix::fs::symlink("disk/mail", scratch.path("mail")).unwrap();
    let story = Story {
        make: &|space, _| space.fill(&disk),
        mend: &|space, _| space.free(&disk),
        reply: "45",
        logged: "No space left",
    };
    play(&space, scratch, &story);
}

#[test]
fn the_mail_is_read_only() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), without_reserve("read-only-mail"));
    let mail = scratch.path("mail");
    space.tmpfs(&mail, "size=4m");
    let remount =
        |space: &Space, how: &str| space.run(&["mount", "-o", &format!("remount,{how}"), mail.to_str().unwrap()]);
    let story = Story {
        make: &|space, _| remount(space, "ro"),
        mend: &|space, _| remount(space, "rw"),
        reply: "4",
        logged: "Read-only file system",
    };
    play(&space, scratch, &story);
}

/// The state's file system fails and the kernel makes it read-only: mail is acknowledged all the same, and told when the
/// disk was put right.
#[test]
fn the_state_s_disk_fails_and_becomes_read_only() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), without_reserve("read-only-state"));
    let (image, state) = (scratch.path("image"), scratch.path("state"));
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    fs::create_dir_all(&state).unwrap();
    space.run(&["mkfs.ext4", "-q", image.to_str().unwrap()]);
    let mount = ["mount", "-o", "loop,errors=remount-ro", image.to_str().unwrap(), state.to_str().unwrap()];
    if !space.inside(&mount).output().unwrap().status.success() {
        crate::common::skipped("needs a loop device");
        return;
    }
    let server = space.serve(scratch);
    let pipe = Pipe::follow(server.path("notify"));
    let mut all = BTreeSet::from(["before".to_owned()]);
    send_until_stored(&server, "before");
    wait_until_told("pipe", &all, || pipe.told());
    let source = space.inside(&["findmnt", "-no", "SOURCE", state.to_str().unwrap()]).output().unwrap().stdout;
    let device = String::from_utf8(source).unwrap().trim().trim_start_matches("/dev/").to_owned();
    fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").unwrap();
    for number in 0..3 {
        let subject = format!("during-{number}");
        let reply = send(&server, &subject, 0).expect("a reply");
        assert!(reply.starts_with("250"), "{subject}: {reply}");
        all.insert(subject);
    }
    let log = wait_for("a word about it in the log", || {
        Some(server.log()).filter(|log| log.contains("Read-only file system") || log.contains("error"))
    });
    assert!(complaints(&log) < 50, "{log}");
    // The disk is put right, which needs a stop: it cannot be unmounted under a server.
    let scratch = server.kill();
    wait_for("the disk to be free", || {
        space.inside(&["umount", state.to_str().unwrap()]).output().unwrap().status.success().then_some(())
    });
    let check = space.inside(&["e2fsck", "-fy", image.to_str().unwrap()]).output().unwrap();
    assert!(check.status.code().is_some_and(|code| code < 4), "{}", String::from_utf8_lossy(&check.stdout));
    space.run(&mount);
    let server = space.serve(scratch);
    send_until_stored(&server, "after");
    all.insert("after".into());
    wait_until_told("pipe", &all, || pipe.told());
    assert_eq!(stored(&server.path("mail/alice")).into_keys().collect::<BTreeSet<_>>(), all);
    server.stop();
}

#[test]
fn inodes_are_out_for_mail() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), without_reserve("inodes"));
    let mail = scratch.path("mail");
    space.tmpfs(&mail, "size=4m,nr_inodes=100");
    let make = |space: &Space, _: &Server| {
        let folder = space.view(&mail.join("filler"));
        fs::create_dir(&folder).unwrap();
        let mut number = 0;
        while fs::File::create(folder.join(number.to_string())).is_ok() {
            number += 1;
        }
    };
    let mend = |space: &Space, _: &Server| fs::remove_dir_all(space.view(&mail.join("filler"))).unwrap();
    play(&space, scratch, &Story { make: &make, mend: &mend, reply: "45", logged: "No space left" });
}

#[test]
fn inodes_are_out_for_the_state() {
    if !is_root() {
        return;
    }
    let (space, scratch) = (Space::new(), without_reserve("inodes-state"));
    let state = scratch.path("state");
    space.tmpfs(&state, "size=4m,nr_inodes=100");
    let make = |space: &Space, _: &Server| {
        let folder = space.view(&state.join("filler"));
        fs::create_dir(&folder).unwrap();
        let mut number = 0;
        while fs::File::create(folder.join(number.to_string())).is_ok() {
            number += 1;
        }
    };
    let mend = |space: &Space, _: &Server| fs::remove_dir_all(space.view(&state.join("filler"))).unwrap();
    play(&space, scratch, &Story { make: &make, mend: &mend, reply: "250", logged: "" });
}
