//! `[[webhook]]`: HTTP requests to other programs.

use super::endpoint;
use super::section::{Entry, Section};
use super::subscribers::{filter, once, retry, subscriber_name};
use super::value::{self, one_of, some_time};
use crate::net::remote::secret::Secret;
use crate::net::remote::tls::Trust;
use crate::net::remote::url::Url;
use crate::notify::{Body, HeaderValue, WebhookSettings};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// Most header fields of one webhook.
const HEADERS: usize = 64;

/// Fields that the request has already, or that would change how it is understood.
const OURS: [&str; 15] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "expect",
    "te",
    "trailer",
    "upgrade",
    "proxy-connection",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// Reads all of them.
pub(super) fn webhooks(top: &mut Section<'_, '_>, base: &Path) -> Vec<WebhookSettings> {
    let mut seen = HashSet::new();
    top.sections("webhook").into_iter().flatten().filter_map(|section| webhook(section, base, &mut seen)).collect()
}

fn webhook(mut section: Section<'_, '_>, base: &Path, seen: &mut HashSet<String>) -> Option<WebhookSettings> {
    let name = section.needed("name", "\"app\"", |text| subscriber_name(text, "webhook"));
    once(&section, "name", &name, seen, "is another webhook's name too; it tells webhooks apart");
    let url = section.needed("url", "\"https://app.example/new-mail\"", Url::parse);
    let file = |text: &str| value::path(base, text);
    let body = section.text("body", "\"event\"", body).unwrap_or(Body::Event);
    let secret_file = section.text("secret_file", "\"/etc/mailbell/app.secret\"", value::or_empty(file)).flatten();
    let headers = headers(&mut section, base);
    let trust = endpoint::trust(&mut section, base);
    if url.as_ref().is_some_and(|url| !url.is_tls) && trust != Trust::System {
        let key = if matches!(trust, Trust::File(_)) { "ca" } else { "fingerprint" };
        section.wrong(key, "is for certificates, and the `url` begins with http://; write https://");
    }
    let timeout = section.text("timeout", "\"30s\"", some_time).unwrap_or(Duration::from_secs(30));
    let (retry, is_paused) = (retry(&mut section), section.flag("paused").unwrap_or(false));
    let filter = filter(&mut section);
    section.finish();
    let (name, url) = (name?, url?);
    Some(WebhookSettings { name, url, body, secret_file, headers, timeout, retry, is_paused, filter, trust })
}

fn body(text: &str) -> Result<Body, String> {
    match text {
        "event" => Ok(Body::Event),
        "message" => Ok(Body::Message),
        #[cfg(feature = "mime")]
        "parsed" => Ok(Body::Parsed),
        #[cfg(not(feature = "mime"))]
        "parsed" => Err("\"parsed\": this mailbell was built without it (cargo feature `mime`)".into()),
        _ => Err(one_of(text, &["event", "parsed", "message"])),
    }
}

fn headers(section: &mut Section<'_, '_>, base: &Path) -> Vec<(String, HeaderValue)> {
    let entries = section.entries("headers", "Authorization = \"@/etc/mailbell/app.token\"");
    if entries.len() > HEADERS {
        section.wrong("headers", format!("has more than {HEADERS} fields"));
    }
    let mut found: Vec<(String, HeaderValue)> = Vec::new();
    for entry in entries {
        let named = section.named("headers");
        let wrong = |why: String| section.report().add(entry.offset, format!("`{named}`: {why}"));
        match header(&entry, base) {
            Ok(_) if found.iter().any(|(name, _)| name.eq_ignore_ascii_case(&entry.key)) => {
                wrong(format!("{:?} is there twice", entry.key));
            }
            Ok(value) => found.push((entry.key.clone(), value)),
            Err(why) => wrong(why),
        }
    }
    found
}

/// A field's value; the messages say nothing of it, for it may be a secret.
fn header(entry: &Entry, base: &Path) -> Result<HeaderValue, String> {
    let name = &entry.key;
    // RFC 9110 section 5.6.2.
    let is_token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    if !matches!(name.len(), 1..=100) || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is not the name of a header field, such as \"Authorization\""));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(format!("{name:?} is written by mailbell itself; take it out"));
    }
    match entry.value.strip_prefix('@') {
        Some(path) => value::path(base, path).map(HeaderValue::File),
        None if entry.value.len() > 4_096 || entry.value.chars().any(char::is_control) => {
            Err(format!("the value of {name:?} is longer than 4,096 octets, or has a control character in it"))
        }
        None => Ok(HeaderValue::Text(Secret::new(entry.value.clone().into_bytes()))),
    }
}
