//! `[[mqtt]]`: the password, the certificates, and a password that everybody on the way can read; with `--online` what the
//! broker itself says. Nothing is published.

use super::Findings;
use crate::net::remote::dial;
use crate::net::remote::secret::read_file;
use crate::net::remote::tls::{Client, Trust};
use crate::notify::{self, MqttSettings};
use crate::sys::Ids;
use std::net::IpAddr;

/// Domains that no public address has (RFC 6762, RFC 8375, RFC 9476 and custom).
const LOCAL: [&str; 6] = [".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain"];

/// What the files tell.
pub(super) fn check(findings: &mut Findings<'_>, server: Option<Ids>) {
    let config = findings.config;
    for (index, mqtt) in config.mqtts.iter().enumerate() {
        let key = |name: &str| format!("mqtt[{index}].{name}");
        if let Some(path) = &mqtt.password_file
            && let Some(Err(error)) = findings.as_server(server, || read_file(path))
        {
            findings.wrong(&key("password_file"), error);
        }
        if let Some(trust) = &mqtt.trust
            && let Some(Err(why)) = findings.as_server(server, || Client::new(trust))
        {
            findings.wrong(&key(if matches!(trust, Trust::File(_)) { "ca" } else { "url" }), why);
        }
        if is_shown(mqtt) && !is_local(&mqtt.host) {
            findings.doubtful(&key("url"), shown(&mqtt.host));
        }
    }
}

/// Whether the password is sent without TLS.
fn is_shown(mqtt: &MqttSettings) -> bool {
    mqtt.trust.is_none() && mqtt.password_file.is_some()
}

fn shown(host: &str) -> String {
    format!(
        "the password goes to {host} without encryption, and everybody on the way can read it; use mqtts://, or a \
         broker in your own network"
    )
}

/// Whether a host is in the own network, as far as its name or address tells.
fn is_local(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => dial::is_private(address),
        Err(_) => !host.contains('.') || LOCAL.iter().any(|domain| host.ends_with(domain)),
    }
}

/// What each broker says.
pub(super) fn online(findings: &mut Findings<'_>) {
    let config = findings.config;
    for (index, mqtt) in config.mqtts.iter().enumerate() {
        let key = format!("mqtt[{index}].url");
        if is_shown(mqtt)
            && is_local(&mqtt.host)
            && let Ok(addresses) = dial::look_up(&mqtt.host, mqtt.port)
            && addresses.iter().any(|address| !dial::is_private(address.ip()))
        {
            findings.doubtful(&key, shown(&mqtt.host));
        }
        match notify::probe_broker(mqtt) {
            Ok(description) => {
                findings.notes.push(format!("mqtt {}: {description}; the broker takes the login", mqtt.name));
            }
            Err(why) => findings.wrong(&key, format!("{}: {why}", mqtt.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_own_network() {
        for (host, local) in [
            ("localhost", true),
            ("homeassistant.local", true),
            ("broker.lan", true),
            ("nas", true),
            ("192.168.1.7", true),
            ("::1", true),
            ("broker.example.org", false),
            ("203.0.113.5", false),
            ("2001:db8::1", false),
            ("lan.example", false),
        ] {
            assert_eq!(is_local(host), local, "{host}");
        }
    }
}
