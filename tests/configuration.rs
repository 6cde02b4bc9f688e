//! Configurations on the real binary: files that must be refused, each with the sentence that it must get, and the
//! example that must never rot.

mod common;

use common::{Scratch, run};
use mailbell::config::Config;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a bad configuration must be told: the lines at its head that begin with `#!` say `LINE: part of the message`.
fn expected(text: &str) -> Vec<(usize, String)> {
    let wanted = text.lines().map_while(|line| line.strip_prefix("#! "));
    wanted.map(|line| line.split_once(": ").unwrap()).map(|(line, why)| (line.parse().unwrap(), why.into())).collect()
}

#[test]
fn bad_configurations_are_refused_with_place_and_hint() {
    let mut files: Vec<PathBuf> = common::files(&root().join("tests/bad-configs"));
    // Without TLS every key of [tls] has one and the same answer, which has its own test; [[remote]] likewise.
    let is_of = |file: &PathBuf, room: &str| file.file_name().unwrap().to_str().unwrap().starts_with(room);
    files.retain(|file| cfg!(feature = "tls") || !is_of(file, "tls-"));
    files.retain(|file| cfg!(feature = "remote") || !is_of(file, "remote-"));
    assert!(files.len() >= 30);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let wanted = expected(&text);
        assert!(!wanted.is_empty(), "{} does not say what it must be told", file.display());
        let output = run(&file, &["check"], "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{}:\n{said}", file.display());
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said.len(), wanted.len(), "{}:\n{}", file.display(), said.join("\n"));
        for (said, (line, why)) in said.iter().zip(&wanted) {
            let place = format!("{}:{line}: ", file.display());
            assert!(said.starts_with(&place) && said.contains(why), "{}: not {line}: {why}:\n{said}", file.display());
        }
    }
}

#[cfg(not(feature = "remote"))]
#[test]
fn without_the_feature_a_remote_is_refused_with_a_sentence() {
    let scratch = Scratch::new("no-remote");
    let file = scratch.path("mailbell.toml");
    fs::write(&file, "\n[[remote]]\nname = \"work\"\n").unwrap();
    let problems = Config::load(&file).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2]);
    assert!(problems[0].message.contains("built without it (cargo feature `remote`)"), "{problems:?}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_the_feature_the_keys_of_tls_are_refused_with_a_sentence() {
    let scratch = Scratch::new("no-tls");
    let file = scratch.path("mailbell.toml");
    fs::write(&file, "[tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\nrequired_for_auth = true\n").unwrap();
    let problems = Config::load(&file).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 3]);
    assert!(problems.iter().all(|problem| problem.message.contains("built without TLS (cargo feature `tls`)")));
}

const EXAMPLE: &str = include_str!("../packaging/mailbell.toml");

/// The example with every key live: `#key = value` and `#[section]` lose their mark, prose (`# text`) stays.
fn uncommented() -> String {
    // A build without the feature knows no [[remote]].
    let end = if cfg!(feature = "remote") { "" } else { "# One section for each mailbox on another server" };
    let example = if end.is_empty() { EXAMPLE } else { EXAMPLE.split(end).next().unwrap() };
    let live = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    example.lines().map(live).collect::<Vec<_>>().join("\n")
}

fn load(name: &str, text: &str) -> Config {
    let scratch = Scratch::new(name);
    let file = scratch.path("mailbell.toml");
    fs::write(&file, text).unwrap();
    let config = Config::load(&file);
    Config { file: None, ..config.unwrap_or_else(|problems| panic!("{}\n{problems:#?}", text)) }
}

#[test]
fn the_example_as_it_is_says_nothing_but_defaults() {
    assert_eq!(format!("{:?}", load("example", EXAMPLE)), format!("{:?}", load("empty", "")));
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let mut example = load("example", &uncommented());
    // These have no default: they stand for what an administrator would write.
    assert_eq!((example.hooks.len(), example.watches.len()), (1, 1));
    assert_eq!((example.user.as_deref(), example.group.as_deref()), (Some("mailbell"), Some("mail")));
    let mut default = load("empty", "");
    let hook = &example.hooks[0];
    let bare = format!("[[hook]]\nname = {:?}\ncommand = {:?}", hook.name, hook.command);
    default.hooks = load("hook", &bare).hooks;
    default.watches = example.watches.clone();
    #[cfg(feature = "remote")]
    {
        // Each stands for one kind of secret.
        assert_eq!(example.remotes.len(), 3);
        default.remotes = example.remotes.clone();
    }
    (default.user, default.group) = (example.user.clone(), example.group.clone());
    (default.hostname, default.domains) = (example.hostname.clone(), example.domains.clone());
    // Written down, the default path of the aliases must exist.
    example.users.aliases_given = false;
    assert_eq!(format!("{example:#?}"), format!("{default:#?}"));
}

/// A folder in which `check` finds nothing wrong.
fn good(name: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::prepared(name, common::BASIC);
    for name in ["users", "aliases"] {
        fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let file = scratch.path("mailbell.toml");
    (scratch, file)
}

/// Runs `check` and gives its exit code and what it said on standard error, without the folder.
fn check(scratch: &Scratch, arguments: &[&str]) -> (i32, String) {
    let output = run(&scratch.path("mailbell.toml"), &[&["check"], arguments].concat(), "");
    let said = String::from_utf8(output.stderr).unwrap().replace(&format!("{}/", scratch.0.display()), "");
    (output.status.code().unwrap(), said)
}

#[test]
fn check_says_ok_in_one_line_when_nothing_is_wrong() {
    let (_scratch, file) = good("check-ok");
    let output = run(&file, &["check"], "");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}: ok\n", file.display()));
    assert_eq!(output.status.code(), Some(0));
    let output = run(Path::new("/nonexistent"), &["check", "-c", file.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn check_reads_users_and_aliases_too() {
    let (scratch, _) = good("check-users");
    fs::write(scratch.path("users"), "alice:{PLAIN}a\nbob:hunter2\n").unwrap();
    fs::write(scratch.path("aliases"), "a: b\nb: a\nteam: carol\n").unwrap();
    assert_eq!(
        check(&scratch, &[]),
        (
            78,
            "users:2: the secret of \"bob\" has no {SCHEME} in front; there are ARGON2ID, SHA512-CRYPT, SHA256-CRYPT, \
             PLAIN\n\
             aliases:2: \"a\" leads back to itself: a -> b -> a\n\
             aliases:3: \"carol\" is neither a user nor an alias\n"
                .into()
        )
    );
    fs::remove_file(scratch.path("users")).unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 78);
    assert!(said.starts_with("mailbell.toml:9: `users.file`: users: No such file"), "{said}");
}

#[test]
fn check_accepts_the_example() {
    let scratch = Scratch::new("check-example");
    // In a folder of the test's own; where the system's are, this machine may have others' files.
    let text = EXAMPLE.replace("#state = \"/var/lib/mailbell\"", "state = \"state\"");
    let text = text.replace("#root = \"/var/lib/mailbell/mail\"", "root = \"mail\"");
    let text = text.replace("#[[pipe]]\n#path = \"/run/mail/notify\"", "[[pipe]]\npath = \"notify\"");
    fs::write(scratch.path("mailbell.toml"), text).unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 0, "{said}");
    if !Path::new("/etc/mailbell/users").exists() {
        assert_eq!(said, "mailbell.toml: warning: `users.file`: nobody has mail here yet; see `mailbell user add`\n");
    }
}

#[test]
fn what_everybody_can_read_is_a_warning_and_no_failure() {
    let (scratch, _) = good("check-warning");
    fs::set_permissions(scratch.path("users"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = "mailbell.toml:9: warning: `users.file`: everybody can read users: chmod o= it\n";
    assert_eq!(check(&scratch, &[]), (0, said.into()));
}

#[test]
fn a_misspelt_user_of_a_pipe_or_a_hook_is_a_warning() {
    let (scratch, file) = good("check-strangers");
    let text = fs::read_to_string(&file).unwrap();
    let more =
        "users = [\"alise\", \"bob\"]\n[[hook]]\nname = \"x\"\ncommand = [\"/bin/true\"]\nusers = [\"mallory\"]\n";
    fs::write(&file, text + more).unwrap();
    let said = "mailbell.toml:17: warning: `pipe.users`: there is no user \"alise\", so no mail of his; did you mean \"alice\"?\n\
                mailbell.toml:21: warning: `hook.users`: there is no user \"mallory\", so no mail of his\n";
    assert_eq!(check(&scratch, &[]), (0, said.into()));
}

#[test]
fn what_is_in_the_way_of_pipes_and_folders_is_told_at_their_keys() {
    let (scratch, file) = good("check-files");
    fs::write(scratch.path("notify"), "no pipe").unwrap();
    fs::write(scratch.path("mail"), "no folder").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "[[hook]]\nname = \"x\"\ncommand = [\"./no-such-program\"]\n[[watch]]\nuser = \"x\"\nmaildir = \"Maildir\"\n").unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 78);
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), 4, "{said:?}");
    for (said, part) in said.iter().zip([
        "mailbell.toml:6: `mail.root`: mail ",
        "mailbell.toml:16: `pipe.path`: notify is there and is no pipe",
        "mailbell.toml:19: warning: `hook.command`: there is no program no-such-program that can be run",
        "mailbell.toml:22: warning: `watch.maildir`: Maildir is no Maildir yet",
    ]) {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_the_server_s_user_cannot_read_is_told() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not run: needs root to have another user at hand");
    }
    let (scratch, file) = good("check-drop");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(scratch.path("mail")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("state =", "user = \"nobody\"\nstate =", 1)).unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 78);
    for part in [
        "mailbell.toml:7: `mail.root`: mail must be writable for nobody",
        "mailbell.toml:10: `users.file`: users must be readable for nobody",
        "mailbell.toml:11: `users.aliases`: aliases must be readable for nobody",
    ] {
        assert!(said.contains(part), "{said}");
    }
    fs::write(&file, text.replacen("state =", "user = \"no-such-user\"\nstate =", 1)).unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!((code, said.as_str()), (78, "mailbell.toml:4: `user`: the system knows no user \"no-such-user\"\n"));
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_read() {
    let (scratch, file) = good("check-tls");
    let made = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    fs::write(scratch.path("chain.pem"), made.cert.pem()).unwrap();
    fs::write(scratch.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(scratch.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("[smtp]", "[tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n[smtp]", 1))
        .unwrap();
    assert_eq!(check(&scratch, &[]), (0, String::new()));
    fs::write(scratch.path("key.pem"), "").unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 78);
    assert_eq!(said, "mailbell.toml:13: `tls.key`: key.pem: holds no private key in PEM form\n");
}

#[test]
fn online_says_who_has_a_port_and_how_much_is_free() {
    let (scratch, file) = good("check-online");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fs::read_to_string(&file).unwrap().replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    // No domain that the DNS would be asked for.
    fs::write(&file, text.replacen("[\"example.org\"]", "[\"localhost\"]", 1)).unwrap();
    let (code, said) = check(&scratch, &["--online"]);
    assert_eq!(code, 78);
    assert!(said.starts_with("mailbell.toml:12: `smtp.listen`: 127.0.0.1:"), "{said}");
    assert!(said.contains("is taken by configuration-") && said.contains(&std::process::id().to_string()), "{said}");
    drop(taken);
    // A program that another test is starting at this moment has a copy of the socket until its exec(2).
    let output = common::wait_for("the port to be free", || {
        Some(run(&file, &["check", "--online"], "")).filter(|output| output.status.success())
    });
    let notes = String::from_utf8(output.stdout).unwrap();
    assert!(notes.contains("MiB free") && notes.ends_with(": ok\n"), "{notes}");
    fs::write(&file, fs::read_to_string(&file).unwrap().replacen("1MiB", "1000000GiB", 1)).unwrap();
    assert!(check(&scratch, &["--online"]).1.contains("mailbell.toml:7: `mail.min_free`: only "));
}
