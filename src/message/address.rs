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
#[path = "address_tests.rs"]
mod tests;
