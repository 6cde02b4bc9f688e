//! Plays the scripts of `tests/dialogues/smtp` on a session without a socket; `tests/` plays them on the real binary.

use super::fake::{Driver, settings};
use super::{Auth, Protocol, Settings};
use crate::script::{each, play_server};

fn door(name: &str) -> Settings {
    match name {
        "smtp" => settings(),
        "lmtp" => Settings { protocol: Protocol::Lmtp, auth: Auth::Off, ..settings() },
        "submission" => Settings { auth: Auth::Required, ..settings() },
        other => panic!("no door {other}"),
    }
}

#[test]
fn every_dialogue() {
    each("smtp", 50, |name, script| {
        let kind = script.lines().find_map(|line| line.strip_prefix("@ door=")).unwrap_or("smtp");
        let mut driver = Driver::new(door(kind.trim()));
        let mut greeting = Vec::new();
        driver.session.greeting(&mut greeting);
        play_server(name, script, greeting, |octets| (driver.feed(octets), driver.closed));
    });
}
