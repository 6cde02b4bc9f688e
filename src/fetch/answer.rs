//! `mailbell fetch` while a server runs: its request on the server's socket, and the answer.

use super::end::{End, Kind};
use crate::sys::lock;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Where `mailbell fetch` asks.
pub fn socket(state: &Path) -> PathBuf {
    state.join("fetch.sock")
}

/// The answer to `mailbell fetch`: one word, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Everything was looked at.
    Done,
    /// It failed, and will be tried again.
    Failed(String),
    /// The login was refused.
    Refused(String),
    /// There is no remote of this name.
    Unknown,
}

impl Answer {
    /// What the end of a session means for a user that asked for the look.
    pub fn of(end: &End) -> Answer {
        match end.kind {
            Kind::Passed => Answer::Done,
            Kind::Credentials => Answer::Refused(end.why.clone()),
            _ => Answer::Failed(end.why.clone()),
        }
    }

    /// As a line.
    pub fn line(&self) -> String {
        match self {
            Answer::Done => "done\n".into(),
            Answer::Failed(why) => format!("failed {}\n", why.escape_debug()),
            Answer::Refused(why) => format!("refused {}\n", why.escape_debug()),
            Answer::Unknown => "unknown\n".into(),
        }
    }

    /// Asks a running server for a look at a remote, and waits until it is over.
    ///
    /// # Errors
    ///
    /// When no server answers.
    pub fn ask(state: &Path, name: &str) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(socket(state))?;
        stream.write_all(format!("look {name}\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (word, why) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
        match word {
            "done" => Ok(Answer::Done),
            "failed" => Ok(Answer::Failed(why.to_owned())),
            "refused" => Ok(Answer::Refused(why.to_owned())),
            "unknown" => Ok(Answer::Unknown),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server stopped")),
        }
    }
}

/// A client of `mailbell fetch` that waits for a look at several folders.
#[derive(Debug)]
pub struct Waiter {
    pub stream: UnixStream,
    pub left: usize,
    pub worst: Answer,
}

/// Held by each folder that is still to be looked at.
pub type SharedWaiter = Arc<Mutex<Waiter>>;

/// One of the folders that `waiter` waits for was looked at.
pub fn tell(waiter: &SharedWaiter, answer: &Answer) {
    let mut waiter = lock(waiter);
    waiter.left = waiter.left.saturating_sub(1);
    if !matches!(waiter.worst, Answer::Refused(_)) && *answer != Answer::Done {
        waiter.worst = answer.clone();
    }
    if waiter.left == 0 {
        let line = waiter.worst.line();
        let _ = waiter.stream.write_all(line.as_bytes());
    }
}
