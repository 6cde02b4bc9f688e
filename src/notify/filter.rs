//! Which records a subscriber wants: `users` and `match`.
//!
//! A glob is compared with the whole decoded value of one field of the event, without regard to case: `*` stands for any
//! characters, `?` for exactly one, everything else for itself. A field that the message does not have counts as empty:
//! `*` matches it, `?*` matches only a field with a value, and `""` only one without.

use super::Format;
use super::field_name::FieldName;
use crate::journal::Record;

/// `users` and every entry of `match` must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    users: Vec<String>,
    fields: Vec<(FieldName, Glob)>,
    only_stored: bool,
}

impl Filter {
    /// Of user names (empty: all) and of pairs of a glob and what it is compared with: a field of the event, or `header.NAME`
    /// for one of `event.headers`. Whether NAME is one of these is for the caller to check ([`super::unknown_header`]).
    ///
    /// # Errors
    ///
    /// The index of the pair, and what is wrong with it: a key that is no field of the event (with the nearest that is).
    pub fn new(users: Vec<String>, fields: Vec<(String, String)>) -> Result<Filter, (usize, String)> {
        let parse = |(index, (name, glob)): (usize, (String, String))| {
            Ok((FieldName::parse(&name).map_err(|error| (index, error))?, Glob::new(&glob)))
        };
        let fields = fields.into_iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Filter { users, fields, only_stored: false })
    }

    /// The same for lines that name a file: they leave out messages that are not stored here.
    pub fn for_format(mut self, format: &Format) -> Filter {
        self.only_stored = matches!(format, Format::Inotify | Format::Path);
        self
    }

    /// It is limited to the mail of these users; empty: all users.
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// Whether the subscriber wants this record.
    pub fn wants(&self, record: &Record) -> bool {
        let known = self.users.is_empty() || self.users.iter().any(|user| user.eq_ignore_ascii_case(&record.user));
        let is_told = !self.only_stored || !record.path.is_empty();
        known && is_told && self.fields.iter().all(|(key, glob)| glob.matches(&key.value(record).unwrap_or_default()))
    }
}

/// A pattern of characters, folded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    This(char),
}

impl Glob {
    fn new(text: &str) -> Glob {
        let mut parts: Vec<Part> = text
            .chars()
            .map(|letter| match letter {
                '*' => Part::Any,
                '?' => Part::One,
                other => Part::This(fold(other)),
            })
            .collect();
        // Several stars in a row match what one matches.
        parts.dedup_by(|one, other| *one == Part::Any && *other == Part::Any);
        Glob(parts)
    }

    /// When the rest does not match, only the last star is extended: whatever an earlier star could match more, the last
    /// one can match too. So the time is bounded by the product of the two lengths.
    fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut at = 0;
        // The last star, and the text after what it matches.
        let mut star: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (self.0.get(at), rest.next()) {
                (Some(Part::Any), _) => {
                    star = Some((at, before.clone()));
                    rest = before;
                    at += 1;
                }
                (None, None) => return true,
                (Some(Part::One), Some(_)) => at += 1,
                (Some(Part::This(wanted)), Some(letter)) if *wanted == fold(letter) => at += 1,
                // The text has ended and the pattern has not: a longer star would leave even less text.
                (Some(_), None) => return false,
                (_, Some(_)) => {
                    let Some((place, swallowed)) = &mut star else { return false };
                    swallowed.next();
                    rest = swallowed.clone();
                    at = *place + 1;
                }
            }
        }
    }
}

/// Folds one character to one character, so that `?` matches what a person counts: to lower case where that is one
/// character; the two small sigmas are the same.
fn fold(letter: char) -> char {
    let mut lower = letter.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some('ς'), None) => 'σ',
        (Some(one), None) => one,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use crate::notify::unknown_header;
    use proptest::prelude::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, glob)| ((*name).into(), (*glob).into())).collect()
    }

    #[test]
    fn globs_match_whole_values_without_regard_to_case() {
        for (glob, text, wanted) in [
            ("*@bank.example", "News <a@BANK.example>", false),
            ("*@bank.example*", "News <a@BANK.example>", true),
            ("*invoice*", "Your INVOICE of May", true),
            ("invoice", "invoice 7", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("?*", "", false),
            ("?", "ä", true),
            ("?", "ab", false),
            ("ÄRGER*", "ärger und mehr", true),
            ("οδος", "ΟΔΟΣ", true),
            ("STRASSE", "straße", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[a-c]", "b", false),
            ("[a-c]", "[A-C]", true),
            ("\\*", "\\anything", true),
            ("**?**", "x", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), wanted, "{glob} and {text}");
        }
    }

    #[test]
    fn everything_must_hold_and_null_is_as_empty() {
        let mut record = sample(1, "alice", "x");
        record.summary.from = Some("a@bank.example".into());
        for (users, fields, wanted) in [
            (vec![], vec![], true),
            (vec!["alice"], vec![], true),
            (vec!["bob", "Alice"], vec![], true),
            (vec!["bob"], vec![], false),
            (vec![], pairs(&[("from", "*@bank.example"), ("subject", "S")]), true),
            (vec![], pairs(&[("from", "*@bank.example"), ("subject", "t")]), false),
            (vec!["bob"], pairs(&[("from", "*")]), false),
            (vec![], pairs(&[("auth", "")]), true),
            (vec![], pairs(&[("auth", "*")]), true),
            (vec![], pairs(&[("auth", "?*")]), false),
            (vec![], pairs(&[("seq", "1"), ("via", "SMTP"), ("event", "message*")]), true),
        ] {
            let filter = Filter::new(users.iter().map(|user| (*user).into()).collect(), fields.clone()).unwrap();
            assert_eq!(filter.wants(&record), wanted, "{users:?} {fields:?}");
        }
    }

    #[test]
    fn a_wrong_key_says_which_was_meant() {
        let (index, error) = Filter::new(vec![], pairs(&[("to", "*"), ("subjct", "*")])).unwrap_err();
        assert_eq!(index, 1);
        assert_eq!(error, "`subjct` is no field of the event; did you mean `subject`?");
        let (_, error) = Filter::new(vec![], pairs(&[("x-spam-status", "*")])).unwrap_err();
        assert!(error.contains("there are seq, event,"), "{error}");
    }

    #[test]
    fn header_fields_of_the_configuration_are_keys_too() {
        let mut record = sample(1, "alice", "x");
        record.summary.headers = vec![("x-spam-flag".into(), Some("YES".into())), ("x-priority".into(), None)];
        for (key, glob, wanted) in [
            ("header.x-spam-flag", "yes", true),
            ("header.X-Spam-Flag", "no", false),
            ("header.x-priority", "", true),
            ("header.x-priority", "?*", false),
            ("headers", "*\"x-priority\":null*", true),
        ] {
            assert_eq!(Filter::new(vec![], pairs(&[(key, glob)])).unwrap().wants(&record), wanted, "{key} {glob}");
        }
        let known = ["x-spam-flag".to_owned()];
        assert_eq!(unknown_header("header.X-Spam-Flag", &known), None);
        assert_eq!(unknown_header("subject", &known), None);
        assert!(unknown_header("header.x-spam-flg", &known).unwrap().contains("`header.x-spam-flag`"));
        assert!(unknown_header("header.y", &known).unwrap().contains("add \"y\" to event.headers"));
    }

    #[test]
    fn a_glob_of_many_stars_ends() {
        // Trying every length of every star would take years.
        let glob = Glob::new(&"*a".repeat(200));
        assert!(!glob.matches(&format!("{}b", "a".repeat(20_000))));
    }

    /// The same in the simplest way; it takes exponential time.
    fn naive(glob: &[char], text: &[char]) -> bool {
        match glob {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|swallowed| naive(rest, &text[swallowed..])),
            ['?', rest @ ..] => !text.is_empty() && naive(rest, &text[1..]),
            [letter, rest @ ..] => {
                text.first().is_some_and(|first| fold(*first) == fold(*letter)) && naive(rest, &text[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_its_twin(glob in "[aAb*?]{0,9}", text in "[aAbBß]{0,12}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&glob).matches(&text), naive(&letters(&glob), &letters(&text)));
        }

        #[test]
        fn every_text_matches_itself_and_its_lower_case(text in "[^*?]*") {
            prop_assert!(Glob::new(&text).matches(&text));
            prop_assert!(Glob::new(&text.chars().map(fold).collect::<String>()).matches(&text));
        }
    }
}
