use super::*;

/// What is in a message, given in blocks of this size.
fn parsed_in(message: &[u8], block: usize) -> Parsed {
    let (mut reader, mut collector) = (Reader::default(), Collector::new(None));
    message.chunks(block).for_each(|block| reader.add(block, &mut collector));
    reader.finish(&mut collector);
    collector.finish()
}

fn parsed(message: &str) -> Parsed {
    let whole = parsed_in(message.as_bytes(), usize::MAX);
    for block in [1, 2, 3, 7, 64] {
        assert_eq!(parsed_in(message.as_bytes(), block), whole, "in blocks of {block}: {message}");
    }
    whole
}

fn text(message: &str) -> Option<String> {
    parsed(message).text
}

fn kinds(parsed: &Parsed) -> Vec<&str> {
    parsed.attachments.iter().map(|attachment| attachment.kind.as_str()).collect()
}

/// A multipart of these parts, each with its header.
fn multipart(kind: &str, boundary: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--{boundary}\n{part}\n")).collect();
    format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\n\npreamble\n{parts}--{boundary}--\nepilogue\n")
}

const PLAIN: &str = "Content-Type: text/plain\n\nplain";
const HTML: &str = "Content-Type: text/html\n\n<p>html</p>";
const PDF: &str = "Content-Type: application/pdf; name=x.pdf\nContent-Transfer-Encoding: base64\n\naGVsbG8=";
const IMAGE: &str = "Content-Type: image/png\nContent-ID: <i@x>\n\nimage";

#[test]
fn one_part_is_the_text() {
    for (message, meant) in [
        ("Subject: x\n\nhello\n", "hello\n"),
        ("Subject: x\r\n\r\nhello\r\nyou\r\n", "hello\nyou\n"),
        (
            "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe\n",
            "Grüße\n",
        ),
        ("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nR3LDvMOfZQ==\n", "Grüße"),
        ("Content-Type: nonsense\n\nx", "x"),
        ("Content-Type: multipart/mixed\n\n--b\n\nx", "--b\n\nx"),
        ("Content-Type: text/plain; charset=x-unknown\n\nGrüße", "Grüße"),
        ("Content-Type: text/html; charset=utf-8\n\n<p>Grüße</p><p>an alle</p>", "Grüße\n\nan alle"),
        ("no header at all\n", "no header at all\n"),
        ("Subject: x\n", ""),
        ("\nbody\n", "body\n"),
    ] {
        assert_eq!(text(message).as_deref(), Some(meant), "{message}");
    }
    assert_eq!(parsed_in(b"A: b\n\nGr\xfc\xdfe", 9).text.as_deref(), Some("Grüße"));
    let html = parsed_in(b"Content-Type: text/html\n\n<meta charset=\"koi8-r\">\xf0\xd2", 9);
    assert_eq!(html.text.as_deref(), Some("Пр"));
    assert_eq!(parsed(""), Parsed::default());
    let scan = parsed("Subject: scan\nContent-Type: application/pdf; name=scan.pdf\n\nx");
    assert_eq!((scan.text, scan.attachments[0].name.as_deref()), (None, Some("scan.pdf")));
}

#[test]
fn the_text_is_found_in_every_shape() {
    let related = multipart("related", "r", &[HTML, IMAGE]);
    let alternative = multipart("alternative", "a", &[PLAIN, HTML]);
    for (message, text, html, attached) in [
        (alternative.clone(), "plain", Some("<p>html</p>"), &[][..]),
        (multipart("mixed", "m", &[PLAIN, PDF]), "plain", None, &["application/pdf"]),
        (multipart("mixed", "m", &[&alternative, PDF]), "plain", Some("<p>html</p>"), &["application/pdf"]),
        (multipart("alternative", "x", &[PLAIN, &related]), "plain", Some("<p>html</p>"), &["image/png"]),
        (related.clone(), "html", Some("<p>html</p>"), &["image/png"]),
        (multipart("alternative", "x", &[HTML]), "html", Some("<p>html</p>"), &[]),
        (multipart("mixed", "m", &[HTML, PDF]), "html", Some("<p>html</p>"), &["application/pdf"]),
        (
            multipart("signed", "s", &[PLAIN, "Content-Type: application/pgp-signature\n\nx"]),
            "plain",
            None,
            &["application/pgp-signature"],
        ),
        (
            multipart(
                "report; report-type=delivery-status",
                "r",
                &[
                    PLAIN,
                    "Content-Type: message/delivery-status\n\nx: y",
                    "Content-Type: message/rfc822\n\nSubject: inner\n\ninner",
                ],
            ),
            "plain",
            None,
            &["message/delivery-status", "message/rfc822"],
        ),
        // Fragments of one text, as Apple Mail writes them, and the footer of a mailing list.
        (multipart("mixed", "m", &[PLAIN, IMAGE, "\nmore"]), "plain\nmore", None, &["image/png"]),
        (multipart("mixed", "m", &[&alternative, "\nfooter"]), "plain\nfooter", Some("<p>html</p>"), &[]),
        (
            multipart("alternative", "x", &[PLAIN, &multipart("mixed", "m", &[HTML, PDF, HTML])]),
            "plain",
            Some("<p>html</p>\n<p>html</p>"),
            &["application/pdf"],
        ),
        (multipart("alternative", "a", &["Content-Type: text/plain\n\n \n", HTML]), "html", Some("<p>html</p>"), &[]),
        // Of a plain text and HTML in a row, the plain one is the text; HTML before it is a text of its own.
        (multipart("mixed", "m", &[PLAIN, HTML]), "plain", Some("<p>html</p>"), &[]),
        (multipart("mixed", "m", &[HTML, "\nfooter"]), "html\nfooter", Some("<p>html</p>"), &[]),
        (
            multipart("related; start=\"<r@x>\"", "r", &[IMAGE, "Content-Type: text/html\nContent-ID: <r@x>\n\nroot"]),
            "root",
            Some("root"),
            &["image/png"],
        ),
        // A text with a file name is one only where it comes first.
        (
            multipart(
                "mixed",
                "m",
                &["Content-Type: text/plain; name=a.txt\n\nfirst", "Content-Type: text/plain; name=b.txt\n\nsecond"],
            ),
            "first",
            None,
            &["text/plain"],
        ),
        (multipart("mixed", "m", &["Content-Disposition: attachment\n\nx", PLAIN]), "plain", None, &["text/plain"]),
        (
            multipart("alternative", "x", &[PLAIN, HTML, "Content-Type: text/calendar\n\nBEGIN"]),
            "plain",
            Some("<p>html</p>"),
            &["text/calendar"],
        ),
        (
            multipart("digest", "d", &["\nSubject: inner\n\nx", "Content-Type: text/plain\n\ny"]),
            "y",
            None,
            &["message/rfc822"],
        ),
    ] {
        let found = parsed(&message);
        assert_eq!((found.text.as_deref(), found.html.as_deref()), (Some(text), html), "{message}");
        assert_eq!(kinds(&found), attached, "{message}");
        assert!(!found.text_cut);
    }
}

#[test]
fn an_attachment_is_told_whole() {
    let found = parsed(&multipart(
        "mixed",
        "m",
        &[
            PLAIN,
            PDF,
            "Content-Type: text/plain; charset=utf-16\nContent-Disposition: attachment; filename*=utf-8''%C3%A4.txt\n\nGr\n",
        ],
    ));
    let [pdf, text] = &found.attachments[..] else { panic!("{found:?}") };
    assert_eq!((pdf.name.as_deref(), pdf.size, pdf.inline), (Some("x.pdf"), 5, false));
    let hex: String = pdf.sha256.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hex, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    // The octets of its charset, with the line end of its last line, but not that of the boundary.
    assert_eq!((text.name.as_deref(), text.size), (Some("ä.txt"), 3));
    let related = parsed(&multipart(
        "related",
        "r",
        &[HTML, IMAGE, "Content-Type: image/gif\nContent-Disposition: attachment\nContent-ID: <j>\n\nx"],
    ));
    let told: Vec<_> = related.attachments.iter().map(|each| (each.content_id.as_deref(), each.inline)).collect();
    assert_eq!(told, [(Some("i@x"), true), (Some("j"), false)]);
}

#[test]
fn headers_are_told_in_their_order() {
    let found = parsed("Received: a\n\tb\nSubject: =?utf-8?q?=C3=A4?=\nReceived: c\n\nx");
    let told: Vec<_> = found.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(told, [("Received", "a b"), ("Subject", "ä"), ("Received", "c")]);
}

#[test]
fn boundaries_that_break_the_rules() {
    for (message, meant) in [
        // No close delimiter.
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n", "text\n"),
        // White space behind it.
        ("Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\ntext\n--b--  \n", "text"),
        // One that begins with another one.
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--bc\n--b--\n", "text\n--bc"),
        // An inner one without an end.
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\ntext\n--b\nContent-Type: application/x\n\n--b--\n",
            "text",
        ),
        // A header without an end, and a part without anything.
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b\n--b\n\ntext\n--b--\n", "\ntext"),
        ("Content-Type: multipart/mixed; boundary=\" b \"\n\n-- b\n\ntext\n-- b--\n", "text"),
        ("Content-Type: multipart/mixed;\n\tboundary=\"=_b:1\"\n\n--=_b:1\nno header\n--=_b:1--\n", "no header"),
    ] {
        let found = text(message).unwrap_or_default();
        assert_eq!(found.trim_start(), meant.trim_start(), "{message}");
    }
}

#[test]
fn text_is_cut_and_says_so() {
    for (octets, cut) in [(TEXT, false), (TEXT + 1, true), (3 * TEXT, true)] {
        let message = format!("Content-Type: text/plain; charset=utf-8\n\n{}", "x".repeat(octets));
        let found = parsed_in(message.as_bytes(), 65_536);
        assert_eq!((found.text.unwrap().len(), found.text_cut), (octets.min(TEXT), cut), "{octets}");
    }
    let parts: Vec<String> = (0..5).map(|_| format!("\n{}", "é".repeat(TEXT / 4))).collect();
    let message = multipart("mixed", "m", &parts.iter().map(String::as_str).collect::<Vec<_>>());
    let found = parsed_in(message.as_bytes(), 65_536);
    assert!(found.text_cut && found.text.unwrap().len() <= TEXT && found.attachments.is_empty());
    let html = format!("Content-Type: text/html\n\n{}", "<p>x</p>".repeat(TEXT / 2));
    let found = parsed_in(html.as_bytes(), 65_536);
    assert!(found.text_cut && found.html.unwrap().len() <= TEXT && found.text.unwrap().len() <= TEXT);
}

#[test]
fn depth_and_number_of_parts_are_bounded() {
    let mut message = PLAIN.to_owned();
    for level in 0..60 {
        message = multipart("mixed", &format!("b{level}"), &[&message]);
    }
    assert_eq!(parsed_in(message.as_bytes(), 4_096).text.as_deref(), Some("plain"));
    for level in 60..200 {
        message = multipart("mixed", &format!("b{level}"), &[&message]);
    }
    assert_eq!(kinds(&parsed_in(message.as_bytes(), 4_096)), ["multipart/mixed"]);
    let parts = vec![PDF; 1_000];
    let found = parsed_in(multipart("mixed", "m", &parts).as_bytes(), 4_096);
    assert_eq!((found.attachments.len(), found.attachments[999].name.as_deref()), (1_000, Some("x-1000.pdf")));
    // What follows is in the last one, so that nothing is lost.
    let message =
        format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\nContent-Type: a/b\n\nx\n".repeat(3_000));
    let found = parsed_in(message.as_bytes(), 4_096);
    assert_eq!(found.attachments.len(), PARTS - 1);
    assert!(found.attachments.last().unwrap().size > 20_000);
    let found = parsed_in(
        format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n".repeat(100_000)).as_bytes(),
        4_096,
    );
    assert!(found.attachments.len() <= PARTS);
}
