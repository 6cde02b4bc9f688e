//! Paths and mailboxes: a mailbox that is taken has no control characters, and is taken again as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::message::address::{self, Mailbox, ReversePath};
use mailbell::message::letter::is_unsafe;

fn sound(mailbox: &Mailbox) {
    assert!(!mailbox.text.contains(is_unsafe) && mailbox.text.len() <= 254);
    assert!(!mailbox.local_part.contains(is_unsafe));
    let again = address::mailbox(&mailbox.text).expect("an address as it is repeated");
    assert_eq!(&again, mailbox);
}

fuzz_target!(|typed: &str| {
    if let Ok(mailbox) = address::mailbox(typed) {
        assert_eq!(mailbox.text, typed);
        sound(&mailbox);
    }
    if let Ok((mailbox, rest)) = address::forward_path(typed) {
        assert!(typed.ends_with(rest) && (rest.is_empty() || rest.starts_with([' ', '\t'])));
        sound(&mailbox);
    }
    if let Ok((ReversePath::Mailbox(mailbox), rest)) = address::reverse_path(typed) {
        assert!(typed.ends_with(rest));
        sound(&mailbox);
    }
});
