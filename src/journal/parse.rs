//! A record's JSON, read straight into the record: a subscriber that follows the journal does this for every message.

use super::record::{FIELDS, Record};
use crate::limits;
use crate::message::date;
use crate::message::trace::Via;
use serde_core::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The fields that no record is without.
const NEEDED: [&str; 8] = ["seq", "timestamp", "user", "id", "path", "size", "via", "key"];

/// Why a line is not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged(String);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a record: {}", self.0)
    }
}

impl std::error::Error for Damaged {}

impl Record {
    /// Reads what [`Record::write_json`] wrote.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the line.
    pub fn parse(line: &[u8]) -> Result<Record, Damaged> {
        // The whole line, because a value that is passed over is not looked at: damage from within one line into another
        // could else make one record of two.
        let text = std::str::from_utf8(line).map_err(|error| Damaged(error.to_string()))?;
        serde_json::from_str(text).map_err(|error| Damaged(error.to_string()))
    }

    /// The `seq` of a line, without reading the rest of it.
    pub fn seq_of(line: &[u8]) -> Option<u64> {
        let digits = line.strip_prefix(b"{\"seq\":")?;
        let end = digits.iter().position(|octet| !octet.is_ascii_digit())?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut record = Record::default();
        let mut missing = NEEDED.to_vec();
        while let Some(Name(name)) = map.next_key()? {
            let name = name.unwrap_or_default();
            read(&mut record, name, &mut map).map_err(|error| Error::custom(format_args!("field {name}: {error}")))?;
            missing.retain(|needed| *needed != name);
        }
        missing.first().map_or(Ok(record), |name| Err(Error::missing_field(name)))
    }
}

/// Reads the value of a field. Unknown ones are passed over: a later version may have more.
fn read<'de, A: MapAccess<'de>>(record: &mut Record, name: &str, map: &mut A) -> Result<(), A::Error> {
    match name {
        "seq" => record.seq = map.next_value()?,
        "timestamp" => {
            let text: String = map.next_value()?;
            record.timestamp = date::parse_rfc3339(&text).ok_or_else(|| Error::custom("no time"))?;
        }
        "user" => record.user = map.next_value()?,
        "id" => record.id = map.next_value()?,
        "path" => record.path = map.next_value::<Option<String>>()?.unwrap_or_default(),
        "size" => record.size = map.next_value()?,
        "via" => {
            let text: String = map.next_value()?;
            record.origin.via = Via::of_name(&text).ok_or_else(|| Error::custom("no such way"))?;
        }
        "headers" => record.summary.headers = map.next_value::<Option<Headers>>()?.unwrap_or_default().0,
        "key" => record.summary.key = map.next_value()?,
        "duplicate_of" => record.duplicate_of = map.next_value()?,
        _ => match record.optional_mut(name) {
            Some(slot) => *slot = map.next_value()?,
            None => drop(map.next_value::<IgnoredAny>()?),
        },
    }
    Ok(())
}

/// The object `headers`: no more than a configuration can ask for.
#[derive(Default)]
struct Headers(Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of header fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value: Option<String> = map.next_value()?;
                    if headers.len() < limits::EVENT_HEADERS && name.len() <= limits::EVENT_HEADER_NAME {
                        headers.push((name, value));
                    }
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// One of [`FIELDS`], or a name that is none.
struct Name(Option<&'static str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        struct Find;
        impl Visitor<'_> for Find {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(Name(FIELDS.into_iter().find(|name| *name == text)))
            }
        }
        deserializer.deserialize_str(Find)
    }
}
