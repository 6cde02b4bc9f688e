//! aliases(5) as it is read: `name: target, target`, comments, continuation lines, quoted names, `:include:`. A name may
//! have a domain (`info@b.example`) or be one alone (`@b.example`, the catch-all of a domain).
//!
//! Knows no user and no domain of this server: `expand` follows the targets.

use crate::config::Problem;
use crate::message::idn;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    /// The local part, in lower case; empty for a catch-all (`@b.example`).
    pub(super) name: String,
    /// The domain that it is for, in lower case and A-labels; `None`: for every domain of this server.
    pub(super) domain: Option<String>,
    pub(super) place: Place,
    pub(super) targets: Vec<Target>,
}

impl Alias {
    /// As the file has it, but for case and spelling of the domain.
    pub(super) fn shown(&self) -> String {
        self.domain.as_ref().map_or_else(|| self.name.clone(), |domain| format!("{}@{domain}", self.name))
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

impl Place {
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line: self.line, message: message.into() }
    }
}

/// One address of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As it is written, quotes resolved: a local part, or an address.
    pub(super) text: String,
    /// `\name`: the user of that name, not an alias.
    pub(super) exact: bool,
    pub(super) place: Place,
}

/// Reads the text of the file. Gives every alias without errors, and all problems.
pub(super) fn parse(file: &Path, text: &str) -> (Vec<Alias>, Vec<Problem>) {
    let mut reading =
        Reading { file, aliases: Vec::new(), problems: Vec::new(), first_lines: HashMap::new(), told: false };
    // The continuation lines of an alias with an error are skipped.
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let place = Place { file: file.to_owned(), line: index + 1 };
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if content.len() == line.len() {
            open = reading.begin(line, place);
        } else if open {
            reading.targets(content, place);
        } else if reading.aliases.is_empty() {
            reading.problems.push(place.problem("begins with a space, so it continues a line that is not there"));
        }
    }
    reading.end();
    (reading.aliases, reading.problems)
}

struct Reading<'a> {
    file: &'a Path,
    aliases: Vec<Alias>,
    problems: Vec<Problem>,
    first_lines: HashMap<String, usize>,
    /// A problem of the latest alias was reported.
    told: bool,
}

impl Reading<'_> {
    /// The first line of an alias; false when it is none.
    fn begin(&mut self, line: &str, place: Place) -> bool {
        self.end();
        let name = word(line, ':').and_then(|(name, rest)| Some((name, rest.trim_start().strip_prefix(':')?)));
        let Some((name, rest)) = name else {
            self.problems.push(place.problem("is not `name: target, target`"));
            return false;
        };
        let (name, domain) = match name.rsplit_once('@') {
            Some((local, domain)) => (local.to_lowercase(), Some(idn::canonical(domain))),
            None => (name.to_lowercase(), None),
        };
        let alias = Alias { name, domain, place: place.clone(), targets: Vec::new() };
        let shown = alias.shown();
        if shown.is_empty() || alias.domain.as_deref() == Some("") {
            let message = format!("{shown:?} is neither a local part nor an address, which is what an alias names");
            self.problems.push(place.problem(message));
            return false;
        }
        match self.first_lines.get(&shown) {
            Some(first) => {
                self.problems.push(place.problem(format!("{shown:?} is there already, in line {first}")));
            }
            None => drop(self.first_lines.insert(shown, place.line)),
        }
        self.aliases.push(alias);
        self.told = false;
        self.targets(rest, place);
        true
    }

    /// The latest alias is complete.
    fn end(&mut self) {
        if let Some(alias) = self.aliases.last()
            && alias.targets.is_empty()
            && !std::mem::replace(&mut self.told, true)
        {
            self.problems.push(alias.place.problem(format!("{:?} has no target", alias.shown())));
        }
    }

    /// Adds the targets of one line to the latest alias.
    fn targets(&mut self, line: &str, place: Place) {
        let read = targets(line, &place).and_then(|found| {
            let mut all = Vec::new();
            for (text, exact) in found {
                match text.strip_prefix(":include:") {
                    Some(list) => all.extend(self.include(list, &place)?),
                    None => all.push(Target { text, exact, place: place.clone() }),
                }
            }
            Ok(all)
        });
        match (read, self.aliases.last_mut()) {
            (Ok(targets), Some(alias)) => alias.targets.extend(targets),
            (Err(problem), _) => {
                self.told = true;
                self.problems.push(problem);
            }
            // Only an alias that was begun has targets.
            (Ok(_), None) => {}
        }
    }

    /// The targets of a list file. It must be beside the aliases, because a running server can read no other file.
    fn include(&self, list: &str, place: &Place) -> Result<Vec<Target>, Problem> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let list = folder.join(list);
        if list.parent() != Some(folder) {
            let message = format!("{}: a list must lie in the folder of this file", list.display());
            return Err(place.problem(message));
        }
        let text = fs::read_to_string(&list)
            .map_err(|error| place.problem(format!("{}: cannot be read: {error}", list.display())))?;
        let mut found = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = Place { file: list.clone(), line: index + 1 };
            if line.trim_start().starts_with('#') {
                continue;
            }
            for (text, exact) in targets(line, &place)? {
                if text.starts_with(":include:") {
                    return Err(place.problem("a list cannot include another one"));
                }
                found.push(Target { text, exact, place: place.clone() });
            }
        }
        Ok(found)
    }
}

/// The comma-separated targets of a line: text, and whether a backslash stood before it.
fn targets(line: &str, place: &Place) -> Result<Vec<(String, bool)>, Problem> {
    let mut found = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start();
            continue;
        }
        // Without quotes a command runs to the end of its line.
        let exact = rest.starts_with('\\');
        let (text, after) = match rest.strip_prefix('\\').unwrap_or(rest) {
            command if command.starts_with('|') => (command.to_owned(), ""),
            name => word(name, ',').ok_or_else(|| place.problem("a quote is not closed"))?,
        };
        match text.chars().next() {
            Some('|') => {
                let message =
                    "programs are not run from here; a [[hook]] of the configuration runs one for each message";
                return Err(place.problem(message));
            }
            Some('/') => {
                let message = "mail is not appended to files from here; it goes to users, each with a Maildir";
                return Err(place.problem(message));
            }
            None => return Err(place.problem("\"\" is not a target")),
            _ => {}
        }
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            let message = match rest.strip_prefix('#') {
                Some(_) => "a comment needs a line of its own".to_owned(),
                None => format!("a comma is missing behind {text:?}"),
            };
            return Err(place.problem(message));
        }
        found.push((text, exact));
    }
    Ok(found)
}

/// A word up to white space or `end`; in quotes it may hold both. `None` when a quote is not closed.
fn word(text: &str, end: char) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut in_quotes = false;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => in_quotes = !in_quotes,
            '\\' if in_quotes => word.extend(letters.next().map(|(_, letter)| letter)),
            letter if !in_quotes && (letter.is_whitespace() || letter == end) => return Some((word, &text[at..])),
            letter => word.push(letter),
        }
    }
    (!in_quotes).then_some((word, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let (aliases, problems) = parse(Path::new("aliases"), text);
        let flat = |alias: Alias| {
            let mark = |target: Target| if target.exact { format!("\\{}", target.text) } else { target.text };
            (alias.shown(), alias.targets.into_iter().map(mark).collect())
        };
        (aliases.into_iter().map(flat).collect(), problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_and_targets() {
        for (text, name, targets) in [
            ("team: alice, bob", "team", &["alice", "bob"][..]),
            ("Team:alice,bob,\n", "team", &["alice", "bob"]),
            ("team :\talice ,\n\tbob,\n# between\n\n  carol\n", "team", &["alice", "bob", "carol"]),
            ("team:\n alice\n bob", "team", &["alice", "bob"]),
            ("\"two words: #\": \"a, b\"@example.org", "two words: #", &["a, b@example.org"]),
            ("q: \"a\\\"b\\\\c\"", "q", &["a\"b\\c"]),
            ("alice: \\alice, archive", "alice", &["\\alice", "archive"]),
            ("info: alice+web@Example.ORG", "info", &["alice+web@Example.ORG"]),
            ("Info@B.Example.: bob", "info@b.example", &["bob"]),
            ("@b.example: bob", "@b.example", &["bob"]),
            ("@b\u{fc}cher.example: bob", "@xn--bcher-kva.example", &["bob"]),
            ("\"x@y\"@b.example: bob", "x@y@b.example", &["bob"]),
        ] {
            let (aliases, problems) = read(text);
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(aliases, [(name.to_owned(), targets.iter().map(|t| (*t).to_owned()).collect())], "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_at_its_line() {
        for (text, why) in [
            (" team: alice", "1: begins with a space"),
            ("team", "1: is not `name: target, target`"),
            ("\"team: alice", "1: is not `name: target, target`"),
            ("two words: alice", "1: is not `name: target, target`"),
            ("team:", "1: \"team\" has no target"),
            ("a: b\nteam: , ,\n", "2: \"team\" has no target"),
            ("team: alice bob", "1: a comma is missing behind \"alice\""),
            ("team: alice # boss", "1: a comment needs a line of its own"),
            ("team: alice,\n \"bob", "2: a quote is not closed"),
            ("team: alice, \"\"", "1: \"\" is not a target"),
            ("a: b\nA: c", "2: \"a\" is there already, in line 1"),
            ("a@: b", "1: \"a@\" is neither a local part nor an address, which is what an alias names"),
            ("\"\": b", "1: \"\" is neither a local part nor an address"),
            ("@: b", "1: \"@\" is neither a local part nor an address"),
            ("a@B.example: b\nA@b.example.: c", "2: \"a@b.example\" is there already, in line 1"),
            ("print: |lpr -P laser, x", "1: programs are not run from here"),
            ("print: \"|lpr, x\"", "1: programs are not run from here"),
            ("nobody: /dev/null", "1: mail is not appended to files"),
            ("list: :include:/etc/passwd", "1: /etc/passwd: a list must lie in the folder of this file"),
            ("list: :include:../x/list", "1: ../x/list: a list must lie in the folder of this file"),
            ("list: :include:no-such-list", "1: no-such-list: cannot be read"),
        ] {
            let problems = read(text).1;
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].strip_prefix("aliases:").unwrap().starts_with(why), "{text}: {problems:?}");
        }
    }

    #[test]
    fn lists_are_included() {
        let folder = std::env::temp_dir().join(format!("mailbell-aliases-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("list"), "# members\nalice\n  bob, carol\n\n").unwrap();
        fs::write(folder.join("nested"), "alice\n:include:list\n").unwrap();
        let text =
            format!("one: :include:list, dave\ntwo: :include:{}/list\nthree: :include:nested\n", folder.display());
        let (aliases, problems) = parse(&folder.join("aliases"), &text);
        let targets = |index: usize| aliases[index].targets.iter().map(|t| t.text.as_str()).collect::<Vec<_>>();
        assert_eq!(targets(0), ["alice", "bob", "carol", "dave"]);
        assert_eq!(targets(1), ["alice", "bob", "carol"]);
        assert_eq!(aliases[0].targets[2].place, Place { file: folder.join("list"), line: 3 });
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            format!("{}:2: a list cannot include another one", folder.join("nested").display())
        );
        fs::remove_dir_all(folder).unwrap();
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-c]{1,2}|[: ,\"\\\\#|/@\n\t]){0,40}") {
            let (aliases, problems) = parse(Path::new("aliases"), &text);
            prop_assert!(aliases.iter().all(|alias| !alias.shown().is_empty()));
            let quiet = aliases.iter().filter(|alias| alias.targets.is_empty()).count();
            prop_assert!(quiet <= problems.len());
        }
    }
}
