//! `[[remote]]`: its secret, its certificates and its user; with `--online` what the server itself says. Nothing is changed
//! there.

use super::Findings;
use super::secrets::secret;
use crate::accounts::Accounts;
use crate::config::{Config, Encryption};
use crate::delivery::Delivery;
use crate::fetch;
use crate::nearest::nearest;
use crate::net::remote::dial;
use crate::net::remote::tls::{Client, Trust};
use crate::notify::Format;
use crate::sys::Ids;
use std::sync::Arc;

/// What the files tell.
pub(super) fn check(findings: &mut Findings<'_>, server: Option<Ids>, accounts: Option<&Accounts>) {
    let config = findings.config;
    for (index, remote) in config.remotes.iter().enumerate() {
        let key = |name: &str| format!("remote[{index}].{name}");
        secret(findings, server, &remote.secret, &key);
        let trusted =
            (remote.encryption != Encryption::Off).then(|| findings.as_server(server, || Client::new(&remote.trust)));
        if let Some(Some(Err(why))) = trusted {
            let blamed = if matches!(remote.trust, Trust::File(_)) { "ca" } else { "tls" };
            let blamed = if config.is_default(&key(blamed)) { key("name") } else { key(blamed) };
            findings.wrong(&blamed, why);
        }
        if remote.encryption == Encryption::Off {
            findings.doubtful(&key("tls"), "password and mail are not encrypted on their way");
        }
        if let Some(accounts) = accounts
            && !accounts.names().any(|name| name == remote.user)
        {
            let hint = nearest(&remote.user, accounts.names());
            let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            findings.wrong(&key("user"), format!("there is no account {:?}{hint}", remote.user));
        }
        if !remote.store && !has_reader(config, &remote.user) {
            let message = "no pipe tells these events: \"inotify\" and \"path\" name files, and there are none; use another \
                           format, or a [[hook]]";
            findings.doubtful(&key("store"), message);
        }
    }
}

/// Whether anybody is told of a message of this user that is not stored here.
fn has_reader(config: &Config, user: &str) -> bool {
    let is_for = |users: &[String]| users.is_empty() || users.iter().any(|each| each == user);
    let mut pipes = config.pipes.iter().filter(|pipe| is_for(pipe.filter.users()));
    let mut hooks = config.hooks.iter().filter(|hook| is_for(hook.filter.users()));
    pipes.any(|pipe| !matches!(pipe.format, Format::Inotify | Format::Path))
        || hooks.next().is_some()
        || has_webhook(config, user)
}

#[cfg(feature = "webhook")]
fn has_webhook(config: &Config, user: &str) -> bool {
    let mut users = config.webhooks.iter().map(|webhook| webhook.filter.users());
    users.any(|users| users.is_empty() || users.iter().any(|each| each == user))
}

#[cfg(not(feature = "webhook"))]
fn has_webhook(_config: &Config, _user: &str) -> bool {
    false
}

/// What each server says.
pub(super) fn online(findings: &mut Findings<'_>) {
    let config = findings.config;
    let delivery = Arc::new(Delivery::new(config, None));
    for (index, remote) in config.remotes.iter().enumerate() {
        if let Ok(addresses) = dial::look_up(&remote.host, remote.port) {
            let public = addresses.iter().find(|address| !dial::is_private(address.ip()));
            if let (Encryption::Off, Some(public)) = (remote.encryption, public) {
                let message =
                    format!("\"off\" is for loopback and private addresses only; {} is {}", remote.host, public.ip());
                findings.wrong(&format!("remote[{index}].tls"), message);
                continue;
            }
        }
        for (label, found) in fetch::probe(remote, &delivery) {
            match found {
                Ok(notes) => findings.notes.extend(notes.into_iter().map(|note| format!("remote {label}: {note}"))),
                Err(end) => findings.wrong(&format!("remote[{index}].name"), format!("{label}: {}", end.why)),
            }
        }
    }
}
