//! The first word of a command line: which command it is, and in which state it is allowed (RFC 1939 section 3).

use super::argument;

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

/// In which state a command is allowed.
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

/// Splits a command line, without its line end, into command, place and argument. `None`: no such command.
///
/// The argument of PASS is everything after one space, because a password may begin or end with spaces. Blanks at the
/// end of any other argument are dropped, and so are further spaces before the argument of a command of the Transaction
/// state: `RETR  1` is `RETR 1`, as in Dovecot.
pub(super) fn split(line: &[u8]) -> Option<(Verb, Place, &[u8])> {
    let (word, argument) = match line.iter().position(|&octet| octet == b' ') {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line.trim_ascii_end(), &[][..]),
    };
    let (_, verb, place) = *VERBS.iter().find(|(name, _, _)| name.eq_ignore_ascii_case(word))?;
    let argument = match (verb, place) {
        (Verb::Pass, _) => argument,
        (_, Place::Transaction) => argument::without_spaces_before(argument).trim_ascii_end(),
        _ => argument.trim_ascii_end(),
    };
    Some((verb, place, argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_any_case_and_keeps_a_password_whole() {
        assert_eq!(split(b"rEtR 1 "), Some((Verb::Retr, Place::Transaction, &b"1"[..])));
        assert_eq!(split(b"pass  a b "), Some((Verb::Pass, Place::Authorization, &b" a b "[..])));
        assert_eq!(split(b"STAT"), Some((Verb::Stat, Place::Transaction, &b""[..])));
        assert_eq!(split(b"LIST   7"), Some((Verb::List, Place::Transaction, &b"7"[..])));
        assert_eq!(split(b"LIST  "), Some((Verb::List, Place::Transaction, &b""[..])));
        assert_eq!(split(b"USER  bob "), Some((Verb::User, Place::Authorization, &b" bob"[..])));
        assert_eq!(split(b"LIST \t7"), Some((Verb::List, Place::Transaction, &b"\t7"[..])));
        assert_eq!(split(b"NOOP\t"), Some((Verb::Noop, Place::Transaction, &b""[..])));
        for unknown in [&b""[..], b" ", b" STAT", b"STATX", b"STA", b"XTND", b"RETR\x001", b"\xff"] {
            assert_eq!(split(unknown), None, "{}", unknown.escape_ascii());
        }
    }
}
