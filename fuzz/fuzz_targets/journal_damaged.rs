//! A journal folder with any octets in its segments: a reader never stops and never gives a number twice, and a ledger
//! that is opened on it appends a higher one.
//!
//! The input is one octet of choices (compressed, a mark, where the next segment begins) and then the octets of a segment,
//! again and again, each ended by `\xFF\xFF`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::journal::{Item, Reader, Record};
use mailbell::ledger::{Copy, Keep, Ledger};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Reads all, and gives the last number.
fn read(journal: &Path, octets: usize) -> u64 {
    let mut reader = Reader::new(journal, 0);
    let (mut last, mut items) = (0, 0);
    while let Some(item) = reader.next_item().unwrap() {
        let (from, to) = match item {
            Item::Record(record) => (record.seq, record.seq),
            Item::Lost { from, to } => (from, to),
        };
        assert!(from == last + 1 && to >= from, "{from} to {to} after {last}");
        last = to;
        items += 1;
        assert!(items <= 20 + octets, "it does not end");
    }
    last
}

fuzz_target!(|input: &[u8]| {
    let state = std::env::temp_dir().join(format!("mailbell-fuzz-{}", std::process::id()));
    let journal = state.join("journal");
    let _ = fs::remove_dir_all(&state);
    fs::create_dir_all(&journal).unwrap();
    let mut first = 1_u64;
    let mut rest = input;
    for _ in 0..4 {
        let Some((choice, tail)) = rest.split_first() else { break };
        let end = tail.windows(2).position(|pair| pair == b"\xFF\xFF").unwrap_or(tail.len());
        let octets = &tail[..end];
        rest = tail.get(end + 2..).unwrap_or_default();
        let name = journal.join(format!("{first:020}.jsonl"));
        match choice & 3 {
            0 => fs::write(name, octets).unwrap(),
            1 => fs::write(name.with_extension("jsonl.gz"), octets).unwrap(),
            _ => {
                let file = fs::File::create(name.with_extension("jsonl.gz")).unwrap();
                let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                gzip.write_all(octets).unwrap();
                gzip.finish().unwrap();
            }
        }
        first += u64::from(choice >> 3) + 1;
        if choice & 4 != 0 {
            fs::write(journal.join("safe"), format!("{first:020} {first:020}\n")).unwrap();
        }
    }
    let told = read(&journal, input.len());
    let ledger = Ledger::open(&state, Keep { age: Duration::MAX, size: u64::MAX }).unwrap();
    assert!(ledger.last_seq() >= told, "{} after {told} was told", ledger.last_seq());
    let before = ledger.last_seq();
    let copy = Copy { user: "alice".into(), path: "/nowhere/new/1.M1.h".into(), rcpt_to: None };
    drop(ledger.expect(vec![copy], "1.M1.h").record(Record::default()));
    assert_eq!(ledger.last_seq(), before + 1);
    ledger.tick();
    assert_eq!(read(&journal, input.len()), before + 1);
});
