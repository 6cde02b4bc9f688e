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
