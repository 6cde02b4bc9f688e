//! SMTP smuggling: what one server takes for text and the next for the end of data makes two messages of one, the second
//! with a sender of the attacker's choice. The table holds every variant of the published ones and some more; each is
//! cut at every octet, because a faulty reader may depend on the cut.

use super::fake::{Driver, settings};

/// What others take for the end of data, and RFC 5321 section 4.1.1.4 does not.
const NOT_THE_END: [&[u8]; 36] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n\n.\n",
    b"\n\n.\r\n",
    b"\r\n\n.\r\n",
    b"\r\n\r.\r\n",
    b"\r\n\r.\r",
    b"\n\r.\n\r",
    b"\n\r.\r\n",
    b"\r\r.\r\r",
    b"\r\n.\r\r\n",
    b"\r\n.\n\r\n",
    b"\r\n.\r\x00\n",
    b"\r\n.\x00\r\n",
    b"\r\n\x00.\r\n",
    b"\r\x00\n.\r\x00\n",
    b"\x00\r.\r\n",
    b"\r\n..\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n .\r\n",
    b"\r\n.\x08\r\n",
    b"\r\n.\x1a\r\n",
    b"\x0b.\x0b",
    b"\x0c.\x0c",
    b"\x1e.\x1e",
    b"\x85.\x85",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\x8d\x8a.\x8d\x8a",
];

/// What is the end: the first, and the second because its CR CR LF is a CR and CRLF (DESIGN section 9).
const THE_END: [&[u8]; 2] = [b"\r\n.\r\n", b"\r\r\n.\r\n"];

const HEAD: &[u8] = b"HELO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nfirst";
const SMUGGLED: &[u8] =
    b"MAIL FROM:<admin@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nsmuggled\r\n.\r\nQUIT\r\n";

/// Plays the octets in two parts, and gives what was stored as sender and text.
fn play(octets: &[u8], cut: usize) -> Vec<(String, Vec<u8>)> {
    let mut driver = Driver::new(settings());
    driver.feed(&octets[..cut]);
    driver.feed(&octets[cut..]);
    assert!(driver.closed, "QUIT was not seen");
    driver.stored.into_iter().map(|message| (message.sender, message.text)).collect()
}

#[test]
fn no_variant_makes_two_messages_wherever_it_is_cut() {
    for variant in NOT_THE_END {
        let octets = [HEAD, variant, SMUGGLED].concat();
        for cut in 0..=octets.len() {
            let stored = play(&octets, cut);
            assert_eq!(stored.len(), 1, "{} cut at {cut}", variant.escape_ascii());
            assert_eq!(stored[0].0, "a@b.example");
            assert!(stored[0].1.ends_with(b"smuggled\n"), "{}", stored[0].1.escape_ascii());
        }
    }
}

#[test]
fn the_end_is_the_end_wherever_it_is_cut() {
    for end in THE_END {
        let octets = [HEAD, end, SMUGGLED].concat();
        for cut in 0..=octets.len() {
            let senders: Vec<String> = play(&octets, cut).into_iter().map(|(sender, _)| sender).collect();
            assert_eq!(senders, ["a@b.example", "admin@example.org"], "cut at {cut}");
        }
    }
}

#[test]
fn a_chunk_ends_by_its_number_alone() {
    let begin = b"HELO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.org>\r\n";
    for variant in NOT_THE_END.into_iter().chain(THE_END) {
        let text = [b"first", variant, SMUGGLED].concat();
        let command = format!("BDAT {} LAST\r\n", text.len());
        let octets = [&begin[..], command.as_bytes(), &text, b"QUIT\r\n"].concat();
        for cut in begin.len()..=octets.len() {
            let stored = play(&octets, cut);
            assert_eq!(stored.len(), 1, "{} cut at {cut}", variant.escape_ascii());
            assert!(stored[0].1.ends_with(b"QUIT\n"));
        }
    }
}

#[test]
fn a_command_is_one_line_for_everybody() {
    for inside in [&b"\r"[..], b"\0", b"\r\r", b"\x0b", b"\x0c"] {
        let mut driver = Driver::new(settings());
        driver.line("HELO client.example");
        let reply = driver.feed(&[b"MAIL FROM:<a@b.example>", inside, b"RCPT TO:<alice@example.org>\r\n"].concat());
        assert!(reply.starts_with(b"500 ") && driver.session.transaction().is_none(), "{}", reply.escape_ascii());
    }
}
