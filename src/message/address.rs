//! Addresses as SMTP writes them (RFC 5321 section 4.1.2, RFC 6531 section 3.3), parsed once, where they come in.
//!
//! Lenient where Postfix is, because mail would be lost otherwise: white space before a path, a path without its angle
//! brackets or without a domain, dots at any place of a local-part, underscores in a domain, a dot at its end; and what
//! belongs into a header field, between the brackets: a name, comments, white space, a second pair of brackets. Which
//! user has an address, and whether its domain exists, is decided elsewhere.

use super::addresses::addresses;
use super::idn;
use super::letter::is_unsafe;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest local-part of a forward-path, octets (RFC 5321 section 4.5.3.1.1). A reverse-path may have a longer one:
/// rewritten senders (SRS, VERP) do, and it is only repeated.
const LOCAL_PART: usize = 64;

/// Longest domain, octets (RFC 5321 section 4.5.3.1.2).
const DOMAIN: usize = 255;

/// Longest path with its angle brackets, octets (RFC 5321 section 4.5.3.1.3). A source route does not count.
const PATH: usize = 256;

/// A mailbox: `local-part@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The local-part, quotes and backslashes resolved.
    pub local_part: String,
    /// The domain as typed, without a dot at its end, or an address literal with its brackets; `None` where none was
    /// given.
    pub domain: Option<String>,
    /// The whole address as typed, without angle brackets and source route.
    pub text: String,
}

/// A text that two addresses share when they are one mailbox, as far as a server can tell that is not theirs: the domain
/// has no case and two spellings, the local part may have a case.
pub fn key(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", idn::canonical(domain)),
        None => address.to_owned(),
    }
}

/// MAIL FROM's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`.
    Null,
    /// Anything else.
    Mailbox(Mailbox),
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => f.write_str(&mailbox.text),
        }
    }
}

/// RCPT TO's path. `<postmaster>` alone is a mailbox without domain.
pub type ForwardPath = Mailbox;

/// What is wrong with a path: a sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

const NO_LOCAL_PART: Fault = Fault("The address has no local-part");

/// Reads what follows `MAIL FROM:`: the path, and what comes after it, which is empty or begins with white space.
///
/// # Errors
///
/// Says what is wrong with the path.
pub fn reverse_path(text: &str) -> Result<(ReversePath, &str), Fault> {
    let text = text.trim_start_matches([' ', '\t']);
    match text.strip_prefix("<>") {
        Some(rest) => Ok((ReversePath::Null, separated(rest)?)),
        None => path(text, PATH).map(|(mailbox, rest)| (mailbox.map_or(ReversePath::Null, ReversePath::Mailbox), rest)),
    }
}

/// Reads what follows `RCPT TO:`: the path, and what comes after it, which is empty or begins with white space.
///
/// # Errors
///
/// Says what is wrong with the path.
pub fn forward_path(text: &str) -> Result<(ForwardPath, &str), Fault> {
    match path(text.trim_start_matches([' ', '\t']), LOCAL_PART)? {
        (Some(mailbox), rest) => Ok((mailbox, rest)),
        (None, _) => Err(NO_LOCAL_PART),
    }
}

/// Reads a mailbox that stands alone, without brackets, as the command line of `deliver` has it.
///
/// # Errors
///
/// Says what is wrong.
pub fn mailbox(text: &str) -> Result<Mailbox, Fault> {
    match leading_mailbox(text, PATH)? {
        (mailbox, "") => Ok(mailbox),
        _ => Err(Fault("Something follows the address")),
    }
}

/// A path that is not `<>`: a mailbox, or one in angle brackets, perhaps after a source route, which is ignored as RFC
/// 5321 appendix C says. `None` where the brackets hold no address at all, as in `<<>>`.
fn path(text: &str, longest_local_part: usize) -> Result<(Option<Mailbox>, &str), Fault> {
    let Some(inside) = text.strip_prefix('<') else {
        let (mailbox, rest) = leading_mailbox(text, longest_local_part)?;
        return Ok((Some(mailbox), separated(rest)?));
    };
    match exact(inside, longest_local_part) {
        Ok((mailbox, rest)) => Ok((Some(mailbox), separated(rest)?)),
        Err(fault) => lenient(text, longest_local_part).ok_or(fault),
    }
}

/// What follows the opening bracket, as RFC 5321 has it.
fn exact(inside: &str, longest_local_part: usize) -> Result<(Mailbox, &str), Fault> {
    let (mailbox, rest) = leading_mailbox(after_source_route(inside)?, longest_local_part)?;
    let rest = rest.strip_prefix('>').ok_or(Fault("The address does not end with >"))?;
    Ok((mailbox, rest))
}

/// Brackets around what RFC 5322 allows in a header field: `<"Team" <a@b>>`, `< a@b >`, `<a@b (comment)>`. A source route
/// is read exactly or not at all.
fn lenient(text: &str, longest_local_part: usize) -> Option<(Option<Mailbox>, &str)> {
    let (inside, rest) = bracketed(text).filter(|(inside, _)| !inside.trim_start().starts_with('@'))?;
    let rest = separated(rest).ok()?;
    let mut found = addresses(inside).into_iter();
    let (first, None) = (found.next(), found.next()) else { return None };
    match first {
        None => Some((None, rest)),
        Some(address) => match leading_mailbox(&address, longest_local_part) {
            Ok((mailbox, "")) => Some((Some(mailbox), rest)),
            _ => None,
        },
    }
}

/// What stands between an opening bracket and the closing one that belongs to it, and what follows that. At most one
/// more pair stands inside, and nothing but white space behind it.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut inner_ended, mut in_quotes) = (0, false, false);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            letter if letter != '\t' && is_unsafe(letter) => return None,
            '\\' => drop(letters.next()),
            '"' if !inner_ended => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '<' if depth < 2 && !inner_ended => depth += 1,
            '>' if depth == 1 => return Some((&text[1..at], &text[at + 1..])),
            '>' => (depth, inner_ended) = (1, true),
            '<' => return None,
            letter if inner_ended && !letter.is_whitespace() => return None,
            _ => {}
        }
    }
    None
}

/// A path ends where the line does, or before white space. Closing brackets too many are passed over.
fn separated(rest: &str) -> Result<&str, Fault> {
    let rest = rest.trim_start_matches('>');
    match rest.chars().next() {
        None | Some(' ' | '\t') => Ok(rest),
        Some(_) => Err(Fault("Something follows the address")),
    }
}

/// `@one.example,@two.example:` before a mailbox.
fn after_source_route(text: &str) -> Result<&str, Fault> {
    let mut rest = text;
    while let Some(hop) = rest.strip_prefix('@') {
        let after = &hop[domain(hop)?..];
        rest = match (after.strip_prefix(','), after.strip_prefix(':')) {
            (Some(next), _) if next.starts_with('@') => next,
            (_, Some(mailbox)) if !mailbox.starts_with('@') => return Ok(mailbox),
            _ => return Err(Fault("The source route is malformed")),
        };
    }
    Ok(rest)
}

/// A mailbox at the beginning of `text`, and what follows it.
fn leading_mailbox(text: &str, longest_local_part: usize) -> Result<(Mailbox, &str), Fault> {
    let (local_part, mut length) = local_part(text)?;
    if length > longest_local_part {
        return Err(Fault("The local-part is too long"));
    }
    let domain = match text[length..].strip_prefix('@') {
        None => None,
        Some(rest) => {
            let typed = &rest[..domain(rest)?];
            length += 1 + typed.len();
            Some(typed.strip_suffix('.').unwrap_or(typed).to_owned())
        }
    };
    if length + "<>".len() > PATH {
        return Err(Fault("The address is longer than 254 octets"));
    }
    Ok((Mailbox { local_part, domain, text: text[..length].to_owned() }, &text[length..]))
}

/// The local-part at the beginning of `text`, quotes resolved, and how many octets it takes there.
fn local_part(text: &str) -> Result<(String, usize), Fault> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted_string(quoted).map(|(local_part, length)| (local_part, 1 + length));
    }
    let atom = |letter: char| match letter {
        letter if letter.is_ascii() => letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(letter),
        letter => is_word(letter),
    };
    let length = text.find(|letter| !atom(letter)).unwrap_or(text.len());
    match length {
        0 => Err(NO_LOCAL_PART),
        _ => Ok((text[..length].to_owned(), length)),
    }
}

/// What follows an opening quotation mark: the text up to the closing one, and its length with that.
fn quoted_string(text: &str) -> Result<(String, usize), Fault> {
    let mut resolved = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((resolved, at + 1)),
            '\\' => match letters.next() {
                Some((_, ' '..='~')) => resolved.extend(text[at + 1..].chars().next()),
                _ => return Err(Fault("A backslash quotes no such character")),
            },
            letter if is_unsafe(letter) => return Err(Fault("The local-part has a control character")),
            letter => resolved.push(letter),
        }
    }
    Err(Fault("The quoted local-part has no end"))
}

/// How many octets at the beginning of `text` are a domain or an address literal.
fn domain(text: &str) -> Result<usize, Fault> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(Fault("The address literal has no end"))?;
        return if is_literal(&text[1..end]) { Ok(end + 1) } else { Err(Fault("The address literal is malformed")) };
    }
    let inside = |letter: char| match letter {
        letter if letter.is_ascii() => letter.is_ascii_alphanumeric() || "-_.".contains(letter),
        letter => is_word(letter),
    };
    let length = text.find(|letter| !inside(letter)).unwrap_or(text.len());
    let labels = text[..length].strip_suffix('.').unwrap_or(&text[..length]);
    if labels.split('.').any(str::is_empty) {
        return Err(Fault("The domain is malformed"));
    }
    if labels.len() > DOMAIN {
        return Err(Fault("The domain is longer than 255 octets"));
    }
    Ok(length)
}

/// What stands between the brackets of an address literal (RFC 5321 section 4.1.3).
fn is_literal(text: &str) -> bool {
    match text.split_once(':') {
        None => text.parse::<Ipv4Addr>().is_ok(),
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6") => address.parse::<Ipv6Addr>().is_ok(),
        Some((tag, content)) => {
            let tag = tag.strip_prefix(|letter: char| letter.is_ascii_alphanumeric()).is_some_and(|tag| {
                !tag.ends_with('-') && tag.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            });
            tag && !content.is_empty() && content.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'[')
        }
    }
}

/// A character beyond ASCII that may stand in an address (RFC 6531 section 3.3) and breaks no line and no word.
fn is_word(letter: char) -> bool {
    !is_unsafe(letter) && !letter.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forward(text: &str) -> Result<(String, Option<String>, String, String), &'static str> {
        let (mailbox, rest) = forward_path(text).map_err(|fault| fault.0)?;
        Ok((mailbox.local_part, mailbox.domain, mailbox.text, rest.to_owned()))
    }

    #[test]
    fn paths_that_are_taken() {
        for (typed, local_part, domain, text, rest) in [
            ("<a@b.example>", "a", Some("b.example"), "a@b.example", ""),
            ("  <A.b+c@B.Example> SIZE=1", "A.b+c", Some("B.Example"), "A.b+c@B.Example", " SIZE=1"),
            ("<a@b>\tX", "a", Some("b"), "a@b", "\tX"),
            ("a@b", "a", Some("b"), "a@b", ""),
            ("a@b BODY=7BIT", "a", Some("b"), "a@b", " BODY=7BIT"),
            ("<postmaster>", "postmaster", None, "postmaster", ""),
            ("<@one.example,@two.example:a@b>", "a", Some("b"), "a@b", ""),
            ("<@[192.0.2.1]:a@b>", "a", Some("b"), "a@b", ""),
            ("<\"a b\"@c>", "a b", Some("c"), "\"a b\"@c", ""),
            ("<\"a>\\\"\\\\@\"@c>", "a>\"\\@", Some("c"), "\"a>\\\"\\\\@\"@c", ""),
            ("<\"\"@c>", "", Some("c"), "\"\"@c", ""),
            ("<a@[192.0.2.1]>", "a", Some("[192.0.2.1]"), "a@[192.0.2.1]", ""),
            ("<a@[IPv6:2001:db8::1]>", "a", Some("[IPv6:2001:db8::1]"), "a@[IPv6:2001:db8::1]", ""),
            ("<a@[ipv6:::ffff:192.0.2.1]>", "a", Some("[ipv6:::ffff:192.0.2.1]"), "a@[ipv6:::ffff:192.0.2.1]", ""),
            ("<a@[x-400:anything/else]>", "a", Some("[x-400:anything/else]"), "a@[x-400:anything/else]", ""),
            ("<a@b_c.example>", "a", Some("b_c.example"), "a@b_c.example", ""),
            ("<a@b.example.>", "a", Some("b.example"), "a@b.example.", ""),
            ("<.a..b.@c>", ".a..b.", Some("c"), ".a..b.@c", ""),
            ("<!#$%&'*+-/=?^_`{|}~@c>", "!#$%&'*+-/=?^_`{|}~", Some("c"), "!#$%&'*+-/=?^_`{|}~@c", ""),
            ("<jõgeva@näide.example>", "jõgeva", Some("näide.example"), "jõgeva@näide.example", ""),
            ("<\"Team\" <a@b.example>>", "a", Some("b.example"), "a@b.example", ""),
            ("<<a@b>> SIZE=1", "a", Some("b"), "a@b", " SIZE=1"),
            ("< a@b >", "a", Some("b"), "a@b", ""),
            ("<\ta@b\t>", "a", Some("b"), "a@b", ""),
            ("< \"Me, too\" < a@b > >", "a", Some("b"), "a@b", ""),
            ("<Team Work <a@b>>", "a", Some("b"), "a@b", ""),
            ("<=?UTF-8?Q?x?= <a@b>>", "a", Some("b"), "a@b", ""),
            ("<\"Team <x>\" <a@b>>", "a", Some("b"), "a@b", ""),
            ("<a@b (a comment)>", "a", Some("b"), "a@b", ""),
            ("<(a comment) a@b>", "a", Some("b"), "a@b", ""),
            ("<a(b)@c>", "a", Some("c"), "a@c", ""),
            ("<a @ b>", "a", Some("b"), "a@b", ""),
            ("<Team <\"a b\"@c>>", "a b", Some("c"), "\"a b\"@c", ""),
            ("<a@b>>", "a", Some("b"), "a@b", ""),
            ("a@b>", "a", Some("b"), "a@b", ""),
            ("<mailto:a@b>", "a", Some("b"), "a@b", ""),
            ("<Group: a@b;>", "a", Some("b"), "a@b", ""),
            ("<Täm <a@b>>", "a", Some("b"), "a@b", ""),
            ("<\"邮 箱\"@例子.example>", "邮 箱", Some("例子.example"), "\"邮 箱\"@例子.example", ""),
        ] {
            let expected = (local_part.to_owned(), domain.map(str::to_owned), text.to_owned(), rest.to_owned());
            assert_eq!(forward(typed), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn paths_that_are_refused() {
        for typed in [
            "",
            " ",
            "<>",
            "<",
            "<a",
            "<a@",
            "<a@>",
            "<@b>",
            "<a@b",
            "<a@b>x",
            "<a@b>SIZE=1",
            "<<a@b>",
            "<<<a@b>>>",
            "<<a@b> c@d>",
            "<<a@b><c@d>>",
            "<a@b, c@d>",
            "<a b <c d@e>>",
            "<\"Team <a@b>>",
            "<@one.example:>",
            "<Team <a@b>>SIZE=1",
            "< >",
            "<<>>",
            "<(only a comment)>",
            "<a@\u{202e}b>",
            "<\"a\u{2028}\"@b>",
            "<\"Team\" <a\0@b>>",
            "<a b@c>",
            "<a@b c>",
            "<a@@b>",
            "<a@b@c>",
            "<a@b..c>",
            "<a@.b>",
            "<a@b..>",
            "<a@.>",
            "<a@b,c>",
            "<a,b@c>",
            "<a\\@b@c>",
            "<\"a@b>",
            "<\"a\"b@c>",
            "<\"a\\",
            "<\"a\\\u{7f}\"@c>",
            "<\"a\r\"@c>",
            "<a\0@b>",
            "<a@b\0c>",
            "<a@[192.0.2]>",
            "<a@[192.0.2.1>",
            "<a@[192.0.2.1]x>",
            "<a@[IPv6:g::1]>",
            "<a@[-x:y]>",
            "<a@[x-:y]>",
            "<a@[x:]>",
            "<a@[:y]>",
            "<@one.example>",
            "<@one.example,:a@b>",
            "<@one.example,@:a@b>",
            "<@one.example:@two.example:a@b>",
            "<a\u{2028}@b>",
            "<a\u{85}@b>",
        ] {
            assert!(forward(typed).is_err(), "{typed:?} gave {:?}", forward(typed));
        }
    }

    #[test]
    fn lengths_at_their_limits() {
        let long = |length| "x".repeat(length);
        assert!(forward(&format!("<{}@b>", long(64))).is_ok());
        assert_eq!(forward(&format!("<{}@b>", long(65))), Err("The local-part is too long"));
        assert!(forward(&format!("<\"{}\"@b>", long(62))).is_ok());
        assert!(forward(&format!("<\"{}\"@b>", long(63))).is_err());
        assert!(reverse_path(&format!("<{}@b>", long(200))).is_ok());
        // 256 with the brackets.
        assert!(reverse_path(&format!("<a@{}>", long(252))).is_ok());
        assert!(reverse_path(&format!("<a@{}>", long(253))).is_err());
        assert!(reverse_path(&format!("<@{}:a@b>", long(255))).is_ok());
        assert!(reverse_path(&format!("<@{}:a@b>", long(256))).is_err());
    }

    #[test]
    fn only_a_reverse_path_may_be_null() {
        assert_eq!(reverse_path(" <> BODY=7BIT"), Ok((ReversePath::Null, " BODY=7BIT")));
        assert!(reverse_path("<>x").is_err() && reverse_path("").is_err());
        for null in ["< >", "<<>>", "< <> >", "<(nothing)>"] {
            assert_eq!(reverse_path(null), Ok((ReversePath::Null, "")), "{null}");
        }
        let (path, _) = reverse_path("<@x:a@b.>").unwrap();
        assert_eq!((path.to_string(), ReversePath::Null.to_string()), ("a@b.".into(), String::new()));
    }

    #[test]
    fn a_mailbox_that_stands_alone_is_nothing_else() {
        assert_eq!(mailbox("\"a b\"@c").unwrap().local_part, "a b");
        assert_eq!(mailbox("alice").unwrap().domain, None);
        for other in ["", "<a@b>", "a@b ", " a@b", "a@b,c@d", "@x:a@b"] {
            assert!(mailbox(other).is_err(), "{other}");
        }
    }

    /// A local-part written so that SMTP can carry it (RFC 5321 section 4.1.2).
    fn quoted(local_part: &str) -> String {
        format!("\"{}\"", local_part.replace('\\', "\\\\").replace('"', "\\\""))
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_what_is_taken_breaks_nothing(text in "\\PC*|[<>@\"\\\\a.:,\\[\\] \\r\\n\\x00é]{0,20}") {
            for path in [forward_path(&text).ok(), reverse_path(&text).ok().and_then(|(path, rest)| match path {
                ReversePath::Null => None,
                ReversePath::Mailbox(mailbox) => Some((mailbox, rest)),
            })] {
                let Some((mailbox, rest)) = path else { continue };
                prop_assert!(!mailbox.text.contains(char::is_control));
                prop_assert!(rest.is_empty() || rest.starts_with([' ', '\t']));
                // What was taken is a mailbox by itself, and the same one.
                prop_assert_eq!(super::mailbox(&mailbox.text), Ok(mailbox));
            }
        }

        #[test]
        fn every_printable_local_part_can_be_quoted(local_part in "[ -~é邮]{0,20}") {
            let typed = format!("{}@b.example", quoted(&local_part));
            let mailbox = mailbox(&typed).unwrap();
            prop_assert_eq!(mailbox.local_part, local_part);
        }
    }
}
