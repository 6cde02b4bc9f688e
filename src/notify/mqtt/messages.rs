//! What an `[[mqtt]]` publishes: the record's topic and payload, and what Home Assistant needs for a sensor of each user
//! (its MQTT discovery). It sends nothing.

use super::{MqttSettings, Piece};
use crate::journal::Record;
use crate::message::letter;
use crate::mqtt::topic;
use std::io::Write;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// The broker keeps it for subscribers that come later.
    pub(super) retain: bool,
}

/// The fields that a sensor has as attributes. The state is the first one: it differs for each message, so that each
/// message triggers an automation.
const ATTRIBUTES: [&str; 8] = ["timestamp", "subject", "from", "to", "user", "seq", "id", "size"];

/// The message of a record.
pub(super) fn event(settings: &MqttSettings, record: &Record) -> Message {
    let mut topic = String::new();
    for piece in &settings.topic {
        match piece {
            Piece::Text(text) => topic.push_str(text),
            Piece::Value(key) => topic::push(&mut topic, &key.value(record).unwrap_or_default()),
        }
    }
    let mut payload = Vec::new();
    match &settings.payload {
        None => record.write_json(&mut payload),
        Some(format) => {
            format.write_line(record, &mut payload);
            payload.pop();
        }
    }
    Message { topic, payload, retain: false }
}

/// The state of a user's sensor: the last message, kept by the broker for a Home Assistant that starts later.
pub(super) fn state(settings: &MqttSettings, record: &Record) -> Message {
    let mut payload = Vec::new();
    let mut before = "{\"";
    for name in ATTRIBUTES {
        payload.extend_from_slice(before.as_bytes());
        payload.extend_from_slice(name.as_bytes());
        payload.extend_from_slice(b"\":");
        before = ",\"";
        match (name, record.field(name)) {
            (_, None) => payload.extend_from_slice(b"null"),
            ("seq" | "size", Some(number)) => payload.extend_from_slice(number.as_bytes()),
            (_, Some(text)) => string(&mut payload, &text),
        }
    }
    payload.push(b'}');
    Message { topic: format!("{}/state", sensor(settings, &record.user)), payload, retain: true }
}

/// The configuration of a user's sensor.
pub(super) fn discovery(settings: &MqttSettings, user: &str) -> Message {
    let sensor = sensor(settings, user);
    let id = object_id(settings, user);
    let mut payload = Vec::new();
    // unwrap: writing to a vector cannot fail. No name has a letter that JSON escapes: see `object_id`, and the
    // configuration for the client id.
    write!(
        payload,
        "{{\"unique_id\":\"{id}\",\"state_topic\":\"{sensor}/state\",\"json_attributes_topic\":\"{sensor}/state\",\
         \"value_template\":\"{{{{ value_json.timestamp }}}}\",\"device_class\":\"timestamp\",\"icon\":\"mdi:email\",\
         \"qos\":1,\"device\":{{\"identifiers\":[\"{}\"],\"name\":\"mailbell\",\"sw_version\":\"{version}\"}},\
         \"origin\":{{\"name\":\"mailbell\",\"sw_version\":\"{version}\"}},\"name\":",
        settings.client_id,
        version = env!("CARGO_PKG_VERSION"),
    )
    .unwrap();
    string(&mut payload, user);
    payload.push(b'}');
    Message { topic: format!("{sensor}/config"), payload, retain: true }
}

/// The topic below which a user's sensor is.
fn sensor(settings: &MqttSettings, user: &str) -> String {
    format!("homeassistant/sensor/{}", object_id(settings, user))
}

/// Home Assistant takes `A-Z a-z 0-9 _ -` here. Every other octet of a name becomes `_` and two digits, so that two users
/// have two ids.
fn object_id(settings: &MqttSettings, user: &str) -> String {
    let mut id = format!("{}_", settings.client_id);
    for octet in user.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => id.push(octet.into()),
            other => id += &format!("_{other:02x}"),
        }
    }
    id
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    letter::push(out, text, usize::MAX, letter::put_json);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;
    use crate::notify::Format;
    use crate::notify::mqtt::tests::settings;
    use serde_json::Value;

    fn pieces(template: &str) -> Vec<Piece> {
        let Ok(Format::Template(pieces)) = Format::parse(template) else { panic!("{template}") };
        pieces
    }

    #[test]
    fn what_a_stranger_writes_stays_within_its_level_of_the_topic() {
        let settings = MqttSettings { topic: pieces("mail/{user}/{subject}"), ..settings() };
        let mut record = sample(7, "alice", "1.M2");
        record.summary.subject = Some("a/b/#+\u{202e}\n".into());
        assert_eq!(event(&settings, &record).topic, "mail/alice/a_b_____");
        record.summary.subject = None;
        assert_eq!(event(&settings, &record).topic, "mail/alice/_");
        record.summary.subject = Some("$SYS".into());
        let settings = MqttSettings { topic: pieces("{subject}"), ..settings };
        assert_eq!(event(&settings, &record).topic, "_SYS");
        record.summary.headers = vec![("x-room".into(), Some("../kitchen/#".into())), ("x-floor".into(), None)];
        let settings = MqttSettings { topic: pieces("{header.X-Room}/{header.x-floor}"), ..settings };
        assert_eq!(event(&settings, &record).topic, ".._kitchen__/_");
    }

    #[test]
    fn the_payload_is_the_record_or_one_line() {
        let record = sample(7, "alice", "1.M2");
        let message = event(&settings(), &record);
        assert_eq!(Record::parse(&message.payload), Ok(record.clone()));
        assert!(!message.retain);
        let settings = MqttSettings { payload: Some(Format::parse("{seq} {subject}").unwrap()), ..settings() };
        assert_eq!(event(&settings, &record).payload, b"7 s");
    }

    #[test]
    fn a_sensor_has_its_state_and_attributes_where_its_configuration_says() {
        let settings = settings();
        let mut record = sample(7, "a.b", "1.M2");
        record.summary.subject = Some("\"quoted\"\u{202e}".into());
        let config = discovery(&settings, "a.b");
        let state = state(&settings, &record);
        assert!(config.retain && state.retain);
        assert_eq!(config.topic, "homeassistant/sensor/mailbell0123_a_2eb/config");
        let config: Value = serde_json::from_slice(&config.payload).unwrap();
        assert_eq!(config["state_topic"], state.topic);
        assert_eq!(config["json_attributes_topic"], state.topic);
        assert_eq!(config["value_template"], "{{ value_json.timestamp }}");
        assert_eq!(config["name"], "a.b");
        assert_eq!(config["unique_id"], "mailbell0123_a_2eb");
        assert_eq!(config["device"]["identifiers"][0], "mailbell0123");
        let state: Value = serde_json::from_slice(&state.payload).unwrap();
        assert_eq!((&state["subject"], &state["seq"]), (&"\"quoted\"\u{202e}".into(), &7.into()));
        assert_eq!(state["timestamp"], record.field("timestamp").unwrap().as_ref());
        assert_eq!(state["from"], Value::Null);
    }

    #[test]
    fn two_users_have_two_sensors() {
        let ids = ["a.b", "a_b", "a-b", "ab", "a__b", "a_2eb"].map(|user| object_id(&settings(), user));
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "{ids:?}");
        assert!(ids.iter().all(|id| id.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-".contains(&octet))));
    }
}
