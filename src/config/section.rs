//! A table of the TOML document while it is read. A key that is read becomes known; keys that are left at the end are
//! unknown. So there is no second list of keys that could differ.

use super::report::{Report, join};
use crate::notify::{Format, Piece, header_fields};
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

type Value<'t> = Spanned<DeValue<'t>>;

/// A table, or the absence of one: then every key has its default.
#[derive(Debug)]
pub(super) struct Section<'r, 't> {
    report: &'r Report<'t>,
    /// `mail`, `pipe`; empty at the top.
    name: String,
    /// As [`Report`] names places: `pipe[1]`.
    path: String,
    offset: usize,
    table: Option<&'r DeTable<'t>>,
    asked: Vec<&'static str>,
}

/// An entry of a table with free keys.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) offset: usize,
}

impl<'r, 't> Section<'r, 't> {
    /// The document.
    pub(super) fn top(report: &'r Report<'t>, table: &'r DeTable<'t>) -> Section<'r, 't> {
        Section { report, name: String::new(), path: String::new(), offset: 0, table: Some(table), asked: Vec::new() }
    }

    /// `[key]`.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'r, 't> {
        let value = self.get(key);
        let table = value.and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.wrong_type(key, value, &format!("a section: write [{}]", join(&self.name, key)), other);
                None
            }
        });
        Section {
            report: self.report,
            name: join(&self.name, key),
            path: join(&self.path, key),
            offset: value.map_or(0, |value| value.span().start),
            table,
            asked: Vec::new(),
        }
    }

    /// `[[key]]`, each; `None` when the key is not there at all.
    pub(super) fn sections(&mut self, key: &'static str) -> Option<Vec<Section<'r, 't>>> {
        let value = self.get(key)?;
        let wanted = format!("written as [[{key}]]");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, &wanted, value.get_ref());
            return Some(Vec::new());
        };
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", join(&self.path, key));
            self.report.note_place(path.clone(), item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => found.push(Section {
                    report: self.report,
                    name: join(&self.name, key),
                    path,
                    offset: item.span().start,
                    table: Some(table),
                    asked: Vec::new(),
                }),
                other => self.wrong_type(key, item, &wanted, other),
            }
        }
        Some(found)
    }

    /// A string, parsed; `None` when it is missing, or has an error, which is reported.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        self.string(key, value, example).and_then(|text| self.parsed(key, value, parse(text)))
    }

    /// As [`Section::text`], for a key that is required.
    pub(super) fn needed<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.text(key, example, parse)
    }

    /// An array of strings, each parsed.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, &format!("an array such as [{example}]"), value.get_ref());
            return None;
        };
        let mut found = Vec::new();
        for item in items.iter() {
            let parsed = self.string(key, item, example).and_then(|text| self.parsed(key, item, parse(text)));
            if let Some(parsed) = parsed {
                self.report.note_place(format!("{}[{}]", join(&self.path, key), found.len()), item.span().start);
                found.push(parsed);
            }
        }
        Some(found)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        if value.get_ref().as_bool().is_none() {
            self.wrong_type(key, value, "true or false", value.get_ref());
        }
        value.get_ref().as_bool()
    }

    /// A whole number.
    pub(super) fn count(&mut self, key: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let value = self.get(key)?;
        let DeValue::Integer(digits) = value.get_ref() else {
            self.wrong_type(key, value, &format!("a number such as {}", range.end().min(&100)), value.get_ref());
            return None;
        };
        let number = usize::from_str_radix(digits.as_str(), digits.radix()).ok();
        let wanted = || format!("{digits} is out of range: {} to {}", range.start(), range.end());
        self.parsed(key, value, number.filter(|number| range.contains(number)).ok_or_else(wanted))
    }

    /// A table with free keys and strings as values.
    pub(super) fn entries(&mut self, key: &'static str, example: &str) -> Vec<Entry> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(key, value, &format!("a table such as {{ {example} }}"), value.get_ref());
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (entry, value) in table {
            if let Some(text) = self.string(key, value, "\"*invoice*\"") {
                let (key, value) = (entry.get_ref().to_string(), text.to_owned());
                entries.push(Entry { key, value, offset: entry.span().start });
            }
        }
        entries
    }

    /// Whether the key exists, with any value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the key exists and is not the empty string, which stands for none.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.has(key) && self.raw(key) != Some("")
    }

    /// A section that this mailbell was built without: it is reported where it exists.
    pub(super) fn left_out(&mut self, key: &'static str) {
        if self.get(key).is_some() {
            self.wrong(key, format_args!("this mailbell was built without it (cargo feature `{key}`)"));
        }
    }

    /// The key's value where it is a string, not parsed.
    pub(super) fn raw(&self, key: &str) -> Option<&'r str> {
        self.table?.get(key)?.get_ref().as_str()
    }

    /// Whether the key's value is an array with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.and_then(|value| value.get_ref().as_array()).is_some_and(|items| items.is_empty())
    }

    /// The full name of a key, as messages have it.
    pub(super) fn named(&self, key: &str) -> String {
        join(&self.name, key)
    }

    /// Remembers which header fields this format names, for [`Report::check_matches`].
    pub(super) fn note_format(&self, key: &str, format: Option<&Format>) {
        if let Some(Format::Template(pieces)) = format {
            self.note_template(key, pieces);
        }
    }

    /// The same for the pieces of a template.
    pub(super) fn note_template(&self, key: &str, pieces: &[Piece]) {
        for field in header_fields(pieces) {
            let offset = self.report.offset_of_key(&join(&self.path, key)).unwrap_or_default();
            self.report.note_match(self.named(key), field.to_string(), offset);
        }
    }

    /// Reports that the section lacks a key that it must have.
    pub(super) fn missing(&self, key: &str, example: &str) {
        let message = format!("[[{}]] needs `{key}`: add {key} = {example}", self.name);
        self.report.add(self.offset, message);
    }

    /// Reports something wrong with a key of this section.
    pub(super) fn wrong(&self, key: &str, message: impl std::fmt::Display) {
        self.report.add_at_key(&join(&self.path, key), format!("`{}`: {message}", join(&self.name, key)));
    }

    /// Where problems go.
    pub(super) fn report(&self) -> &'r Report<'t> {
        self.report
    }

    /// Every key that was not read is unknown.
    pub(super) fn finish(self) {
        for key in &self.asked {
            self.report.note_known(join(&self.name, key));
        }
        for (key, _) in self.table.into_iter().flatten() {
            if !self.asked.iter().any(|asked| *asked == key.get_ref()) {
                self.report.note_unknown(&self.name, key.get_ref(), key.span().start);
            }
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'r Value<'t>> {
        self.asked.push(key);
        let (name, value) = self.table?.get_key_value(key)?;
        self.report.note_place(join(&self.path, key), name.span().start);
        Some(value)
    }

    fn string(&self, key: &str, value: &'r Value<'t>, example: &str) -> Option<&'r str> {
        if value.get_ref().as_str().is_none() {
            self.wrong_type(key, value, &format!("a string such as {example}"), value.get_ref());
        }
        value.get_ref().as_str()
    }

    fn parsed<T>(&self, key: &str, value: &Value<'t>, parsed: Result<T, String>) -> Option<T> {
        match parsed {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                self.report.add(value.span().start, format!("`{}`: {why}", join(&self.name, key)));
                None
            }
        }
    }

    fn wrong_type(&self, key: &str, value: &Value<'t>, wanted: &str, found: &DeValue<'t>) {
        let kind = found.type_str();
        let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
        let name = join(&self.name, key);
        self.report.add(value.span().start, format!("`{name}` must be {wanted}, not {article} {kind}"));
    }
}
