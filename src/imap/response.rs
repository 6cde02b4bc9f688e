//! What a server says, read tolerantly: what mailbell does not need is [`Untagged::Other`], attributes come in any order,
//! and no number is taken that does not fit.

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// `* ...`
    Untagged(Untagged),
    /// `+ ...`: the text.
    Continue(Vec<u8>),
    /// `a1 OK ...`
    Tagged {
        /// The command that it answers.
        tag: Vec<u8>,
        /// How it ended.
        status: Status,
    },
    /// None of these.
    Garbage,
}

/// The word of a status response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Done.
    Ok,
    /// Refused.
    No,
    /// Not understood, or refused by servers that confuse the two.
    Bad,
    /// The session ends.
    Bye,
    /// Logged in already.
    Preauth,
}

/// A status response (RFC 3501 section 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// OK, NO, BAD, BYE, PREAUTH.
    pub word: Word,
    /// The response code in capitals and its arguments, such as `UIDNEXT` and `5`.
    pub code: Option<(String, String)>,
    /// All that follows the word, code included.
    pub text: Vec<u8>,
}

/// An untagged response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// OK, NO, BAD, BYE, PREAUTH.
    Status(Status),
    /// What the server can, in capitals.
    Capability(Vec<String>),
    /// How many messages the folder has.
    Exists(u32),
    /// A message has left the folder.
    Expunge,
    /// Attributes of a message.
    Fetch(Fetched),
    /// UIDs.
    Search(Vec<u32>),
    /// Anything else.
    Other,
}

/// Attributes of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Its UID, never 0.
    pub uid: Option<u32>,
    /// RFC822.SIZE, which some servers only guess.
    pub size: Option<u64>,
    /// INTERNALDATE as it came, without quotes.
    pub date: Option<String>,
    /// The section that was asked for.
    pub body: Body,
}

/// A section of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Not there, or NIL.
    #[default]
    Absent,
    /// As a quoted string.
    Quoted(Vec<u8>),
    /// As a literal, which went to the driver.
    Streamed,
}

/// Reads one response, assembled as [`super::assemble`] says.
pub fn parse(text: &[u8]) -> Response {
    let (first, rest) = word(text);
    match first {
        b"+" => Response::Continue(rest.to_vec()),
        b"*" => Response::Untagged(untagged(rest)),
        tag => match status(rest) {
            Some(status) if !tag.is_empty() => Response::Tagged { tag: tag.to_vec(), status },
            _ => Response::Garbage,
        },
    }
}

/// The first word, and what follows the blank after it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&octet| octet == b' ').unwrap_or(text.len());
    (&text[..end], text.get(end + 1..).unwrap_or_default())
}

fn status(text: &[u8]) -> Option<Status> {
    let (first, rest) = word(text);
    let words =
        [("OK", Word::Ok), ("NO", Word::No), ("BAD", Word::Bad), ("BYE", Word::Bye), ("PREAUTH", Word::Preauth)];
    let word = words.iter().find(|(name, _)| first.eq_ignore_ascii_case(name.as_bytes()))?.1;
    let code = rest.strip_prefix(b"[").and_then(|inner| {
        let code = String::from_utf8_lossy(&inner[..inner.iter().position(|&octet| octet == b']')?]).into_owned();
        let (name, arguments) = code.split_once(' ').unwrap_or((&code, ""));
        Some((name.to_ascii_uppercase(), arguments.to_owned()))
    });
    Some(Status { word, code, text: rest.to_vec() })
}

fn untagged(text: &[u8]) -> Untagged {
    if let Some(status) = status(text) {
        return Untagged::Status(status);
    }
    let (first, rest) = word(text);
    if let Some(count) = number(first) {
        let (kind, attributes) = word(rest);
        return match kind.to_ascii_uppercase().as_slice() {
            b"EXISTS" => Untagged::Exists(count),
            b"EXPUNGE" => Untagged::Expunge,
            b"FETCH" => fetched(attributes).map_or(Untagged::Other, Untagged::Fetch),
            _ => Untagged::Other,
        };
    }
    let words = || rest.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    match first.to_ascii_uppercase().as_slice() {
        b"CAPABILITY" => Untagged::Capability(capabilities(&String::from_utf8_lossy(rest))),
        b"SEARCH" => Untagged::Search(words().map_while(number).collect()),
        _ => Untagged::Other,
    }
}

/// Capabilities in capitals.
pub fn capabilities(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_ascii_uppercase).collect()
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `(NAME VALUE NAME VALUE ...)`.
fn fetched(text: &[u8]) -> Option<Fetched> {
    let mut tokens = Tokens { rest: text };
    if tokens.next()? != Token::Open {
        return None;
    }
    let mut found = Fetched::default();
    loop {
        let name = match tokens.next()? {
            Token::Close => return Some(found),
            Token::Atom(name) => name.to_ascii_uppercase(),
            _ => return None,
        };
        let value = match tokens.next()? {
            Token::Close => return Some(found),
            Token::Open => {
                tokens.skip_list()?;
                continue;
            }
            value => value,
        };
        match (name.as_slice(), value) {
            (b"UID", Token::Atom(digits)) => found.uid = number(digits).filter(|uid| *uid > 0),
            (b"RFC822.SIZE", Token::Atom(digits)) => found.size = number(digits),
            (b"INTERNALDATE", Token::String(date)) => {
                found.date = Some(String::from_utf8_lossy(date.trim_ascii()).into_owned())
            }
            (section, value) if section.starts_with(b"BODY[") || section == b"RFC822" => match value {
                Token::Streamed => found.body = Body::Streamed,
                Token::String(octets) => found.body = Body::Quoted(octets),
                _ => {}
            },
            _ => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    /// An atom, NIL and a section's brackets included.
    Atom(&'a [u8]),
    String(Vec<u8>),
    /// A literal that was not kept.
    Streamed,
}

struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// `None` at the end, and where no token can begin.
    fn next(&mut self) -> Option<Token<'a>> {
        self.rest = self.rest.trim_ascii_start();
        let (&first, tail) = self.rest.split_first()?;
        match first {
            b'(' => {
                self.rest = tail;
                Some(Token::Open)
            }
            b')' => {
                self.rest = tail;
                Some(Token::Close)
            }
            b'"' => self.quoted(tail),
            b'{' => self.literal(tail),
            _ => self.atom(),
        }
    }

    fn quoted(&mut self, mut rest: &'a [u8]) -> Option<Token<'a>> {
        let mut text = Vec::new();
        loop {
            let (&octet, tail) = rest.split_first()?;
            rest = tail;
            match octet {
                b'"' => break,
                b'\\' => {
                    let (&escaped, tail) = rest.split_first()?;
                    text.push(escaped);
                    rest = tail;
                }
                octet => text.push(octet),
            }
        }
        self.rest = rest;
        Some(Token::String(text))
    }

    fn literal(&mut self, rest: &'a [u8]) -> Option<Token<'a>> {
        let end = rest.iter().position(|&octet| octet == b'}')?;
        let digits = rest[..end].strip_suffix(b"+").unwrap_or(&rest[..end]);
        let (&mark, rest) = rest[end + 1..].split_first()?;
        if mark == 0 {
            self.rest = rest;
            return Some(Token::Streamed);
        }
        let count: usize = number(digits)?;
        if mark != b'\n' || count > rest.len() {
            return None;
        }
        self.rest = &rest[count..];
        Some(Token::String(rest[..count].to_vec()))
    }

    /// Up to a blank or parenthesis outside of brackets: `BODY[HEADER.FIELDS (DATE)]<0>` is one.
    fn atom(&mut self) -> Option<Token<'a>> {
        let mut in_brackets = false;
        let end = self.rest.iter().position(|&octet| {
            match octet {
                b'[' => in_brackets = true,
                b']' => in_brackets = false,
                b' ' | b'(' | b')' => return !in_brackets,
                _ => {}
            }
            false
        });
        let (atom, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Some(Token::Atom(atom))
    }

    /// To the end of a list that was opened.
    fn skip_list(&mut self) -> Option<()> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                Token::Open => depth += 1,
                Token::Close => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(text: &str) -> Fetched {
        match parse(text.as_bytes()) {
            Response::Untagged(Untagged::Fetch(fetched)) => fetched,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn attributes_in_any_order() {
        let whole = Fetched {
            uid: Some(9),
            size: Some(120),
            date: Some("1-Jan-2026 00:00:00 +0000".into()),
            body: Body::Streamed,
        };
        for text in [
            "* 2 FETCH (UID 9 RFC822.SIZE 120 INTERNALDATE \" 1-Jan-2026 00:00:00 +0000\" BODY[] {5}\0)",
            "* 2 FETCH (BODY[] {5}\0 FLAGS (\\Seen (x \"y)\")) INTERNALDATE \"1-Jan-2026 00:00:00 +0000\" RFC822.SIZE 120 UID 9)",
            "* 2 fetch (X-GM-LABELS (\"\\\\Inbox\" {3}\nab)) rfc822 {5}\0 uid 9 rfc822.size 120 internaldate \"1-Jan-2026 00:00:00 +0000\")",
        ] {
            assert_eq!(fetch(text), whole, "{text}");
        }
        assert_eq!(fetch("* 2 FETCH (UID 9 BODY[] NIL)").body, Body::Absent);
        assert_eq!(fetch("* 2 FETCH (UID 9 BODY[HEADER.FIELDS (DATE)] \"a\\\"b\")").body, Body::Quoted(b"a\"b".into()));
        assert_eq!(fetch("* 2 FETCH (UID 0 RFC822.SIZE -1)"), Fetched::default());
        assert_eq!(fetch("* 2 FETCH (UID 4294967296)").uid, None);
        assert_eq!(fetch("* 2 FETCH ()"), Fetched::default());
    }

    #[test]
    fn damaged_attributes_are_nothing() {
        for text in [
            "* 2 FETCH",
            "* 2 FETCH (UID",
            "* 2 FETCH (UID 9",
            "* 2 FETCH (BODY[] {9}\nabc)",
            "* 2 FETCH (X (",
            "* 2 FETCH (X \"a",
            "* 2 FETCH ((a) b)",
        ] {
            assert_eq!(parse(text.as_bytes()), Response::Untagged(Untagged::Other), "{text}");
        }
        for text in ["", "a1", "a1 WHAT", " OK", "*"] {
            assert!(
                matches!(parse(text.as_bytes()), Response::Garbage | Response::Untagged(Untagged::Other)),
                "{text}"
            );
        }
    }

    #[test]
    fn statuses_with_and_without_codes() {
        for (text, word, code) in [
            ("* OK [UIDNEXT 12] next", Word::Ok, Some(("UIDNEXT", "12"))),
            ("* ok [uidvalidity 7]", Word::Ok, Some(("UIDVALIDITY", "7"))),
            ("* BYE Session invalidated - AccessTokenExpired", Word::Bye, None),
            ("* OK [broken", Word::Ok, None),
            ("* PREAUTH hello", Word::Preauth, None),
        ] {
            let Response::Untagged(Untagged::Status(status)) = parse(text.as_bytes()) else { panic!("{text}") };
            let code = code.map(|(name, arguments): (&str, &str)| (name.to_owned(), arguments.to_owned()));
            assert_eq!((status.word, status.code), (word, code), "{text}");
        }
        let Response::Tagged { tag, status } = parse(b"a7 NO [TRYCREATE] no such folder") else { panic!() };
        assert_eq!((tag.as_slice(), status.word), (&b"a7"[..], Word::No));
        assert_eq!(parse(b"+ "), Response::Continue(Vec::new()));
        assert_eq!(parse(b"+"), Response::Continue(Vec::new()));
    }

    #[test]
    fn numbers_and_lists() {
        assert_eq!(parse(b"* 23 EXISTS"), Response::Untagged(Untagged::Exists(23)));
        assert_eq!(parse(b"* 99999999999 EXISTS"), Response::Untagged(Untagged::Other));
        assert_eq!(parse(b"* SEARCH 3 5  9"), Response::Untagged(Untagged::Search(vec![3, 5, 9])));
        assert_eq!(parse(b"* SEARCH"), Response::Untagged(Untagged::Search(vec![])));
        assert_eq!(
            parse(b"* CAPABILITY imap4rev1 Auth=Plain"),
            Response::Untagged(Untagged::Capability(vec!["IMAP4REV1".into(), "AUTH=PLAIN".into()]))
        );
    }
}
