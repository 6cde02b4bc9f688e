//! The right to write the journal: one server has it, or, without a server, one `mailbell deliver` at a time.
//!
//! The lock is flock(2) on `STATE/lock`, so it ends with its holder. The text of the file says which kind of holder it is:
//! a delivery waits for another delivery, but not for a server, which will record the delivery itself.

use crate::sys::folder::{make_folder, open_file};
use crate::sys::hold;
use rustix::fs::OFlags;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// How long others wait for a delivery that holds the lock. It needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the lock may outlive a server that was killed: a program that the server was starting at that moment has
/// copies of all descriptors until exec(2) closes them.
const INHERITED: Duration = Duration::from_secs(2);

const SERVER: &str = "serve";

/// The text of a holder is shorter than this, in octets.
const LONGEST: u64 = 64;

/// The right to write the journal, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock was not given.
#[derive(Debug)]
pub enum Held {
    /// A server runs on this state.
    ByServer,
    /// Deliveries held the lock all the time.
    TooLong,
    /// The file of the lock cannot be made or locked.
    Io(io::Error),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::ByServer => {
                f.write_str("another mailbell serves this state already; `mailbell status` shows its pid")
            }
            Held::TooLong => write!(f, "locked by deliveries for {} seconds", PATIENCE.as_secs()),
            Held::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Held {
    fn from(error: io::Error) -> Held {
        Held::Io(error)
    }
}

impl Lock {
    /// For a server, until it ends.
    ///
    /// # Errors
    ///
    /// [`Held::ByServer`] when another one runs.
    pub fn for_server(state: &Path) -> Result<Lock, Held> {
        Lock::take(state, &format!("{SERVER} {}\n", std::process::id()))
    }

    /// For one delivery.
    ///
    /// # Errors
    ///
    /// [`Held::ByServer`] when a server runs; it will record the delivery.
    pub fn for_delivery(state: &Path) -> Result<Lock, Held> {
        Lock::take(state, "deliver\n")
    }

    fn take(state: &Path, holder: &str) -> Result<Lock, Held> {
        make_folder(state, 0o750, None)?;
        let flags = OFlags::RDWR | OFlags::CREATE;
        let mut file = open_file(&state.join("lock"), flags, 0o640)?;
        let mut held = Held::TooLong;
        let is_held = hold(&file, |waited| {
            let mut text = String::new();
            (&file).rewind()?;
            (&file).take(LONGEST).read_to_string(&mut text)?;
            let server = text.strip_prefix(SERVER);
            if server.is_some_and(|pid| waited >= INHERITED || is_alive(pid)) {
                held = Held::ByServer;
                return Ok(true);
            }
            Ok(waited >= PATIENCE)
        })?;
        if !is_held {
            return Err(held);
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(holder.as_bytes())?;
        Ok(Lock { _file: file })
    }
}

/// Whether a process with this number exists. A server in another container has another number here, so that the answer
/// is no; then the caller waits a little longer.
fn is_alive(pid: &str) -> bool {
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
