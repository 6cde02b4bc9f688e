//! Which of the words that there are was probably meant.

/// The one of `choices` that is nearest to `word`, if any is near enough to be meant: a hint for an error message.
/// Case, and `-` for `_`, do not count, so that `Reply-To` finds `reply_to`.
pub fn nearest<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let enough = word.chars().count().div_ceil(2).min(4);
    let found = choices.into_iter().map(|choice| (distance(&word, choice), choice)).min_by_key(|found| found.0);
    found.filter(|(distance, _)| *distance <= enough).map(|(_, choice)| choice)
}

/// Levenshtein's distance: letters added, taken away or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in other.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found_and_nonsense_is_not() {
        let fields = crate::journal::record::FIELDS;
        for (word, meant) in [
            ("form", Some("from")),
            ("Reply-To", Some("reply_to")),
            ("subjekt", Some("subject")),
            ("messageid", Some("message_id")),
            ("frm", Some("from")),
            ("xyzzyplugh", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, fields), meant, "{word}");
        }
    }

    #[test]
    fn distances_are_levenshtein_s() {
        for (one, other, wanted) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ä", "a", 1)] {
            assert_eq!(distance(one, other), wanted);
            assert_eq!(distance(other, one), wanted);
        }
    }
}
