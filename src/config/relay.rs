//! `[relay]`: the smarthost that takes mail to others.

use super::endpoint::{Encryption, encryption, host, login, off_is_private, secret, trust};
use super::section::Section;
use super::value::{durations, or_empty, or_off, some_time};
use crate::message::address;
use crate::net::remote::secret::Source;
use crate::net::remote::tls::Trust;
use crate::sasl::client::Account;
use std::path::Path;
use std::time::Duration;

/// `[relay]` with a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// A name or an address.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Which certificates are trusted.
    pub trust: Trust,
    /// The account's name there, and where password or token come from; `None`: no login.
    pub login: Option<(String, Source)>,
    /// The envelope sender of all that leaves, without brackets.
    pub from: Option<String>,
    /// The first wait before another try, and the longest.
    pub retry: (Duration, Duration),
    /// The sender is told of a delay after this time.
    pub warn: Option<Duration>,
    /// The most messages of one user that wait.
    pub waiting_per_user: usize,
    /// The most recipients of one user in an hour.
    pub recipients_per_hour: usize,
    /// A message is given up after this time, counted from its arrival.
    pub give_up: Duration,
}

impl Relay {
    /// The account there; `None`: no login.
    pub fn account(&self) -> Option<Account> {
        let (login, source) = self.login.as_ref()?;
        Some(Account { login: login.clone(), host: self.host.clone(), port: self.port, secret: source.kind() })
    }
}

/// Reads the section; `None` without a host.
pub(super) fn relay(top: &mut Section<'_, '_>, base: &Path) -> Option<Relay> {
    let mut section = top.section("relay");
    let is_named = section.is_set("host");
    let host = section.text("host", "\"smtp.example.com\"", or_empty(host)).flatten();
    let encryption = section.text("tls", "\"starttls\"", encryption).unwrap_or(Encryption::StartTls);
    let default_port = if encryption == Encryption::Implicit { 465 } else { 587 };
    let port = section.count("port", 1..=65_535).map_or(default_port, |port| port as u16);
    off_is_private(&section, encryption, host.as_deref());
    let trust = trust(&mut section, base);
    let name = section.text("login", "\"me@example.com\"", or_empty(login)).flatten();
    let has_login = section.is_set("login");
    let keys = ["password_file", "password_command", "token_command"];
    let given = keys.into_iter().find(|key| section.has(key));
    let login = match (has_login, given) {
        (true, Some(_)) => name.zip(secret(&mut section, base)),
        (true, None) => {
            section.wrong("login", "needs one of `password_file`, `password_command` and `token_command` beside it");
            None
        }
        (false, Some(key)) => {
            secret(&mut section, base);
            section.wrong(key, "needs `login` beside it");
            None
        }
        // Asked for, so that they are known keys.
        (false, None) => {
            for key in keys {
                section.text(key, "", |_| Ok(()));
            }
            None
        }
    };
    let from = section.text("from", "\"office@example.org\"", or_empty(sender)).flatten();
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let retry = section.text("retry", "\"5m..4h\"", durations).unwrap_or((minutes(5), minutes(4 * 60)));
    let warn = section.text("warn", "\"4h\" or \"off\"", or_off(some_time)).unwrap_or(Some(minutes(4 * 60)));
    let give_up = section.text("give_up", "\"5d\"", some_time).unwrap_or(minutes(5 * 24 * 60));
    let waiting_per_user = section.count("waiting_per_user", 1..=1_000_000).unwrap_or(200);
    let recipients_per_hour = section.count("recipients_per_hour", 1..=1_000_000).unwrap_or(500);
    if warn.is_some_and(|warn| warn >= give_up) && section.has("warn") {
        section.wrong("warn", "is not earlier than `give_up`, so no sender would be told of a delay; or write \"off\"");
    }
    if !is_named && let Some(key) = given.or(has_login.then_some("login")) {
        section.wrong(key, "needs `host` beside it");
    }
    section.finish();
    Some(Relay {
        host: host?,
        port,
        encryption,
        trust,
        login,
        from,
        retry,
        warn,
        waiting_per_user,
        recipients_per_hour,
        give_up,
    })
}

fn sender(text: &str) -> Result<String, String> {
    match address::mailbox(text) {
        Ok(mailbox) if mailbox.domain.is_some() => Ok(mailbox.text),
        Ok(_) => Err(format!("{text:?} has no domain; write an address such as \"office@example.org\"")),
        Err(fault) => Err(format!("{text:?} is not an address: {}", fault.0)),
    }
}
