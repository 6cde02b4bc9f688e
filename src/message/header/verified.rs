//! Authentication-Results (RFC 8601): the DMARC result of one named server, and the removal of fields that claim its name.
//!
//! Anybody can write such a field. So it counts only in mail that came directly from a server which removes fields with its
//! own name from what strangers send (section 5): by LMTP, by `mailbell deliver`, in a Maildir of another program, or from a
//! `[[remote]]`. By SMTP anybody can come, also from this machine: nothing is believed there, and the field is removed.

use super::Fields;
use crate::message::idn::same_domain;
use crate::message::trace::Via;

const NAME: &[u8] = b"Authentication-Results";

/// Which fields count in a message that came this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    /// None: a stranger may have written them.
    Nothing,
    /// The topmost one with the name of the server.
    Topmost,
    /// The topmost one of all, if it has the name of the server. A mailbox elsewhere may be another provider's, and that one
    /// puts its own field above, but leaves what claims a name that is not its own.
    First,
}

impl Belief {
    fn of(via: Via) -> Belief {
        match via {
            Via::Lmtp | Via::Deliver | Via::Maildir => Belief::Topmost,
            Via::Poll => Belief::First,
            _ => Belief::Nothing,
        }
    }
}

/// `pass`, `fail` or `none`: what the server `authserv` says of DMARC; `None` where it says nothing that can be believed.
pub(super) fn verified(head: &[u8], authserv: &str, via: Via) -> Option<&'static str> {
    let belief = Belief::of(via);
    if belief == Belief::Nothing {
        return None;
    }
    let mut all = Fields::new(head).filter(|(name, _)| name.eq_ignore_ascii_case(NAME)).map(|(_, body)| tokens(body));
    let field = match belief {
        Belief::First => all.next().filter(|tokens| is_of(tokens, authserv)),
        _ => all.find(|tokens| is_of(tokens, authserv)),
    };
    field.map(|tokens| dmarc(&tokens))
}

/// Removes every field that claims to be of this server from the header at the beginning of a message that came this way,
/// if a stranger may have written it. Gives the number of lines that went.
pub fn strip(message: &mut Vec<u8>, authserv: &str, via: Via) -> u64 {
    if Belief::of(via) != Belief::Nothing {
        return 0;
    }
    let mut claims = Vec::new();
    let mut fields = Fields::new(message);
    while let Some((name, body)) = fields.next() {
        if name.eq_ignore_ascii_case(NAME) && is_of(&tokens(body), authserv) {
            let end = message.len() - fields.left();
            // The name is in the line that the body begins in, behind an mbox separator or a byte order mark at most.
            let start = end - body.len();
            let start = memchr::memrchr(b'\n', &message[..start]).map_or(0, |at| at + 1);
            claims.push(start..end);
        }
    }
    let mut lines = 0;
    for claim in claims.into_iter().rev() {
        lines += memchr::memchr_iter(b'\n', &message[claim.clone()]).count() as u64;
        message.drain(claim);
    }
    lines
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Vec<u8>),
    Mark(u8),
}

/// The words, and the marks between them, of a field body (RFC 8601 section 2.2): without comments and folds, quoted strings
/// without their quotes. What is not closed reaches to the end.
fn tokens(body: &[u8]) -> Vec<Token> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&octet) = body.get(at) {
        match octet {
            b'(' => at = end_of_comment(body, at),
            b'"' => {
                let mut word = Vec::new();
                at += 1;
                while let Some(&octet) = body.get(at)
                    && octet != b'"'
                {
                    at += usize::from(octet == b'\\');
                    word.extend(body.get(at));
                    at += 1;
                }
                at += 1;
                tokens.push(Token::Word(word));
            }
            b';' | b'=' | b'/' => {
                tokens.push(Token::Mark(octet));
                at += 1;
            }
            octet if octet.is_ascii_whitespace() => at += 1,
            _ => {
                let is_end = |octet: &u8| octet.is_ascii_whitespace() || b";=/(\"".contains(octet);
                let end = body[at..].iter().position(is_end).map_or(body.len(), |length| at + length);
                tokens.push(Token::Word(body[at..end].to_vec()));
                at = end;
            }
        }
    }
    tokens
}

/// Behind a comment (RFC 5322 section 3.2.2), which may hold others.
fn end_of_comment(body: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while let Some(&octet) = body.get(at) {
        at += 1;
        match octet {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    at.min(body.len())
}

/// Whether the authserv-id, which comes first, is this one.
fn is_of(tokens: &[Token], authserv: &str) -> bool {
    let Some(Token::Word(id)) = tokens.first() else { return false };
    let is_whole = matches!(tokens.get(1), None | Some(Token::Mark(b';') | Token::Word(_)));
    is_whole && std::str::from_utf8(id).is_ok_and(|id| same_domain(id, authserv))
}

/// The result for the method dmarc. A server writes one; where there are several, the worst counts.
fn dmarc(tokens: &[Token]) -> &'static str {
    let is_dmarc = |word: &[u8]| word.eq_ignore_ascii_case(b"dmarc");
    let (mut passed, mut failed, mut other) = (false, false, false);
    for clause in tokens.split(|token| *token == Token::Mark(b';')).skip(1) {
        use Token::{Mark, Word};
        let result = match clause {
            [Word(method), Mark(b'='), Word(result), ..] if is_dmarc(method) => result,
            [Word(method), Mark(b'/'), Word(_), Mark(b'='), Word(result), ..] if is_dmarc(method) => result,
            _ => continue,
        };
        match result.to_ascii_lowercase().as_slice() {
            b"pass" => passed = true,
            b"fail" => failed = true,
            _ => other = true,
        }
    }
    match (failed, other, passed) {
        (true, ..) => "fail",
        (_, false, true) => "pass",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &str = "mx.example.org";

    fn read(fields: &[&str]) -> Option<&'static str> {
        let head: String = fields.iter().map(|body| format!("Authentication-Results:{body}\n")).collect();
        verified(head.as_bytes(), OURS, Via::Lmtp)
    }

    #[test]
    fn the_result_of_dmarc_in_every_form_that_the_grammar_has() {
        for (body, meant) in [
            (" mx.example.org; dmarc=pass header.from=a.example", Some("pass")),
            (" mx.example.org; spf=pass; dkim=pass;\n\tdmarc=fail (p=none) header.from=a", Some("fail")),
            (" MX.Example.ORG. 1;\r\n DMARC = PASS", Some("pass")),
            ("(we) \"mx.example.org\" (are) ; (it) dmarc (is) / 1 = (a) pass", Some("pass")),
            ("mx.example.org;dmarc=pass", Some("pass")),
            (" mx.example.org; dmarc=temperror", Some("none")),
            (" mx.example.org; dmarc=bestguesspass", Some("none")),
            (" mx.example.org; none", Some("none")),
            (" mx.example.org; spf=pass", Some("none")),
            (" mx.example.org", Some("none")),
            // What a sender can write into another result.
            (
                " mx.example.org; spf=pass (sender; dmarc=pass) smtp.mailfrom=\"x; dmarc=pass\"@b; dmarc=fail",
                Some("fail"),
            ),
            (" mx.example.org; spf=fail smtp.mailfrom=x;dmarc=pass; dmarc=fail", Some("fail")),
            (" mx.example.org; spf=fail reason=\"\\\"; dmarc=pass\"", Some("none")),
            (" mx.example.org; spf=pass (( ) ; dmarc=pass", Some("none")),
            (" mx.example.org; x-dmarc=pass; dmarc-x=pass; spf=pass dmarc=pass", Some("none")),
            // Not this server.
            (" mx.example.org.evil.example; dmarc=pass", None),
            (" evil.example (mx.example.org); dmarc=pass", None),
            (" mx.example.org/x; dmarc=pass", None),
            (" mx.example.org=x; dmarc=pass", None),
            ("; mx.example.org; dmarc=pass", None),
            ("", None),
        ] {
            assert_eq!(read(&[body]), meant, "{body}");
        }
    }

    #[test]
    fn the_topmost_field_of_the_server_counts_and_only_where_it_can_be_believed() {
        let fields = [" other.example; dmarc=fail", " mx.example.org; dmarc=pass", " mx.example.org; dmarc=fail"];
        assert_eq!(read(&fields), Some("pass"));
        let head: String = fields.iter().map(|body| format!("authentication-results :{body}\n")).collect();
        for (via, meant) in [
            (Via::Lmtp, Some("pass")),
            (Via::Deliver, Some("pass")),
            (Via::Maildir, Some("pass")),
            (Via::Poll, None),
            (Via::Smtp, None),
        ] {
            assert_eq!(verified(head.as_bytes(), OURS, via), meant, "{via:?}");
        }
        let without_first = head.split_once('\n').unwrap().1;
        assert_eq!(verified(without_first.as_bytes(), OURS, Via::Poll), Some("pass"));
        let elsewhere = b"ARC-Authentication-Results: i=1; mx.example.org; dmarc=pass\nSubject: x\n\nAuthentication-Results: mx.example.org; dmarc=pass\n";
        assert_eq!(verified(elsewhere, OURS, Via::Lmtp), None);
    }

    #[test]
    fn what_a_stranger_claims_is_removed_and_nothing_else() {
        let message = "Subject: a\nAuthentication-Results: mx.example.org;\n\tdmarc=pass\n \nAUTHENTICATION-results \t: (x\n y) \"MX.example.org\" 1; none\n\
            X: authentication\nAuthentication-Results: other.example; dmarc=pass\n\nAuthentication-Results: mx.example.org; dmarc=pass\n";
        let kept = "Subject: a\nX: authentication\nAuthentication-Results: other.example; dmarc=pass\n\nAuthentication-Results: mx.example.org; dmarc=pass\n";
        let mut stripped = message.as_bytes().to_vec();
        assert_eq!(strip(&mut stripped, OURS, Via::Smtp), 5);
        assert_eq!(String::from_utf8(stripped).unwrap(), kept);
        let mut trusted = message.as_bytes().to_vec();
        assert_eq!((strip(&mut trusted, OURS, Via::Lmtp), trusted), (0, message.as_bytes().to_vec()));
        let mut first = b"\xef\xbb\xbfAuthentication-Results: mx.example.org\nA: b\n".to_vec();
        assert_eq!((strip(&mut first, OURS, Via::Smtp), first), (1, b"A: b\n".to_vec()));
    }

    proptest! {
        /// Whatever is written, nothing of this server is left for `verified` to find.
        #[test]
        fn nothing_is_left(parts in proptest::collection::vec(proptest::sample::select(vec![
            "Authentication-Results", "authentication-results", " ", "\t", ":", "mx.example.org", "MX.EXAMPLE.ORG.", "\"", "(", ")", "\\", "\n", "\n ",
            "\r\n", "\r", ";", "dmarc=pass", "=", "/", "1", "X: y", "\u{feff}", "From me", "\n\n",
        ]), 0..40)) {
            let text = parts.concat();
            let mut message = text.clone().into_bytes();
            strip(&mut message, OURS, Via::Smtp);
            prop_assert_eq!(verified(&message, OURS, Via::Lmtp), None, "{}", text);
        }
    }
}
