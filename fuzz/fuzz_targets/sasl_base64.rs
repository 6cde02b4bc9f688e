//! SASL exchanges over damaged and good base64: never more rounds than the mechanism has, and names stay bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::sasl::{Credentials, Exchange, Mechanism, Progress};

fuzz_target!(|data: &[u8]| {
    let Some((choice, lines)) = data.split_first() else { return };
    let mechanism = [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5][usize::from(choice % 3)];
    let mut lines = lines.split(|octet| *octet == b'\n');
    let initial = if choice & 4 != 0 { lines.next() } else { None };
    let Ok((mut exchange, mut progress)) = Exchange::begin(mechanism, initial, || "<1.2@mailbell>".to_owned()) else {
        return;
    };
    let mut challenges = 0;
    loop {
        match progress {
            Progress::Done(credentials) => {
                assert!(credentials.name().len() <= 64 * 1024);
                assert!(!format!("{credentials:?}").contains("password"));
                if let Credentials::CramMd5 { digest, .. } = credentials {
                    assert!(digest.len() == 32 && digest.bytes().all(|octet| octet.is_ascii_hexdigit()));
                }
                return;
            }
            Progress::Challenge(challenge) => {
                assert!(challenge.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet)));
                challenges += 1;
                assert!(challenges <= 2, "a third challenge");
            }
        }
        let Some(line) = lines.next() else { return };
        match exchange.respond(line) {
            Ok(next) => progress = next,
            Err(_) => return,
        }
    }
});
