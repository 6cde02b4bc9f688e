//! File names in a Maildir: every octet string is a name, and its parts are parts of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::maildir::name::{self, Arrival, Name};

fuzz_target!(|file_name: &[u8]| {
    let parsed = Name::parse(file_name);
    assert!(file_name.starts_with(parsed.base) && parsed.base.starts_with(parsed.id));
    assert!(!parsed.base.contains(&b':') && !parsed.id.contains(&b','));
    assert_eq!(parsed.info, file_name.contains(&b':'));
    let _ = Arrival::of(parsed.id);

    // A flag added is there, the id stays, and adding it again changes nothing.
    let flagged = parsed.with_flag(b'S');
    let again = Name::parse(&flagged);
    assert!(again.flags.contains(&b'S'));
    assert_eq!((again.id, again.size, again.wire), (parsed.id, parsed.size, parsed.wire));
    assert_eq!(again.with_flag(b'S'), flagged);

    let mut substitute = Vec::new();
    name::substitute(file_name, &mut substitute);
    assert!(name::is_unique_id(&substitute));
    if name::is_message(file_name) {
        assert!(!file_name.contains(&b'/') && !file_name.contains(&0) && file_name[0] != b'.');
    }
});
