//! `[[webhook]]`: its secrets and certificates; with `--online` a HEAD to each.

use super::Findings;
use crate::net::remote::tls::{Client, Trust};
use crate::notify::{self, HeaderValue, Key};
use crate::sys::Ids;

/// What the files tell.
pub(super) fn check(findings: &mut Findings<'_>, server: Option<Ids>) {
    let config = findings.config;
    for (index, webhook) in config.webhooks.iter().enumerate() {
        let key = |name: &str| format!("webhook[{index}].{name}");
        if let Some(path) = &webhook.secret_file
            && let Some(Err(why)) = findings.as_server(server, || Key::read(path).map(drop))
        {
            findings.wrong(&key("secret_file"), why);
        }
        for (_, value) in &webhook.headers {
            if let HeaderValue::File(_) = value
                && let Some(Err(why)) = findings.as_server(server, || value.read().map(drop))
            {
                findings.wrong(&key("headers"), why);
            }
        }
        if webhook.url.is_tls {
            if let Some(Err(why)) = findings.as_server(server, || Client::new(&webhook.trust).map(drop)) {
                let blamed = if matches!(webhook.trust, Trust::File(_)) { "ca" } else { "url" };
                findings.wrong(&key(blamed), why);
            }
        } else if !webhook.url.is_local() {
            let message =
                "what is sent is not encrypted on its way; write https://, unless the host is in your own network";
            findings.doubtful(&key("url"), message);
        }
    }
}

/// What each receiver says.
pub(super) fn online(findings: &mut Findings<'_>) {
    let config = findings.config;
    for (index, webhook) in config.webhooks.iter().enumerate() {
        let (key, origin) = (format!("webhook[{index}].url"), webhook.url.origin());
        match notify::probe(webhook) {
            Ok(status @ 300..=399) => {
                let message = format!("{origin} answers a HEAD with {status}; redirects are not followed");
                findings.doubtful(&key, message);
            }
            Ok(status) => {
                findings.notes.push(format!("webhook {}: {origin} answers a HEAD with {status}", webhook.name))
            }
            Err(why) => findings.wrong(&key, format!("{origin}: {why}")),
        }
    }
}
