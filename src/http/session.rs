//! One connection: takes lines, gives requests.

use super::request::{self, Request};
use super::{LONGEST_HEAD, Refusal};

/// What the driver does next.
#[derive(Debug)]
pub enum Step {
    /// Read another line, and give it to [`Session::line`].
    Line,
    /// Answer this request. The next line begins another one, where the connection lasts.
    Serve(Box<Request>),
    /// Send this and close the connection.
    Refuse(Refusal),
}

/// Where a session is.
#[derive(Debug)]
enum State {
    /// Before a request line; whether an empty line came already.
    Begin { has_skipped: bool },
    /// Within the fields of a request.
    Fields(Box<Request>),
}

/// A connection without its socket.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Octets of this request's head so far.
    octets: usize,
    is_head: bool,
}

impl Default for Session {
    fn default() -> Session {
        Session { state: State::Begin { has_skipped: false }, octets: 0, is_head: false }
    }
}

impl Session {
    /// Most octets that the next line may have, with its end.
    pub fn line_limit(&self) -> usize {
        LONGEST_HEAD.saturating_sub(self.octets).max(1)
    }

    /// Whether a request has begun. Between two requests a client may leave without a word.
    pub fn is_begun(&self) -> bool {
        matches!(self.state, State::Fields(_))
    }

    /// Whether the request that was read last has the method HEAD: replies have no body then.
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// Takes a line without its end.
    pub fn line(&mut self, line: &[u8]) -> Step {
        self.octets += line.len() + 2;
        if self.octets > LONGEST_HEAD {
            return self.line_too_long();
        }
        match &mut self.state {
            // RFC 9112 section 2.2: one empty line before a request is passed over.
            State::Begin { has_skipped: has_skipped @ false } if line.is_empty() => {
                *has_skipped = true;
                Step::Line
            }
            State::Begin { .. } => match request::first_line(line) {
                Ok(request) => {
                    self.is_head = request.method == super::Method::Head;
                    self.state = State::Fields(Box::new(request));
                    Step::Line
                }
                Err(refusal) => Step::Refuse(refusal),
            },
            State::Fields(request) if !line.is_empty() => match request.field(line) {
                Ok(()) => Step::Line,
                Err(refusal) => Step::Refuse(refusal),
            },
            State::Fields(request) => {
                let checked = request.check();
                let whole = std::mem::replace(&mut self.state, State::Begin { has_skipped: false });
                self.octets = 0;
                match (checked, whole) {
                    (Ok(()), State::Fields(request)) => Step::Serve(request),
                    (Err(refusal), _) => Step::Refuse(refusal),
                    (Ok(()), State::Begin { .. }) => Step::Line,
                }
            }
        }
    }

    /// The line was longer than [`Session::line_limit`].
    pub fn line_too_long(&mut self) -> Step {
        Step::Refuse(match self.state {
            State::Begin { .. } => Refusal::new(414, "the request line has more than 8 KiB"),
            State::Fields(_) => Refusal::new(431, "the head of the request has more than 8 KiB"),
        })
    }
}
