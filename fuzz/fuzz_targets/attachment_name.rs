//! The file name of an attachment, from its header to the name of a file: always one that stays in its folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::message::letter::is_unsafe;
use mailbell::message::mime::{Collector, Names, Reader, safe};

fn check(name: &str) {
    assert!((1..=255).contains(&name.len()), "{name:?}");
    assert!(!name.starts_with(['.', '-']) && !name.ends_with(['.', ' ']), "{name:?}");
    assert!(!name.contains(['/', '\\']) && !name.chars().any(is_unsafe), "{name:?}");
}

fuzz_target!(|name: &[u8]| {
    if let Some(safe) = safe(&String::from_utf8_lossy(name)) {
        check(&safe);
        let mut names = Names::default();
        let given = [names.other(&safe), names.other(&safe), names.other(&safe)];
        given.iter().for_each(|name| check(name));
        assert!(given[0] == safe && given[1] != given[0] && given[2] != given[0] && given[1] != given[2]);
    }
    // As it stands in a header, in any form.
    let head = [b"Content-Type: application/x\nContent-Disposition: attachment; ", name, b"\n\nx"].concat();
    let (mut reader, mut collector) = (Reader::default(), Collector::new(None));
    reader.add(&head, &mut collector);
    reader.finish(&mut collector);
    for attachment in collector.finish().attachments {
        attachment.name.iter().for_each(|name| check(name));
    }
});
