//! Which messages are new when a server's ids have changed. Known is a message that the journal has by key for this user, that
//! arrived long before the last good pass, or that was there before a first run that left such messages out. Pure but for the
//! ledger.

use crate::ledger::Ledger;
use crate::message::date::parse_mail;
use crate::message::header::{Fields, Summary};

/// A message that arrived so long before the last good pass was seen by it, seconds.
const MARGIN: u64 = 24 * 3_600;

/// Decides whether a message is known.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'l> {
    /// Where keys are.
    pub ledger: Option<&'l Ledger>,
    /// The user that the mail is for.
    pub user: &'l str,
    /// The last good pass, seconds since 1970.
    pub passed: u64,
    /// The first run, if it left out what was there; else 0.
    pub first: u64,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Known by key.
    pub by_key: u64,
    /// Known by age.
    pub by_age: u64,
    /// New.
    pub new: u64,
}

impl Counts {
    /// Logs the result of a comparison, because the server's ids, by this name, changed.
    pub fn log(&self, label: &str, ids: &str) {
        let Counts { by_key, by_age, new } = self;
        log::info!(
            "remote {label}: the server's {ids} changed; compared by key and date: {by_key} known by key, {by_age} by age, \
             {new} new"
        );
    }
}

impl Judge<'_> {
    /// Whether a message is new. `header` has the fields that the key is made of; `internal_date` is what the server says
    /// of its arrival.
    pub fn is_new(&self, header: &[u8], internal_date: Option<&str>, counts: &mut Counts) -> bool {
        let key = Summary::parse(header).key;
        if self.ledger.is_some_and(|ledger| ledger.has_key(self.user, &key)) {
            counts.by_key += 1;
            return false;
        }
        let arrived = received(header).or_else(|| internal_date.and_then(parse_mail));
        let is_old = arrived.is_some_and(|time| time.saturating_add(MARGIN) < self.passed || time < self.first);
        let count = if is_old { &mut counts.by_age } else { &mut counts.new };
        *count += 1;
        !is_old
    }
}

/// The time in the topmost Received field.
fn received(header: &[u8]) -> Option<u64> {
    let (_, body) = Fields::new(header).find(|(name, _)| name.eq_ignore_ascii_case(b"Received"))?;
    let text = String::from_utf8_lossy(body);
    parse_mail(text.rsplit_once(';')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_decides_where_no_key_does() {
        let judge = Judge { ledger: None, user: "alice", passed: 1_795_423_499 + MARGIN, first: 1_795_423_400 };
        let is_new = |header: &str, internal: Option<&str>| {
            judge.is_new(header.replace('|', "\r\n").as_bytes(), internal, &mut Counts::default())
        };
        let received = |time: &str| format!("Received: from a|\tby b; Mon, 23 Nov 2026 {time} +0000|Received: x; y||");
        assert!(is_new(&received("08:44:59"), None));
        assert!(!is_new(&received("08:44:58"), None), "a day before the last pass");
        assert!(!is_new(&received("08:43:19"), None), "before the first run");
        assert!(is_new("Subject: x||", Some("23-Nov-2026 08:44:59 +0000")));
        assert!(!is_new("Subject: x||", Some("22-Nov-2026 08:44:59 +0000")));
        assert!(is_new("Subject: x||", None), "without any date it is new");
    }
}
