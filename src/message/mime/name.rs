//! File names of attachments: a stranger writes them, and programs make files of them.

use crate::message::letter::is_unsafe;
use std::collections::HashMap;

/// NAME_MAX of Linux, octets.
const LONGEST: usize = 255;

/// Longest ending that is kept when a name is cut, octets with its dot.
const ENDING: usize = 16;

/// What Windows, and shares for it, take for a device, whatever ending it has.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A name that can be a file's: without folders, control characters and controls of the direction of text, without a dot or
/// dash at its beginning, at most 255 octets. `None` where nothing is left.
pub fn safe(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let replaced: String = last.chars().map(|letter| if is_unsafe(letter) { '_' } else { letter }).collect();
    let name = replaced.trim_start_matches(|letter| is_blank(letter) || letter == '-').trim_end_matches(is_blank);
    if name.is_empty() {
        return None;
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let is_port = |stem: &str| ["com", "lpt"].iter().any(|port| stem.strip_prefix(port).is_some_and(|n| n.len() == 1));
    let is_device = DEVICES.contains(&stem.as_str()) || is_port(&stem);
    Some(cut(&format!("{}{name}", if is_device { "_" } else { "" }), ""))
}

/// The name with `mark` before its ending, in [`LONGEST`] octets.
fn cut(name: &str, mark: &str) -> String {
    let ending = name.rfind('.').filter(|at| *at > 0 && name.len() - at <= ENDING).unwrap_or(name.len());
    let (stem, ending) = name.split_at(ending);
    let kept = &stem[..stem.floor_char_boundary(LONGEST - mark.len() - ending.len())];
    // What was cut may end anywhere.
    let kept = if kept.len() < stem.len() { kept.trim_end_matches(is_blank) } else { kept.trim_end() };
    format!("{kept}{mark}{ending}")
}

/// No name ends with such a letter: Windows leaves it out.
fn is_blank(letter: char) -> bool {
    letter == '.' || letter.is_whitespace()
}

/// Names that are given away, each once.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, u32>);

impl Names {
    /// This name, or where that was given away `NAME-2.ENDING` and so on.
    pub fn other(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        while self.0.contains_key(&candidate) {
            let number = self.0.entry(name.to_owned()).or_insert(1);
            *number += 1;
            candidate = cut(name, &format!("-{number}"));
        }
        self.0.insert(candidate.clone(), 1);
        candidate
    }
}

/// The name of an attachment without one: `attachment-3.pdf`.
pub fn of_kind(kind: &str, number: usize) -> String {
    let ending = match kind {
        "text/plain" | "message/delivery-status" | "text/rfc822-headers" => "txt",
        "text/html" => "html",
        "text/calendar" => "ics",
        "text/csv" => "csv",
        "text/vcard" | "text/x-vcard" => "vcf",
        "message/rfc822" | "message/global" => "eml",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/json" => "json",
        "application/xml" | "text/xml" => "xml",
        "application/pgp-signature" | "application/pgp-encrypted" => "asc",
        "application/pkcs7-signature" | "application/x-pkcs7-signature" => "p7s",
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => "p7m",
        "application/ms-tnef" => "dat",
        "image/jpeg" | "image/jpg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/tiff" => "tif",
        "audio/mpeg" => "mp3",
        "audio/wav" | "audio/x-wav" => "wav",
        "video/mp4" => "mp4",
        _ => "bin",
    };
    format!("attachment-{number}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_is_cut_at_a_dot_does_not_end_with_it() {
        let long = format!("{}.{}", "a".repeat(LONGEST - 1), "b".repeat(ENDING + 1));
        assert_eq!(safe(&long), Some("a".repeat(LONGEST - 1)));
    }

    #[test]
    fn hostile_names_are_made_harmless() {
        for (name, meant) in [
            ("invoice.pdf", Some("invoice.pdf")),
            ("../../etc/passwd", Some("passwd")),
            ("/tmp/absolute", Some("absolute")),
            ("C:\\dir\\file.txt", Some("file.txt")),
            ("../up\0down", Some("up_down")),
            ("a\r\nb\t\x1b[31m.txt", Some("a__b__[31m.txt")),
            ("invoice\u{202e}fdp.exe", Some("invoice_fdp.exe")),
            ("-rf", Some("rf")),
            ("--- .bashrc ", Some("bashrc")),
            ("...", None),
            ("..", None),
            ("a/", None),
            (" \u{3000}- ", None),
            ("", None),
            ("trailing. . ", Some("trailing")),
            ("NUL.txt", Some("_NUL.txt")),
            ("com1", Some("_com1")),
            ("com10.txt", Some("com10.txt")),
            ("console.txt", Some("console.txt")),
            ("Rechnung äöü 2026 (1).pdf", Some("Rechnung äöü 2026 (1).pdf")),
        ] {
            assert_eq!(safe(name).as_deref(), meant, "{name:?}");
        }
        let long = safe(&format!("{}.tar.gz", "é".repeat(500))).unwrap();
        assert!(long.len() <= LONGEST && long.len() >= LONGEST - 1 && long.ends_with("é.gz"), "{long}");
        assert_eq!(safe(&"x".repeat(300)).unwrap().len(), LONGEST);
    }

    #[test]
    fn the_first_of_equal_names_keeps_it() {
        let mut names = Names::default();
        let given: Vec<_> = ["a.txt", "a.txt", "a-2.txt", "a.txt", "b"].map(|name| names.other(name)).into();
        assert_eq!(given, ["a.txt", "a-2.txt", "a-2-2.txt", "a-3.txt", "b"]);
        let long = format!("{}.pdf", "x".repeat(251));
        names.other(&long);
        let second = names.other(&long);
        assert!(second.len() <= LONGEST && second.ends_with("x-2.pdf"), "{second}");
    }

    proptest! {
        #[test]
        fn every_name_is_safe(name in "\\PC{0,20}|[./\\\\\\-a. \\u{0}-\\u{1f}\\u{202e}]{0,12}|[é.]{0,300}", repeats in 1_usize..20) {
            let mut names = Names::default();
            if let Some(safe) = safe(&name.repeat(repeats)) {
                for _ in 0..3 {
                    let given = names.other(&safe);
                    prop_assert!((1..=LONGEST).contains(&given.len()), "{}", given);
                    prop_assert!(!given.starts_with(['.', '-']) && !given.contains(['/', '\\', '\0']), "{}", given);
                    prop_assert!(!given.chars().any(is_unsafe), "{}", given);
                }
            }
        }
    }
}
