//! The configuration as a whole. What single strings mean is tested where it is read; files that must be refused are in
//! `tests/bad-configs/`.

use super::*;
use crate::notify::{Backlog, Format, HookInput, Retry};
use proptest::prelude::*;

const FILE: &str = "/etc/mailbell/mailbell.toml";

fn parse(text: &str) -> Result<Config, Vec<String>> {
    load::parse(Path::new(FILE), text).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// What is said about a text that must be refused, without the file's name.
fn wrong(text: &str) -> Vec<String> {
    let problems = parse(text).map(|_| text).unwrap_err();
    problems.iter().map(|problem| problem.strip_prefix(FILE).unwrap().trim_start_matches(':').to_owned()).collect()
}

fn tcp(text: &str) -> Place {
    Place::Tcp(text.parse().unwrap())
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_empty_file_is_all_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.file.as_deref(), Some(Path::new(FILE)));
    let localhost = "localhost".to_owned();
    assert_eq!(config.domains, Domains::These(vec![config.hostname.clone(), localhost]));
    assert_eq!(config.state, Path::new("/var/lib/mailbell"));
    assert_eq!((config.user, config.group), (None, None));
    assert_eq!(config.mail.root, Path::new("/var/lib/mailbell/mail"));
    assert_eq!(config.mail.file_mode, 0o640);
    assert_eq!((config.mail.compress_after, config.mail.quota, config.mail.min_free), (None, None, 100 << 20));
    assert_eq!(config.users.file, Path::new("/etc/mailbell/users"));
    assert_eq!(config.users.aliases, Path::new("/etc/mailbell/aliases"));
    assert!(!config.users.aliases_given);
    assert_eq!((config.users.catch_all, config.users.subaddress), (None, Some('+')));
    assert_eq!(config.smtp.listen, [tcp("0.0.0.0:25"), tcp("[::]:25")]);
    assert_eq!((config.smtp.max_message_size, config.smtp.max_recipients), (25 << 20, 100));
    assert_eq!(config.smtp.auth, AuthPolicy::Optional);
    assert!(config.submission.is_empty() && config.lmtp.is_empty() && config.proxy_trusted.is_empty());
    assert_eq!(config.metrics, None);
    assert_eq!(config.pop3.listen, [tcp("0.0.0.0:110"), tcp("[::]:110")]);
    assert_eq!((config.pop3.command_timeout, config.pop3.mark_seen), (10 * MINUTE, true));
    assert!(config.tls.pair.is_none() && config.tls.smtps.is_empty() && config.tls.pop3s.is_empty());
    assert!(config.tls.required_for_auth);
    assert_eq!((config.limits.connections, config.limits.connections_per_ip), (512, 32));
    assert_eq!((config.limits.connection_rate_per_ip, config.limits.message_rate_per_ip), (None, None));
    assert_eq!((config.limits.command_timeout, config.limits.session_timeout), (5 * MINUTE, 60 * MINUTE));
    assert_eq!(config.pipes.len(), 1);
    assert_eq!(config.pipes[0].path, Path::new("/run/mail/notify"));
    assert_eq!((&config.pipes[0].format, config.pipes[0].mode), (&Format::Inotify, 0o640));
    assert_eq!(config.pipes[0].backlog, Backlog::All);
    assert!(config.hooks.is_empty() && config.watches.is_empty());
    assert_eq!(config.journal_keep, 30 * 24 * 60 * MINUTE);
}

#[test]
fn every_key_is_read() {
    let text = r#"
        hostname = "Mail.Example.ORG."
        domains = ["example.org", "Example.NET", "[192.0.2.1]"]
        state = "state"
        user = "mailbell"
        group = "mail"
        [mail]
        root = "../mail"
        file_mode = "0600"
        compress_after = "7d"
        quota = "1GiB"
        min_free = "0B"
        [users]
        file = "./users"
        aliases = "/srv/aliases"
        catch_all = "bob"
        subaddress = "-"
        [smtp]
        listen = ["127.0.0.1:0"]
        max_message_size = "10KiB"
        max_recipients = 1_000
        auth = "required"
        [submission]
        listen = ["127.0.0.1:587"]
        [lmtp]
        listen = ["127.0.0.1:24", "run/lmtp.sock"]
        [proxy]
        trusted = ["10.0.0.0/8"]
        [metrics]
        listen = "127.0.0.1:9125"
        [http]
        listen = ["0.0.0.0:9180", "run/http.sock"]
        token_file = "http.token"
        [pop3]
        listen = []
        command_timeout = "20m"
        mark_seen = false
        [tls]
        required_for_auth = false
        [limits]
        connections = 0x10
        connections_per_ip = 1
        connection_rate_per_ip = "10 / 1s"
        message_rate_per_ip = "1000000/1d"
        command_timeout = "1s"
        session_timeout = "2h"
        [[pipe]]
        path = "one"
        format = "{user} {path}"
        mode = "0666"
        users = ["alice"]
        match = { from = "*@bank.example" }
        backlog = "none"
        [[pipe]]
        path = "two"
        backlog = "1d"
        [[hook]]
        name = "archive"
        command = ["bin/on-mail", "--fast"]
        stdin = "event"
        timeout = "5s"
        jobs = 4
        retry = "1s..2s"
        give_up = "1h"
        [[hook]]
        name = "other"
        command = ["curl"]
        [[watch]]
        user = "carol"
        maildir = "/home/carol/Maildir"
        [journal]
        keep = "1d"
    "#;
    #[cfg(not(feature = "http"))]
    let text = &text.replace("[http]", "[metrics]").replacen("[metrics]\n        listen = \"127.0.0.1:9125\"\n", "", 1);
    let config = parse(text).unwrap();
    assert_eq!(config.hostname, "mail.example.org");
    assert_eq!(config.domains, Domains::These(vec!["example.org".into(), "example.net".into(), "[192.0.2.1]".into()]));
    assert_eq!(config.state, Path::new("/etc/mailbell/state"));
    assert_eq!((config.user.as_deref(), config.group.as_deref()), (Some("mailbell"), Some("mail")));
    assert_eq!(config.mail.root, Path::new("/etc/mailbell/../mail"));
    assert_eq!(config.mail.file_mode, 0o600);
    assert_eq!(config.mail.compress_after, Some(7 * 24 * 60 * MINUTE));
    assert_eq!((config.mail.quota, config.mail.min_free), (Some(1 << 30), 0));
    assert_eq!(config.users.file, Path::new("/etc/mailbell/users"));
    assert_eq!(config.users.aliases, Path::new("/srv/aliases"));
    assert!(config.users.aliases_given);
    assert_eq!((config.users.catch_all.as_deref(), config.users.subaddress), (Some("bob"), Some('-')));
    assert_eq!(config.smtp.listen, [tcp("127.0.0.1:0")]);
    assert_eq!((config.smtp.max_message_size, config.smtp.max_recipients), (10_240, 1_000));
    assert_eq!(config.smtp.auth, AuthPolicy::Required);
    assert_eq!(config.submission, [tcp("127.0.0.1:587")]);
    assert_eq!(config.lmtp, [tcp("127.0.0.1:24"), Place::Unix("/etc/mailbell/run/lmtp.sock".into())]);
    assert_eq!(config.proxy_trusted, [Network { address: "10.0.0.0".parse().unwrap(), bits: 8 }]);
    assert_eq!(config.metrics, Some(tcp("127.0.0.1:9125")));
    #[cfg(feature = "http")]
    {
        assert_eq!(config.http.listen, [tcp("0.0.0.0:9180"), Place::Unix("/etc/mailbell/run/http.sock".into())]);
        assert_eq!(config.http.token_file.as_deref(), Some(Path::new("/etc/mailbell/http.token")));
    }
    assert!(config.pop3.listen.is_empty() && !config.pop3.mark_seen);
    assert_eq!(config.pop3.command_timeout, 20 * MINUTE);
    assert!(!config.tls.required_for_auth);
    assert_eq!((config.limits.connections, config.limits.connections_per_ip), (16, 1));
    assert_eq!(config.limits.connection_rate_per_ip, Some(Rate { count: 10, period: MINUTE / 60 }));
    assert_eq!(config.limits.message_rate_per_ip, Some(Rate { count: 1_000_000, period: 24 * 60 * MINUTE }));
    assert_eq!((config.limits.command_timeout, config.limits.session_timeout), (MINUTE / 60, 120 * MINUTE));
    assert_eq!(config.pipes[0].path, Path::new("/etc/mailbell/one"));
    assert!(matches!(config.pipes[0].format, Format::Template(_)));
    assert_eq!((config.pipes[0].mode, config.pipes[0].backlog), (0o666, Backlog::None));
    assert_ne!(config.pipes[0].filter, config.pipes[1].filter);
    assert_eq!(config.pipes[1].backlog, Backlog::Age(24 * 60 * MINUTE));
    assert_eq!(config.hooks[0].command, ["/etc/mailbell/bin/on-mail", "--fast"]);
    assert_eq!((config.hooks[0].stdin, config.hooks[0].timeout), (HookInput::Event, 5 * (MINUTE / 60)));
    let second = MINUTE / 60;
    assert_eq!(config.hooks[0].retry, Retry { jobs: 4, from: second, to: 2 * second, give_up: 60 * MINUTE });
    assert_eq!(config.hooks[1].command, ["curl"]);
    assert_eq!((config.hooks[1].stdin, config.hooks[1].timeout), (HookInput::Message, MINUTE));
    let give_up = 7 * 24 * 60 * MINUTE;
    assert_eq!(config.hooks[1].retry, Retry { jobs: 1, from: MINUTE, to: 360 * MINUTE, give_up });
    assert_eq!(config.watches, [Watch { user: "carol".into(), maildir: "/home/carol/Maildir".into() }]);
    assert_eq!(config.journal_keep, 24 * 60 * MINUTE);
}

#[test]
fn the_star_takes_every_domain() {
    for text in ["domains = \"*\"", "domains = [\"*\"]", "domains = [\"example.org\", \"*\"]"] {
        assert_eq!(parse(text).unwrap().domains, Domains::Any);
    }
}

#[cfg(feature = "http")]
#[test]
fn http_takes_one_place_or_several_and_wants_a_token_where_others_can_reach_it() {
    assert!(parse("[http]\nlisten = \"\"").unwrap().http.listen.is_empty());
    assert!(parse("[http]\nlisten = []").unwrap().http.listen.is_empty());
    for safe in ["\"127.0.0.1:9180\"", "\"[::1]:9180\"", "\"/run/http.sock\"", "[\"127.9.9.9:1\", \"[::1]:1\"]"] {
        assert!(!parse(&format!("[http]\nlisten = {safe}")).unwrap().http.listen.is_empty(), "{safe}");
    }
    for open in ["\"0.0.0.0:9180\"", "\"[::]:9180\"", "[\"127.0.0.1:1\", \"192.0.2.1:1\"]"] {
        let said = wrong(&format!("[http]\nlisten = {open}\ntoken_file = \"\""));
        assert!(said.len() == 1 && said[0].starts_with("2: `http.listen`: other machines"), "{open}: {said:?}");
        assert!(parse(&format!("[http]\nlisten = {open}\ntoken_file = \"t\"")).is_ok(), "{open}");
    }
    let said = wrong("[metrics]\nlisten = \"127.0.0.1:9180\"\n[http]\nlisten = \"127.0.0.1:9180\"");
    assert!(said[0].contains("collides"), "{said:?}");
}

#[test]
fn no_pipe_at_all_is_written_so() {
    assert!(parse("pipe = []").unwrap().pipes.is_empty());
}

#[test]
fn everything_that_is_wrong_is_said_at_once_in_the_order_of_lines() {
    let text = "domians = []\nstate = 5\n[mail]\nquota = \"1GB\"\n\n[smtp]\nlisten = [\n  \"0.0.0.0:25\",\n  \"25\",\n  7,\n]\n\
                [[pipe]]\nmode = \"0640\"\n";
    assert_eq!(
        wrong(text),
        [
            "1: unknown key `domians`; did you mean `domains`?",
            "2: `state` must be a string such as \"/var/lib/mailbell\", not an integer",
            "4: `mail.quota`: \"1GB\" is not a size; did you mean \"1GiB\"?",
            "9: `smtp.listen`: \"25\" is no place to listen at; a port needs an address: \"0.0.0.0:25\" for every IPv4 \
             address, \"[::]:25\" for IPv6",
            "10: `smtp.listen` must be a string such as \"0.0.0.0:25\", not an integer",
            "12: [[pipe]] needs `path`: add path = \"/run/mail/notify\"",
        ]
    );
}

#[test]
fn a_line_that_is_no_toml_is_told_once_and_the_others_are_read_on() {
    let text =
        "state = /var/lib\nhostname = \"a b\"\n[mail]\nfile_mode = 0640\nrot = \"x\"\nroot = \"a\"\nroot = \"b\"\n";
    assert_eq!(
        wrong(text),
        [
            "1: syntax: a string needs quotes around it",
            "2: `hostname`: \"a b\" is not a domain; write letters, digits, dashes and underscores between dots, such as \
             \"mail.example.org\"",
            "4: syntax: a number has no leading zero; a mode is a string: \"0640\"",
            "5: unknown key `mail.rot`; did you mean `mail.root`?",
            "7: syntax: `root` is there already",
        ]
    );
}

#[test]
fn a_key_below_the_wrong_header_is_told_where_it_belongs() {
    assert_eq!(wrong("[mail]\nlisten = []\n")[0], "2: unknown key `mail.listen`; `listen` is a key of [smtp]");
    assert_eq!(
        wrong("[smtp]\nhostname = \"a\"\n")[0],
        "2: unknown key `smtp.hostname`; `hostname` belongs above the first [section]"
    );
    assert_eq!(
        wrong("[journal]\nfoo = 1\n")[0],
        "2: unknown key `journal.foo`; the keys of [journal] are keep, max_size"
    );
}

#[test]
fn a_listener_collides_at_the_line_that_was_written() {
    let text = "[smtp]\nlisten = [\n\"127.0.0.1:25\",\n\"0.0.0.0:25\"]\n";
    assert_eq!(wrong(text), ["4: `smtp.listen`: 0.0.0.0:25 collides with 127.0.0.1:25 of `smtp.listen`"]);
    // The other one is a default and stands nowhere.
    let text = "\n[smtp]\nlisten = [\"127.0.0.1:110\"]\n";
    assert_eq!(wrong(text), ["3: `pop3.listen`: 0.0.0.0:110 collides with 127.0.0.1:110 of `smtp.listen`"]);
}

#[test]
fn embedded_is_all_below_one_folder_on_loopback() {
    let config = Config::embedded(Path::new("data"), "ada");
    let folder = std::env::current_dir().unwrap().join("data");
    assert_eq!(config.file, None);
    assert_eq!(config.domains, Domains::These(vec!["localhost".into()]));
    assert_eq!(config.smtp.listen, [tcp("127.0.0.1:2525")]);
    assert_eq!(config.pop3.listen, [tcp("127.0.0.1:1110")]);
    #[cfg(feature = "http")]
    assert_eq!(config.http, Http { listen: vec![tcp("127.0.0.1:9180")], token_file: None });
    assert_eq!(config.state, folder);
    assert_eq!(config.maildir("ada"), folder.join("mail/ada"));
    assert_eq!(config.journal(), folder.join("journal"));
    assert_eq!(config.users.file, folder.join("users"));
    assert_eq!(config.users.catch_all.as_deref(), Some("ada"));
    assert!(!config.users.aliases_given);
    assert_eq!(config.pipes.iter().map(|pipe| &pipe.path).collect::<Vec<_>>(), [&folder.join("notify")]);
    assert_eq!(config.mail.min_free, 100 << 20);
}

#[test]
fn a_problem_of_a_setting_finds_its_line() {
    let file = std::env::temp_dir().join(format!("mailbell-config-{}.toml", std::process::id()));
    std::fs::write(&file, "\n[users]\ncatch_all = \"x\"\n[[watch]]\nuser = \"a\"\nmaildir = \"b\"\n").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.problem("users.catch_all", "").line, 3);
    assert_eq!(config.problem("watch[0].maildir", "").line, 6);
    assert_eq!(config.problem("mail.root", "no").to_string(), format!("{}: no", file.display()));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let missing = Config::load(Path::new("/nonexistent/mailbell.toml")).unwrap_err();
    assert!(missing[0].to_string().starts_with("/nonexistent/mailbell.toml: cannot be read: "), "{}", missing[0]);
    let endless = Config::load(Path::new("/dev/zero")).unwrap_err();
    assert!(endless[0].message.contains("longer than 1 MiB"));
}

#[test]
fn the_example_leaves_no_key_out() {
    let example = include_str!("../../packaging/mailbell.toml");
    // A build without a feature does not know its section.
    let left_out = [("#[[remote]]", cfg!(feature = "remote")), ("#[[mqtt]]", cfg!(feature = "mqtt"))];
    let parts = example.split("\n# One section for each ");
    let example: String = parts
        .filter(|part| left_out.iter().all(|(section, is_known)| *is_known || !part.contains(section)))
        .map(|part| format!("\n# {part}"))
        .collect();
    let live = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
    let text = example.lines().map(live).collect::<Vec<_>>().join("\n");
    let mut unused = load::unused_keys(Path::new(FILE), &text);
    // One secret is enough; [[remote]] shows the other kinds.
    unused.retain(|key| !matches!(key.as_str(), "relay.password_command" | "relay.token_command"));
    assert_eq!(unused, Vec::<String>::new());
}

/// Lines that are nearly a configuration.
fn nearly() -> impl Strategy<Value = String> {
    let keys =
        "(hostname|domains|state|root|quota|listen|auth|path|format|mode|users|match|name|command|retry|certificate)";
    let value =
        r#"("[a-z0-9./:\[\]{}*-]{0,12}"|[0-9]{1,4}|true|\["x", 1\]|\{ from = "\*" \}|"(all|off|1d|0640|1GiB)")"#;
    let header = r"(\[[a-z]{3,6}\]|\[\[(pipe|hook|watch|remote|mqtt)\]\]|\[(mail|smtp|users|tls|limits|pop3)\])";
    let line = prop_oneof![
        3 => (keys, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => header.prop_map(|header| header),
        1 => "[ -~]{0,20}".prop_map(|text| text),
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_lines_that_it_has(text in prop_oneof![any::<String>(), nearly()]) {
        if let Err(problems) = load::parse(Path::new(FILE), &text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.is_sorted_by_key(|problem| problem.line));
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(problems.iter().all(|problem| problem.line <= lines && !problem.message.contains('\n')));
        }
    }
}

#[test]
fn one_place_under_two_names_is_one_place() {
    let folder = std::env::temp_dir().join(format!("mailbell-config-names-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("run")).unwrap();
    std::fs::create_dir_all(folder.join("mail")).unwrap();
    std::os::unix::fs::symlink("run", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("../home", folder.join("mail/bob")).unwrap();
    let text = "[mail]\nroot = 'D/mail'\n[[pipe]]\npath = 'D/run/n'\n[[pipe]]\npath = 'D/link/n'\n[[pipe]]\npath = 'D/x/../run/n'\n\
                [[watch]]\nuser = 'a'\nmaildir = 'D/run/M'\n[[watch]]\nuser = 'b'\nmaildir = 'D/link/M'\n\
                [[watch]]\nuser = 'c'\nmaildir = 'D/mail/../mail/c'\n[[watch]]\nuser = 'bob'\nmaildir = 'D/home'\n";
    std::fs::create_dir(folder.join("x")).unwrap();
    std::fs::create_dir(folder.join("home")).unwrap();
    let problems = wrong(&text.replace('D', folder.to_str().unwrap()));
    std::fs::remove_dir_all(&folder).unwrap();
    let lines: Vec<&str> = problems.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["6", "8", "14", "17", "20"], "{problems:?}");
}

#[test]
fn thousands_of_watched_maildirs_are_read_and_the_same_one_twice_is_told() {
    // Not each with each: that would take this test minutes.
    let section = |number: usize| format!("[[watch]]\nuser = \"u\"\nmaildir = \"/nonexistent/{number}\"\n");
    let text: String = (0..10_000).map(section).chain([section(4_711)]).collect();
    assert_eq!(wrong(&text), ["30003: `watch.maildir`: is watched already; each message would be two events"]);
}
