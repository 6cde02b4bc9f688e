//! No page leads nowhere: each link, anchor and picture is there, and so is each file, test, command, option and key that a
//! page names.

use super::{COMMANDS, help, keys_of_manual, options, read};
use crate::common::pages;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Collects what is wrong, so that one run shows all of it.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, holds: bool, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        if !holds {
            self.0.push(format!("{place}: {what}"));
        }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
        }
    }
}

/// The anchor that GitHub gives to a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = pages::prose(page).into_iter().map(|(_, line)| line).filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let slug = slug(&heading);
            let count = seen.entry(slug.clone()).or_default();
            *count += 1;
            if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
        })
        .collect()
}

/// Targets of links and pictures in a line: `[text](target)`.
fn targets(line: &str) -> Vec<String> {
    let plain: String =
        line.split('`').enumerate().map(|(place, part)| if place % 2 == 0 { part } else { "code" }).collect();
    plain.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let mut wrong = Wrong::default();
    let mut count = 0;
    for page in pages::all() {
        let folder = Path::new(&page).parent().unwrap().to_owned();
        for (line, text) in pages::prose(&page) {
            for target in targets(&text) {
                if target.starts_with("https://") || target.starts_with("http://") {
                    continue;
                }
                count += 1;
                let place = format!("{page}:{line}");
                let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
                let file = if path.is_empty() { page.clone().into() } else { folder.join(path) };
                wrong.unless(pages::root().join(&file).exists(), &place, format!("dead link {target}"));
                if !anchor.is_empty() && pages::root().join(&file).is_file() {
                    let has = anchors(file.to_str().unwrap()).contains(anchor);
                    wrong.unless(has, &place, format!("dead anchor {target}"));
                }
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
}

#[test]
fn every_page_of_docs_is_in_its_index_and_every_picture_is_shown() {
    let mut wrong = Wrong::default();
    let index = read("docs/README.md");
    let all: String = pages::all().iter().map(|page| read(page)).collect();
    for entry in std::fs::read_dir(pages::root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let listed = !name.ends_with(".md") || name == "README.md" || index.contains(&format!("({name})"));
        wrong.unless(listed, "docs/README.md", format!("does not link to {name}"));
    }
    for entry in std::fs::read_dir(pages::root().join("docs/pictures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let shown = !(name.ends_with(".svg") || name.ends_with(".png")) || all.contains(&format!("pictures/{name})"));
        wrong.unless(shown, "docs/pictures", format!("no page shows {name}"));
    }
}

/// Everything of the source in which the name of a test can stand.
fn source() -> String {
    let mut text = String::new();
    let mut folders = vec![pages::root().join("src"), pages::root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

#[test]
fn every_file_and_test_that_a_page_names_is_there() {
    let mut wrong = Wrong::default();
    let source = source();
    for page in pages::all() {
        for (line, text) in pages::prose(&page) {
            let place = format!("{page}:{line}");
            let part_of_a_name = |letter: char| letter.is_alphanumeric() || "._-/@".contains(letter);
            for word in text.split(|letter| !part_of_a_name(letter)) {
                let word = word.trim_end_matches(['.', '-']);
                let first = word.split('/').next().unwrap();
                let ours = ["scripts", "tests", "src", "docs", "packaging", "fuzz", ".ci"].contains(&first);
                if ours && word.contains('/') && !word.contains("NAME") {
                    wrong.unless(pages::root().join(word).exists(), &place, format!("{word} is not there"));
                }
                let test =
                    word.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_');
                if test && word.matches('_').count() > 3 && !word.starts_with("mailbell_") {
                    wrong.unless(source.contains(&format!("fn {word}")), &place, format!("no test {word}"));
                }
            }
            let words: Vec<_> = text.split([' ', '`', ',', ';', '.', '|']).collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "--test" && pair[1] != "NAME") {
                let is_there = ["tests/{}.rs", "tests/{}/main.rs"]
                    .map(|form| pages::root().join(form.replace("{}", pair[1])).is_file());
                wrong.unless(is_there.contains(&true), &place, format!("--test {} is not there", pair[1]));
            }
            for pair in words.windows(2).filter(|pair| pair[0] == "--features") {
                let feature = format!("\n{} = [", pair[1]);
                wrong.unless(read("Cargo.toml").contains(&feature), &place, format!("no feature {}", pair[1]));
            }
        }
    }
}

/// Words of a command line of ours: behind `mailbell`, up to what the shell takes for itself, or `--`.
fn arguments(line: &str) -> Option<Vec<&str>> {
    let words: Vec<_> = line.split_whitespace().collect();
    let begin = words.iter().position(|word| *word == "mailbell" || word.ends_with("/bin/mailbell"))?;
    let ends = |word: &&&str| !["--", "|", "#", "&&", "||", ">", "<", "&", "then", ";"].contains(*word);
    Some(words[begin + 1..].iter().take_while(ends).copied().collect())
}

#[test]
fn every_command_and_option_that_a_page_names_is_there() {
    let mut wrong = Wrong::default();
    let helps: BTreeMap<_, _> = COMMANDS.iter().map(|command| (*command, help(&[command]))).collect();
    let mut count = 0;
    let mut look = |place: &str, line: &str| {
        let Some(arguments) = arguments(line) else { return };
        let Some(command) = arguments.first().map(|word| word.trim_matches(['"', '\'', '`', ')', ';'])) else { return };
        if !command.starts_with(|letter: char| letter.is_ascii_lowercase()) {
            return;
        }
        count += 1;
        let Some(help) = helps.get(command) else {
            return wrong.unless(false, place, format!("no command `mailbell {command}`"));
        };
        let known = options(help);
        for option in arguments[1..].iter().filter(|word| word.starts_with("--")) {
            let option = option.split(['=', '"', ')', ';']).next().unwrap();
            wrong.unless(known.contains(option), place, format!("`mailbell {command}` has no {option}"));
        }
    };
    for page in pages::all() {
        for (line, text) in pages::prose(&page) {
            for code in pages::code(&text).iter().filter(|code| code.starts_with("mailbell ")) {
                look(&format!("{page}:{line}"), code);
            }
        }
        for block in pages::blocks(&page).iter().filter(|block| block.language == "sh") {
            for line in block.text.lines().filter(|line| !line.trim_start().starts_with('#')) {
                look(&block.place, line);
            }
        }
    }
    assert!(count > 40, "only {count} commands were found");
}

#[test]
fn every_key_that_a_page_names_is_there() {
    let mut wrong = Wrong::default();
    let keys = keys_of_manual(&read("docs/man/mailbell.toml.5"));
    let sections: BTreeSet<_> = keys.iter().filter_map(|key| key.split_once('.')).map(|(section, _)| section).collect();
    for page in pages::all() {
        for (line, text) in pages::prose(&page) {
            let place = format!("{page}:{line}");
            for code in pages::code(&text) {
                if let Some(section) = code.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                    let section = section.trim_matches(['[', ']']);
                    let plain = section.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
                    wrong.unless(!plain || sections.contains(section), &place, format!("no section {code}"));
                }
                let name = code.split([' ', '=']).next().unwrap();
                if let Some((section, key)) = name.split_once('.') {
                    let plain = key.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
                    let file = ["rs", "toml", "md", "service", "socket", "sock", "conf"].contains(&key);
                    if sections.contains(section) && plain && !file {
                        wrong.unless(keys.contains(name), &place, format!("no key {name}"));
                    }
                } else if code.contains(" = ") && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_')
                {
                    let has =
                        keys.iter().any(|key| key.rsplit('.').next() == Some(name)) || super::FIELDS.contains(&name);
                    wrong.unless(has || code.starts_with("pipe = []"), &place, format!("no key {name}"));
                }
            }
        }
    }
}

/// Manuals of other programs that ours refer to.
const OTHERS: [&str; 18] = [
    "sudo 8",
    "doas 1",
    "systemd 1",
    "sendmail 8",
    "cron 8",
    "mailq 1",
    "sd_notify 3",
    "sd_listen_fds 3",
    "aliases 5",
    "sysexits 3",
    "inotifywait 1",
    "mkfifo 1",
    "maildir 5",
    "write 2",
    "head 1",
    "cat 1",
    "jq 1",
    "fifo 7",
];

#[test]
fn every_manual_that_is_referred_to_is_there() {
    let mut wrong = Wrong::default();
    let there = |name: &str, section: &str| pages::root().join(format!("docs/man/{name}.{section}")).is_file();
    for entry in std::fs::read_dir(pages::root().join("docs/man")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for (number, line) in read(&format!("docs/man/{name}")).lines().enumerate() {
            let words: Vec<_> = line.split(' ').collect();
            for triple in words.windows(3).filter(|triple| triple[0] == ".Xr" || triple[0] == "Xr") {
                let known =
                    there(triple[1], triple[2]) || OTHERS.contains(&format!("{} {}", triple[1], triple[2]).as_str());
                wrong.unless(known, format!("docs/man/{name}:{}", number + 1), line);
            }
        }
    }
    for page in pages::all() {
        for (line, text) in pages::prose(&page) {
            for word in
                text.split_whitespace().filter_map(|word| word.trim_start_matches(['(', '`']).strip_prefix("mailbell"))
            {
                if let Some((name, rest)) = word.split_once('(') {
                    let section = rest.split(')').next().unwrap();
                    wrong.unless(there(&format!("mailbell{name}"), section), format!("{page}:{line}"), word);
                }
            }
        }
    }
}

/// Blocks that a program could take are run by tests/guide.rs, or their marker says why they are not.
#[test]
fn every_block_is_run_or_says_why_not() {
    let mut wrong = Wrong::default();
    for page in pages::all() {
        let other = read(&page).lines().find_map(|line| line.strip_prefix("<!-- blocks: run by ")).map(str::to_owned);
        if let Some(test) = other {
            let test = test.trim_end_matches("-->").trim();
            wrong.unless(
                pages::root().join(test).is_file(),
                &page,
                format!("its blocks are run by {test}, which is not there"),
            );
            continue;
        }
        for block in pages::blocks(&page) {
            let free = ["toml", "json", "text", ""].contains(&block.language.as_str());
            let marked = block
                .marker
                .as_deref()
                .is_some_and(|marker| marker.starts_with("run") || marker.starts_with("not run: "));
            let what = format!(
                "a block of {} without `<!-- run ... -->` or `<!-- not run: REASON -->`; see tests/guide.rs",
                block.language
            );
            wrong.unless(free || marked, &block.place, what);
        }
    }
}
