//! Configurations on the real binary: files that must be refused, each with its message; and the example, which must
//! have every key with its default.

mod common;

use common::{Scratch, run};
use mailbell::config::Config;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The messages that a bad configuration must get: lines `#! LINE: part of the message` at its head.
fn expected(text: &str) -> Vec<(usize, String)> {
    let wanted = text.lines().map_while(|line| line.strip_prefix("#! "));
    wanted.map(|line| line.split_once(": ").unwrap()).map(|(line, why)| (line.parse().unwrap(), why.into())).collect()
}

#[test]
fn bad_configurations_are_refused_with_place_and_hint() {
    let mut files: Vec<PathBuf> = common::files(&root().join("tests/bad-configs"));
    // Without its feature a section has one and the same answer, which has its own test.
    let built = [
        ("tls-", cfg!(feature = "tls")),
        ("remote-", cfg!(feature = "remote")),
        ("relay-", cfg!(feature = "relay")),
        ("webhook-", cfg!(feature = "webhook")),
        ("mqtt-", cfg!(feature = "mqtt")),
        ("http-", cfg!(feature = "http")),
    ];
    let is_of = |file: &PathBuf, section: &str| file.file_name().unwrap().to_str().unwrap().starts_with(section);
    files.retain(|file| built.iter().all(|(section, is_built)| *is_built || !is_of(file, section)));
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

#[cfg(not(feature = "mqtt"))]
#[test]
fn without_the_feature_a_broker_is_refused_with_a_sentence() {
    let scratch = Scratch::new("no-mqtt");
    let file = scratch.path("mailbell.toml");
    fs::write(&file, "\n[[mqtt]]\nname = \"home\"\n").unwrap();
    let problems = Config::load(&file).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2]);
    assert!(problems[0].message.contains("built without it (cargo feature `mqtt`)"), "{problems:?}");
}

#[cfg(not(feature = "http"))]
#[test]
fn without_the_feature_http_is_refused_with_a_sentence() {
    let scratch = Scratch::new("no-http");
    let file = scratch.path("mailbell.toml");
    fs::write(&file, "\n[http]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"\"\n").unwrap();
    let problems = Config::load(&file).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3]);
    assert!(problems[0].message.contains("built without it (cargo feature `http`)"), "{problems:?}");
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
    // A build without a feature does not know its section.
    let left_out = [
        ("#[[remote]]", cfg!(feature = "remote")),
        ("#[[mqtt]]", cfg!(feature = "mqtt")),
        ("#[[webhook]]", cfg!(feature = "webhook")),
    ];
    let parts = EXAMPLE.split("\n# One section for each ");
    let example: String = parts
        .filter(|part| left_out.iter().all(|(section, is_known)| *is_known || !part.contains(section)))
        .map(|part| format!("\n# {part}"))
        .collect();
    // Nor does one without that feature know [relay].
    let (before, rest) = example.split_once("# Where mail to other domains goes: a smarthost").unwrap();
    let after = rest.find("# One section for each ").map_or("", |at| &rest[at..]);
    let example = if cfg!(feature = "relay") { example.clone() } else { format!("{before}{after}") };
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
    #[cfg(feature = "relay")]
    {
        let bare = "[relay]\nhost = \"smtp.example.com\"\nlogin = \"me@example.com\"\n\
                    password_file = \"/etc/mailbell/relay.pw\"\n";
        default.relay = load("relay", bare).relay;
    }
    #[cfg(feature = "mqtt")]
    {
        let mqtt = &example.mqtts[0];
        assert_eq!((example.mqtts.len(), mqtt.login.as_deref()), (1, Some("mailbell")));
        let bare = format!("[[mqtt]]\nname = {:?}\nurl = \"mqtts://{}\"", mqtt.name, mqtt.host);
        let bare = load("mqtt", &bare).mqtts.remove(0);
        let (login, password_file) = (mqtt.login.clone(), mqtt.password_file.clone());
        // The client id depends on the host name.
        default.mqtts =
            vec![mailbell::notify::MqttSettings { login, password_file, client_id: mqtt.client_id.clone(), ..bare }];
    }
    #[cfg(feature = "webhook")]
    {
        let (name, url) = ("app", "https://app.example/new-mail");
        default.webhooks = load("webhook", &format!("[[webhook]]\nname = {name:?}\nurl = {url:?}")).webhooks;
    }
    #[cfg(feature = "remote")]
    {
        // Each stands for one kind of secret.
        assert_eq!(example.remotes.len(), 3);
        default.remotes = example.remotes.clone();
    }
    (default.user, default.group) = (example.user.clone(), example.group.clone());
    (default.hostname, default.domains) = (example.hostname.clone(), example.domains.clone());
    // A path of the aliases that is written in the file must exist, even the default one.
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
    // In a folder of the test: this machine may have files at the default paths.
    let text = EXAMPLE.replace("#state = \"/var/lib/mailbell\"", "state = \"state\"");
    let text = text.replace("#root = \"/var/lib/mailbell/mail\"", "root = \"mail\"");
    let text = text.replace("#[[pipe]]\n#path = \"/run/mail/notify\"", "[[pipe]]\npath = \"notify\"");
    fs::write(scratch.path("mailbell.toml"), text).unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 0, "{said}");
    if !Path::new("/etc/mailbell/users").exists() {
        assert_eq!(
            said,
            "mailbell.toml: warning: `users.file`: there is no account yet; add one with `mailbell user add NAME`\n"
        );
    }
}

#[test]
fn a_file_that_everybody_can_read_is_a_warning() {
    let (scratch, _) = good("check-warning");
    fs::set_permissions(scratch.path("users"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = "mailbell.toml:9: warning: `users.file`: everybody can read users: chmod o= it\n";
    assert_eq!(check(&scratch, &[]), (0, said.into()));
}

/// The lines of `check` that are about pipes' lines.
fn warnings_of_lines(name: &str, root: &str, pipe: &str) -> String {
    let (scratch, file) = good(name);
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("root = \"mail\"", &format!("root = \"{root}\"")).replace("path = \"notify\"", pipe);
    fs::write(&file, text).unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 0, "{said}");
    said
}

#[test]
fn white_space_in_the_path_of_the_mail_is_a_warning() {
    let said = warnings_of_lines("check-blank", "my mail", "path = \"notify\"");
    assert!(said.contains(": warning: `mail.root`: ") && said.contains("has white space in it"), "{said}");
    assert_eq!(warnings_of_lines("check-blank-json", "my mail", "path = \"notify\"\nformat = \"json\""), "");
}

#[test]
fn free_text_before_the_path_in_a_template_is_a_warning() {
    let said = warnings_of_lines("check-order", "mail", "path = \"notify\"\nformat = \"{user} {subject} {path}\"");
    assert!(said.contains(": warning: `pipe.format`: {subject} stands before {path}: "), "{said}");
    let said = warnings_of_lines("check-order-path", "mail", "path = \"notify\"\nformat = \"{user} {path} {subject}\"");
    assert_eq!(said, "");
}

#[test]
fn a_misspelt_user_of_a_pipe_or_a_hook_is_a_warning() {
    let (scratch, file) = good("check-strangers");
    let text = fs::read_to_string(&file).unwrap();
    let more =
        "users = [\"alise\", \"bob\"]\n[[hook]]\nname = \"x\"\ncommand = [\"/bin/true\"]\nusers = [\"mallory\"]\n";
    fs::write(&file, text + more).unwrap();
    let said = "mailbell.toml:17: warning: `pipe.users`: there is no user \"alise\", so no mail matches; did you mean \"alice\"?\n\
                mailbell.toml:21: warning: `hook.users`: there is no user \"mallory\", so no mail matches\n";
    assert_eq!(check(&scratch, &[]), (0, said.into()));
}

#[test]
fn faults_of_pipes_and_folders_are_reported_at_their_keys() {
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
        "mailbell.toml:16: `pipe.path`: notify exists and is not a FIFO",
        "mailbell.toml:19: warning: `hook.command`: there is no program no-such-program that can be run",
        "mailbell.toml:22: warning: `watch.maildir`: Maildir is no Maildir yet",
    ]) {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn files_that_the_servers_user_cannot_read_are_reported() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root");
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

/// A folder in which a certificate and a key, from these texts, are the only thing that may be wrong.
#[cfg(feature = "tls")]
fn with_certificate(name: &str, certificate: &str, key: &str) -> Scratch {
    let (scratch, file) = good(name);
    fs::write(scratch.path("chain.pem"), certificate).unwrap();
    fs::write(scratch.path("key.pem"), key).unwrap();
    fs::set_permissions(scratch.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let section = "[tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n[smtp]";
    fs::write(&file, text.replacen("[smtp]", section, 1)).unwrap();
    scratch
}

#[cfg(feature = "tls")]
#[test]
fn certificates_that_cannot_be_used_are_refused_in_words() {
    let read = |name: &str| fs::read_to_string(root().join("tests/certificates").join(name)).unwrap();
    let (good, key) = (read("p256.pem"), read("p256.key"));
    let other = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    let damaged = |text: &str| text.replacen("\nM", "\n*", 1);
    let cases: &[(&str, String, String, &str, &str)] = &[
        (
            "version-1",
            read("version-1.pem"),
            key.clone(),
            "certificate",
            "chain.pem: the certificate has X.509 version 1",
        ),
        (
            "p521",
            read("p521.pem"),
            key.clone(),
            "certificate",
            "chain.pem: the certificate is for a key on the curve P-521",
        ),
        (
            "rsa",
            read("rsa8192.pem"),
            key.clone(),
            "certificate",
            "chain.pem: the certificate is for an RSA key with 8192 bits",
        ),
        ("encrypted", good.clone(), read("encrypted.key"), "key", "key.pem: the private key is encrypted"),
        (
            "traditional",
            good.clone(),
            read("encrypted-traditional.key"),
            "key",
            "key.pem: the private key is encrypted",
        ),
        (
            "other",
            good.clone(),
            other.signing_key.serialize_pem(),
            "key",
            "key.pem: this private key does not belong to",
        ),
        ("empty", good.clone(), String::new(), "key", "key.pem: holds no private key in PEM form"),
        ("swapped", key.clone(), good.clone(), "certificate", "chain.pem: holds no certificate in PEM form"),
        ("damaged", damaged(&good), key.clone(), "certificate", "chain.pem: damaged PEM: a line is not base64"),
        ("damaged-key", good.clone(), damaged(&key), "key", "key.pem: damaged PEM: a line is not base64"),
        ("no-end", good.replace("-----END", ""), key.clone(), "certificate", "chain.pem: damaged PEM: "),
    ];
    for (name, certificate, key, blamed, why) in cases {
        let scratch = with_certificate(&format!("check-tls-{name}"), certificate, key);
        let (code, said) = check(&scratch, &[]);
        assert_eq!(code, 78, "{name}: {said}");
        let line = if *blamed == "key" { 13 } else { 12 };
        assert!(said.starts_with(&format!("mailbell.toml:{line}: `tls.{blamed}`: {why}")), "{name}: {said}");
        // Not how Rust prints a value.
        assert!(!said.contains("Error(") && !said.contains("Invalid") && !said.contains(" { "), "{name}: {said}");
        let output = run(&scratch.path("mailbell.toml"), &["serve"], "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && said.contains(why), "{name}: {said}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_certificate_that_clients_refuse_is_a_warning() {
    let made = |from: (i32, u8, u8), to: (i32, u8, u8)| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wanted = rcgen::CertificateParams::new(["mail.example.org".to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        wanted.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        (wanted.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    for (name, (certificate, key), why) in [
        ("valid", made((2020, 1, 1), (2999, 1, 1)), ""),
        ("expired", made((2020, 1, 1), (2021, 2, 3)), "the certificate expired on 2021-02-03"),
        ("future", made((2998, 4, 5), (2999, 1, 1)), "the certificate is not valid before 2998-04-05"),
    ] {
        let scratch = with_certificate(&format!("check-tls-{name}"), &certificate, &key);
        let file = scratch.path("mailbell.toml");
        let output = run(&file, &["check"], "");
        let (said, told) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
        assert_eq!(output.status.code(), Some(0), "{said}");
        if why.is_empty() {
            assert_eq!((said.as_str(), told), ("", format!("{}: ok\n", file.display())));
            continue;
        }
        assert!(said.contains(":12: warning: `tls.certificate`: ") && said.contains(why), "{said}");
        assert_eq!(told, format!("{}: ok, with warnings\n", file.display()));
        // Mail goes on: most servers that send do not look at the date.
        let server = common::Server::start_in(scratch, &[]);
        assert!(server.log().contains(why), "{}", server.log());
        server.stop();
    }
}

#[test]
fn a_folder_that_cannot_be_made_safe_is_told() {
    let (scratch, file) = good("check-fsync");
    // The file system of /proc answers fsync(2) of a folder with EINVAL, as some network file systems do.
    let text = fs::read_to_string(&file).unwrap().replacen("root = \"mail\"", "root = \"/proc/fs\"", 1);
    fs::write(&file, text).unwrap();
    let (code, said) = check(&scratch, &[]);
    assert_eq!(code, 78, "{said}");
    assert!(
        said.contains(
            "mailbell.toml:6: `mail.root`: /proc/fs: the file system cannot sync a folder (fsync: Invalid argument"
        ),
        "{said}"
    );
}

#[test]
fn online_names_the_program_that_has_a_port_and_the_free_space() {
    let (scratch, file) = good("check-online");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fs::read_to_string(&file).unwrap().replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    // A domain for which the DNS is not asked.
    fs::write(&file, text.replacen("[\"example.org\"]", "[\"localhost\"]", 1)).unwrap();
    // A program that another test is starting at this moment has a copy of the socket until exec(2).
    let this_program = format!("(pid {})", std::process::id());
    let said = common::wait_for("this program to be the only one with the port", || {
        let (code, said) = check(&scratch, &["--online"]);
        assert_eq!(code, 78);
        Some(said).filter(|said| said.contains("is taken by configuration-") && said.contains(&this_program))
    });
    assert!(said.starts_with("mailbell.toml:12: `smtp.listen`: 127.0.0.1:"), "{said}");
    drop(taken);
    let output = common::wait_for("the port to be free", || {
        Some(run(&file, &["check", "--online"], "")).filter(|output| output.status.success())
    });
    let notes = String::from_utf8(output.stdout).unwrap();
    assert!(notes.contains("MiB free") && notes.ends_with(": ok\n"), "{notes}");
    fs::write(&file, fs::read_to_string(&file).unwrap().replacen("1MiB", "1000000GiB", 1)).unwrap();
    assert!(check(&scratch, &["--online"]).1.contains("mailbell.toml:7: `mail.min_free`: only "));
}
