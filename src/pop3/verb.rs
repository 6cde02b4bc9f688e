//! The first word of a command line: which command it is, and in which state it may be given (RFC 1939 section 3).

/// A POP3 command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each is named after its command.
pub(super) enum Verb {
    Apop,
    Auth,
    Capa,
    Dele,
    Lang,
    Last,
    List,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    Utf8,
}

/// Where a command may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Only before log-in.
    Authorization,
    /// Only after log-in.
    Transaction,
    /// In both.
    Anywhere,
}

/// Every command with its name and its place.
pub(super) const VERBS: [(&[u8], Verb, Place); 18] = [
    (b"APOP", Verb::Apop, Place::Authorization),
    (b"AUTH", Verb::Auth, Place::Authorization),
    (b"CAPA", Verb::Capa, Place::Anywhere),
    (b"DELE", Verb::Dele, Place::Transaction),
    (b"LANG", Verb::Lang, Place::Anywhere),
    (b"LAST", Verb::Last, Place::Transaction),
    (b"LIST", Verb::List, Place::Transaction),
    (b"NOOP", Verb::Noop, Place::Transaction),
    (b"PASS", Verb::Pass, Place::Authorization),
    (b"QUIT", Verb::Quit, Place::Anywhere),
    (b"RETR", Verb::Retr, Place::Transaction),
    (b"RSET", Verb::Rset, Place::Transaction),
    (b"STAT", Verb::Stat, Place::Transaction),
    (b"STLS", Verb::Stls, Place::Authorization),
    (b"TOP", Verb::Top, Place::Transaction),
    (b"UIDL", Verb::Uidl, Place::Transaction),
    (b"USER", Verb::User, Place::Authorization),
    (b"UTF8", Verb::Utf8, Place::Authorization),
];

/// Splits a command line, without its line end, into command, place and argument. The argument begins after one space
/// and is otherwise as it came, because a password may hold or end with spaces; of any other command trailing blanks
/// are dropped. `None`: no such command.
pub(super) fn split(line: &[u8]) -> Option<(Verb, Place, &[u8])> {
    let (word, argument) = match line.iter().position(|&octet| octet == b' ') {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line.trim_ascii_end(), &[][..]),
    };
    let (_, verb, place) = *VERBS.iter().find(|(name, _, _)| name.eq_ignore_ascii_case(word))?;
    Some((verb, place, if verb == Verb::Pass { argument } else { argument.trim_ascii_end() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_any_case_and_keeps_a_password_whole() {
        assert_eq!(split(b"rEtR 1 "), Some((Verb::Retr, Place::Transaction, &b"1"[..])));
        assert_eq!(split(b"pass  a b "), Some((Verb::Pass, Place::Authorization, &b" a b "[..])));
        assert_eq!(split(b"STAT"), Some((Verb::Stat, Place::Transaction, &b""[..])));
        assert_eq!(split(b"NOOP\t"), Some((Verb::Noop, Place::Transaction, &b""[..])));
        for unknown in [&b""[..], b" ", b" STAT", b"STATX", b"STA", b"XTND", b"RETR\x001", b"\xff"] {
            assert_eq!(split(unknown), None, "{}", unknown.escape_ascii());
        }
    }
}
