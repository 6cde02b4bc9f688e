//! Ids for messages that we store: unique, and in the order in which they were given out.
//!
//! `SECONDS.M<usec>P<pid>Q<n>.<host>`, the form that Dovecot and qmail use. The microseconds have six digits always, so
//! that the order of a process's ids is that of their octets, too. Two ids of one process never share their time, also
//! when the clock stands still or goes back.

use crate::limits;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The source of a process's ids.
#[derive(Debug)]
pub struct Ids {
    pid: u32,
    host: String,
    /// The time of the last id, microseconds since 1970.
    last: AtomicU64,
    count: AtomicU64,
}

/// One id and the time in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// At most [`limits::UNIQUE_ID`] octets, each 0x21 to 0x7E, none of them `/`, `:` or `,`.
    pub text: String,
    /// Microseconds since 1970.
    pub microseconds: u64,
    /// Octets of `text` before `.<host>`.
    unique: usize,
}

impl Id {
    /// What makes it unique on this host: the id without `.<host>`.
    pub fn unique(&self) -> &str {
        &self.text[..self.unique]
    }
}

impl Ids {
    /// For this process on the host of that name.
    pub fn new(host: &str) -> Ids {
        Ids { pid: std::process::id(), host: escape(host), last: AtomicU64::new(0), count: AtomicU64::new(0) }
    }

    /// The next id.
    pub fn next(&self) -> Id {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        self.next_at(now)
    }

    fn next_at(&self, now: u64) -> Id {
        let after = |last: u64| now.max(last + 1);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        // The closure never says None, so both arms hold the time of the id before.
        let microseconds = after(last.unwrap_or_else(|last| last));
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
        let mut text = format!("{seconds}.M{fraction:06}P{}Q{count}", self.pid);
        let unique = text.len();
        text.push('.');
        text.push_str(cut(&self.host, limits::UNIQUE_ID - text.len()));
        Id { text, microseconds, unique }
    }
}

/// What a Maildir name or a unique-id cannot hold becomes `\ooo`, as the Maildir rules say for `/` and `:`.
fn escape(host: &str) -> String {
    let mut text = String::new();
    for octet in host.bytes() {
        if (0x21..=0x7E).contains(&octet) && !b"/:,\\".contains(&octet) {
            text.push(octet.into());
        } else {
            // unwrap: writing to a String cannot fail.
            write!(text, "\\{octet:03o}").unwrap();
        }
    }
    text
}

/// At most so many octets, and no escape cut in two.
fn cut(host: &str, octets: usize) -> &str {
    if host.len() <= octets {
        return host;
    }
    let whole = &host[..octets];
    match whole.rfind('\\') {
        Some(escape) if octets - escape < "\\000".len() => &whole[..escape],
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::name::{self, Arrival};
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_form_is_that_of_the_design() {
        let ids = Ids { pid: 412, ..Ids::new("mail.example.org") };
        let id = ids.next_at(1_763_888_639_000_456);
        assert_eq!(id.text, "1763888639.M000456P412Q1.mail.example.org");
        assert_eq!(id.unique(), "1763888639.M000456P412Q1");
        assert_eq!(id.microseconds, 1_763_888_639_000_456);
    }

    proptest! {
        #[test]
        fn ids_grow_whatever_the_clock_says(times in proptest::collection::vec(1_700_000_000_000_000_u64..1_700_000_000_002_000, 2..50), host in ".{0,80}") {
            let ids = Ids::new(&host);
            let made: Vec<Id> = times.iter().map(|time| ids.next_at(*time)).collect();
            for id in &made {
                prop_assert!(name::is_unique_id(id.text.as_bytes()), "{}", id.text);
                prop_assert!(!id.text.contains(['/', ':', ',']));
                prop_assert_eq!(name::Name::parse(id.text.as_bytes()).id, id.text.as_bytes());
            }
            for pair in made.windows(2) {
                prop_assert!(pair[0].text < pair[1].text && pair[0].microseconds < pair[1].microseconds);
                prop_assert!(Arrival::of(pair[0].text.as_bytes()) < Arrival::of(pair[1].text.as_bytes()));
            }
        }
    }

    #[test]
    fn a_host_is_cut_but_no_escape_is() {
        assert_eq!(escape("a/b:c,d\\é"), "a\\057b\\072c\\054d\\134\\303\\251");
        assert_eq!(cut("abc\\057d", 7), "abc\\057");
        for octets in 3..7 {
            assert_eq!(cut("abc\\057d", octets), "abc", "{octets}");
        }
        let id = Ids::new(&"h/".repeat(100)).next();
        assert!((67..=70).contains(&id.text.len()), "{}", id.text);
        assert!(id.text.ends_with("h\\057") || id.text.ends_with("\\057h"), "{}", id.text);
    }

    #[test]
    fn threads_never_get_the_same_id() {
        let ids = Ids::new("h");
        let made: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..500).map(|_| ids.next().text).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.iter().map(|id| &id[.."1763888639.M123456".len()]).collect::<HashSet<_>>().len(), 2000);
    }
}
