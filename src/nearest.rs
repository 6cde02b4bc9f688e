//! "Did you mean": the nearest of some words.

/// The word of `words` that `typed` was probably meant to be; none when nothing is near. Case, and `-` for `_`, do not
/// count.
pub fn nearest<'w>(typed: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let typed = plain(typed);
    // One difference in a short word, one in three letters of a longer one: more gives wrong hints.
    let most = (typed.chars().count() / 3).max(1);
    let near = words.into_iter().map(|word| (distance(&typed, &plain(word)), word));
    near.filter(|(slips, _)| *slips <= most).min_by_key(|(slips, _)| *slips).map(|(_, word)| word)
}

/// How many letters must be put in, left out, replaced, or swapped with their neighbour (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (one, other, slips) in
            [("", "", 0), ("", "abc", 3), ("listen", "listne", 1), ("quota", "quote", 1), ("a", "b", 1), ("ä", "a", 1)]
        {
            assert_eq!(distance(one, other), slips, "{one} {other}");
            assert_eq!(distance(other, one), slips, "{other} {one}");
        }
    }

    #[test]
    fn only_what_is_near_is_offered() {
        let words = ["listen", "max_message_size", "max_recipients", "auth", "key"];
        assert_eq!(nearest("listn", words), Some("listen"));
        assert_eq!(nearest("Listen", words), Some("listen"));
        assert_eq!(nearest("max_size", words), None);
        assert_eq!(nearest("max_mesage_size", words), Some("max_message_size"));
        assert_eq!(nearest("kay", words), Some("key"));
        assert_eq!(nearest("max-recipients", words), Some("max_recipients"));
        assert_eq!(nearest("relay", words), None);
    }
}
