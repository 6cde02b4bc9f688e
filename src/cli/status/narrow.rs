//! The status for a narrow terminal, such as a phone's with 40 columns: nothing is wider than that, but for a name that is.

use serde_json::Value;
use std::fmt::Write;

/// Below so many columns the text is made narrow.
pub const WIDE: usize = 72;

/// Lines begin with a label of this width; what does not fit goes on below it.
const LABEL: usize = 10;

/// The wide text of everything but the tables, folded, and the tables as lists. `wide` makes the text.
pub fn text(status: &Value, width: usize, wide: impl Fn(&Value) -> String) -> String {
    let mut rest = status.clone();
    let take = |rest: &mut Value, key: &str| match rest.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let (subscribers, remotes) = (take(&mut rest, "subscribers"), take(&mut rest, "remotes"));
    let mut text: String = wide(&rest).lines().map(|line| fold(line, width)).collect();
    for each in &subscribers {
        let number = |key: &str| each[key].as_u64().unwrap_or(0);
        // write! to a String cannot fail.
        let _ = writeln!(text, "\n{}", plain(&each["name"]));
        let _ = writeln!(text, "  seq {}, {} waiting", number("last_seq"), number("backlog"));
        if let Some(oldest) = each["oldest_unread"].as_str() {
            let _ = writeln!(text, "  since {}", second(oldest));
        }
        for (key, words) in [("retries", "retries"), ("given_up", "given up"), ("lost", "lost")] {
            if number(key) > 0 {
                let _ = writeln!(text, "  {} {words}", number(key));
            }
        }
        if each["paused"] == true {
            text.push_str("  paused\n");
        }
        error(&mut text, each, width);
    }
    for each in &remotes {
        let number = |key: &str| each[key].as_u64().unwrap_or(0);
        let folder = each["folder"].as_str().map(|_| format!("/{}", plain(&each["folder"]))).unwrap_or_default();
        let _ = writeln!(text, "\nremote {}{folder}", plain(&each["remote"]));
        let _ = writeln!(text, "  {}, {} new today", plain(&each["state"]), number("new_today"));
        if number("parked") > 0 {
            let _ = writeln!(text, "  {} parked", number("parked"));
        }
        for (key, words) in [("last_success", "good at"), ("next_try", "next try")] {
            if let Some(time) = each[key].as_str() {
                let _ = writeln!(text, "  {words} {}", second(time));
            }
        }
        error(&mut text, each, width);
    }
    text
}

fn error(text: &mut String, each: &Value, width: usize) {
    if let Some(error) = each["last_error"].as_str() {
        text.push_str(&fold(&format!("  {}", error.escape_debug()), width));
    }
}

/// Without control characters.
fn plain(value: &Value) -> String {
    value.as_str().unwrap_or("?").chars().filter(|letter| !letter.is_control()).collect()
}

/// A time without its microseconds.
fn second(time: &str) -> String {
    time.split('.').next().unwrap_or(time).replace('T', " ")
}

/// A line in lines of at most `width` columns, broken between words. Words that are longer stay whole, so that they can be
/// copied.
fn fold(line: &str, width: usize) -> String {
    let has_label =
        line.get(..LABEL).is_some_and(|label| label.trim_end().len() < LABEL && !label.trim().contains(' '));
    let indent = if has_label && !line.starts_with(' ') { LABEL } else { 2 };
    let (mut text, mut used) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let columns = word.trim_end().chars().count();
        if used > indent && used + columns > width {
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        }
        // Blanks between columns of a wide line.
        if !(columns == 0 && used == indent && text.ends_with(' ') && text.contains('\n')) {
            text.push_str(word);
            used += word.chars().count();
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_wider_than_a_phone() {
        let wide = |status: &Value| {
            assert!(status["subscribers"].is_null() && status["remotes"].is_null());
            "running   3 h 20 m ago, pid 12, version 0.1.0\nmessages  100 accepted, 20 refused, 30 fetched, 4 deleted\n\
             \nmqtt:home  mqtt://homeassistant.local:1883  not connected  cannot connect: connection refused\n"
                .to_owned()
        };
        let status = json!({
            "subscribers": [{"name": "pipe:/run/mail/notify", "last_seq": 7, "backlog": 2, "given_up": 1,
                "oldest_unread": "2026-11-23T08:44:59.000007Z", "last_error": "exit status: 1, and a long sentence about it"}],
            "remotes": [{"remote": "work", "folder": "INBOX", "state": "waiting", "new_today": 3, "parked": 1,
                "last_success": "2026-11-23T08:44:59.000007Z", "next_try": null, "last_error": null}],
        });
        let text = text(&status, 40, wide);
        for line in text.lines() {
            assert!(line.chars().count() <= 40 && line == line.trim_end(), "{line:?} in\n{text}");
        }
        assert!(text.contains("messages  100 accepted, 20 refused, 30\n          fetched, 4 deleted\n"), "{text}");
        assert!(
            text.contains("pipe:/run/mail/notify\n  seq 7, 2 waiting\n  since 2026-11-23 08:44:59\n  1 given up\n"),
            "{text}"
        );
        assert!(text.contains("remote work/INBOX\n  waiting, 3 new today\n  1 parked\n  good at 2026"), "{text}");
    }
}
