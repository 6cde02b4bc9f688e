//! `mailbell user` on the real binary.

mod common;

use common::{BASIC, Scratch, Server, run, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A configuration without any user yet.
fn empty(name: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(name);
    let file = scratch.path("mailbell.toml");
    fs::write(&file, BASIC.replace("aliases = \"aliases\"\n", "")).unwrap();
    (scratch, file)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn an_account_comes_changes_and_goes() {
    let (scratch, file) = empty("user");
    let users = scratch.path("users");
    let output = run(&file, &["user", "list"], "");
    assert_eq!((code(&output), text(&output.stdout)), (0, String::new()));

    let output = run(&file, &["user", "add", "--stdin", "alice"], "pass word\n");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("alice is in "));
    assert!(run(&file, &["user", "add", "bob", "--stdin"], "no line end").status.success());
    assert_eq!(text(&run(&file, &["user", "list"], "").stdout), "alice\nbob\n");
    let before = fs::read_to_string(&users).unwrap();
    assert!(before.starts_with("alice:{ARGON2ID}$argon2id$") && !before.contains("pass word"));
    assert_eq!(fs::metadata(&users).unwrap().mode() & 0o777, 0o600);

    assert!(run(&file, &["user", "passwd", "--stdin", "alice"], "other\r\n").status.success());
    let after = fs::read_to_string(&users).unwrap();
    let (changed, same): (Vec<_>, Vec<_>) = before.lines().zip(after.lines()).partition(|(one, other)| one != other);
    assert_eq!((changed.len(), same.len()), (1, 1));

    fs::create_dir_all(scratch.path("mail/alice/new")).unwrap();
    let output = run(&file, &["user", "del", "alice"], "");
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).contains(&format!("the mail stays in {}", scratch.path("mail/alice").display())));
    assert!(scratch.path("mail/alice/new").is_dir());
    assert_eq!(text(&run(&file, &["user", "list"], "").stdout), "bob\n");
}

#[test]
fn exit_codes_tell_what_was_wrong() {
    let (scratch, file) = empty("user-codes");
    fs::write(scratch.path("users"), "alice:{PLAIN}secret\n").unwrap();
    for (arguments, stdin, wanted, said) in [
        (&["user"][..], "", 64, "see mailbell user --help"),
        (&["user", "add"], "", 64, "a name is missing"),
        (&["user", "rename", "alice"], "", 64, "is not understood"),
        (&["user", "add", "--stdin", "Alice"], "x\n", 64, "did you mean \"alice\"?"),
        (&["user", "add", "--stdin", "../alice"], "x\n", 64, "is not a user's name"),
        (&["user", "add", "--stdin", "alice", "extra"], "x\n", 64, "is not understood"),
        (&["user", "add", "--force", "bob"], "x\n", 64, "--force"),
        (&["user", "add", "--stdin", "bob"], "", 65, "it is empty"),
        (&["user", "add", "--stdin", "bob"], "\n", 65, "it is empty"),
        (&["user", "passwd", "--stdin", "bob"], "x\n", 67, "there is no user \"bob\""),
        (&["user", "del", "bob"], "", 67, "there is no user \"bob\""),
        (&["user", "add", "--stdin", "alice"], "x\n", 73, "alice is there already"),
        (&["user", "-c", "/nonexistent/mailbell.toml", "list"], "", 78, "/nonexistent/mailbell.toml: "),
    ] {
        let output = run(&file, arguments, stdin);
        let errors = text(&output.stderr);
        assert_eq!(code(&output), wanted, "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
    }
    let long = "x".repeat(100_000);
    assert_eq!(code(&run(&file, &["user", "add", "--stdin", "bob"], &long)), 65);
    assert_eq!(fs::read_to_string(scratch.path("users")).unwrap(), "alice:{PLAIN}secret\n");
    for arguments in [&["user", "--help"][..], &["user", "add", "-h"]] {
        let output = run(&file, arguments, "");
        assert!(output.status.success() && text(&output.stdout).contains("Usage: mailbell user add"));
    }
}

#[test]
fn twenty_at_once_all_survive() {
    let (scratch, file) = empty("user-parallel");
    fs::write(scratch.path("users"), "# staff\nfirst:{PLAIN}secret\n").unwrap();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let file = &file;
            scope.spawn(move || {
                let output = run(file, &["user", "add", "--stdin", &format!("user{number}")], "secret\n");
                assert_eq!(code(&output), 0, "{}", text(&output.stderr));
            });
        }
    });
    let mut names: Vec<String> = text(&run(&file, &["user", "list"], "").stdout).lines().map(str::to_owned).collect();
    names.sort();
    let mut wanted: Vec<String> = (0..20).map(|number| format!("user{number}")).chain(["first".into()]).collect();
    wanted.sort();
    assert_eq!(names, wanted);
    assert!(fs::read_to_string(scratch.path("users")).unwrap().starts_with("# staff\nfirst:{PLAIN}secret\n"));
    // Nothing is left beside it.
    assert_eq!(common::files(&scratch.0), [file, scratch.path("users")]);
}

#[test]
fn removing_a_user_that_an_alias_names_is_a_warning() {
    let (scratch, file) = empty("user-warned");
    fs::write(&file, BASIC).unwrap();
    fs::write(scratch.path("users"), "alice:{PLAIN}a\nbob:{PLAIN}b\n").unwrap();
    fs::write(scratch.path("aliases"), "# who\nteam: alice, bob\n").unwrap();
    let output = run(&file, &["user", "del", "bob"], "");
    assert_eq!(code(&output), 0);
    let place = format!("{}:2: \"bob\" is neither a user nor an alias", scratch.path("aliases").display());
    assert!(text(&output.stderr).contains(&place), "{}", text(&output.stderr));
}

/// Runs the binary on a terminal of its own. `script` makes the terminal, and prints what it shows.
fn on_terminal(file: &PathBuf, answers: [&str; 2]) -> (i32, String) {
    let mut child = Command::new("script")
        .args(["-qec", &format!("{} user add carol", common::binary().display()), "/dev/null"])
        .env("MAILBELL_CONFIG", file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script(1) of bsdutils");
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    for (question, answer) in ["New password for carol: ", "Once more: "].into_iter().zip(answers) {
        while !seen.ends_with(question) {
            let mut octet = [0];
            assert_eq!(screen.read(&mut octet).unwrap(), 1, "{seen}");
            seen.push(char::from(octet[0]));
        }
        keyboard.write_all(answer.as_bytes()).unwrap();
    }
    screen.read_to_string(&mut seen).unwrap();
    let status = wait_for("the end", || child.try_wait().unwrap());
    (status.code().unwrap(), seen)
}

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing() {
    let (scratch, file) = empty("user-prompt");
    let (code, seen) = on_terminal(&file, ["hidden-1\n", "hidden-2\n"]);
    assert_eq!(code, 65);
    assert!(seen.contains("two different passwords") && !seen.contains("hidden"), "{seen}");
    assert!(!scratch.path("users").exists());
    // Control-C, which the terminal turns into a signal.
    let (code, seen) = on_terminal(&file, ["hidden-1\n", "hid\x03"]);
    assert_eq!(code, 130, "{seen}");
    assert!(!scratch.path("users").exists());
    let (code, seen) = on_terminal(&file, ["hidden-1\n", "hidden-1\n"]);
    assert_eq!(code, 0, "{seen}");
    assert!(!seen.contains("hidden"), "{seen}");
    assert!(fs::read_to_string(scratch.path("users")).unwrap().starts_with("carol:{ARGON2ID}$"));
}

#[test]
fn without_a_terminal_a_sentence_says_what_to_do() {
    let (scratch, file) = empty("user-no-terminal");
    // setsid(1) makes a session without a terminal.
    let output = Command::new("setsid")
        .args(["-w".as_ref(), common::binary().as_os_str(), "user".as_ref(), "add".as_ref(), "alice".as_ref()])
        .env("MAILBELL_CONFIG", &file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(&output), 64);
    assert!(text(&output.stderr).contains("give it with --stdin"), "{}", text(&output.stderr));
    assert!(!scratch.path("users").exists());
}

#[test]
fn a_new_file_is_the_server_s_and_others_are_kept_out() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    const NOBODY: u32 = 65_534;
    let (scratch, file) = empty("user-owner");
    fs::write(&file, fs::read_to_string(&file).unwrap().replacen("state =", "user = \"nobody\"\nstate =", 1)).unwrap();
    assert!(run(&file, &["user", "add", "--stdin", "alice"], "secret\n").status.success());
    let made = fs::metadata(scratch.path("users")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o777), (NOBODY, 0o600));
    assert!(run(&file, &["user", "add", "--stdin", "bob"], "secret\n").status.success());
    assert_eq!(fs::metadata(scratch.path("users")).unwrap().uid(), NOBODY);

    // The folder is root's: the owner of the file may read it, and cannot replace it.
    let binary = scratch.path("mailbell");
    common::copy_binary(&binary);
    for path in [&binary, &scratch.0] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&binary);
    command.args(["user", "del", "alice"]).env("MAILBELL_CONFIG", &file).uid(NOBODY).gid(NOBODY);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 77, "{}", text(&output.stderr));
    assert_eq!(text(&run(&file, &["user", "list"], "").stdout), "alice\nbob\n");
}

#[test]
fn a_running_server_takes_a_new_user_over_at_sighup() {
    let server = Server::start("user-reload");
    assert!(server.run(&["user", "add", "--stdin", "dave"], "secret-d\n").status.success());
    let mut talk = server.pop3();
    talk.expect("+OK");
    talk.say("USER dave", "+OK");
    talk.say("PASS secret-d", "-ERR");
    server.signal("HUP");
    wait_for("the reload", || server.log().contains("reloaded").then_some(()));
    server.pop3_as("dave").say("QUIT", "+OK");
}
