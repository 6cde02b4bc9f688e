//! The session's states, and the one function that changes them.

mod deletion;
mod login;

use super::assemble::{Assembler, Fed};
use super::command::quoted;
use super::response::{Body, Fetched, Response, Status, Untagged, Word, capabilities};
use super::state::{Deletion, Login, State};
use super::step::{Folder, Outcome, Settings, Step};
use super::utf7;
use crate::sasl::client::{Failure, Text, is_temporary, refusal_status, refused_login};
use std::fmt;

/// Most untagged responses to one command: a folder of a million messages.
const RESPONSES: u32 = 1_000_000;

/// One session.
pub struct Session {
    settings: Settings,
    state: State,
    assembler: Assembler,
    tags: u32,
    /// Since the last command was sent.
    responses: u32,
    capabilities: Vec<String>,
    /// EXISTS came since the last listing began.
    changed: bool,
    /// The response that is under way has a message's literal.
    has_literal: bool,
}

impl Session {
    /// Before the greeting: [`Step::Line`] is next.
    pub fn new(settings: Settings) -> Session {
        Session {
            settings,
            state: State::Greeting,
            assembler: Assembler::default(),
            tags: 0,
            responses: 0,
            capabilities: Vec::new(),
            changed: false,
            has_literal: false,
        }
    }

    /// Takes a line without its end.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        let response = match self.assembler.line(line) {
            Ok(Fed::Literal { octets, is_body }) => {
                // A message that was not asked for would have no bound.
                if is_body && (self.has_literal || !matches!(self.state, State::Fetch)) {
                    return self.fail(Failure::Protocol("a message that was not asked for"));
                }
                self.has_literal |= is_body;
                return Step::Literal { octets, is_body };
            }
            Ok(Fed::Response(response)) => response,
            Err(failure) => return self.fail(failure),
        };
        self.responses += 1;
        if self.responses > RESPONSES {
            return self.fail(Failure::Flood("more than 1,000,000 responses to one command"));
        }
        // A literal that is shorter than its count has swallowed what came after it.
        let has_literal = std::mem::take(&mut self.has_literal);
        match response {
            Response::Untagged(Untagged::Other) if has_literal => {
                self.fail(Failure::Protocol("a message that is shorter or longer than announced"))
            }
            Response::Untagged(Untagged::Status(status)) => self.status(&status, out),
            Response::Untagged(untagged) => self.untagged(untagged),
            Response::Continue(text) => self.challenge(&text, out),
            Response::Tagged { tag, status } if tag == self.tag().as_bytes() => self.tagged(&status, out),
            Response::Tagged { .. } => self.fail(Failure::Protocol("the tag of another command")),
            Response::Garbage => self.fail(Failure::Protocol("a line that is no response")),
        }
    }

    /// Takes octets of a literal that is no message's.
    pub fn octets(&mut self, octets: &[u8]) {
        self.assembler.octets(octets);
    }

    /// A line was longer than [`super::LINE`].
    pub fn line_too_long(&mut self) -> Step {
        self.fail(Failure::Flood("a line of more than 64 KiB"))
    }

    /// Answers [`Step::StartTls`]: everything that was said in clear is forgotten.
    pub fn secured(&mut self, out: &mut Vec<u8>) -> Step {
        self.assembler = Assembler::default();
        self.capabilities.clear();
        self.enter(State::Capability { logged_in: false });
        self.send("CAPABILITY", out)
    }

    /// Opens a folder, named in UTF-8. `read_only` is EXAMINE.
    pub fn select(&mut self, folder: &str, read_only: bool, out: &mut Vec<u8>) -> Step {
        self.enter(State::Select(Folder::default()));
        let command = if read_only { "EXAMINE" } else { "SELECT" };
        self.send(&format!("{command} {}", mailbox(folder)), out)
    }

    /// UID and size of every message from `first` on. A server always gives the last one, whatever its UID.
    pub fn list(&mut self, first: u32, out: &mut Vec<u8>) -> Step {
        self.changed = false;
        self.enter(State::Fetch);
        self.send(&format!("UID FETCH {first}:* (UID RFC822.SIZE)"), out)
    }

    /// UID, size, date of arrival, and the header fields that tell messages apart, of every message from `first` on.
    pub fn list_headers(&mut self, first: u32, out: &mut Vec<u8>) -> Step {
        self.changed = false;
        self.enter(State::Fetch);
        let fields = "MESSAGE-ID DATE FROM TO SUBJECT RECEIVED";
        let items = format!("(UID RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS ({fields})])");
        self.send(&format!("UID FETCH {first}:* {items}"), out)
    }

    /// One message, or its header alone.
    pub fn fetch(&mut self, uid: u32, header_only: bool, out: &mut Vec<u8>) -> Step {
        self.enter(State::Fetch);
        let section = if header_only { "HEADER" } else { "" };
        self.send(&format!("UID FETCH {uid} (UID RFC822.SIZE BODY.PEEK[{section}])"), out)
    }

    /// Marks a message as seen.
    pub fn mark_seen(&mut self, uid: u32, out: &mut Vec<u8>) -> Step {
        self.enter(State::Simple);
        self.send(&format!("UID STORE {uid} +FLAGS.SILENT (\\Seen)"), out)
    }

    /// Moves a message to a folder, named in UTF-8.
    pub fn move_to(&mut self, uid: u32, folder: &str, out: &mut Vec<u8>) -> Step {
        let (command, state) = if self.can("MOVE") { ("MOVE", State::Simple) } else { ("COPY", State::Copy(uid)) };
        self.enter(state);
        self.send(&format!("UID {command} {uid} {}", mailbox(folder)), out)
    }

    /// Gives the server an occasion to say what is new.
    pub fn noop(&mut self, out: &mut Vec<u8>) -> Step {
        self.enter(State::Simple);
        self.send("NOOP", out)
    }

    /// Waits until something happens; only where [`Session::has_idle`].
    pub fn idle(&mut self, out: &mut Vec<u8>) -> Step {
        self.enter(State::IdleSent);
        self.send("IDLE", out)
    }

    /// Ends IDLE after [`Step::Idling`]. Where the server has ended it already, this sends nothing.
    pub fn done(&mut self, out: &mut Vec<u8>) -> Step {
        if matches!(self.state, State::Idle) {
            out.extend_from_slice(b"DONE\r\n");
            self.enter(State::IdleDone);
        }
        Step::Line
    }

    /// Says goodbye.
    pub fn logout(&mut self, out: &mut Vec<u8>) -> Step {
        self.enter(State::Logout);
        self.send("LOGOUT", out)
    }

    /// Whether something may have arrived since the last listing began.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Whether the server knows IDLE.
    pub fn has_idle(&self) -> bool {
        self.can("IDLE")
    }

    /// What the server can, in capitals.
    pub fn capabilities(&self) -> &[String] {
        &self.capabilities
    }

    /// Whether IDLE was sent, and the server's `+` has not come.
    pub fn is_about_to_idle(&self) -> bool {
        matches!(self.state, State::IdleSent)
    }

    /// Whether the server waits in IDLE.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    fn tag(&self) -> String {
        format!("a{}", self.tags)
    }

    fn send(&mut self, command: &str, out: &mut Vec<u8>) -> Step {
        self.tags += 1;
        self.responses = 0;
        out.extend_from_slice(format!("{} {command}\r\n", self.tag()).as_bytes());
        Step::Line
    }

    fn enter(&mut self, state: State) {
        log::trace!("imap: {} -> {}", self.state.name(), state.name());
        self.state = state;
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.enter(State::Over);
        Step::Failed(failure)
    }

    /// What the state does without an answer: wait on, and while IDLE say so.
    fn wait(&self) -> Step {
        if self.is_idle() { Step::Idling } else { Step::Line }
    }

    /// An untagged OK, NO, BAD, BYE or PREAUTH.
    fn status(&mut self, status: &Status, out: &mut Vec<u8>) -> Step {
        match (status.word, &mut self.state) {
            (Word::Bye, State::Logout) => return Step::Line,
            (Word::Bye, _) => return self.fail(Failure::Bye(Text::new(&status.text))),
            (Word::Ok, State::Greeting) if self.settings.starttls => {
                self.enter(State::StartTls);
                return self.send("STARTTLS", out);
            }
            (Word::Preauth, State::Greeting) if self.settings.starttls => {
                return self.fail(Failure::NoTls(Text::new(b"PREAUTH")));
            }
            (Word::Ok, State::Greeting) => {
                self.enter(State::Capability { logged_in: false });
                return self.send("CAPABILITY", out);
            }
            (Word::Preauth, State::Greeting) => {
                self.enter(State::Capability { logged_in: true });
                return self.send("CAPABILITY", out);
            }
            (_, State::Greeting) => return self.fail(Failure::Temporary(Text::new(&status.text))),
            (_, State::Select(folder)) => {
                if let Some((name, argument)) = &status.code {
                    match name.as_str() {
                        "UIDVALIDITY" => folder.uid_validity = argument.trim().parse().unwrap_or(0),
                        "UIDNEXT" => folder.uid_next = argument.trim().parse().ok(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        self.wait()
    }

    fn untagged(&mut self, untagged: Untagged) -> Step {
        match (untagged, &mut self.state) {
            (_, State::Greeting) => return self.fail(Failure::Protocol("no greeting")),
            (Untagged::Capability(found), _) => self.capabilities = found,
            (Untagged::Exists(count), State::Select(folder)) => folder.exists = count,
            (Untagged::Exists(_), _) => self.changed = true,
            (Untagged::Fetch(item), State::Fetch) => return Step::Item(item),
            (Untagged::Search(uids), State::Deletion(Deletion::Search { uid, alone, found })) => {
                *alone &= uids.iter().all(|other| other == uid);
                *found |= uids.contains(uid);
            }
            _ => {}
        }
        self.wait()
    }

    /// `+ text`.
    fn challenge(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        match &mut self.state {
            State::Login(Login::Command(pieces)) => match pieces.next() {
                Some(piece) => out.extend(piece),
                None => return self.fail(Failure::Protocol("a continuation that was not asked for")),
            },
            State::Login(Login::Sasl { mechanism, response, status }) => {
                match response.take() {
                    Some(response) => out.extend_from_slice(response.as_bytes()),
                    None => {
                        *status = refusal_status(text);
                        out.extend_from_slice(mechanism.acknowledgement().as_bytes());
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
            State::IdleSent => {
                self.enter(State::Idle);
                return Step::Idling;
            }
            _ => return self.fail(Failure::Protocol("a continuation that was not asked for")),
        }
        Step::Line
    }

    /// The end of a command.
    fn tagged(&mut self, status: &Status, out: &mut Vec<u8>) -> Step {
        let is_ok = status.word == Word::Ok;
        let text = Text::new(&status.text);
        if !is_ok && is_temporary(&status.text) && !matches!(self.state, State::Logout) {
            return self.fail(Failure::Temporary(text));
        }
        let state = std::mem::replace(&mut self.state, State::Ready);
        match state {
            State::StartTls if is_ok => {
                self.enter(State::Handshake);
                Step::StartTls
            }
            State::StartTls => self.fail(Failure::NoTls(text)),
            State::Capability { logged_in: false } => {
                self.enter(State::Credentials);
                Step::Credentials
            }
            State::Login(login) if !is_ok => {
                let refused = match login {
                    Login::Sasl { status: Some(code), .. } => format!("status {code}").into_bytes(),
                    _ => status.text.clone(),
                };
                self.fail(refused_login(&refused))
            }
            State::Login(_) => {
                // Some servers tell only in the reply to the login what they can after it.
                if let Some((name, list)) = &status.code
                    && name == "CAPABILITY"
                {
                    self.capabilities = capabilities(list);
                }
                self.enter(State::Capability { logged_in: true });
                self.send("CAPABILITY", out)
            }
            State::Capability { logged_in: true } if self.can("ID") => {
                self.enter(State::Id);
                self.send(concat!("ID (\"name\" \"mailbell\" \"version\" \"", env!("CARGO_PKG_VERSION"), "\")"), out)
            }
            State::Capability { .. } | State::Id => Step::Ready,
            State::Select(folder) if is_ok => Step::Selected(folder),
            State::Select(_) => self.fail(Failure::NoFolder(text)),
            State::Deletion(deletion) => self.deletion(deletion, is_ok, text, out),
            State::Copy(uid) if is_ok => self.delete(uid, out),
            State::Fetch | State::Copy(_) | State::Simple | State::IdleSent | State::Idle | State::IdleDone => {
                Step::Done(if is_ok { Outcome::Ok } else { Outcome::Refused(text) })
            }
            State::Logout => {
                self.enter(State::Over);
                Step::Over
            }
            State::Greeting | State::Handshake | State::Credentials | State::Ready | State::Over => {
                self.fail(Failure::Protocol("a reply without a command"))
            }
        }
    }
}

impl fmt::Debug for Session {
    /// Without what a login has yet to send.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("state", &self.state.name()).finish_non_exhaustive()
    }
}

/// A folder's name as an argument. Modified UTF-7 is printable ASCII, so it can always be quoted.
fn mailbox(folder: &str) -> String {
    let sent = utf7::encode(folder);
    String::from_utf8_lossy(&quoted(sent.as_bytes()).unwrap_or_default()).into_owned()
}

impl Fetched {
    /// Whether a section came with it, of at least one octet if it was quoted.
    pub fn has_body(&self) -> bool {
        match &self.body {
            Body::Absent => false,
            Body::Quoted(octets) => !octets.is_empty(),
            Body::Streamed => true,
        }
    }
}
