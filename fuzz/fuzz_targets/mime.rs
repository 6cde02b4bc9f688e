//! A whole message: whatever a stranger writes becomes one line of JSON within its bounds, the same however its octets are
//! cut into blocks, and the octets of attachments are those that are counted and hashed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::content;
use mailbell::message::mime::{Collector, DEPTH, Files, PARTS, Parsed, Reader, Sink, TEXT};
use std::collections::HashSet;
use std::io::Read;

/// Counts what is given to it.
#[derive(Default)]
struct Count {
    open: bool,
    sizes: Vec<u64>,
}

impl Files for Count {
    fn begin(&mut self, name: Option<&str>, _kind: &str) {
        assert!(!std::mem::replace(&mut self.open, true));
        assert!(name.is_none_or(|name| !name.is_empty() && name.len() <= 255 && !name.contains('/')));
        self.sizes.push(0);
    }

    fn octets(&mut self, octets: &[u8]) {
        assert!(self.open);
        *self.sizes.last_mut().unwrap() += octets.len() as u64;
    }

    fn end(&mut self) {
        assert!(std::mem::take(&mut self.open));
    }
}

fn parsed(message: &[u8], block: usize) -> (Parsed, Vec<u64>) {
    let mut count = Count::default();
    let mut collector = Collector::new(Some(&mut count));
    let mut reader = Reader::default();
    message.chunks(block).for_each(|block| reader.add(block, &mut collector));
    reader.finish(&mut collector as &mut dyn Sink);
    let parsed = collector.finish();
    assert!(!count.open);
    (parsed, count.sizes)
}

fuzz_target!(|message: &[u8]| {
    let (whole, sizes) = parsed(message, 4_096);
    let size = usize::from(message.first().copied().unwrap_or(1)).max(1);
    assert!(parsed(message, size).0 == whole, "blocks of {size} octets make a difference");
    assert!(sizes.iter().copied().eq(whole.attachments.iter().map(|attachment| attachment.size)));
    assert!(whole.attachments.len() <= PARTS && DEPTH > 0);
    for text in [&whole.text, &whole.html].into_iter().flatten() {
        assert!(text.len() <= TEXT);
    }
    let names: Vec<&String> = whole.attachments.iter().filter_map(|attachment| attachment.name.as_ref()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "a name is there twice");
    let mut json = Vec::new();
    content::Object::new(None, whole).read_to_end(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 6);
});
