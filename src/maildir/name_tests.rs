//! Names of this and of other programs, and the parser beside its twin.

use super::*;
use proptest::prelude::*;

/// The twin, with the means of `str`.
fn naive(name: &str) -> (String, Option<u64>, Option<u64>, String, bool) {
    let (base, info) = name.split_once(':').map_or((name, None), |(base, info)| (base, Some(info)));
    let mut parts = base.split(',');
    let id = parts.next().unwrap_or_default().to_owned();
    let number = |digits: &str| (!digits.starts_with('+')).then(|| digits.parse().ok()).flatten();
    let field = |key: &str| base.split(',').skip(1).filter_map(|part| part.strip_prefix(key)).find_map(number);
    let flags = info.and_then(|info| info.strip_prefix("2,")).unwrap_or_default();
    let flags = flags.split(',').next().unwrap_or_default().to_owned();
    (id, field("S="), field("W="), flags, info.is_some())
}

fn parsed(name: &str) -> (String, Option<u64>, Option<u64>, String, bool) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("parts of a str");
    let name = Name::parse(name.as_bytes());
    (text(name.id), name.size, name.wire, text(name.flags), name.info)
}

#[test]
fn names_of_the_programs_we_share_with() {
    for (name, id, size, wire, flags, info) in [
        ("1.M2P3Q4.h,S=5,W=6:2,FS", "1.M2P3Q4.h", Some(5), Some(6), "FS", true),
        ("1.M2P3.h,W=6,S=5", "1.M2P3.h", Some(5), Some(6), "", false),
        ("1.M2P3.h,S=5:2,Sab", "1.M2P3.h", Some(5), None, "Sab", true),
        ("1_0.3.h,U=4,FMD5=7e33:2,S", "1_0.3.h", None, None, "S", true),
        ("1.h:1,x", "1.h", None, None, "", true),
        ("1.h:2,", "1.h", None, None, "", true),
        ("1.h,S=,W=+1", "1.h", None, None, "", false),
        ("1.h,S=1x,W=18446744073709551616", "1.h", None, None, "", false),
        ("1.h,S=1,S=2", "1.h", Some(1), None, "", false),
        (",S=1", "", Some(1), None, "", false),
        ("1.h:2,S,W=9", "1.h", None, None, "S", true),
    ] {
        assert_eq!(parsed(name), (id.into(), size, wire, flags.into(), info), "{name}");
        assert_eq!(naive(name), parsed(name), "{name}");
    }
}

#[test]
fn what_is_no_suffix_tells_messages_apart() {
    for (name, known_as) in [
        ("1.M2P3Q4.h,S=5,W=6:2,FS", "1.M2P3Q4.h"),
        ("1_0.3.h,U=4,FMD5=7e33:2,S", "1_0.3.h"),
        ("1.h:1,x", "1.h"),
        ("1.h:2,", "1.h"),
        ("1.h,S=,W=+1:2,Sab", "1.h"),
        ("1.h:2,S,W=9", "1.h"),
        ("report.eml", "report.eml"),
        ("2026-11-24T12:30:01.77", "2026-11-24T12:30:01.77"),
        ("2026-11-24T12:30:01.77:2,RS", "2026-11-24T12:30:01.77"),
        ("2026-11-24T12:30:01.77:2,", "2026-11-24T12:30:01.77"),
        ("2026-11-24T12:30:01.77:2,7", "2026-11-24T12:30:01.77:2,7"),
        ("mail,1", "mail,1"),
        ("mail,1:2,S", "mail,1"),
        ("mail,S=5,2", "mail,S=5,2"),
        ("mail,=5", "mail,=5"),
        ("mail:2", "mail:2"),
        ("mail:3,S", "mail:3,S"),
        ("", ""),
    ] {
        assert_eq!(super::known_as(name.as_bytes()).escape_ascii().to_string(), known_as, "{name}");
    }
}

#[test]
fn names_of_one_message_only_begin_with_the_time() {
    for name in [
        "1.M2P3Q4.h,S=5,W=6:2,FS",
        "1763888639.4242_0.host.example",
        "1763888639_0.4242.box,U=5,FMD5=0a:2,",
        "1700000000.1.h:1,x",
    ] {
        assert!(is_unique(name.as_bytes()), "{name}");
    }
    for name in [
        "report.eml",
        "20261124.eml",
        "1.h",
        "1..h",
        "1.2.",
        ".1.h",
        "x1.2.h",
        "2026.11.24T12:30:01",
        "1",
        "_1.2.h",
        "1_.2.h",
    ] {
        assert!(!is_unique(name.as_bytes()), "{name}");
    }
}

#[test]
fn flags_stay_sorted() {
    assert_eq!(Name::parse(b"1.h,S=1").with_flag(b'S'), b"1.h,S=1:2,S");
    assert_eq!(Name::parse(b"1.h:2,FT").with_flag(b'S'), b"1.h:2,FST");
    assert_eq!(Name::parse(b"1.h:2,S").with_flag(b'S'), b"1.h:2,S");
    assert_eq!(Name::parse(b"1.h:2,Sa").with_flag(b'Z'), b"1.h:2,SZa");
}

#[test]
fn arrival_is_ordered_by_number_not_by_digits() {
    let order = ["odd", "9.h", "10.M5P9.h", "10.M5P1Q2.h", "10.M40P1Q1.h", "99999999999999999999999.h"];
    let arrivals: Vec<_> = order.iter().map(|id| Arrival::of(id.as_bytes())).collect();
    assert!(arrivals.windows(2).all(|pair| pair[0] < pair[1]), "{arrivals:?}");
}

#[test]
fn only_what_clients_can_take_is_a_unique_id() {
    assert!(is_unique_id(b"1.M2P3Q4.host") && is_unique_id(&[b'~'; 70]));
    for bad in [&b""[..], &[b'a'; 71], b"a b", b"a\x7f", b"\xc3\xa4", b"a\0"] {
        assert!(!is_unique_id(bad), "{}", bad.escape_ascii());
        let mut substitutes = Vec::new();
        substitute(bad, &mut substitutes);
        assert!(is_unique_id(&substitutes) && substitutes.len() == 35);
    }
}

proptest! {
    #[test]
    fn agrees_with_the_twin(name in "[0-9.]{0,4}((,|:|,S=|,W=|2,)[0-9A-Z+]{0,3}){0,5}") {
        prop_assert_eq!(parsed(&name), naive(&name));
    }

    #[test]
    fn takes_any_octets(name in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = Name::parse(&name);
        prop_assert!(name.starts_with(parsed.base) && parsed.base.starts_with(parsed.id));
        prop_assert!(known_as(&name).starts_with(parsed.id));
        Arrival::of(parsed.id);
    }
}
