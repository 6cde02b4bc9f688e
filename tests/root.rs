//! What a process of root's touches in the folders of another user: nothing that is not theirs, and nothing that the
//! server could not read afterwards. Every test here needs root.

mod common;

use common::{Scratch, Server, wait_for};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The user that the server becomes, by name and by number.
const USER: &str = "nobody";
const UID: u32 = 65_534;

/// Every kind of file that root may come across: the state, the mail, a pipe, two sockets and the users file, each in a
/// folder of the server's user.
const CONFIGURATION: &str = r#"
hostname = "mail.example.org"
domains = ["example.org"]
state = "own/state"
[mail]
root = "own/mail"
min_free = "1MiB"
[users]
file = "own/users/users"
[smtp]
listen = ["127.0.0.1:0"]
[pop3]
listen = ["127.0.0.1:0"]
[lmtp]
listen = ["own/run/lmtp.sock"]
[metrics]
listen = "own/run/metrics.sock"
[[pipe]]
path = "own/run/notify"
"#;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root");
    }
    is_root
}

/// A folder with the configuration, in which the server's user owns `own` and what is below it.
fn prepared(name: &str, configuration: &str) -> Scratch {
    let scratch = Scratch::new(name);
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(scratch.path("mailbell.toml"), configuration).unwrap();
    for folder in ["own", "own/users", "own/run"] {
        fs::create_dir(scratch.path(folder)).unwrap();
    }
    fs::write(scratch.path("own/users/users"), "alice:{PLAIN}secret-a\n").unwrap();
    for path in ["own", "own/users", "own/run", "own/users/users"] {
        chown(scratch.path(path), Some(UID), Some(UID)).unwrap();
    }
    scratch
}

/// A file and a folder of root's that nothing may change.
struct Traps {
    file: PathBuf,
    folder: PathBuf,
    before: Vec<String>,
}

impl Traps {
    fn set(scratch: &Scratch) -> Traps {
        let folder = scratch.path("root");
        let file = folder.join("file");
        fs::create_dir(&folder).unwrap();
        // A folder that the server's user may look into, so that the way into it is open.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.join("below")).unwrap();
        fs::write(&file, "root:secret\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let before = Traps::look(&folder);
        Traps { file, folder, before }
    }

    /// Names, owners, modes, sizes and contents.
    fn look(folder: &Path) -> Vec<String> {
        let line = |path: &Path| {
            let it = fs::symlink_metadata(path).unwrap();
            let content = if it.is_file() { fs::read_to_string(path).unwrap() } else { String::new() };
            format!("{} {}:{} {:o} {content:?}", path.display(), it.uid(), it.gid(), it.mode())
        };
        let mut lines = vec![line(folder)];
        lines.extend(below(folder).iter().map(|path| line(path)));
        lines
    }

    fn assert_untouched(&self, what: &str) {
        assert_eq!(Traps::look(&self.folder), self.before, "{what}");
    }
}

/// Everything below a folder, sorted; links are not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found.sort();
    found
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path).unwrap().is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

/// Runs a command of root's for as long as it takes, but not longer than it may wait for something that never comes.
fn run_a_while(command: &mut Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_millis(300);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= end {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn mailbell(scratch: &Scratch, arguments: &[&str], stdin: &str) -> Output {
    common::run(&scratch.path("mailbell.toml"), arguments, stdin)
}

fn message(subject: &str) -> String {
    format!("From: a@example.com\nSubject: {subject}\n\nx\n")
}

/// The server's start and end, whether it can start or not.
fn serve(scratch: &Scratch) {
    let log = scratch.path("log");
    let file = fs::File::create(&log).unwrap();
    let mut command = Command::new(common::binary());
    command.args(["serve", "-c"]).arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
    wait_for("the server to start or to fail", || {
        let is_ready = fs::read_to_string(&log).unwrap().contains("mailbell: ready ");
        (is_ready || child.try_wait().unwrap().is_some()).then_some(())
    });
    let pid = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    wait_for("the server's end", || child.try_wait().unwrap());
}

/// Everything that root may run.
fn run_all(scratch: &Scratch) {
    serve(scratch);
    mailbell(scratch, &["deliver", "alice"], &message("deliver"));
    mailbell(scratch, &["sendmail", "alice"], &message("sendmail"));
    let mut watch = Command::new(common::binary());
    watch.args(["watch", "--cursor", "mine", "--from", "all", "--count", "1", "-c"]);
    run_a_while(watch.arg(scratch.path("mailbell.toml")));
    mailbell(scratch, &["user", "add", "--stdin", "bob"], "secret-b\n");
    mailbell(scratch, &["user", "list"], "");
    mailbell(scratch, &["status"], "");
    mailbell(scratch, &["check"], "");
}

#[test]
fn root_is_led_nowhere_by_what_is_below_the_servers_folders() {
    if !is_root() {
        return;
    }
    let scratch = prepared("root-traps", &format!("user = \"{USER}\"\n{CONFIGURATION}"));
    let traps = Traps::set(&scratch);
    // One round fills the folders with everything that there can be.
    let server = Server::start_in(scratch, &[]);
    assert!(server.run(&["deliver", "alice"], &message("first")).status.success());
    assert!(server.run(&["watch", "--cursor", "mine", "--from", "all", "--count", "1"], "").status.success());
    let socket_folder = server.path("own/run");
    let names = |folder: &Path| below(folder).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let sockets: Vec<String> = names(&socket_folder);
    assert!(sockets.iter().any(|name| name.ends_with("lmtp.sock")), "{sockets:?}");
    for (name, mode) in
        [("own/run/lmtp.sock", 0o666), ("own/run/metrics.sock", 0o660), ("own/state/control.sock", 0o660)]
    {
        let socket = fs::metadata(server.path(name)).unwrap();
        assert_eq!((socket.uid(), socket.mode() & 0o777), (UID, mode), "{name}");
    }
    let scratch = server.stop();
    traps.assert_untouched("a start without traps");

    // The sockets go with the server; what takes their place is tried too.
    let mut entries = below(&scratch.path("own"));
    entries
        .extend(["run/lmtp.sock", "run/metrics.sock", "state/control.sock"].map(|name| scratch.path("own").join(name)));
    entries.extend([scratch.path("own/users/.users.new")]);
    assert!(entries.len() >= 20, "{entries:?}");
    for entry in &entries {
        assert!(fs::symlink_metadata(entry).map_or(true, |it| it.uid() == UID), "{} is root's", entry.display());
    }
    let copy = scratch.path("copy");
    let copied = Command::new("cp").args(["-a", "--"]).arg(scratch.path("own")).arg(&copy).status().unwrap();
    assert!(copied.success());
    for entry in entries {
        for kind in ["a link to a file", "a link to a folder", "a hard link"] {
            remove(&scratch.path("own"));
            let copied = Command::new("cp").args(["-a", "--"]).arg(&copy).arg(scratch.path("own")).status().unwrap();
            assert!(copied.success());
            if fs::symlink_metadata(&entry).is_ok() {
                remove(&entry);
            }
            match kind {
                "a link to a file" => symlink(&traps.file, &entry).unwrap(),
                "a link to a folder" => symlink(&traps.folder, &entry).unwrap(),
                _ => fs::hard_link(&traps.file, &entry).unwrap(),
            }
            if kind != "a hard link" {
                lchown(&entry, Some(UID), Some(UID)).unwrap();
            }
            run_all(&scratch);
            traps.assert_untouched(&format!("{} is {kind}", entry.display()));
        }
    }
}

#[test]
fn sockets_and_pipes_may_lie_in_the_folder_of_a_third_user() {
    if !is_root() {
        return;
    }
    // Such as Postfix's private/, which neither the server's user nor anybody else may write to.
    let configuration = CONFIGURATION.replace("own/run/", "third/");
    let scratch = prepared("root-third", &format!("user = \"{USER}\"\n{configuration}"));
    fs::create_dir(scratch.path("third")).unwrap();
    fs::set_permissions(scratch.path("third"), fs::Permissions::from_mode(0o711)).unwrap();
    const THIRD: u32 = 8;
    chown(scratch.path("third"), Some(THIRD), Some(THIRD)).unwrap();
    let server = Server::start_in(scratch, &[]);
    for (name, mode) in [("lmtp.sock", 0o666), ("metrics.sock", 0o660), ("notify", 0o640)] {
        let found = fs::metadata(server.path("third").join(name)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (UID, mode), "{name}");
    }
    assert!(std::os::unix::net::UnixStream::connect(server.path("third/lmtp.sock")).is_ok());
    // After a kill the sockets are still there, and are replaced.
    let scratch = server.kill();
    let server = Server::start_in(scratch, &[]);
    assert!(std::os::unix::net::UnixStream::connect(server.path("third/lmtp.sock")).is_ok());
    let scratch = server.kill();

    // Not by way of a link of the third user's.
    let traps = Traps::set(&scratch);
    remove(&scratch.path("third/notify"));
    fs::create_dir(scratch.path("third/real")).unwrap();
    symlink(&traps.folder, scratch.path("third/link")).unwrap();
    lchown(scratch.path("third/link"), Some(THIRD), Some(THIRD)).unwrap();
    let text = fs::read_to_string(scratch.path("mailbell.toml")).unwrap();
    for name in ["lmtp.sock", "metrics.sock", "notify"] {
        let linked = text.replace(&format!("third/{name}"), &format!("third/link/{name}"));
        assert_ne!(linked, text);
        fs::write(scratch.path("mailbell.toml"), linked).unwrap();
        serve(&scratch);
        traps.assert_untouched(name);
    }
}

/// Starts the server, and looks whether it knows and can read what root delivered before and delivers now.
fn assert_readable(scratch: Scratch, command: impl FnOnce(&Scratch) -> Command) {
    let command = command(&scratch);
    let server = Server::start_by(scratch, command);
    assert!(server.run(&["deliver", "alice"], &message("beside the server")).status.success());
    let journal = server.path("own/state/journal");
    wait_for("both events", || (common::records(&journal).len() == 2).then_some(()));
    let mut talk = server.pop3_as("alice");
    talk.say("STAT", "+OK 2 ");
    for number in ["1", "2"] {
        talk.say(&format!("RETR {number}"), "+OK");
        talk.multi_line();
    }
    talk.say("QUIT", "+OK");
    let status = server.run(&["status", "--json"], "");
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"running\":true"), "{status:?}");
    let scratch = server.stop();
    for path in below(&scratch.path("own")) {
        assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), UID, "{}", path.display());
    }
}

#[test]
fn what_root_delivers_before_the_first_start_is_the_servers() {
    if !is_root() {
        return;
    }
    let scratch = prepared("root-user", &format!("user = \"{USER}\"\n{CONFIGURATION}"));
    let output = mailbell(&scratch, &["deliver", "alice"], &message("before"));
    assert!(output.status.success(), "{output:?}");
    assert_readable(scratch, |scratch| {
        let mut command = Command::new(common::binary());
        command.args(["serve", "-c"]).arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
        command
    });
}

/// The server as a service manager starts it: as its own user, with a binary where that user reaches it.
fn service(scratch: &Scratch) -> Command {
    let binary = scratch.path("mailbell");
    common::copy_binary(&binary);
    let mut command = Command::new(binary);
    command.args(["serve", "-c"]).arg(scratch.path("mailbell.toml")).stdin(Stdio::null()).uid(UID).gid(UID);
    command
}

#[test]
fn where_a_service_manager_names_the_user_the_owner_of_the_state_counts() {
    if !is_root() {
        return;
    }
    let scratch = prepared("root-service", CONFIGURATION);
    fs::create_dir(scratch.path("own/state")).unwrap();
    chown(scratch.path("own/state"), Some(UID), Some(UID)).unwrap();
    let output = mailbell(&scratch, &["sendmail", "alice"], &message("before"));
    assert!(output.status.success(), "{output:?}");
    let mut watch = Command::new(common::binary());
    watch.args(["watch", "--cursor", "mine", "--from", "all", "--count", "1", "-c"]).arg(scratch.path("mailbell.toml"));
    assert!(watch.stdout(Stdio::null()).status().unwrap().success());
    assert_readable(scratch, service);
}

#[test]
fn without_a_state_folder_the_owner_of_the_users_file_counts() {
    if !is_root() {
        return;
    }
    let scratch = prepared("root-first", CONFIGURATION);
    let output = mailbell(&scratch, &["deliver", "alice"], &message("before"));
    assert!(output.status.success(), "{output:?}");
    assert_readable(scratch, service);
}

#[test]
fn a_state_folder_that_another_user_made_a_link_is_refused() {
    if !is_root() {
        return;
    }
    let scratch = prepared("root-link", CONFIGURATION);
    let traps = Traps::set(&scratch);
    symlink(&traps.folder, scratch.path("own/state")).unwrap();
    lchown(scratch.path("own/state"), Some(UID), Some(UID)).unwrap();
    for arguments in [&["deliver", "alice"][..], &["sendmail", "alice"], &["watch", "--cursor", "x"], &["status"]] {
        let output = mailbell(&scratch, arguments, &message("x"));
        assert_eq!(output.status.code(), Some(77), "{arguments:?}: {output:?}");
    }
    traps.assert_untouched("the state folder is a link");
}

#[test]
fn programs_of_watch_run_as_the_owner_of_the_state_too() {
    if !is_root() {
        return;
    }
    let scratch = prepared("root-watch", &format!("user = \"{USER}\"\n{CONFIGURATION}"));
    assert!(mailbell(&scratch, &["deliver", "alice"], &message("x")).status.success());
    let output =
        mailbell(&scratch, &["watch", "--from", "all", "--count", "1", "--", "sh", "-c", "id -u; echo $USER"], "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{UID}\n{USER}\n"), "{output:?}");
}
