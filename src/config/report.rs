//! What is found while a configuration is read: problems with their lines, and the keys. It knows no key itself.

use super::Problem;
use crate::nearest::nearest;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

/// Collects problems while a file is read. All sections share it, so it changes behind `&`.
#[derive(Debug)]
pub(super) struct Report<'t> {
    file: &'t Path,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
    /// Where the text is no TOML: at most one a line.
    syntax: RefCell<BTreeMap<usize, Problem>>,
    /// Full names of the known keys, in the file or not.
    known: RefCell<Vec<String>>,
    /// Unknown keys of the file: section, key, offset.
    unknown: RefCell<Vec<(String, String, usize)>>,
    /// Where each key of the file is: `mail.root`, `smtp.listen[0]`, `pipe[1].path`.
    places: RefCell<BTreeMap<String, usize>>,
    /// Keys of each `match` and each template: the name of that one, the key, offset.
    matched: RefCell<Vec<(String, String, usize)>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str) -> Report<'t> {
        Report {
            file,
            text,
            problems: RefCell::default(),
            syntax: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
            places: RefCell::default(),
            matched: RefCell::default(),
        }
    }

    /// Something is wrong at this offset of the text.
    pub(super) fn add(&self, offset: usize, message: impl Into<String>) {
        self.problems.borrow_mut().push(self.problem(self.line(offset), message));
    }

    /// The text is no TOML here.
    pub(super) fn add_syntax(&self, span: Range<usize>, message: &str) {
        let line = self.line(span.start);
        let message = match message {
            "duplicate key" => format!("`{}` is there already", self.text.get(span).unwrap_or_default()),
            _ if message.starts_with("string values must be quoted") => "a string needs quotes around it".into(),
            _ if message.starts_with("unexpected leading zero") => {
                "a number has no leading zero; a mode is a string: \"0640\"".into()
            }
            _ => message.to_owned(),
        };
        let problem = self.problem(line, format!("syntax: {message}"));
        self.syntax.borrow_mut().entry(line).or_insert(problem);
    }

    /// Something is wrong with the key of this full name (see `places`), or with the file where it has no such key.
    pub(super) fn add_at_key(&self, name: &str, message: impl Into<String>) {
        match self.offset_of_key(name) {
            Some(offset) => self.add(offset, message),
            None => self.problems.borrow_mut().push(self.problem(0, message)),
        }
    }

    /// Lines count from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|octet| **octet == b'\n').count() + 1
    }

    /// The line of a key, where the file has it.
    pub(super) fn line_of_key(&self, name: &str) -> Option<usize> {
        self.offset_of_key(name).map(|offset| self.line(offset))
    }

    /// The octets before a key, where the file has it.
    pub(super) fn offset_of_key(&self, name: &str) -> Option<usize> {
        self.places.borrow().get(name).copied()
    }

    pub(super) fn note_place(&self, name: String, offset: usize) {
        self.places.borrow_mut().insert(name, offset);
    }

    pub(super) fn note_match(&self, name: String, key: String, offset: usize) {
        self.matched.borrow_mut().push((name, key, offset));
    }

    /// Reports what `wrong` says of the keys of every `match` and every template.
    pub(super) fn check_matches(&self, wrong: impl Fn(&str) -> Option<String>) {
        for (name, key, offset) in self.matched.take() {
            if let Some(why) = wrong(&key) {
                self.add(offset, format!("`{name}`: {why}"));
            }
        }
    }

    pub(super) fn note_known(&self, name: String) {
        self.known.borrow_mut().push(name);
    }

    pub(super) fn note_unknown(&self, section: &str, key: &str, offset: usize) {
        self.unknown.borrow_mut().push((section.to_owned(), key.to_owned(), offset));
    }

    /// The known keys that the file does not have.
    #[cfg(test)]
    pub(super) fn unused(&self) -> Vec<String> {
        let indexed = |place: &String| {
            place.split_once('[').map_or(place.clone(), |(name, rest)| {
                name.to_owned() + rest.split_once(']').map_or("", |(_, rest)| rest)
            })
        };
        let used: Vec<String> = self.places.borrow().keys().map(indexed).collect();
        self.known.borrow().iter().filter(|name| !used.contains(name)).cloned().collect()
    }

    /// All that was found, in the order of its lines; unknown keys come last, when all known ones are read.
    pub(super) fn finish(self) -> Vec<Problem> {
        for (section, key, offset) in self.unknown.take() {
            let hint = self.hint(&section, &key);
            self.add(offset, format!("unknown key `{}`{hint}", join(&section, &key)));
        }
        // A line that is no TOML has no other problems that mean anything.
        let syntax = self.syntax.take();
        let mut problems = self.problems.take();
        problems.retain(|problem| !syntax.contains_key(&problem.line));
        problems.extend(syntax.into_values());
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    fn problem(&self, line: usize, message: impl Into<String>) -> Problem {
        Problem { file: self.file.to_owned(), line, message: message.into() }
    }

    fn hint(&self, section: &str, key: &str) -> String {
        let known = self.known.borrow();
        let all = || known.iter().map(|name| name.rsplit_once('.').unwrap_or(("", name)));
        let mut here = BTreeSet::new();
        // Not collected, which would sort it before.
        here.extend(all().filter(|(of, _)| *of == section).map(|(_, known)| known));
        if let Some(near) = nearest(key, here.iter().copied()) {
            return format!("; did you mean `{}`?", join(section, near));
        }
        let keys = here.into_iter().collect::<Vec<_>>().join(", ");
        // A line below the wrong [header] is the most frequent mistake in TOML.
        match all().find(|(of, known)| *of != section && *known == key) {
            Some(("", _)) => format!("; `{key}` belongs above the first [section]"),
            Some((other, _)) => format!("; `{key}` is a key of [{other}]"),
            None if section.is_empty() => format!("; the keys here are {keys}"),
            None => format!("; the keys of [{section}] are {keys}"),
        }
    }
}

/// The name of a key in a section; the top has no name.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}
