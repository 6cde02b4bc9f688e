//! SMTP smuggling on the real binary: no variant of the end of data makes two messages of one, however it arrives. The
//! same table is cut at every octet without a socket in `src/smtp/smuggling_tests.rs`; here it comes in two packets, cut
//! at every octet of the variant and around it.

mod common;

use common::{BASIC, Server, Talk};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

const NOT_THE_END: [&[u8]; 24] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n\n.\r\n",
    b"\r\n\n.\r\n",
    b"\r\n\r.\r\n",
    b"\n\r.\n\r",
    b"\n\r.\r\n",
    b"\r\r.\r\r",
    b"\r\n.\r\r\n",
    b"\r\n.\n\r\n",
    b"\r\n.\x00\r\n",
    b"\r\n\x00.\r\n",
    b"\r\x00\n.\r\x00\n",
    b"\r\n..\r\n",
    b"\r\n. \r\n",
    b"\r\n .\r\n",
    b"\x0b.\x0b",
    b"\xc2\x85.\xc2\x85",
];

/// Sends one message with the variant in it, the second packet a little after the first, and reads every reply.
fn attack(address: SocketAddr, variant: &[u8], cut: usize) {
    let smuggled = b"MAIL FROM:<admin@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nsmuggled\r\n.\r\n";
    let octets = [b"Subject: one\r\n\r\nbody", variant, smuggled].concat();
    let cut = b"Subject: one\r\n\r\nbod".len() + cut;
    let mut talk = Talk::to(address);
    talk.expect("220");
    talk.say("EHLO client.example", "250");
    talk.say("MAIL FROM:<a@b.example>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("DATA", "354");
    talk.write(&octets[..cut]);
    thread::sleep(Duration::from_millis(1));
    talk.write(&octets[cut..]);
    talk.expect("250");
    talk.say("QUIT", "221");
    assert!(talk.is_closed(), "{} cut at {cut}: something was said twice", variant.escape_ascii());
}

#[test]
fn one_message_stays_one() {
    let server = Server::with("smuggling", BASIC);
    let address = server.address("smtp");
    let cuts: Vec<_> =
        NOT_THE_END.iter().flat_map(|&variant| (0..variant.len() + 3).map(move |cut| (variant, cut))).collect();
    let attackers: Vec<_> = cuts
        .chunks(cuts.len().div_ceil(8))
        .map(|part| part.to_vec())
        .map(|part| thread::spawn(move || part.iter().for_each(|(variant, cut)| attack(address, variant, *cut))))
        .collect();
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    assert_eq!(server.new_files("alice").len(), cuts.len());
    assert_eq!(server.new_files("bob").len(), 0);
    assert!(server.records().iter().all(|record| record["mail_from"] == "a@b.example"));
    server.stop();
}
