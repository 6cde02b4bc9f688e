//! Configurations on the real binary: files that must be refused, each with the sentence that it must get, and the
//! example that must never rot.

mod common;

use common::{Scratch, run};
use mailbell::config::Config;
use std::fs;
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
    // Without TLS every key of [tls] has one and the same answer, which has its own test.
    files.retain(|file| cfg!(feature = "tls") || !file.file_name().unwrap().to_str().unwrap().starts_with("tls-"));
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
    let live = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(live).collect::<Vec<_>>().join("\n")
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
    (default.user, default.group) = (example.user.clone(), example.group.clone());
    (default.hostname, default.domains) = (example.hostname.clone(), example.domains.clone());
    // Written down, the default path of the aliases must exist.
    example.users.aliases_given = false;
    assert_eq!(format!("{example:#?}"), format!("{default:#?}"));
}
