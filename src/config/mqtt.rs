//! `[[mqtt]]`: brokers that are told of events.

use super::endpoint::{host, login, trust};
use super::section::Section;
use super::subscribers::{filter, once, subscriber_name};
use super::value::{self, choice, duration, durations};
use crate::mqtt::topic;
use crate::notify::{FieldName, Format, MqttSettings, Piece};
use md5::{Digest, Md5};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// Most fields in a topic: each has at most 256 octets there, and a topic 65,535.
const FIELDS: usize = 16;

/// The broker: host, port, and whether with TLS.
type Url = (String, u16, bool);

/// Reads all of them. Host name and state make the client id: no other mailbell has the same two.
pub(super) fn mqtts(top: &mut Section<'_, '_>, base: &Path, hostname: &str, state: &Path) -> Vec<MqttSettings> {
    let mut seen = HashSet::new();
    let all = top.sections("mqtt").into_iter().flatten();
    all.filter_map(|section| mqtt(section, base, &mut seen))
        .map(|mqtt| MqttSettings { client_id: client_id(hostname, state, &mqtt.name), ..mqtt })
        .collect()
}

fn mqtt(mut section: Section<'_, '_>, base: &Path, seen: &mut HashSet<String>) -> Option<MqttSettings> {
    let name = section.needed("name", "\"home\"", |text| subscriber_name(text, "broker"));
    once(&section, "name", &name, seen, "is another section's name too; it tells them apart");
    let url = section.needed("url", "\"mqtts://broker.example:8883\"", url);
    let login = section.text("login", "\"mailbell\"", login);
    let password_file = section.text("password_file", "\"/etc/mailbell/mqtt.pw\"", |text| value::path(base, text));
    if section.has("password_file") && !section.has("login") {
        section.wrong("password_file", "needs `login` beside it: MQTT has no password without a user name");
    }
    let trust = trust(&mut section, base);
    if matches!(url, Some((_, _, false))) {
        for key in ["ca", "fingerprint"].into_iter().filter(|key| section.is_set(key)) {
            section.wrong(key, "is for mqtts:// only, and the `url` begins with mqtt://");
        }
    }
    let topic = section.text("topic", "\"mail/{user}\"", topic_template);
    let payload = section.text("payload", "\"event\"", payload).unwrap_or(None);
    section.note_template("topic", topic.as_deref().unwrap_or_default());
    section.note_format("payload", payload.as_ref());
    let discovery = section.text("discovery", "\"homeassistant\"", discovery).unwrap_or(false);
    let retry = section.text("retry", "\"1s..1m\"", durations);
    let give_up = section.text("give_up", "\"7d\"", duration).unwrap_or(Duration::from_secs(7 * 86_400));
    let filter = filter(&mut section);
    section.finish();
    let (host, port, has_tls) = url?;
    Some(MqttSettings {
        name: name?,
        host,
        port,
        trust: has_tls.then_some(trust),
        login,
        password_file,
        topic: topic.unwrap_or_else(|| vec![Piece::Text("mail/".into()), Piece::Value(FieldName::Event("user"))]),
        payload,
        discovery,
        client_id: String::new(),
        retry: retry.unwrap_or((Duration::from_secs(1), Duration::from_secs(60))),
        give_up,
        filter,
        accounts: Vec::new(),
    })
}

/// 20 letters and digits: each broker takes up to 23 (MQTT 3.1.1 section 3.1.3.1).
fn client_id(hostname: &str, state: &Path, name: &str) -> String {
    let known = format!("{hostname}\0{}\0{name}", state.display());
    let digits: String = Md5::digest(known).iter().take(6).map(|octet| format!("{octet:02x}")).collect();
    format!("mailbell{digits}")
}

fn url(text: &str) -> Result<Url, String> {
    let is = || format!("{text:?} is not a broker's URL such as \"mqtts://broker.example:8883\"");
    let (has_tls, rest) = match text.split_once("://") {
        Some(("mqtt", rest)) => (false, rest),
        Some(("mqtts", rest)) => (true, rest),
        Some((scheme, rest)) => {
            let secure = matches!(scheme, "ssl" | "tls" | "https" | "wss" | "MQTTS");
            return Err(format!("{}; did you mean \"mqtt{}://{rest}\"?", is(), if secure { "s" } else { "" }));
        }
        None => return Err(format!("{}; did you mean \"mqtt://{text}\"?", is())),
    };
    if rest.contains('@') {
        return Err(format!("{}; the user name is `login`, and the password is in `password_file`", is()));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // An address in brackets has colons of its own.
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (rest, None),
    };
    let port = match port.map(str::parse::<u16>) {
        None if has_tls => 8883,
        None => 1883,
        Some(Ok(port @ 1..)) => port,
        Some(_) => return Err(format!("{}; the port is a number from 1 to 65535", is())),
    };
    Ok((host(name).map_err(|why| format!("{}; {why}", is()))?, port, has_tls))
}

fn topic_template(text: &str) -> Result<Vec<Piece>, String> {
    if text.is_empty() {
        return Err("\"\" is not a topic; write one such as \"mail/{user}\"".into());
    }
    let pieces = Format::pieces(text)?;
    if pieces.iter().filter(|piece| matches!(piece, Piece::Value(_))).count() > FIELDS {
        return Err(format!("a topic has at most {FIELDS} fields"));
    }
    for piece in &pieces {
        if let Piece::Text(part) = piece {
            topic::check(part).map_err(|why| format!("{text:?} {why}"))?;
        }
    }
    Ok(pieces)
}

fn payload(text: &str) -> Result<Option<Format>, String> {
    match text {
        "event" => Ok(None),
        template if template.contains('{') => Format::parse(template).map(Some),
        _ => Err(format!("{text:?} is neither \"event\" nor a template such as \"{{from}}: {{subject}}\"")),
    }
}

fn discovery(text: &str) -> Result<bool, String> {
    choice(text, &[("homeassistant", true), ("", false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, host, port, tls) in [
            ("mqtt://broker.example", "broker.example", 1883, false),
            ("mqtts://Broker.Example", "broker.example", 8883, true),
            ("mqtts://broker.example:443/", "broker.example", 443, true),
            ("mqtt://127.0.0.1:1", "127.0.0.1", 1, false),
            ("mqtt://[::1]", "::1", 1883, false),
            ("mqtts://[2001:db8::1]:8883", "2001:db8::1", 8883, true),
        ] {
            assert_eq!(url(text), Ok((host.to_owned(), port, tls)), "{text}");
        }
        for (text, hint) in [
            ("broker.example", "\"mqtt://broker.example\""),
            ("ssl://broker.example", "\"mqtts://broker.example\""),
            ("tcp://broker.example", "\"mqtt://broker.example\""),
            ("mqtt://user:pw@broker.example", "`login`"),
            ("mqtt://broker.example:0", "1 to 65535"),
            ("mqtt://broker.example:70000", "1 to 65535"),
            ("mqtt://broker.example/path", "not a domain"),
            ("mqtt://", "not a domain"),
            ("mqtt://[::1", "not a broker's URL"),
        ] {
            let why = url(text).unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
        }
    }

    #[test]
    fn a_client_id_is_stable_and_no_other_sections() {
        let id = |host, state, name| client_id(host, Path::new(state), name);
        let first = id("a", "/var/lib/mailbell", "home");
        assert_eq!(first, id("a", "/var/lib/mailbell", "home"));
        assert!(first.len() <= 20 && first.bytes().all(|octet| octet.is_ascii_alphanumeric()), "{first}");
        for other in [id("b", "/var/lib/mailbell", "home"), id("a", "/srv", "home"), id("a", "/var/lib/mailbell", "x")]
        {
            assert_ne!(first, other);
        }
    }
}
