//! What a `match` and a template name: a field of the event, or one of `event.headers`.

use crate::journal::Record;
use crate::journal::record::FIELDS;
use crate::nearest::nearest;
use std::borrow::Cow;
use std::fmt;

/// What stands before the name of a header field.
const HEADER: &str = "header.";

/// A value of a record, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldName {
    /// A field of the event.
    Event(&'static str),
    /// `header.NAME`, the name in lower case.
    Header(String),
}

impl FieldName {
    /// Parses the name of a field of the event, or `header.NAME`. Whether NAME is one of `event.headers` is for the caller
    /// to check ([`unknown_header`]).
    ///
    /// # Errors
    ///
    /// Says that there is no such field, with the nearest that there is.
    pub(super) fn parse(name: &str) -> Result<FieldName, String> {
        if let Some(header) = name.strip_prefix(HEADER) {
            return Ok(FieldName::Header(header.to_ascii_lowercase()));
        }
        let known = FIELDS.into_iter().find(|field| *field == name).map(FieldName::Event);
        known.ok_or_else(|| match nearest(name, FIELDS) {
            Some(near) => format!("`{name}` is no field of the event; did you mean `{near}`?"),
            None => format!("`{name}` is no field of the event; there are {}", FIELDS.join(", ")),
        })
    }

    /// Its value in this record; `None` where that is null.
    pub(super) fn value<'r>(&self, record: &'r Record) -> Option<Cow<'r, str>> {
        match self {
            FieldName::Event(name) => record.field(name),
            FieldName::Header(name) => record.header(name).map(Cow::Borrowed),
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldName::Event(name) => f.write_str(name),
            FieldName::Header(name) => write!(f, "{HEADER}{name}"),
        }
    }
}

/// What is wrong with a key, if it is `header.NAME` and NAME is none of `event.headers` (in lower case).
pub fn unknown_header(key: &str, headers: &[String]) -> Option<String> {
    let name = key.strip_prefix(HEADER)?.to_ascii_lowercase();
    if headers.contains(&name) {
        return None;
    }
    Some(match nearest(&name, headers.iter().map(String::as_str)) {
        Some(near) => format!("`{key}`: the events do not have this header field; did you mean `{HEADER}{near}`?"),
        None => format!("`{key}`: the events do not have this header field; add {name:?} to event.headers"),
    })
}
