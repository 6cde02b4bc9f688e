//! What is kept of a subscriber from one start to the next, and the format of its file.
//!
//! The file has two lines. The first holds three numbers of 20 digits: acknowledged, written, waiting. The second is a
//! JSON object with the rest. Version 0.1.0 wrote the first line alone, and a JSON object like the second one to another
//! file, `tallies/NAME`.

use super::segment::LARGEST_SEQ;
use serde_json::{Value, json};

/// How far a subscriber has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Every record up to this one is done.
    pub acknowledged: u64,
    /// Every record up to this one was handed over. Those after `acknowledged` may or may not be done.
    pub written: u64,
    /// How many records between the two are not done. The filter of the subscriber passes over the others.
    pub waiting: u64,
}

impl Place {
    /// Every record up to `seq` is done.
    pub fn at(seq: u64) -> Place {
        Place { acknowledged: seq, written: seq, waiting: 0 }
    }

    /// The first line of the file.
    pub(super) fn line(&self) -> String {
        let Place { acknowledged, written, waiting } = self;
        format!("{acknowledged:020} {written:020} {waiting:020}\n")
    }

    /// `None` when the text is not a place. The first versions wrote two numbers.
    fn parse(text: &str) -> Option<Place> {
        let mut numbers = text.split(' ').map(|text| {
            let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        });
        let (acknowledged, written): (u64, u64) = (numbers.next()??, numbers.next()??);
        let waiting = numbers.next().unwrap_or(Some(written.saturating_sub(acknowledged)))?;
        (numbers.next().is_none() && written >= acknowledged).then_some(Place { acknowledged, written, waiting })
    }
}

/// A record that was handed to a program and is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub seq: u64,
    /// Tries that failed.
    pub tries: u32,
    /// Seconds since its first try, without the time in which no server ran.
    pub failing: u64,
}

/// All that is kept of a subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How far it has come.
    pub place: Place,
    /// Records from `place.acknowledged` to `place.written` that are not done. Only subscribers that retry fill it.
    pub begun: Vec<Begun>,
    /// Records up to `place.written` that are to be handed over again and were not begun: first and last of each range,
    /// in their order.
    pub again: Vec<(u64, u64)>,
    /// A person has paused it.
    pub paused: bool,
    /// Octets at the front of the FIFO that belong to records up to `place.acknowledged`, at most: the end of a line
    /// that a reader had begun. `u64::MAX` when it is not known. Only pipes fill it.
    pub rest: u64,
    /// Tries that failed.
    pub retries: u64,
    /// Records that were given up.
    pub given_up: u64,
    /// Records that the journal dropped before they were handed over.
    pub lost: u64,
    /// The last of them, so that each is counted once.
    pub lost_to: u64,
}

impl Kept {
    /// A new subscriber, for which every record up to `seq` is done.
    pub fn at(seq: u64) -> Kept {
        Kept { place: Place::at(seq), ..Kept::default() }
    }

    /// A subscriber of which nothing is known: it gets every record again.
    pub(super) fn unknown() -> Kept {
        Kept { rest: u64::MAX, ..Kept::default() }
    }

    /// Counts records that the journal dropped, each once. Returns how many of them were not counted before.
    pub fn lose(&mut self, from: u64, to: u64) -> u64 {
        let count = to.saturating_sub(self.lost_to.max(from.saturating_sub(1)));
        self.lost += count;
        self.lost_to = self.lost_to.max(to);
        count
    }

    /// The text of the file. Its size is bounded by the number of records in `begun` and of ranges in `again`.
    pub(super) fn text(&self) -> String {
        let begun: Vec<_> = self.begun.iter().map(|begun| json!([begun.seq, begun.tries, begun.failing])).collect();
        let counts = json!({
            "begun": begun, "rest": self.rest, "retries": self.retries, "given_up": self.given_up, "lost": self.lost,
            "lost_to": self.lost_to, "again": self.again, "paused": self.paused,
        });
        format!("{}{counts}\n", self.place.line())
    }

    /// Reads what [`Kept::text`] wrote, or the file of version 0.1.0; `tally` reads the other file of that version.
    ///
    /// What is damaged is replaced by what repeats most: `Err` holds that.
    pub(super) fn parse(name: &str, text: &[u8], tally: impl FnOnce() -> Option<Vec<u8>>) -> Result<Kept, Kept> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let Some((place, rest)) = text.split_once('\n').and_then(|(line, rest)| Some((Place::parse(line)?, rest)))
        else {
            return Err(Kept::unknown());
        };
        if rest.is_empty() {
            return Ok(Kept::of_version_0_1(name, place, tally().as_deref()));
        }
        let unknown = Kept { rest: u64::MAX, ..Kept::at(place.acknowledged) };
        let value: Value = serde_json::from_str(rest).map_err(|_| unknown.clone())?;
        let counts = Kept::counts(&value).filter(|_| rest.ends_with('\n')).ok_or(unknown)?;
        Ok(Kept { place, ..counts })
    }

    /// Everything but the place.
    fn counts(value: &Value) -> Option<Kept> {
        let number = |name| value.get(name).and_then(Value::as_u64);
        let begun = value.get("begun")?.as_array()?.iter().map(|entry| {
            let number = |index| entry.get(index).and_then(Value::as_u64);
            Some(Begun { seq: number(0)?, tries: number(1)?.try_into().ok()?, failing: number(2)? })
        });
        let none = Vec::new();
        let again = value.get("again").map_or(Some(&none), Value::as_array)?.iter().map(|range| {
            let number = |index| range.get(index).and_then(Value::as_u64);
            Some((number(0)?, number(1)?)).filter(|(from, to)| (1..=*to).contains(from) && *to < LARGEST_SEQ)
        });
        Some(Kept {
            place: Place::default(),
            begun: begun.collect::<Option<_>>()?,
            again: again.collect::<Option<_>>()?,
            paused: value.get("paused") == Some(&Value::Bool(true)),
            rest: number("rest").unwrap_or(u64::MAX),
            retries: number("retries")?,
            given_up: number("given_up")?,
            lost: number("lost")?,
            lost_to: number("lost_to").unwrap_or(0),
        })
    }

    /// The tally said up to which record (`offered`) it told of begun ones; a power cut could leave the cursor ahead of it.
    /// What a missing or damaged tally does not tell of is not known to be done.
    fn of_version_0_1(name: &str, place: Place, tally: Option<&[u8]>) -> Kept {
        let value: Option<Value> = tally.and_then(|text| serde_json::from_slice(text).ok());
        let counts = value.as_ref().and_then(Kept::counts);
        let is_told = |value: &Value| value.get("offered").map_or(Some(u64::MAX), Value::as_u64);
        let offered = counts.as_ref().and(value.as_ref()).and_then(is_told).unwrap_or(0);
        let mut kept = Kept { place, rest: u64::MAX, ..counts.unwrap_or_default() };
        if name.starts_with("hook:") {
            kept.place.written = place.written.min(offered).max(place.acknowledged);
            kept.place.waiting = place.waiting.min(kept.place.written - place.acknowledged);
        }
        let Place { acknowledged, written, .. } = kept.place;
        kept.begun.retain(|begun| begun.seq > acknowledged && begun.seq <= written);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Kept, Kept> {
        Kept::parse("hook:a", text.as_bytes(), || None)
    }

    fn any_kept() -> impl Strategy<Value = Kept> {
        let begun = (any::<u64>(), any::<u32>(), any::<u64>());
        let begun = begun.prop_map(|(seq, tries, failing)| Begun { seq, tries, failing });
        let numbers = any::<[u64; 8]>();
        let range = (1..LARGEST_SEQ, 1..LARGEST_SEQ).prop_map(|(one, other)| (one.min(other), one.max(other)));
        let again = proptest::collection::vec(range, 0..9);
        (numbers, proptest::collection::vec(begun, 0..100), again, any::<bool>()).prop_map(
            |(numbers, begun, again, paused)| {
                let [one, other, waiting, rest, retries, given_up, lost, lost_to] = numbers;
                let place = Place { acknowledged: one.min(other), written: one.max(other), waiting };
                Kept { place, begun, again, paused, rest, retries, given_up, lost, lost_to }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(kept in any_kept()) {
            prop_assert_eq!(parse(&kept.text()), Ok(kept));
        }

        #[test]
        fn a_file_that_was_cut_off_repeats_and_loses_nothing(kept in any_kept(), end in 0_usize..4_000) {
            let text = kept.text();
            let end = end.min(text.len() - 1);
            let (Ok(found) | Err(found)) = parse(&text[..end]);
            prop_assert!(found.place.acknowledged <= kept.place.acknowledged);
            prop_assert_eq!(found.place.written, found.place.acknowledged);
        }
    }

    #[test]
    fn a_range_that_is_none_is_damage() {
        let text = Kept { again: vec![(3, 9)], ..Kept::default() }.text();
        assert!(parse(&text).is_ok() && text.contains("[3,9]"));
        for range in ["[9,3]", "[0,9]", "[3,99999999999999999]"] {
            assert!(parse(&text.replace("[3,9]", range)).is_err(), "{range}");
        }
    }

    #[test]
    fn lost_records_are_counted_once() {
        let mut kept = Kept::default();
        let counts = [(1, 3), (1, 3), (2, 5), (9, 9), (6, 8)].map(|(from, to)| kept.lose(from, to));
        assert_eq!((counts, kept.lost), ([3, 0, 2, 1, 0], 6));
    }

    #[test]
    fn the_files_of_version_0_1_are_understood() {
        let cursor = format!("{:020} {:020} {:020}\n", 7, 12, 2);
        let read = |name: &str, tally: Option<&str>| {
            let tally = tally.map(|text| format!("{text:4095}\n").into_bytes());
            Kept::parse(name, cursor.as_bytes(), || tally).unwrap()
        };
        let tally =
            r#"{"begun":[[5,9,9],[8,1,30],[11,0,0]],"given_up":1,"lost":2,"lost_to":3,"offered":12,"retries":4}"#;
        let begun = vec![Begun { seq: 8, tries: 1, failing: 30 }, Begun { seq: 11, tries: 0, failing: 0 }];
        let place = Place { acknowledged: 7, written: 12, waiting: 2 };
        let wanted =
            Kept { place, begun, rest: u64::MAX, retries: 4, given_up: 1, lost: 2, lost_to: 3, ..Kept::default() };
        assert_eq!(read("hook:a", Some(tally)), wanted);
        // A tally that is older than the cursor tells of less.
        let older = read("hook:a", Some(&tally.replace(":12,", ":9,")));
        assert_eq!((older.place, older.begun.len()), (Place { written: 9, ..place }, 1));
        // Without a tally, or with one that was cut at 4,096 octets, nothing after `acknowledged` is known to be done.
        for tally in [None, Some(&tally[..40])] {
            assert_eq!(read("hook:a", tally).place, Place::at(7), "{tally:?}");
        }
        // A pipe finds out by what is in its FIFO.
        assert_eq!(read("pipe:/a", None).place, place);
        // The first versions wrote two numbers.
        assert_eq!(Kept::parse("pipe:/a", b"3 5\n", || None).unwrap().place.waiting, 2);
        for damage in ["", "damage", "1 2", "1 x 3\n", "3 2 1\n", "1 2 3 4\n"] {
            assert_eq!(parse(damage).unwrap_err().place, Place::default(), "{damage:?}");
        }
    }
}
