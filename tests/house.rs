//! Holds the floors of the house: who may import whom. The table is read from the map in `src/lib.rs` itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports between rooms on one floor, as named in `src/lib.rs` beside each floor's list.
const SIBLINGS: &[(&str, &str)] = &[
    ("smtp", "message"),
    ("smtp", "limits"),
    ("smtp", "sasl"),
    ("smtp", "script"),
    ("pop3", "message"),
    ("pop3", "sasl"),
    ("pop3", "script"),
    ("pop3", "limits"),
    ("imap", "message"),
    ("imap", "sasl"),
    ("imap", "script"),
    ("sasl", "message"),
    ("message", "limits"),
    ("ledger", "journal"),
    ("ledger", "maildir"),
    ("notify", "journal"),
    ("notify", "maildir"),
    ("notify", "sys"),
    ("accounts", "config"),
    ("accounts", "net"),
    ("accounts", "sys"),
    ("config", "net"),
    ("journal", "sys"),
    ("net", "sys"),
    ("notify", "sys"),
    ("config", "notify"),
    ("smtpd", "delivery"),
    ("smtpd", "service"),
    ("pop3d", "service"),
    ("service", "delivery"),
    ("arrivals", "delivery"),
    ("fetch", "delivery"),
    ("service", "fetch"),
    ("cli", "server"),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), found);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            found.push(entry.path());
        }
    }
}

/// The room that a file belongs to: the first part of its path below `src/`.
fn room(src: &Path, file: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Every `crate::ROOM` in a file's code; test modules at its foot may look wherever they like.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.extend([std::mem::take(&mut name)]),
                    _ if depth == 0 => name.push(letter),
                    _ => {}
                }
            }
            found.insert(name);
        } else {
            found.insert(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect());
        }
    }
    found.into_iter().map(|name| name.trim().split("::").next().unwrap().to_owned()).filter(|n| !n.is_empty()).collect()
}

fn floors(lib: &str) -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! floor ")) {
        let (floor, rest) = line.split_once(' ').unwrap();
        let names = rest.trim().split("    ").next().unwrap();
        for name in names.split_whitespace() {
            floors.insert(name.to_owned(), floor.parse().unwrap());
        }
    }
    floors
}

#[test]
fn rooms_import_only_from_below_or_from_a_named_sibling() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let floors = floors(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let mut used = BTreeSet::new();
    for file in files {
        let from = room(&src, &file);
        // Tests may look wherever they like.
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let is_test = stem.ends_with("_tests") || stem == "testing";
        if from == "lib" || from == "main" || stem == "tests" {
            continue;
        }
        let here = *floors.get(&from).unwrap_or_else(|| panic!("{from} has no floor on the map in src/lib.rs"));
        seen.insert(from.clone());
        for to in imports(&fs::read_to_string(&file).unwrap()) {
            let there = *floors.get(&to).unwrap_or_else(|| panic!("{}: crate::{to} is not a room", file.display()));
            let sibling = here == there && SIBLINGS.contains(&(&from, &to));
            used.insert((from.clone(), to.clone()));
            if from != to && there >= here && !sibling && !is_test {
                wrong.push(format!("{} (floor {here}) imports {to} (floor {there})", file.display()));
            }
        }
    }
    assert!(seen.len() > 12, "only {} rooms found", seen.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (from, to) in SIBLINGS {
        assert!(used.contains(&((*from).to_owned(), (*to).to_owned())), "no file of {from} imports {to} any more");
    }
}

#[test]
fn siblings_make_no_cycle() {
    // Depth-first from every room; a path that comes back to its start is a cycle.
    fn reaches(from: &str, to: &str, depth: usize) -> bool {
        depth < SIBLINGS.len() && SIBLINGS.iter().any(|&(a, b)| a == from && (b == to || reaches(b, to, depth + 1)))
    }
    for (room, _) in SIBLINGS {
        assert!(!reaches(room, room, 0), "{room} imports itself by way of its siblings");
    }
}

#[test]
fn only_sys_is_unsafe() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            file.parent().is_some_and(|folder| folder.ends_with("src/sys")) || !text.contains("allow(unsafe_code)"),
            "{} allows unsafe code",
            file.display()
        );
    }
}
