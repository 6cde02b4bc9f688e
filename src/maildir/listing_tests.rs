//! What a listing finds, finds again, and keeps apart.

use super::*;
use crate::maildir::testing::maildir;

#[test]
fn finds_what_it_lists() {
    let maildir = maildir(
        "listing",
        &[("new/9.h", b""), ("cur/10.M5P1Q1.h,S=3:2,S", b""), ("cur/odd one:2,", b""), ("cur/10.M5P1Q1.i:2,", b"")],
    );
    let listing = Listing::read(&maildir).unwrap();
    assert_eq!(listing.len(), 4);
    for index in 0..listing.len() {
        assert!(listing.path(&maildir, index).is_file());
        let mut unique_id = Vec::new();
        listing.unique_id(index, &mut unique_id);
        assert_eq!(listing.position(&unique_id), Some(index));
        assert_eq!(listing.position(listing.id(index)), Some(index));
        assert_eq!(listing.find(&listing, index), Some(index));
    }
    assert_eq!(listing.position(b"10.M5P1Q1"), None);
    assert_eq!(listing.position(b"11.h"), None);
    std::fs::remove_dir_all(maildir).unwrap();
}

#[test]
fn two_messages_of_one_name_are_two() {
    let maildir = maildir(
        "listing-same",
        &[("new/1.h", b"1"), ("cur/1.h:2,S", b"2"), ("cur/1.h,S=3:2,", b"3"), ("cur/2.h:2,", b"4")],
    );
    // The same file, as a rename during the reading shows it.
    std::fs::hard_link(maildir.join("cur/2.h:2,"), maildir.join("new/2.h")).unwrap();
    let ids = |listing: &Listing| {
        let id = |index| {
            let mut unique_id = Vec::new();
            listing.unique_id(index, &mut unique_id);
            (std::fs::read(listing.path(&maildir, index)).unwrap(), unique_id)
        };
        (0..listing.len()).map(id).collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = Listing::read(&maildir).unwrap();
    let known = ids(&before);
    assert_eq!((before.len(), known.len()), (4, 4));
    assert_eq!(known.values().collect::<std::collections::BTreeSet<_>>().len(), 4);
    assert_eq!(known[&b"4"[..]], b"2.h");
    std::fs::rename(maildir.join("new/1.h"), maildir.join("cur/1.h:2,F")).unwrap();
    let after = Listing::read(&maildir).unwrap();
    assert_eq!(ids(&after), known);
    for index in 0..before.len() {
        let found = after.find(&before, index).unwrap();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        before.unique_id(index, &mut one);
        after.unique_id(found, &mut other);
        assert_eq!(one, other);
    }
    std::fs::remove_dir_all(maildir).unwrap();
}

/// Any user can give a great many files one id: they are compared with their neighbours alone.
#[test]
fn many_files_of_one_id_are_listed_once_each() {
    let maildir = maildir("listing-many", &[]);
    let count = 20_000;
    for number in 0..count {
        std::fs::write(maildir.join(format!("new/mail,{number}")), "").unwrap();
    }
    let listing = Listing::read(&maildir).unwrap();
    let mut ids = std::collections::HashSet::new();
    for index in 0..listing.len() {
        let mut unique_id = Vec::new();
        listing.unique_id(index, &mut unique_id);
        ids.insert(unique_id);
    }
    assert_eq!((listing.len(), ids.len()), (count, count));
    std::fs::remove_dir_all(maildir).unwrap();
}

#[test]
fn an_entry_is_small() {
    assert_eq!(size_of::<Entry>(), 16);
}
