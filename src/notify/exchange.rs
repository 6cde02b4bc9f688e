//! One request of HTTP/1.1 and its answer, on a connection that has a deadline.

use super::payload::Payload;
use crate::net::answer::{self, Answer, Garbage, Wants};
use crate::net::remote;
use crate::net::remote::conn::Conn;

use crate::net::remote::secret::Secret;
use crate::net::remote::url::Url;
use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One read of the body that is sent, octets.
const BLOCK: usize = 32 * 1024;

/// So much of an answer's body is read, octets, and so long, so that the connection can be used again.
const READ: u64 = 64 * 1024;
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// What Retry-After says.
    pub(super) after: Option<Duration>,
    /// The connection can be used for another request.
    pub(super) keeps: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A kept connection had ended when the request came: another one is needed.
    Stale,
    /// The connection.
    Remote(remote::Error),
    /// The answer is not one.
    Garbage(Garbage),
    /// The request could not be made: a secret, the message.
    Here(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Stale => f.write_str("the server closed a connection that it had kept"),
            Trouble::Remote(error) => write!(f, "{error}"),
            Trouble::Garbage(Garbage(what)) => write!(f, "the answer is not understood: {what}"),
            Trouble::Here(why) => f.write_str(why),
        }
    }
}

impl From<remote::Error> for Trouble {
    fn from(error: remote::Error) -> Trouble {
        Trouble::Remote(error)
    }
}

/// The request up to its empty line. `fields` are whole lines.
pub(super) fn head(method: &str, url: &Url, fields: &str, headers: &[(String, Secret)]) -> Secret {
    let version = env!("CARGO_PKG_VERSION");
    let (target, host) = (&url.target, &url.authority);
    let has_agent = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
    let agent = if has_agent { String::new() } else { format!("User-Agent: mailbell/{version}\r\n") };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{agent}{fields}").into_bytes();
    for (name, value) in headers {
        head.extend([name.as_bytes(), b": ", value.octets(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    Secret::new(head)
}

/// Sends a request and reads its answer. `is_kept`: another request was sent on this connection before.
pub(super) fn exchange(
    conn: &mut Conn,
    head: Secret,
    payload: Payload,
    is_head: bool,
    is_kept: bool,
) -> Result<Answered, Trouble> {
    let mut answer = Answer::new(is_head);
    let sent = send(conn, &head, payload);
    // A server that refuses a message need not read it all: its answer may be there although sending failed.
    let is_refusal = |error: &Trouble| matches!(error, Trouble::Remote(remote::Error::Closed));
    let answered = match sent {
        Ok(()) => read(conn, &mut answer),
        Err(error) if is_refusal(&error) => read(conn, &mut answer).map_err(|_| error),
        Err(error) => Err(error),
    };
    match answered {
        Ok(()) => {}
        Err(error) if is_kept && is_refusal(&error) && answer.is_untouched() => return Err(Trouble::Stale),
        // The head is all that counts; of the body nothing is needed.
        Err(_) if answer.status().is_some() => {}
        Err(error) => return Err(error),
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let after = answer.retry_after().and_then(|value| answer::retry_after(value, now));
    Ok(Answered { status: answer.status().unwrap_or_default(), after, keeps: answer.keeps() })
}

/// The head and the body; a short body goes out with the head.
fn send(conn: &mut Conn, head: &Secret, mut payload: Payload) -> Result<(), Trouble> {
    let here = |error: std::io::Error| Trouble::Here(format!("the message cannot be read: {error}"));
    let (mut left, mut source) = payload.source().map_err(here)?;
    let mut block = Vec::with_capacity(BLOCK.min(left as usize) + head.octets().len());
    block.extend_from_slice(head.octets());
    loop {
        let most = left.min(BLOCK as u64);
        let before = block.len();
        (&mut source).take(most).read_to_end(&mut block).map_err(here)?;
        let count = (block.len() - before) as u64;
        if count < most {
            return Err(Trouble::Here("the message became shorter while it was sent".into()));
        }
        conn.send(&block)?;
        left -= count;
        block.clear();
        if left == 0 {
            return Ok(());
        }
    }
}

/// The answer, and so much of its body as is needed to use the connection again.
fn read(conn: &mut Conn, answer: &mut Answer) -> Result<(), Trouble> {
    let began = Instant::now();
    let mut read = 0;
    loop {
        let is_body = answer.status().is_some();
        if is_body && read == 0 {
            conn.end_at_most(Instant::now() + READ_PATIENCE);
        }
        match answer.wants() {
            Wants::Nothing => return Ok(()),
            _ if is_body && read > READ => return Ok(()),
            Wants::Line => {
                // The deadline of the connection comes first.
                let line = conn.line(answer::LINE, began + Duration::from_secs(86_400), "an answer", &[])?;
                let line = line.ok_or(Trouble::Garbage(Garbage("a line of more than 8 KiB")))?;
                read += if is_body { line.len() as u64 + 2 } else { 0 };
                answer.line(line).map_err(Trouble::Garbage)?;
            }
            wants => {
                let most = if let Wants::Octets(left) = wants { left } else { u64::MAX };
                let count = most.min(conn.data(began, u64::MAX / 2)?.len() as u64);
                conn.consume(count as usize);
                answer.took(count);
                read += count.max(1);
            }
        }
    }
}
