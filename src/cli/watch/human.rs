//! The view of events for people: time, user, from and subject in columns, coloured where the terminal may be.
//!
//! A header field cannot control the terminal: control characters become U+FFFD, and those that change the direction of
//! text or have no width are left out.

use crate::journal::Record;
use crate::message::date::rfc3339_micros;
use std::io::{self, IsTerminal};

/// Width of the columns; the subject takes what is left.
const USER: usize = 12;
const FROM: usize = 28;

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// `2026-11-23 08:44:59Z`
const TIME: usize = 20;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Human {
    /// Fixed, for tests; else the terminal is asked each time, because it may change.
    columns: Option<usize>,
    colours: bool,
}

impl Human {
    /// For standard output. Colours are left out where `NO_COLOR` says something, or the terminal is dumb.
    pub(super) fn for_terminal() -> Human {
        let says = |name: &str| std::env::var_os(name).unwrap_or_default();
        Human {
            columns: None,
            colours: says("NO_COLOR").is_empty() && !matches!(says("TERM").to_str(), Some("dumb" | "")),
        }
    }

    /// Appends the line of a record.
    pub(super) fn write_line(&self, record: &Record, out: &mut Vec<u8>) {
        let columns = self.columns.unwrap_or_else(terminal_columns);
        let time = rfc3339_micros(record.timestamp);
        let time = format!("{} {}Z", &time[..10], &time[11..19]);
        let sender = record.summary.from.clone().or_else(|| record.origin.mail_from.clone()).unwrap_or_default();
        let (mark, mark_width) = if record.duplicate_of.is_some() { ("(again) ", 8) } else { ("", 0) };
        let rest = columns.saturating_sub(TIME + USER + FROM + 3 + mark_width + 1).max(10);
        let subject = record.summary.subject.as_deref().unwrap_or("(no subject)");
        for (number, (colour, text)) in [
            ("2", time),
            ("1;36", column(&record.user, USER)),
            ("33", column(&sender, FROM)),
            ("2", mark.to_owned()),
            ("", fit(subject, rest).0),
        ]
        .into_iter()
        .enumerate()
        {
            if number > 0 && number < 4 {
                out.push(b' ');
            }
            if self.colours && !colour.is_empty() && !text.is_empty() {
                out.extend_from_slice(format!("\x1b[{colour}m{text}\x1b[0m").as_bytes());
            } else {
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.push(b'\n');
    }
}

/// Of the terminal; where standard output is none, those of a usual one.
pub(in crate::cli) fn terminal_columns() -> usize {
    let out = io::stdout();
    let size = if out.is_terminal() { rustix::termios::tcgetwinsize(out).ok() } else { None };
    size.map_or(COLUMNS, |size| if size.ws_col == 0 { COLUMNS } else { size.ws_col.into() })
}

/// A text in a column of that width.
fn column(text: &str, width: usize) -> String {
    let (mut text, used) = fit(text, width);
    text.extend(std::iter::repeat_n(' ', width - used));
    text
}

/// A text in at most `width` columns, and how many it takes. What is left out is marked.
fn fit(text: &str, width: usize) -> (String, usize) {
    let letters = || text.chars().filter_map(plain);
    if letters().map(|(_, columns)| columns).sum::<usize>() <= width {
        return (letters().map(|(letter, _)| letter).collect(), letters().map(|(_, columns)| columns).sum());
    }
    let (mut cut, mut used) = (String::new(), 0);
    for (letter, columns) in letters() {
        if used + columns >= width {
            break;
        }
        cut.push(letter);
        used += columns;
    }
    cut.push('…');
    (cut, used + 1)
}

/// A letter as it may be shown, and its columns (after Unicode's East Asian Width, roughly).
fn plain(letter: char) -> Option<(char, usize)> {
    match u32::from(letter) {
        _ if letter.is_control() => Some(('\u{FFFD}', 1)),
        // Without width, or turning the direction of what follows.
        0x00AD | 0x061C | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF => None,
        0x0300..=0x036F | 0x1AB0..=0x1AFF | 0x20D0..=0x20FF | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F => Some((letter, 0)),
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => Some((letter, 2)),
        _ => Some((letter, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use proptest::prelude::*;

    fn line(columns: usize, colours: bool, from: Option<&str>, subject: Option<&str>) -> String {
        let mut record = sample(1, "alice", "x");
        record.timestamp = 1_795_423_499_000_000;
        record.summary.from = from.map(str::to_owned);
        record.summary.subject = subject.map(str::to_owned);
        let mut out = Vec::new();
        Human { columns: Some(columns), colours }.write_line(&record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_stand_below_each_other() {
        let wanted = "2026-11-23 08:44:59Z alice        News <a@x>                   Hello\n";
        assert_eq!(line(80, false, Some("News <a@x>"), Some("Hello")), wanted);
        assert_eq!(
            line(80, false, None, None),
            wanted.replace("News <a@x>", "          ").replace("Hello", "(no subject)")
        );
        let long = line(80, false, Some(&"ä".repeat(100)), Some(&"日本".repeat(50)));
        assert_eq!(long, format!("2026-11-23 08:44:59Z alice        {}… 日本日本日本日…\n", "ä".repeat(27)));
        assert!(line(20, false, None, Some("a subject that is long")).ends_with(" a subject…\n"));
    }

    #[test]
    fn colours_are_the_only_escapes() {
        let odd = "\u{1b}[31mred\u{1b}]0;title\u{7}\u{202e}txt.exe\u{9b}2J\nnew line";
        let plain = line(200, false, Some(odd), Some(odd));
        assert!(!plain.trim_end().chars().any(char::is_control) && !plain.contains('\u{202e}'), "{plain:?}");
        let coloured = line(200, true, Some(odd), Some(odd));
        assert!(coloured.starts_with("\u{1b}[2m2026") && coloured.contains("\u{1b}[1;36malice"));
        let mut without = coloured;
        for escape in ["\u{1b}[2m", "\u{1b}[1;36m", "\u{1b}[33m", "\u{1b}[0m"] {
            without = without.replace(escape, "");
        }
        assert_eq!(without, plain);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(from in any::<Option<String>>(), subject in any::<Option<String>>(), columns in 74_usize..200) {
            let line = line(columns, false, from.as_deref(), subject.as_deref());
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert!(text.chars().filter_map(plain).map(|(_, columns)| columns).sum::<usize>() <= columns);
        }
    }
}
