//! The folder in which a block is run: its settings, and everything that they name, made as `check` wants it.

use crate::common::{self, Scratch, pages};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Settings that a block replaces key by key.
const BASE: &str = r#"
hostname = "mail.example.org"
domains = ["example.org", "localhost"]
state = "state"
[mail]
root = "mail"
min_free = "1MiB"
[users]
file = "users"
aliases = "aliases"
[smtp]
listen = ["127.0.0.1:0"]
[pop3]
listen = ["127.0.0.1:0"]
[http]
listen = "127.0.0.1:0"
[[pipe]]
path = "/run/mail/notify"
"#;
const USERS: [&str; 10] = ["alice", "bob", "carol", "anna", "cam", "printer", "support", "ups", "nas", "dave"];
/// Folders that a page may name, which are folders of the test here.
const FOLDERS: [&str; 7] = ["/etc/", "/run/", "/srv/", "/var/", "/usr/local/", "/home/", "/backup"];

/// The secret of a webhook.
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

/// A file of settings, or a part of one, by its sections: (header, lines).
fn sections(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found = vec![(String::new(), Vec::new())];
    for line in text.lines() {
        if line.starts_with('[') {
            found.push((line.split('#').next().unwrap().trim().to_owned(), Vec::new()));
        } else {
            found.last_mut().unwrap().1.push(line.to_owned());
        }
    }
    found
}

fn key(line: &str) -> &str {
    line.split('=').next().unwrap().trim()
}

/// `BASE` with the keys of a block in place of its own.
fn merged(block: &str) -> String {
    let mut all = sections(block);
    for (header, lines) in sections(BASE) {
        let is_list = header.starts_with("[[");
        match all.iter_mut().find(|(name, _)| *name == header) {
            Some(_) if is_list => {}
            Some((_, there)) => {
                let missing = |line: &&String| !there.iter().any(|other| key(other) == key(line));
                let missing: Vec<_> = lines.iter().filter(missing).cloned().collect();
                there.splice(0..0, missing);
            }
            None => all.push((header, lines)),
        }
    }
    let text = |(header, lines): &(String, Vec<String>)| format!("{header}\n{}\n", lines.join("\n"));
    all.iter().map(text).collect()
}

/// The folder of a block's test. The server, or the test, owns the folder itself.
pub struct Place {
    pub folder: PathBuf,
    /// What stands in the block for a port or an address, and what is there instead.
    pub ports: BTreeMap<String, String>,
}

impl Place {
    pub fn new(settings: &str, ports: BTreeMap<String, String>) -> (Place, Scratch) {
        let scratch = Scratch::prepared("guide", "");
        let place = Place { folder: scratch.0.clone(), ports };
        for folder in ["bin", "root/run/mail", "root/usr/local/bin", "mail", "state"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        let users: String = USERS.iter().map(|user| format!("{user}:{{PLAIN}}secret-{}\n", &user[..1])).collect();
        fs::write(place.path("users"), users).unwrap();
        // The folder of the embedded default.
        symlink(".", place.path("mailbell-data")).unwrap();
        symlink("root/run/mail/notify", place.path("notify")).unwrap();
        symlink(common::binary(), place.path("bin/mailbell")).unwrap();
        symlink(pages::root().join("target/peers/node_modules"), place.path("node_modules")).unwrap();
        let settings = place.ports(&place.inside(&merged(settings)));
        // The server stays as it was started.
        let own = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words != ["user", "=", "\"mailbell\""] && words != ["group", "=", "\"mail\""]
        };
        let settings: String = settings.lines().filter(own).map(|line| format!("{line}\n")).collect();
        place.make_what_is_named(&settings);
        fs::write(place.path("mailbell.toml"), settings).unwrap();
        (place, scratch)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text with paths of this folder.
    pub fn inside(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for folder in FOLDERS {
            for before in ["\"", " ", "'", "@", "<", ">", "(", "=", ":"] {
                let there = format!("{before}{}{folder}", self.path("root").display());
                text = text.replace(&format!("{before}{folder}"), &there);
            }
        }
        text
    }

    /// Files and folders that settings name: each is made as `check` wants it.
    fn make_what_is_named(&self, settings: &str) {
        let root = self.path("root").display().to_string();
        for line in settings.lines() {
            for quoted in line.split('"').skip(1).step_by(2) {
                let path = quoted.trim_start_matches('@');
                if !path.starts_with(&root) {
                    continue;
                }
                let path = Path::new(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let key = key(line);
                if key == "command" {
                    self.program(path, "#!/bin/sh\n");
                } else if key.ends_with("_file") || quoted.starts_with('@') {
                    fs::write(path, if key == "secret_file" { SIGNING } else { "secret\n" }).unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
                } else if ["certificate", "key", "ca"].contains(&key) {
                    let from = if key == "key" { "p256.key" } else { "p256.pem" };
                    fs::copy(pages::root().join("tests/certificates").join(from), path).unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
                } else if key == "maildir" {
                    ["tmp", "new", "cur"].iter().for_each(|name| fs::create_dir_all(path.join(name)).unwrap());
                } else if key == "file" {
                    fs::copy(self.path("users"), path).unwrap();
                } else if key == "aliases" {
                    fs::copy(self.path("aliases"), path).unwrap();
                }
            }
        }
    }

    /// Not written by this process: a program that another thread starts could hold the descriptor, and then it cannot be run.
    pub fn program(&self, path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let write = "printf '%s' \"$1\" > \"$0\" && chmod +x \"$0\"";
        assert!(Command::new("sh").args(["-c", write]).arg(path).arg(text).status().unwrap().success());
    }

    pub fn ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// `PATH` with our own programs first.
    pub fn path_variable(&self) -> String {
        format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap())
    }
}
