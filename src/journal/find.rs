//! Finds the record of a message by its id, without reading the whole journal where that can be.
//!
//! An id of ours begins with the second in which the message came, and segments are in the order of time: so the segment
//! that most likely holds the record is looked at first. Another program may name its files otherwise; then all segments
//! are looked at, the newest first. Only lines that hold the id are parsed, and one line is kept at a time.

use super::mark;
use super::record::Record;
use super::segment::{self, Segment};
use memchr::memmem::Finder;
use std::io;
use std::path::Path;

/// A record with this id that `is_wanted`; of several the latest in its segment. Without one, the latest that has the id.
/// `None` where the journal has none, or none that is safe yet.
///
/// # Errors
///
/// When the folder or a segment cannot be read.
pub fn find(dir: &Path, id: &str, is_wanted: &dyn Fn(&Record) -> bool) -> io::Result<Option<Record>> {
    let segments = segment::list(dir)?;
    let safe = mark::read(dir).unwrap_or(u64::MAX);
    // In JSON such an id is as it is. Of another one each line is parsed.
    let is_plain = id.bytes().all(|octet| octet.is_ascii_graphic() && !b"\"\\".contains(&octet));
    let needle = Finder::new(if is_plain { id } else { "" });
    let (mut line, mut other) = (Vec::new(), None);
    for segment in in_order(&segments, id) {
        let mut lines = match segment.lines() {
            // Dropped or compressed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => again(dir, segment)?,
            lines => lines?,
        };
        let mut found = None;
        while let Some(record) = lines.next_holding(&needle, &mut line)? {
            if record.id != id || record.seq > safe {
                continue;
            }
            if is_wanted(&record) {
                found = Some(record);
            } else if other.as_ref().is_none_or(|other: &Record| other.seq < record.seq) {
                other = Some(record);
            }
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(other)
}

/// The segments, those first that are likely.
fn in_order<'s>(segments: &'s [Segment], id: &str) -> Vec<&'s Segment> {
    let mut order: Vec<&Segment> = segments.iter().rev().collect();
    let seconds = id.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
    let Some(time) = seconds.and_then(|seconds| seconds.checked_mul(1_000_000)) else { return order };
    let first_later = segments.partition_point(|segment| begins_before(segment, time));
    // The record is written after the message came, so it may also be in the segment that begins then.
    for index in [first_later, first_later.wrapping_sub(1)] {
        if let Some(likely) = segments.get(index) {
            order.retain(|segment| segment.first != likely.first);
            order.insert(0, likely);
        }
    }
    order
}

/// Whether the first record of a segment is older than this time in microseconds.
fn begins_before(segment: &Segment, time: u64) -> bool {
    let first = segment.lines().and_then(|mut lines| lines.next_record(0, &mut Vec::new()));
    first.ok().flatten().is_some_and(|(record, _)| record.timestamp < time)
}

/// The lines of the segment under its other name; none where it was dropped.
fn again(dir: &Path, segment: &Segment) -> io::Result<segment::Lines> {
    let now = segment::list(dir)?.into_iter().find(|other| other.first == segment.first);
    match now.map(|segment| segment.lines()) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Some(Ok(lines)) => Ok(lines),
        _ => Ok(segment::Lines::none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use crate::journal::tests::Scratch;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::fs;
    use std::io::Write;

    const SECOND: u64 = 1_795_423_499;

    /// A journal of 30 records in 3 segments, the first ones compressed, each record a minute after the other.
    fn journal(name: &str) -> Scratch {
        let scratch = Scratch::new(name);
        fs::create_dir(scratch.journal()).unwrap();
        for first in [1, 11, 21] {
            let mut lines = Vec::new();
            for seq in first..first + 10 {
                let mut record = sample(seq, if seq % 2 == 0 { "alice" } else { "bob" }, &id(seq));
                record.timestamp = (SECOND + 60 * seq) * 1_000_000 + 5;
                record.write_json(&mut lines);
                lines.push(b'\n');
            }
            let plain = Segment::plain(&scratch.journal(), first).path;
            if first == 21 {
                fs::write(plain, lines).unwrap();
                continue;
            }
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&lines).unwrap();
            fs::write(plain.with_extension("jsonl.gz"), packed.finish().unwrap()).unwrap();
        }
        scratch
    }

    fn id(seq: u64) -> String {
        match seq {
            // Two records have this one; another program chose it, and it says nothing of the time.
            3 | 14 => "foreign \"id\"\u{2028}".to_owned(),
            5 | 6 | 25 => format!("{}.M1.h", SECOND + 300),
            seq => format!("{}.M{seq}.h", SECOND + 60 * seq),
        }
    }

    #[test]
    fn a_record_is_found_by_its_id_in_the_segment_of_its_time_and_elsewhere() {
        let scratch = journal("find");
        let found = |id: &str, user: &str| {
            find(&scratch.journal(), id, &|record| record.user == user).unwrap().map(|record| record.seq)
        };
        for seq in [1, 2, 10, 11, 20, 21, 30] {
            assert_eq!(found(&id(seq), if seq % 2 == 0 { "alice" } else { "bob" }), Some(seq), "{seq}");
            // Of another user, it is all that there is.
            assert_eq!(found(&id(seq), "carol"), Some(seq), "{seq}");
        }
        assert_eq!(
            (found(&id(3), "bob"), found(&id(3), "alice"), found(&id(3), "carol")),
            (Some(3), Some(14), Some(14))
        );
        assert_eq!(
            (found(&id(5), "bob"), found(&id(5), "alice"), found(&id(5), "carol")),
            (Some(5), Some(6), Some(25))
        );
        for other in ["", "1.M2", &format!("{SECOND}.M1"), "99999999999999999999.M1", "1795423499", "sub"] {
            assert_eq!(found(other, "alice"), None, "{other}");
        }
        // What is not safe on disk is not told.
        fs::write(scratch.journal().join("safe"), format!("{0:020} {0:020}\n", 24)).unwrap();
        assert_eq!((found(&id(24), "alice"), found(&id(26), "alice")), (Some(24), None));
        let none = find(&scratch.journal().join("none"), "x", &|_| true).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_likely_segments_come_first_and_each_once() {
        let scratch = journal("find-order");
        let segments = segment::list(&scratch.journal()).unwrap();
        let order = |id: &str| in_order(&segments, id).iter().map(|segment| segment.first).collect::<Vec<_>>();
        for (id, wanted) in [
            (id(2), [1, 11, 21]),
            (id(12), [11, 21, 1]),
            (id(22), [21, 11, 1]),
            // The second in which a segment begins: the record may be the last one of the segment before.
            (format!("{}.x", SECOND + 60 * 11), [1, 11, 21]),
            ("1.old".to_owned(), [1, 21, 11]),
            ("word".to_owned(), [21, 11, 1]),
            (format!("{}.x", u64::MAX), [21, 11, 1]),
        ] {
            assert_eq!(order(&id), wanted, "{id}");
        }
    }
}
