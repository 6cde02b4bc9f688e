//! A line of the journal: what parses is written and read back as the same record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::journal::Record;
use mailbell::journal::record::FIELDS;

fuzz_target!(|line: &[u8]| {
    let _ = Record::seq_of(line);
    let Ok(record) = Record::parse(line) else { return };
    let mut written = Vec::new();
    record.write_json(&mut written);
    assert!(!written.contains(&b'\n'));
    assert_eq!(Record::seq_of(&written), Some(record.seq));
    assert_eq!(Record::parse(&written), Ok(record.clone()));
    for name in FIELDS {
        let _ = record.field(name);
    }
});
