//! The first word of a command line: which command it is.

/// An SMTP command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each is named after its command.
pub(super) enum Verb {
    Auth,
    Bdat,
    Data,
    Ehlo,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    /// A command of SMTP that is known and not offered.
    NotOffered,
    /// A method of HTTP: the client is no mail client, and its next lines are no commands.
    Http,
}

/// Every command with its name.
pub(super) const VERBS: [(&[u8], Verb); 26] = [
    (b"AUTH", Verb::Auth),
    (b"BDAT", Verb::Bdat),
    (b"DATA", Verb::Data),
    (b"EHLO", Verb::Ehlo),
    (b"HELO", Verb::Helo),
    (b"HELP", Verb::Help),
    (b"LHLO", Verb::Lhlo),
    (b"MAIL", Verb::Mail),
    (b"NOOP", Verb::Noop),
    (b"QUIT", Verb::Quit),
    (b"RCPT", Verb::Rcpt),
    (b"RSET", Verb::Rset),
    (b"STARTTLS", Verb::StartTls),
    (b"VRFY", Verb::Vrfy),
    (b"ETRN", Verb::NotOffered),
    (b"EXPN", Verb::NotOffered),
    (b"SAML", Verb::NotOffered),
    (b"SEND", Verb::NotOffered),
    (b"SOML", Verb::NotOffered),
    (b"TURN", Verb::NotOffered),
    (b"CONNECT", Verb::Http),
    (b"GET", Verb::Http),
    (b"HEAD", Verb::Http),
    (b"OPTIONS", Verb::Http),
    (b"POST", Verb::Http),
    (b"PUT", Verb::Http),
];

/// Splits a command line, without its line end, into command and argument; blanks around the argument are dropped.
/// `None`: no such command.
pub(super) fn split(line: &[u8]) -> Option<(Verb, &[u8])> {
    let end = line.iter().position(|octet| matches!(octet, b' ' | b'\t')).unwrap_or(line.len());
    let (word, argument) = line.split_at(end);
    let (_, verb) = *VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
    Some((verb, argument.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_any_case_and_drops_blanks() {
        assert_eq!(split(b"mAiL  FROM:<> "), Some((Verb::Mail, &b"FROM:<>"[..])));
        assert_eq!(split(b"RSET\t"), Some((Verb::Rset, &b""[..])));
        assert_eq!(split(b"GET / HTTP/1.1"), Some((Verb::Http, &b"/ HTTP/1.1"[..])));
        for unknown in [&b""[..], b" ", b" MAIL", b"MAILX", b"MAI", b"MAIL:", b"DATA\x00", b"\xff"] {
            assert_eq!(split(unknown), None, "{}", unknown.escape_ascii());
        }
    }
}
