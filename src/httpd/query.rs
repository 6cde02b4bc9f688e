//! What a request for /events asks for: from where on, and which events.

use super::stream::{Begin, Wanted};
use crate::http::{Refusal, Request};
use crate::notify::Filter;

/// Reads the query and `Last-Event-ID`, which counts before `from`: a client that comes back sends its first address again.
pub(super) fn wanted(request: &Request) -> Result<Wanted, Refusal> {
    let (mut from, mut users, mut fields) = (None, Vec::new(), Vec::new());
    for (name, value) in &request.query {
        match name.as_str() {
            "from" if from.is_some() => return Err(bad("`from` is there twice")),
            "from" => from = Some(parse_from(value)?),
            "user" if value.is_empty() => return Err(bad("`user` is empty")),
            "user" => users.push(value.clone()),
            "match" => {
                let (field, glob) =
                    value.split_once('=').ok_or_else(|| bad("`match` wants FIELD=GLOB, such as subject=*invoice*"))?;
                fields.push((field.to_owned(), glob.to_owned()));
            }
            other => return Err(bad(&format!("there is no `{other}` here; there are from, user and match"))),
        }
    }
    let filter = Filter::new(users, fields).map_err(|(_, why)| bad(&format!("`match`: {why}")))?;
    let begin = match &request.last_event_id {
        Some(id) => Begin::After(sequence_number(id).ok_or_else(|| bad("Last-Event-ID is not a sequence number"))?),
        None => from.unwrap_or(Begin::Now),
    };
    Ok(Wanted { begin, filter })
}

fn parse_from(text: &str) -> Result<Begin, Refusal> {
    match text {
        "now" => Ok(Begin::Now),
        "all" => Ok(Begin::All),
        digits => {
            let seq = sequence_number(digits);
            seq.map(Begin::At).ok_or_else(|| bad("`from` is a sequence number, now, or all"))
        }
    }
}

fn sequence_number(text: &str) -> Option<u64> {
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn bad(why: &str) -> Refusal {
    Refusal::new(400, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Session, Step};

    fn asked(query: &str, last: Option<&str>) -> Result<Wanted, u16> {
        let mut session = Session::default();
        let mut lines = vec![format!("GET /events{query} HTTP/1.1"), "Host: localhost".into()];
        lines.extend(last.map(|id| format!("Last-Event-ID: {id}")));
        lines.push(String::new());
        for line in lines {
            if let Step::Serve(request) = session.line(line.as_bytes()) {
                return wanted(&request).map_err(|refusal| refusal.code);
            }
        }
        panic!("{query} is no request");
    }

    #[test]
    fn where_a_stream_begins() {
        for (query, last, begin) in [
            ("", None, Begin::Now),
            ("?from=now", None, Begin::Now),
            ("?from=all", None, Begin::All),
            ("?from=7", None, Begin::At(7)),
            ("?from=all", Some("7"), Begin::After(7)),
            ("?from=9&user=alice&match=subject=*a=b*", Some(""), Begin::At(9)),
        ] {
            assert_eq!(asked(query, last).unwrap().begin, begin, "{query} {last:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_400() {
        for (query, last) in [
            ("?from=yesterday", None),
            ("?from=", None),
            ("?from=-1", None),
            ("?from=%2B1", None),
            ("?from=1&from=2", None),
            ("?from=99999999999999999999999", None),
            ("?form=all", None),
            ("?user=", None),
            ("?match=subject", None),
            ("?match=subjct=x", None),
            ("?from=bad", Some("7")),
            ("", Some("x")),
        ] {
            assert_eq!(asked(query, last).unwrap_err(), 400, "{query} {last:?}");
        }
    }
}
