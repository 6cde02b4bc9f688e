//! `[[pipe]]`, `[[hook]]` and `[[watch]]`: the subscribers, and the Maildirs of other programs.

use super::Watch;
use super::section::Section;
use super::value::{self, choice, duration, durations, some_time, user_name};
use crate::nearest::nearest;
use crate::notify::{Backlog, Filter, Format, HookInput, HookSettings, PipeSettings, Retry};
use std::collections::HashSet;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The path of the only pipe when the file has none.
const DEFAULT_PIPE: &str = "/run/mail/notify";

pub(super) fn pipes(top: &mut Section<'_, '_>, base: &Path) -> Vec<PipeSettings> {
    let Some(sections) = top.sections("pipe") else { return vec![default_pipe(DEFAULT_PIPE.into())] };
    let mut seen = HashSet::new();
    sections.into_iter().filter_map(|section| pipe(section, base, &mut seen)).collect()
}

/// A pipe with every other key at its default.
pub(super) fn default_pipe(path: PathBuf) -> PipeSettings {
    PipeSettings { path, format: Format::Inotify, mode: 0o640, filter: Filter::default(), backlog: Backlog::All }
}

fn pipe(mut section: Section<'_, '_>, base: &Path, seen: &mut HashSet<PathBuf>) -> Option<PipeSettings> {
    let path = section.needed("path", &format!("{DEFAULT_PIPE:?}"), |text| value::path(base, text));
    let real = path.as_deref().map(real);
    once(&section, "path", &real, seen, "is another pipe's path too; each reader needs a pipe of its own");
    if path.as_deref().is_some_and(|path| !PipeSettings::can_have_cursor(path)) {
        section.wrong("path", "is too long: the name of its cursor's file would have more than 255 octets");
    }
    let format = section.text("format", "\"inotify\"", Format::parse);
    section.note_format("format", format.as_ref());
    let pipe = PipeSettings {
        format: format.unwrap_or(Format::Inotify),
        mode: section.text("mode", "\"0640\"", value::mode).unwrap_or(0o640),
        filter: filter(&mut section),
        backlog: section.text("backlog", "\"all\", \"none\" or \"1d\"", backlog).unwrap_or(Backlog::All),
        ..default_pipe(PathBuf::new())
    };
    section.finish();
    path.map(|path| PipeSettings { path, ..pipe })
}

pub(super) fn hooks(top: &mut Section<'_, '_>, base: &Path) -> Vec<HookSettings> {
    let mut seen = HashSet::new();
    top.sections("hook").into_iter().flatten().filter_map(|section| hook(section, base, &mut seen)).collect()
}

fn hook(mut section: Section<'_, '_>, base: &Path, seen: &mut HashSet<String>) -> Option<HookSettings> {
    let name = section.needed("name", "\"archive\"", |text| subscriber_name(text, "hook"));
    once(&section, "name", &name, seen, "is another hook's name too; it tells hooks apart");
    if !section.has("command") {
        section.missing("command", "[\"/usr/local/bin/on-mail\"]");
    }
    let command = program(&mut section, "command", "\"/usr/local/bin/on-mail\"", base);
    let hook = HookSettings {
        name: String::new(),
        command: Vec::new(),
        stdin: section.text("stdin", "\"message\"", input).unwrap_or(HookInput::Message),
        timeout: section.text("timeout", "\"60s\"", some_time).unwrap_or(Duration::from_secs(60)),
        retry: retry(&mut section),
        is_paused: section.flag("paused").unwrap_or(false),
        filter: filter(&mut section),
    };
    section.finish();
    Some(HookSettings { name: name?, command: command?, ..hook })
}

/// A program and its arguments. One with a slash in it is a path, and as every path relative to the file; one without is
/// looked for in PATH.
pub(super) fn program(
    section: &mut Section<'_, '_>,
    key: &'static str,
    example: &str,
    base: &Path,
) -> Option<Vec<String>> {
    let word = |text: &str| match text.contains('\0') {
        true => Err("has a NUL in it, which no argument can have".to_owned()),
        false => Ok(text.to_owned()),
    };
    let mut words = section.list(key, example, word)?;
    match words.first_mut() {
        Some(program) if program.contains('/') => {
            match value::path(base, program).map(PathBuf::into_os_string).map(std::ffi::OsString::into_string) {
                Ok(Ok(path)) => *program = path,
                Ok(Err(_)) => section.wrong(key, "is in a folder with a name that is not UTF-8"),
                Err(why) => section.wrong(key, why),
            }
        }
        Some(program) if !program.is_empty() => {}
        _ => {
            section.wrong(key, format_args!("begins with the program to run: [{example}]"));
            return None;
        }
    }
    Some(words)
}

pub(super) fn watches(top: &mut Section<'_, '_>, base: &Path) -> Vec<Watch> {
    let mut seen = HashSet::new();
    let sections = top.sections("watch").into_iter().flatten();
    sections
        .filter_map(|mut section| {
            let user = section.needed("user", "\"bob\"", user_name);
            let maildir = section.needed("maildir", "\"/home/bob/Maildir\"", |text| value::path(base, text));
            let real = maildir.as_deref().map(real);
            once(&section, "maildir", &real, &mut seen, "is watched already; each message would be two events");
            section.finish();
            Some(Watch { user: user?, maildir: maildir? })
        })
        .collect()
}

/// A path without links, as far as it exists: the same file may have several paths.
pub(super) fn real(path: &Path) -> PathBuf {
    let resolved =
        path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    resolved.map_or_else(|| path.to_owned(), |(above, rest)| above.join(rest))
}

/// Reports a value that another section of the same kind has already.
pub(super) fn once<T: Clone + Eq + Hash>(
    section: &Section<'_, '_>,
    key: &str,
    value: &Option<T>,
    seen: &mut HashSet<T>,
    why: &str,
) {
    match value {
        Some(value) if !seen.insert(value.clone()) => section.wrong(key, why),
        _ => {}
    }
}

/// `jobs`, `retry` and `give_up`.
pub(super) fn retry(section: &mut Section<'_, '_>) -> Retry {
    let hour = Duration::from_secs(3_600);
    let jobs = section.count("jobs", 1..=64).unwrap_or(1);
    let (from, to) = section.text("retry", "\"1m..6h\"", durations).unwrap_or((hour / 60, 6 * hour));
    Retry { jobs, from, to, give_up: section.text("give_up", "\"7d\"", duration).unwrap_or(7 * 24 * hour) }
}

/// `users` and `match`.
pub(super) fn filter(section: &mut Section<'_, '_>) -> Filter {
    let users = section.list("users", "\"alice\"", user_name).unwrap_or_default();
    let entries = section.entries("match", "subject = \"*invoice*\"");
    for entry in &entries {
        section.report().note_match(section.named("match"), entry.key.clone(), entry.offset);
    }
    let offsets: Vec<usize> = entries.iter().map(|entry| entry.offset).collect();
    let fields: Vec<_> = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    if users.is_empty() && fields.is_empty() {
        return Filter::default();
    }
    Filter::new(users, fields).unwrap_or_else(|(index, why)| {
        section
            .report()
            .add(offsets.get(index).copied().unwrap_or_default(), format!("`{}`: {why}", section.named("match")));
        Filter::default()
    })
}

fn backlog(text: &str) -> Result<Backlog, String> {
    match text {
        "all" => Ok(Backlog::All),
        "none" => Ok(Backlog::None),
        age if age.starts_with(|letter: char| letter.is_ascii_digit()) => duration(age).map(Backlog::Age),
        word => {
            let hint = nearest(word, ["all", "none"]).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            Err(format!("{word:?} is none of \"all\", \"none\", and an age such as \"1d\"{hint}"))
        }
    }
}

fn input(text: &str) -> Result<HookInput, String> {
    use HookInput::{Event, Message, None, Parsed};
    if text == "parsed" && !cfg!(feature = "mime") {
        return Err("\"parsed\": this mailbell was built without it (cargo feature `mime`)".into());
    }
    choice(text, &[("message", Message), ("event", Event), ("parsed", Parsed), ("none", None)])
}

/// The name stands in the log and in `status`, so it is one plain word.
pub(super) fn subscriber_name(text: &str, kind: &str) -> Result<String, String> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    if matches!(text.len(), 1..=64) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a {kind}'s name: 1 to 64 of A-Z a-z 0-9 . _ -"))
    }
}
