//! Plays the scripts of `tests/dialogues/pop3` on a session without a socket; `tests/` plays them on the real binary.

use super::fake::{Driver, Fake, settings};
use super::step::Settings;
use crate::script::{each, play_server, unescape};

#[test]
fn every_dialogue() {
    each("pop3", 30, |name, script| {
        let messages = script.lines().filter_map(|line| line.strip_prefix("@ message ")).enumerate();
        let messages = messages.map(|(n, message)| (format!("1763888639.M{n}P1Q1.h"), unescape(message)));
        let maildrop = Fake { messages: messages.collect(), gone: Vec::new() };
        let mut driver = Driver::new(Settings { tls_available: false, cram_md5: true, ..settings() }, maildrop);
        let mut greeting = Vec::new();
        driver.session.greeting(&mut greeting);
        play_server(name, script, greeting, |octets| {
            let mut replies = Vec::new();
            // One line of a script may hold several commands, as a client that pipelines sends them.
            for command in octets.strip_suffix(b"\r\n").unwrap().split(|&octet| octet == b'\n') {
                if !driver.closed {
                    replies.extend(driver.line(command.strip_suffix(b"\r").unwrap_or(command)));
                }
            }
            (replies, driver.closed)
        });
    });
}
