//! Checks which module imports which: rooms only from lower floors of the map in `src/lib.rs` or from a named sibling, and
//! files of one room without cycles.

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
    ("http", "message"),
    ("http", "script"),
    ("sasl", "message"),
    ("mqtt", "message"),
    ("mqtt", "script"),
    ("message", "limits"),
    ("ledger", "journal"),
    ("ledger", "maildir"),
    ("content", "journal"),
    ("notify", "content"),
    ("notify", "journal"),
    ("notify", "maildir"),
    ("queue", "maildir"),
    ("queue", "sys"),
    ("notify", "net"),
    ("accounts", "config"),
    ("accounts", "net"),
    ("accounts", "sys"),
    ("config", "net"),
    ("journal", "sys"),
    ("maildir", "sys"),
    ("net", "sys"),
    ("notify", "sys"),
    ("config", "notify"),
    ("smtpd", "delivery"),
    ("smtpd", "service"),
    ("smtpd", "send"),
    ("pop3d", "service"),
    ("httpd", "service"),
    ("service", "delivery"),
    ("arrivals", "delivery"),
    ("fetch", "delivery"),
    ("send", "delivery"),
    ("send", "service"),
    ("service", "fetch"),
    ("cli", "server"),
];

/// Files that import each other, directly or by way of others, by the paths of their modules. New ones fail; one that is
/// mended is taken out.
const FILES_IN_CYCLES: &[&str] = &[];

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

/// A file's code without its comments and without the test module at its foot.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every path in the code that begins with `start`, groups in braces taken apart: `crate::a::{b, c::D}` is `a::b`, `a::c::D`.
fn paths(code: &str, start: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(start) {
        // `super::super::x` is one path, and `xsuper::` is none.
        let before = code[..at].chars().next_back();
        if before.is_none_or(|letter| !(letter.is_alphanumeric() || letter == '_' || letter == ':')) {
            expand(&code[at + start.len()..], "", &mut found);
        }
    }
    found
}

/// Takes one path apart, from after its `::`; gives what follows it.
fn expand<'a>(mut rest: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    if let Some(group) = rest.strip_prefix('{') {
        rest = group;
        loop {
            rest = expand(rest.trim_start(), prefix, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => rest = more,
                Some(end) => return end.trim_start().strip_prefix('}').unwrap_or(""),
                None => return rest.strip_prefix('}').unwrap_or(""),
            }
        }
    }
    let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
    let path = format!("{prefix}{}", &rest[..end]);
    rest = &rest[end..];
    if let Some(more) = rest.strip_prefix("::") {
        return expand(more, &format!("{path}::"), found);
    }
    found.push(path);
    let alias = rest
        .strip_prefix(" as ")
        .map(|alias| alias.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_'));
    alias.unwrap_or(rest)
}

/// Every `crate::ROOM` in a file's code.
fn imports(text: &str) -> BTreeSet<String> {
    let rooms = paths(&code(text), "crate::").into_iter();
    rooms.map(|path| path.split("::").next().unwrap().to_owned()).filter(|name| !name.is_empty()).collect()
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

/// The path of a file's module: `notify::pipe`; the file of a room itself is the room.
fn module(src: &Path, file: &Path) -> String {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let names: Vec<_> = path.components().map(|name| name.as_os_str().to_str().unwrap()).collect();
    names.strip_suffix(&["mod"]).unwrap_or(&names).join("::")
}

/// Which files name which other files of the same room. A file and the one above it may name each other.
fn files_named_by_files(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    sources(src, &mut files);
    let modules: BTreeSet<_> = files.iter().map(|file| module(src, file)).collect();
    let mut edges = BTreeMap::new();
    for file in &files {
        let (here, text) = (module(src, file), code(&fs::read_to_string(file).unwrap()));
        if here.ends_with("tests") || here.ends_with("testing") {
            continue;
        }
        let mut named: BTreeSet<String> = paths(&text, "crate::").into_iter().collect();
        for path in paths(&text, "super::") {
            let (mut base, mut path) = (here.rsplit_once("::").map_or("", |(above, _)| above), path.as_str());
            while let Some(more) = path.strip_prefix("super::") {
                (base, path) = (base.rsplit_once("::").map_or("", |(above, _)| above), more);
            }
            named.insert(if base.is_empty() { path.to_owned() } else { format!("{base}::{path}") });
        }
        let mut others = BTreeSet::new();
        for path in named {
            // The longest part of the path that is a file.
            let mut path = path.as_str();
            while !modules.contains(path) {
                let Some((above, _)) = path.rsplit_once("::") else { break };
                path = above;
            }
            let is_line = here.starts_with(&format!("{path}::")) || path.starts_with(&format!("{here}::"));
            let same_room = here.split("::").next() == path.split("::").next();
            if modules.contains(path) && same_room && path != here && !is_line {
                others.insert(path.to_owned());
            }
        }
        edges.insert(here, others);
    }
    edges
}

#[test]
fn files_of_a_room_make_no_cycle() {
    let edges = files_named_by_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 50, "hardly any imports were found: {edges:#?}");
    let mut in_cycles = Vec::new();
    for start in edges.keys() {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            next.extend(edges.get(file).into_iter().flatten().filter(|other| reached.insert((*other).clone())));
        }
        if reached.contains(start) {
            in_cycles.push(start.as_str());
        }
    }
    assert_eq!(
        in_cycles, FILES_IN_CYCLES,
        "left: files that import each other; right: those that FILES_IN_CYCLES allows"
    );
}

#[test]
fn paths_are_taken_apart() {
    let found = |text: &str| paths(&code(text), "crate::").join(" ");
    assert_eq!(
        found("use crate::{a, b::{self, C as D, e::F}, g};\nlet x = crate::h::i(1);"),
        "a b::self b::C b::e::F g h::i"
    );
    assert_eq!(found("// crate::no\nuse crate::a::*;"), "a::");
    assert_eq!(paths("super::super::x::Y", "super::"), ["super::x::Y"]);
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
