//! Behind a proxy: the PROXY header, and the limits by address of the clients that it tells of.

mod common;

use common::{BASIC, Server, Talk};
use std::io::Write;

/// What a proxy says that stands before this client.
fn header(client: &str) -> String {
    format!("PROXY TCP4 {client} 192.0.2.1 4711 25\r\n")
}

/// A connection by way of a proxy that says `header`, and is greeted with `expected`.
fn come(mut talk: Talk, header: &str, expected: &str) -> Talk {
    talk.write(header.as_bytes());
    talk.expect(expected);
    talk
}

#[test]
fn a_proxy_that_is_trusted_tells_the_true_client() {
    let server = Server::with("proxy", &format!("{BASIC}[proxy]\ntrusted = [\"127.0.0.0/8\"]\n"));
    let mut talk = come(server.smtp(), &header("192.0.2.9"), "220");
    talk.say("EHLO x", "250");
    talk.say("MAIL FROM:<>", "250");
    talk.say("RCPT TO:<alice@example.org>", "250");
    talk.say("DATA", "354");
    talk.say("Subject: x\r\n\r\nx\r\n.", "250");
    assert_eq!(server.records()[0]["client"], "192.0.2.9");
    let mut liar = server.smtp();
    liar.stream().write_all(b"EHLO x\r\n").unwrap();
    assert!(liar.is_closed());
    server.stop();
}

#[test]
fn behind_a_proxy_the_limit_by_address_is_that_of_the_true_one() {
    let sections = "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n[limits]\nconnections_per_ip = 1\n";
    let server = Server::with("proxy-limit", &format!("{BASIC}{sections}"));
    let _first = come(server.smtp(), &header("192.0.2.9"), "220");
    come(server.smtp(), &header("192.0.2.9"), "421");
    // Without a client the proxy speaks for itself.
    let _proxy = come(server.smtp(), "PROXY UNKNOWN\r\n", "220");
    come(server.smtp(), "PROXY UNKNOWN\r\n", "421");
    server.stop();
}

#[test]
fn one_address_may_be_held_to_a_rate_and_others_do_not_notice() {
    let sections = "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n\
        [limits]\nconnection_rate_per_ip = \"3/1h\"\nmessage_rate_per_ip = \"2/1h\"\n";
    let server = Server::with("rates", &format!("{BASIC}{sections}"));
    let greedy = header("192.0.2.9");
    // Two messages may come, the third gets a reply that has its sender try again later; RSET gives nothing back.
    let mut one = come(server.smtp(), &greedy, "220");
    one.say("EHLO x", "250");
    one.say("MAIL FROM:<>", "250");
    one.say("RSET", "250");
    one.say("MAIL FROM:<>", "250");
    one.say("RCPT TO:<alice@example.org>", "250");
    one.say("DATA", "354");
    one.say("Subject: x\r\n\r\nx\r\n.", "250");
    one.say("MAIL FROM:<>", "450 4.7.1");
    // Three connections may come, on whatever port; the places that they had do not matter.
    let mut two = come(server.smtp(), &greedy, "220");
    two.say("EHLO x", "250");
    two.say("MAIL FROM:<>", "450 4.7.1");
    let three = come(server.pop3(), &greedy, "+OK");
    drop((one, two, three));
    come(server.smtp(), &greedy, "421 4.7.0");
    come(server.pop3(), &greedy, "-ERR [SYS/TEMP]");
    let mut other = come(server.smtp(), &header("192.0.2.10"), "220");
    other.say("EHLO x", "250");
    other.say("MAIL FROM:<>", "250");
    server.stop();
}
