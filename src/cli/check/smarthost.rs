//! `[relay]`: its secret and its certificates; with `--online` what the smarthost itself says. Nothing is sent.

use super::Findings;
use super::secrets::secret;
use crate::config::Encryption;
use crate::net::remote::dial;
use crate::net::remote::tls::{Client, Trust};
use crate::send;
use crate::sys::Ids;

/// What the files tell.
pub(super) fn check(findings: &mut Findings<'_>, server: Option<Ids>) {
    let config = findings.config;
    let Some(relay) = &config.relay else { return };
    let key = |name: &str| format!("relay.{name}");
    if let Some((_, source)) = &relay.login {
        secret(findings, server, source, &key);
    }
    if relay.encryption == Encryption::Off {
        return findings.doubtful(&key("tls"), "password and mail are not encrypted on their way");
    }
    if let Some(Err(why)) = findings.as_server(server, || Client::new(&relay.trust)) {
        let blamed = if matches!(relay.trust, Trust::File(_)) { "ca" } else { "tls" };
        let blamed = if config.is_default(&key(blamed)) { key("host") } else { key(blamed) };
        findings.wrong(&blamed, why);
    }
}

/// What the smarthost says.
pub(super) fn online(findings: &mut Findings<'_>) {
    let config = findings.config;
    let Some(relay) = &config.relay else { return };
    if let (Encryption::Off, Ok(addresses)) = (relay.encryption, dial::look_up(&relay.host, relay.port))
        && let Some(public) = addresses.iter().find(|address| !dial::is_private(address.ip()))
    {
        let message = format!("\"off\" is for loopback and private addresses only; {} is {}", relay.host, public.ip());
        return findings.wrong("relay.tls", message);
    }
    match send::probe(relay, &config.hostname) {
        Ok(notes) => findings.notes.extend(notes.into_iter().map(|note| format!("relay {}: {note}", relay.host))),
        Err(why) => findings.wrong("relay.host", format!("{}: {why}", relay.host)),
    }
}
