//! A request: its first line, and those of its fields that matter here. All other fields are checked and dropped.

use super::guard::Host;
use super::{Refusal, query};

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD: as GET, without the body of the reply.
    Head,
}

/// The versions of HTTP that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: the connection ends after the reply.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A whole request without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET or HEAD.
    pub method: Method,
    /// The version in its first line.
    pub version: Version,
    /// The path, percent-decoded; it begins with `/`.
    pub path: String,
    /// The query's names and values, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// The host that the client means; `None` with HTTP/1.0 only.
    pub host: Option<Host>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<String>,
    /// `Sec-Fetch-Mode`.
    pub fetch_mode: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `Last-Event-ID`; empty is none.
    pub last_event_id: Option<String>,
    /// The client asks for the end of the connection after the reply.
    pub closes: bool,
    /// The first line has the host (absolute-form): `Host` does not count.
    is_absolute: bool,
    has_host_field: bool,
}

fn bad(why: &'static str) -> Refusal {
    Refusal::new(400, why)
}

/// Reads a request line (RFC 9112 section 3).
pub(super) fn first_line(line: &[u8]) -> Result<Request, Refusal> {
    let malformed = || bad("this is no request line");
    let mut words = line.split(|octet| *octet == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed());
    };
    if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(malformed());
    }
    let version = match version {
        b"HTTP/1.0" => Version::Http10,
        b"HTTP/1.1" => Version::Http11,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(Refusal::new(505, "HTTP/1.0 and HTTP/1.1 are served"));
        }
        _ => return Err(malformed()),
    };
    let method = match method {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        _ => return Err(Refusal::new(405, "only GET and HEAD are served")),
    };
    // It is ASCII.
    let target = std::str::from_utf8(target).map_err(|_| malformed())?;
    let (host, rest) = absolute(target).map_err(|()| bad("the address of the request is malformed"))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || rest.contains('#') {
        return Err(bad("the address of the request must be a path that begins with a slash"));
    }
    let not_text = || bad("the address of the request is not percent-encoded UTF-8");
    Ok(Request {
        method,
        version,
        path: query::decode(path, false).ok_or_else(not_text)?,
        query: query::pairs(query).ok_or_else(not_text)?,
        is_absolute: host.is_some(),
        host,
        origin: None,
        fetch_site: None,
        fetch_mode: None,
        authorization: None,
        last_event_id: None,
        closes: version == Version::Http10,
        has_host_field: false,
    })
}

/// Takes scheme and host off a target in absolute-form (RFC 9112 section 3.2.2).
fn absolute(target: &str) -> Result<(Option<Host>, &str), ()> {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(rest) = scheme.map(|scheme| &target[scheme.len()..]) else { return Ok((None, target)) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let path = if rest[end..].starts_with('/') { &rest[end..] } else { "/" };
    Ok((Some(Host::parse(&rest[..end]).ok_or(())?), path))
}

impl Request {
    /// Takes a field line (RFC 9112 section 5). No line is folded, no name is followed by white space.
    pub(super) fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let malformed = || bad("a line of the request's head is malformed");
        let colon = line.iter().position(|octet| *octet == b':').ok_or_else(malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) || value.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t') {
            return Err(malformed());
        }
        let (name, value) = (name.to_ascii_lowercase(), String::from_utf8_lossy(value));
        match name.as_slice() {
            b"host" => {
                if std::mem::replace(&mut self.has_host_field, true) {
                    return Err(bad("there is more than one Host"));
                }
                let host = Host::parse(&value).ok_or_else(|| bad("Host is malformed"))?;
                if !self.is_absolute {
                    self.host = Some(host);
                }
                Ok(())
            }
            b"content-length" if !value.is_empty() && value.bytes().all(|octet| octet == b'0') => Ok(()),
            b"content-length" | b"transfer-encoding" => Err(Refusal::new(413, "a request has no body here")),
            b"connection" => {
                self.closes |= value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
                Ok(())
            }
            b"origin" => once(&mut self.origin, &value),
            b"sec-fetch-site" => once(&mut self.fetch_site, &value),
            b"sec-fetch-mode" => once(&mut self.fetch_mode, &value),
            b"authorization" => once(&mut self.authorization, &value),
            b"last-event-id" if value.is_empty() => Ok(()),
            b"last-event-id" => once(&mut self.last_event_id, &value),
            _ => Ok(()),
        }
    }

    /// What must hold at the end of the head (RFC 9112 section 3.2).
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self.version {
            Version::Http11 if !self.has_host_field => Err(bad("Host is missing")),
            _ => Ok(()),
        }
    }
}

fn once(field: &mut Option<String>, value: &str) -> Result<(), Refusal> {
    match field.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(bad("a field that must be there once is there twice")),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet))
}
