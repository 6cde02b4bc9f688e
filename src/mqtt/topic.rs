//! What a value may bring into a topic (section 4.7): nothing that a broker or a subscriber takes for more than text.

use crate::message::letter;

/// Longest value in a topic, octets; a longer one is cut, with `...` at its end. Brokers in the cloud take topics of some
/// hundred octets.
pub const VALUE: usize = 256;

/// What stands for an empty value, and for a letter that may not be there.
const INSTEAD: char = '_';

/// Appends a value that somebody else may have chosen. `/` would be a further level; `+` and `#` are wildcards, which a
/// topic must not hold; a broker may end the connection because of control characters (section 1.5.3). A topic that begins
/// with `$` is the broker's own. Each of these becomes `_`, and so does an empty value.
pub fn push(topic: &mut String, value: &str) {
    let mut safe = Vec::new();
    let is_first = topic.is_empty();
    letter::push(&mut safe, &replaced(value, is_first), VALUE, letter::put);
    topic.push_str(&String::from_utf8_lossy(&safe));
}

fn replaced(value: &str, is_first: bool) -> String {
    if value.is_empty() {
        return INSTEAD.to_string();
    }
    let is_first = |at: usize| is_first && at == 0;
    let put = |(at, letter): (usize, char)| match letter {
        '/' | '+' | '#' => INSTEAD,
        '$' if is_first(at) => INSTEAD,
        other if letter::is_unsafe(other) || is_noncharacter(other) => INSTEAD,
        other => other,
    };
    value.char_indices().map(put).collect()
}

/// Whether the text of a template may stand in a topic.
///
/// # Errors
///
/// Names the letter that may not.
pub fn check(text: &str) -> Result<(), String> {
    match text.chars().find(|letter| matches!(letter, '+' | '#') || letter::is_unsafe(*letter)) {
        Some(wildcard @ ('+' | '#')) => {
            Err(format!("has a {wildcard} in it, which stands for other topics and cannot be published to"))
        }
        Some(letter) => Err(format!("has the control character {} in it", letter.escape_default())),
        None => Ok(()),
    }
}

/// Section 1.5.3: code points that Unicode says are never characters.
fn is_noncharacter(letter: char) -> bool {
    matches!(letter, '\u{FDD0}'..='\u{FDEF}') || u32::from(letter) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(start: &str, value: &str) -> String {
        let mut topic = start.to_owned();
        push(&mut topic, value);
        topic
    }

    #[test]
    fn values_stay_within_their_level() {
        for (start, value, topic) in [
            ("mail/", "alice", "mail/alice"),
            ("mail/", "a/b+c#d", "mail/a_b_c_d"),
            ("mail/", "../../x", "mail/.._.._x"),
            ("mail/", "$SYS", "mail/$SYS"),
            ("", "$SYS/broker", "_SYS_broker"),
            ("mail/", "a\0b\nc\u{202e}d\u{fffe}\u{1ffff}", "mail/a_b_c_d__"),
            ("mail/", "", "mail/_"),
            ("", "", "_"),
            ("mail/", "Grüße 日", "mail/Grüße 日"),
        ] {
            assert_eq!(of(start, value), topic);
        }
        assert_eq!(of("", &"x".repeat(300)), format!("{}...", "x".repeat(VALUE - 3)));
    }

    #[test]
    fn the_text_of_a_template_has_no_wildcard() {
        assert!(check("$aws/rules/mail/").is_ok());
        for text in ["mail/+", "mail/#", "mail\0", "a\nb"] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_value(value in any::<String>()) {
            let topic = of("", &value);
            prop_assert!(matches!(topic.len(), 1..=VALUE) && !topic.starts_with('$'));
            prop_assert!(check(&topic).is_ok() && !topic.contains('/'));
        }
    }
}
