//! Which Maildirs each user has or had. A message of a user is forgotten only when none of them holds it. A Maildir that is
//! taken out of the configuration may be put back, and one on a disk that is not mounted may come again; their messages
//! were recorded.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Days after which a Maildir that is not watched any more does not count. Otherwise one that is gone for good would keep
/// all messages of its user known without an end.
const KEPT: u64 = 90;

/// Each user's Maildirs, with the day since 1970 on which they were watched the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Homes(BTreeMap<(String, PathBuf), u64>);

impl Homes {
    /// Reads what `octets` wrote. What cannot be read is left out.
    pub fn parse(octets: &[u8]) -> Homes {
        let home = |line: &[u8]| {
            let mut fields = line.splitn(3, |octet| *octet == b' ');
            let mut text = || fields.next().and_then(|field| str::from_utf8(field).ok());
            let (day, user) = (text()?.parse().ok()?, text()?.to_owned());
            Some(((user, PathBuf::from(OsStr::from_bytes(fields.next()?))), day))
        };
        Homes(octets.split(|octet| *octet == 0).filter_map(home).collect())
    }

    /// `DAY USER PATH` for each, ended by NUL.
    pub fn octets(&self) -> Vec<u8> {
        let line = |((user, maildir), day): (&(String, PathBuf), &u64)| {
            [format!("{day} {user} ").as_bytes(), maildir.as_os_str().as_bytes(), b"\0"].concat()
        };
        self.0.iter().flat_map(line).collect()
    }

    /// These are watched today.
    pub fn watched(&mut self, maildirs: &[(String, PathBuf)], today: u64) {
        self.0.extend(maildirs.iter().map(|home| (home.clone(), today)));
        self.0.retain(|_, day| day.saturating_add(KEPT) >= today);
    }

    /// All that a user has or had.
    pub fn of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Path> {
        self.0.keys().filter(move |(owner, _)| owner == user).map(|(_, maildir)| &**maildir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maildir_counts_for_a_while_after_it_was_watched() {
        let home = |user: &str, maildir: &[u8]| (user.to_owned(), PathBuf::from(OsStr::from_bytes(maildir)));
        let all = [home("alice", b"/mail/alice"), home("alice", b"/odd \n\xFF place"), home("bob", b"/mail/bob")];
        let mut homes = Homes::default();
        homes.watched(&all, 20_000);
        homes.watched(&all[..1], 20_090);
        assert_eq!(Homes::parse(&homes.octets()), homes);
        assert!(homes.of("alice").eq(all[..2].iter().map(|(_, maildir)| maildir.as_path())));
        homes.watched(&all[..1], 20_091);
        assert!(homes.of("alice").eq([Path::new("/mail/alice")]) && homes.of("bob").next().is_none());
        for damaged in [&b""[..], b"x", b"x alice /mail\0", b"1 alice\0", b"1 \xFF /mail\0"] {
            assert_eq!(Homes::parse(damaged), Homes::default(), "{}", damaged.escape_ascii());
        }
    }
}
