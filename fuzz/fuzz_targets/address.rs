//! Paths and mailboxes: what is taken is a part of what was typed, and is taken again as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::message::address::{self, Mailbox, ReversePath};

fn sound(mailbox: &Mailbox, typed: &str) {
    assert!(typed.contains(&mailbox.text), "{mailbox:?} of {typed:?}");
    assert!(!mailbox.text.contains(char::is_control) && mailbox.text.len() <= 254);
    assert!(!mailbox.local_part.contains(char::is_control));
    let again = address::mailbox(&mailbox.text).expect("an address as it is repeated");
    assert_eq!(&again, mailbox);
}

fuzz_target!(|typed: &str| {
    if let Ok(mailbox) = address::mailbox(typed) {
        assert_eq!(mailbox.text, typed);
        sound(&mailbox, typed);
    }
    if let Ok((mailbox, rest)) = address::forward_path(typed) {
        assert!(typed.ends_with(rest) && (rest.is_empty() || rest.starts_with([' ', '\t'])));
        sound(&mailbox, typed);
    }
    if let Ok((ReversePath::Mailbox(mailbox), rest)) = address::reverse_path(typed) {
        assert!(typed.ends_with(rest));
        sound(&mailbox, typed);
    }
});
