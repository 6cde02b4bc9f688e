use super::*;
use crate::journal::record::FIELDS;
use crate::journal::record::tests::sample;
use crate::message::letter::is_unsafe;
use proptest::prelude::*;
use std::process::{Command, Stdio};

fn line(format: &str, record: &Record) -> String {
    let mut out = b"before".to_vec();
    Format::parse(format).unwrap().write_line(record, &mut out);
    String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
}

fn with(fields: &[(&str, &str)]) -> Record {
    let mut record = sample(7, "alice", "1.M2P3");
    for (name, value) in fields {
        *record.optional_mut(name).unwrap() = Some((*value).to_owned());
    }
    record
}

#[test]
fn each_format_has_its_line() {
    let record = with(&[("from", "A <a@x>"), ("message_id", "<m@x>")]);
    assert_eq!(line("inotify", &record), "/mail/alice/new/ MOVED_TO 1.M2P3,S=1,W=2\n");
    assert_eq!(line("path", &record), "/mail/alice/new/1.M2P3,S=1,W=2\n");
    assert_eq!(
        line("tsv", &record),
        "7\t2026-11-23T08:44:59.000007Z\talice\t1.M2P3\t2\t-\talice@example.org\t<m@x>\tA <a@x>\ts\t/mail/alice/new/1.M2P3,S=1,W=2\n"
    );
    let mut json = Vec::new();
    record.write_json(&mut json);
    assert_eq!(line("json", &record), String::from_utf8(json).unwrap() + "\n");
    assert_eq!(line("{user}: {subject}{auth} {{{seq}}}", &record), "alice: s {7}\n");
    assert_eq!(line("{user}\t{subject}", &record), "alice\ts\n");
}

#[test]
fn a_template_names_a_header_field_of_the_events() {
    let mut record = with(&[]);
    record.summary.headers = vec![("x-spam-flag".into(), Some("YES\u{2028}no\t".into())), ("x-priority".into(), None)];
    assert_eq!(line("{seq}|{header.X-Spam-Flag}|{header.x-priority}|{header.x-other}|", &record), "7|YES no |||\n");
    record.summary.headers[0].1 = Some("ä".repeat(5_000));
    let long = line("{header.x-spam-flag}{path}", &record);
    assert!(long.len() <= PIPE_LINE && long.contains("ä...") && long.ends_with(",S=1,W=2\n"), "{long}");
    let known = ["x-spam-flag".to_owned()];
    let unknown = |format: &str| Format::parse(format).unwrap().unknown_header(&known);
    assert_eq!((unknown("tsv"), unknown("{subject}{header.X-SPAM-flag}")), (None, None));
    assert!(unknown("{subject} {header.x-spam-flg}").unwrap().contains("did you mean `header.x-spam-flag`?"));
}

#[test]
fn a_wrong_format_says_what_was_meant() {
    for (text, error) in [
        ("jsno", "no format `jsno`; did you mean `json`?"),
        ("JSON", "did you mean `json`?"),
        ("", "there are inotify, path, tsv, json"),
        ("maildir", "there are inotify, path, tsv, json, or a template with {field}"),
        ("{sbject}", "`sbject` is no field of the event; did you mean `subject`?"),
        ("{}", "is no field"),
        ("{user", "without `}`"),
        ("{user}}", "without `{`"),
        ("a{user}\nb", "control character \\n"),
        ("{user}\u{7f}", "control character"),
    ] {
        let found = Format::parse(text).unwrap_err();
        assert!(found.contains(error), "{text}: {found}");
    }
    assert!(Format::parse(&format!("{{user}}{}", "x".repeat(TEMPLATE))).unwrap_err().contains("at most 2048"));
}

#[test]
fn long_values_are_cut_longest_first_at_a_character() {
    let long = "ä".repeat(5_000);
    let record = with(&[("subject", &long), ("from", "short@example.com"), ("message_id", "<m@x>")]);
    for format in ["json", "tsv", "{subject}|{from}|{message_id}"] {
        let line = line(format, &record);
        assert!((PIPE_LINE - 1..=PIPE_LINE).contains(&line.len()), "{}", line.len());
        assert!(line.contains("ä...") && line.contains("short@example.com") && line.contains("<m@x>"), "{line}");
    }
    // Two long ones share what there is.
    let record = with(&[("subject", &long), ("from", &"b".repeat(1_000)), ("to", &"c".repeat(3_000))]);
    let value: serde_json::Value = serde_json::from_str(&line("json", &record)).unwrap();
    assert_eq!(value["from"].as_str().unwrap().len(), 1_000);
    let (to, subject) = (value["to"].as_str().unwrap(), value["subject"].as_str().unwrap());
    assert!(to.ends_with("c...") && subject.ends_with("ä...") && to.len().abs_diff(subject.len()) <= 2);
}

#[test]
fn a_path_is_whole_as_long_as_the_line_can_hold_it() {
    let mut record = with(&[("subject", &"s".repeat(9_000))]);
    record.path = format!("/{}/new/x", "p".repeat(3_000));
    for format in ["inotify", "path", "tsv", "json", "{path} {subject}"] {
        let line = line(format, &record);
        assert!(line.len() <= PIPE_LINE && line.contains(&"p".repeat(3_000)), "{format}");
    }
    record.path = format!("/{}", "p".repeat(9_000));
    for format in ["inotify", "path", "tsv", "json", "{path}", &"{path}".repeat(300)] {
        let line = line(format, &record);
        assert!(line.len() <= PIPE_LINE && line.contains("..."), "{format}");
    }
}

#[test]
fn odd_headers_do_no_harm() {
    let odd = "a\tb\r\n\u{1b}[2J\u{9b}31m\u{7f} $(reboot) `x` 'q' \"d\" \\ * ; | & \u{0} ä\u{2028}\u{2029}\u{85}\u{202e}\u{2066}\u{200f}\u{61c}";
    let record = with(&[("subject", odd), ("from", odd), ("helo", odd)]);
    for format in ["tsv", "json", "{subject}{from}"] {
        let line = line(format, &record);
        let text = line.strip_suffix('\n').unwrap();
        assert!(!text.chars().any(|letter| is_unsafe(letter) && (format != "tsv" || letter != '\t')), "{text:?}");
    }
    let value: serde_json::Value = serde_json::from_str(&line("json", &record)).unwrap();
    assert_eq!(value["subject"], odd);
    let tsv = line("tsv", &record);
    assert_eq!(tsv.split('\t').count(), TSV.len());
    assert!(tsv.contains("\ta b   [2J 31m  $(reboot) `x`"), "{tsv:?}");
    let mut record = record;
    record.path = "/mail/new/a\nb c".into();
    assert_eq!(line("inotify", &record), "/mail/new/ MOVED_TO a\u{FFFD}b c\n");
}

#[test]
fn the_shell_and_jq_read_what_is_written() {
    let odd = "a\tb\n\u{1b}[2J $(reboot) `x` \\n *";
    let record = with(&[("subject", odd)]);
    let sh = |script: &str, line: &str| {
        let script = script.to_owned();
        let mut child =
            Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), line.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let read = "while read -r dir event file; do printf '%s|%s|%s' \"$dir\" \"$event\" \"$file\"; done";
    assert_eq!(sh(read, &line("inotify", &record)), "/mail/alice/new/|MOVED_TO|1.M2P3,S=1,W=2");
    let read = "IFS=$(printf '\\t') read -r seq time user id size from to mid header subject path; printf '%s|%s|%s' \"$mid\" \"$subject\" \"$path\"";
    assert_eq!(sh(read, &line("tsv", &record)), "-|a b  [2J $(reboot) `x` \\n *|/mail/alice/new/1.M2P3,S=1,W=2");
    if Command::new("jq").arg("--version").output().is_ok() {
        assert_eq!(sh("jq -r .subject", &line("json", &record)), format!("{odd}\n"));
    }
}

#[test]
fn an_environment_s_value_is_clean_and_bounded() {
    let record = with(&[("subject", &format!("a\nb{}", "ä".repeat(4_000)))]);
    let subject = plain(&record, "subject", 4_096);
    assert!(subject.starts_with("a bä") && subject.ends_with("ä...") && subject.len() <= 4_096);
    assert_eq!(plain(&record, "auth", 4_096), "");
    // A path is never cut.
    assert_eq!(plain(&record, "path", 5), record.path);
    assert_eq!(plain(&record, "seq", 4_096), "7");
}

#[test]
fn every_reader_of_lines_sees_one() {
    let odd = "one line\u{2028}7 /etc/passwd forged\u{2029}\u{85}\u{202e}end\u{b}\u{c}\u{1c}\u{1d}\u{1e}\r\n";
    let mut record = with(&[("subject", odd), ("from", odd), ("helo", odd), ("mail_from", odd)]);
    record.path = format!("/mail/new/{odd}");
    let formats = ["inotify", "path", "tsv", "json", "{seq} {subject} {helo}{path}"];
    let lines: String = formats.iter().map(|format| line(format, &record)).collect();
    let count = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let Ok(mut child) = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            println!("skipped: needs {program}");
            return formats.len();
        };
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        said.trim().parse().unwrap()
    };
    let python = "import io, sys; print(len(io.TextIOWrapper(sys.stdin.buffer, 'utf-8').read().splitlines()))";
    assert_eq!(count("python3", &["-c", python]), formats.len());
    let node = "let n = 0; require('readline').createInterface({input: process.stdin, crlfDelay: Infinity})
        .on('line', () => n++).on('close', () => console.log(n))";
    assert_eq!(count("node", &["-e", node]), formats.len());
    assert_eq!(count("sh", &["-c", "n=0; while read -r line; do n=$((n + 1)); done; echo $n"]), formats.len());
    // The JSON is the same value all the same.
    let value: serde_json::Value = serde_json::from_str(&line("json", &record)).unwrap();
    assert_eq!((&value["subject"], &value["path"]), (&odd.into(), &record.path.clone().into()));
}

#[test]
fn a_subject_behind_the_path_does_not_get_into_it() {
    let record = with(&[("subject", "a stranger's /etc/passwd\u{2028}x  y")]);
    let script = "read -r path subject; printf '%s|%s' \"$path\" \"$subject\"";
    let mut child =
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let line = line("{path} {subject}", &record);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), line.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(said, "/mail/alice/new/1.M2P3,S=1,W=2|a stranger's /etc/passwd x  y");
}

proptest! {
    #[test]
    fn every_record_becomes_one_valid_line(
        texts in proptest::collection::vec((any::<Option<String>>(), 1_usize..300), FIELDS.len()),
        template in "([a-z ]|\\{subject\\}|\\{path\\}|\\{to\\}|\\{\\{){1,9}\\{seq\\}",
    ) {
        let mut record = sample(1 << 40, "alice", "1.M2P3Q4.host");
        for (name, (text, times)) in FIELDS.iter().zip(texts) {
            if let Some(slot) = record.optional_mut(name) {
                *slot = text.map(|text| text.repeat(times));
            }
        }
        for format in ["inotify", "path", "tsv", "json", &template] {
            let line = line(format, &record);
            prop_assert!(line.len() <= PIPE_LINE);
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(!text.chars().any(|letter| is_unsafe(letter) && (format != "tsv" || letter != '\t')));
            match format {
                "json" => {
                    let value: serde_json::Value = serde_json::from_str(text).unwrap();
                    prop_assert_eq!(value.as_object().unwrap().len(), FIELDS.len());
                    prop_assert_eq!(&value["path"], &record.path);
                    prop_assert_eq!(&value["id"], &record.id);
                    prop_assert_eq!(&value["seq"], 1_u64 << 40);
                    for name in FIELDS {
                        if let Some(Some(whole)) = record.clone().optional_mut(name) {
                            let told = value[name].as_str().unwrap();
                            let cut = told.strip_suffix("...").is_some_and(|start| whole.starts_with(start));
                            prop_assert!(told == whole || cut);
                        }
                    }
                }
                "tsv" => {
                    let columns: Vec<_> = text.split('\t').collect();
                    prop_assert_eq!(columns.len(), TSV.len());
                    prop_assert!(columns.iter().all(|column| !column.is_empty()));
                    prop_assert_eq!(columns[10], &record.path);
                }
                _ => prop_assert!(text.contains("1.M2P3Q4.host") || format.starts_with(&template)),
            }
        }
    }
}
