//! The manual pages and completions say everything that there is: each configuration key, each field of the event, each
//! command and option of `--help`. No page names what is not there (`links`).

mod common;
#[path = "docs/links.rs"]
mod links;

use common::{Server, wait_for};
use mailbell::journal::record::FIELDS;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `section.key` of every key in the example configuration, those that stand in a comment as `# key = value` included.
fn keys_of_example(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.strip_prefix('#').unwrap_or(line).trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = format!("{}.", name.trim_start_matches('['));
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim();
            if !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_lowercase() || b"_0123456789".contains(&octet))
            {
                keys.insert(format!("{section}{key}"));
            }
        }
    }
    keys
}

/// The same of mailbell.toml(5): its subsections `[section]`, and items within.
fn keys_of_manual(text: &str) -> BTreeSet<String> {
    let mut section = None;
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(".Ss ") {
            section = match name.trim_matches(['[', ']']) {
                "Top of the file" => Some(String::new()),
                inner if name.starts_with('[') => Some(format!("{inner}.")),
                _ => None,
            };
        } else if let (Some(section), Some(key)) = (&section, line.strip_prefix(".It Ic ")) {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}

#[test]
fn the_manual_and_the_example_know_the_same_keys() {
    let manual = keys_of_manual(&read("docs/man/mailbell.toml.5"));
    let example = keys_of_example(&read("packaging/mailbell.toml"));
    assert!(manual.len() > 40, "only {manual:?} were found in the manual");
    let missing: Vec<_> = example.difference(&manual).collect();
    assert!(missing.is_empty(), "in packaging/mailbell.toml and not in mailbell.toml(5): {missing:?}");
    let missing: Vec<_> = manual.difference(&example).collect();
    assert!(missing.is_empty(), "in mailbell.toml(5) and not in packaging/mailbell.toml: {missing:?}");
}

#[test]
fn the_manual_has_every_field_of_the_event_in_its_order() {
    let manual = read("docs/man/mailbell-event.5");
    let items: Vec<_> = manual.lines().filter_map(|line| line.strip_prefix(".It Ic ")).collect();
    assert_eq!(items, FIELDS);
    let variables: Vec<_> = manual.lines().filter_map(|line| line.strip_prefix(".Ev MAILBELL_")).collect();
    let wanted: Vec<_> = FIELDS.iter().map(|field| field.to_ascii_uppercase()).collect();
    assert_eq!(variables[..FIELDS.len()], wanted);
}

/// What a command's help prints.
fn help(command: &[&str]) -> String {
    let output = Command::new(common::binary()).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?} --help: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Words of the help that are options: `-c`, `--json`.
fn options(help: &str) -> BTreeSet<String> {
    let letter = |text: char| text.is_ascii_lowercase() || text == '-';
    help.split(|between: char| !letter(between) && !between.is_ascii_uppercase())
        .filter(|word| match word.strip_prefix("--") {
            Some(long) => !long.is_empty() && long.chars().all(letter),
            None => {
                word.len() == 2
                    && word.starts_with('-')
                    && word.chars().skip(1).all(|letter| letter.is_ascii_alphabetic())
            }
        })
        .map(str::to_owned)
        .collect()
}

const COMMANDS: [&str; 12] =
    ["serve", "check", "user", "watch", "cat", "deliver", "fetch", "test", "replay", "queue", "sendmail", "status"];

#[test]
fn the_manual_and_completions_have_every_command_and_option() {
    // `.It Fl f , r` has two options.
    let manual = read("docs/man/mailbell.1")
        .lines()
        .map(|line| if line.starts_with(".It Fl") { line.replace(" , ", " Fl ") + "\n" } else { format!("{line}\n") })
        .collect::<String>();
    let completions = ["mailbell.bash", "_mailbell", "mailbell.fish"]
        .map(|name| (name, read(&format!("packaging/completions/{name}"))));
    let overview = help(&[]);
    for command in COMMANDS {
        assert!(overview.contains(command), "mailbell --help does not name {command}");
        assert!(manual.contains(&format!("\n.It Cm {command}")), "mailbell(1) has no entry for {command}");
        let help = help(&[command]);
        // Options that do nothing need no completion.
        let useful: String =
            help.lines().filter(|line| !line.contains("change nothing")).map(|line| format!("{line}\n")).collect();
        let useful = options(&useful);
        for option in options(&help) {
            // `Fl -json` is mdoc for --json, `Fl f` for -f.
            let macro_word = format!("Fl {}", &option[1..]);
            assert!(manual.contains(&macro_word), "mailbell(1) does not have {option} of {command}");
            for (name, text) in completions.iter().filter(|_| useful.contains(&option)) {
                let fish = match option.strip_prefix("--") {
                    Some(long) => format!("-l {long}"),
                    None => format!("-s {}", &option[1..]),
                };
                assert!(text.contains(&option) || text.contains(&fish), "{name} does not have {option} of {command}");
            }
        }
    }
}

/// The loop of the README, as it stands there, over a restart of the server.
#[test]
fn the_loop_of_the_readme_goes_on_after_a_restart() {
    let blocks = common::pages::blocks("README.md");
    let shown = &blocks.iter().find(|block| block.text.starts_with("while true")).unwrap().text;
    let server = Server::start("readme-loop");
    let handled = server.path("handled");
    let pipe = server.path("notify");
    let script = format!("handle() {{ echo \"$1\" >> {}; }}\n{shown}", handled.display());
    let script = script.replace("/run/mail/notify", pipe.to_str().unwrap());
    assert!(script.contains(pipe.to_str().unwrap()), "{script}");
    let mut reader = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let lines = |count: usize| {
        wait_for("the loop", || {
            let text = std::fs::read_to_string(&handled).unwrap_or_default();
            (text.lines().count() == count).then(|| text.lines().map(str::to_owned).collect::<Vec<_>>())
        })
    };
    server.send("alice@example.org", "Subject: one\n\nx\n");
    lines(1);
    let server = Server::start_in(server.stop(), &[]);
    server.send("alice@example.org", "Subject: two\n\nx\n");
    let paths = lines(2);
    assert!(paths.iter().all(|path| Path::new(path).is_file()) && paths[0] != paths[1], "{paths:?}");
    reader.kill().unwrap();
    reader.wait().unwrap();
    server.stop();
}

#[test]
fn mandoc_finds_nothing_wrong_where_it_is_installed() {
    for page in ["mailbell.1", "mailbell.toml.5", "mailbell-event.5"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man").join(page);
        // Style messages tell which other manuals this machine has, so only warnings count.
        match Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => panic!("mandoc: {error}"),
        }
    }
}
