//! Passwords and access tokens: read before each login, by a thread outside of the sandbox, from a file or from the first
//! line that a command prints. They are never logged, and never an argument or an environment variable of a program.

use crate::sasl::client::Secret as Kind;
use crate::sys;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest first line, octets.
const LONGEST: usize = 16 * 1024;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A password or token. Its `Debug` shows nothing of it, and its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Of these octets.
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(octets)
    }

    /// What is sent.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the compiler from leaving that out.
        std::hint::black_box(&self.0);
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a command prints is a password.
    PasswordCommand(Vec<String>),
    /// The first line that a command prints is an OAuth2 access token.
    TokenCommand(Vec<String>),
}

/// Why there is no secret.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    File(PathBuf, io::Error),
    /// Everybody on this machine can read the file.
    OpenToOthers(PathBuf),
    /// The first line is empty, or longer than 16 KiB, or holds a NUL.
    Line(String),
    /// The command cannot be run, fails, or takes longer than 30 s.
    Command(String, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::OpenToOthers(path) => {
                write!(f, "{0}: other users can read this secret; run: chmod o= {0}", path.display())
            }
            Error::Line(place) => {
                write!(f, "{place}: the first line must hold the secret, of 1 to 16,384 octets without a NUL")
            }
            Error::Command(program, why) => write!(f, "{program}: {why}; run it by hand as mailbell's user"),
        }
    }
}

impl std::error::Error for Error {}

impl Source {
    /// What it gives.
    pub fn kind(&self) -> Kind {
        match self {
            Source::TokenCommand(_) => Kind::Token,
            Source::File(_) | Source::PasswordCommand(_) => Kind::Password,
        }
    }

    /// Gets the secret as it is now.
    ///
    /// # Errors
    ///
    /// Says what is wrong, and nothing of the secret.
    pub fn read(&self) -> Result<Secret, Error> {
        match self {
            Source::File(path) => read_file(path),
            Source::PasswordCommand(command) | Source::TokenCommand(command) => run(command, PATIENCE),
        }
    }
}

/// The first line of a file that others cannot read.
///
/// # Errors
///
/// As [`Source::read`].
pub fn read_file(path: &Path) -> Result<Secret, Error> {
    let said = |error| Error::File(path.to_owned(), error);
    let file = File::open(path).map_err(said)?;
    let metadata = file.metadata().map_err(said)?;
    if metadata.is_file() && metadata.permissions().mode() & 0o007 != 0 {
        return Err(Error::OpenToOthers(path.to_owned()));
    }
    let mut text = Secret(Vec::with_capacity(LONGEST + 2));
    file.take(LONGEST as u64 + 2).read_to_end(&mut text.0).map_err(said)?;
    first_line(&text).ok_or_else(|| Error::Line(path.display().to_string()))
}

fn first_line(text: &Secret) -> Option<Secret> {
    let line = text.0.split(|&octet| octet == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (matches!(line.len(), 1..=LONGEST) && !line.contains(&0)).then(|| Secret(line.to_vec()))
}

fn run(command: &[String], patience: Duration) -> Result<Secret, Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Command(String::new(), "there is no command".into()));
    };
    let failed = |why: String| Error::Command(program.clone(), why);
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).current_dir("/");
    // What it says besides may hold the secret, so it goes nowhere.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    for name in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    let mut child = sys::spawn(&mut command).map_err(|error| failed(error.to_string()))?;
    let end = Instant::now() + patience;
    let text = output(&mut child, end);
    let ended = wait(&mut child, end);
    // The pid cannot be given to another process before the wait. Children that the command left behind are killed too.
    if let Ok(None) | Err(_) = &ended {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }
    sys::collected(&child);
    let text = text.map_err(|error| failed(error.to_string()))?;
    match ended.map_err(|error| failed(error.to_string()))? {
        None => Err(failed(format!("did not end within {} s", patience.as_secs()))),
        Some(status) if !status.success() => Err(failed(status.to_string())),
        Some(_) => first_line(&text).ok_or_else(|| Error::Line(program.clone())),
    }
}

/// What it prints, up to a bound; the pipe is closed then.
fn output(child: &mut Child, end: Instant) -> io::Result<Secret> {
    let mut text = Secret(Vec::with_capacity(LONGEST + 2));
    let Some(mut pipe) = child.stdout.take() else { return Ok(text) };
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let mut block = [0; 4096];
    while text.0.len() <= LONGEST + 1 && Instant::now() < end {
        match pipe.read(&mut block) {
            Ok(0) => break,
            Ok(count) => text.0.extend_from_slice(&block[..count.min(LONGEST + 2 - text.0.len())]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready(pipe.as_fd(), end),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.fill(0);
    std::hint::black_box(&block);
    Ok(text)
}

/// Its end; `None` when it has not ended in time.
fn wait(child: &mut Child, end: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        match &pidfd {
            Ok(pidfd) => ready(pidfd.as_fd(), end),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn ready(fd: std::os::fd::BorrowedFd<'_>, end: Instant) {
    let left = end.saturating_duration_since(Instant::now());
    let _ = sys::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(left));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn shell(text: &str) -> Vec<String> {
        ["sh", "-c", text].map(str::to_owned).to_vec()
    }

    #[test]
    fn files_give_their_first_line() {
        let path = std::env::temp_dir().join(format!("mailbell-secret-{}", std::process::id()));
        for (content, secret) in [
            ("secret\n", Some("secret")),
            ("secret", Some("secret")),
            ("secret\r\nmore\n", Some("secret")),
            (" s \n", Some(" s ")),
            ("\nsecret\n", None),
            ("", None),
            ("a\0b\n", None),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let read = read_file(&path).ok().map(|secret| String::from_utf8(secret.octets().to_vec()).unwrap());
            assert_eq!(read.as_deref(), secret, "{content:?}");
        }
        fs::write(&path, vec![b'x'; LONGEST]).unwrap();
        assert_eq!(read_file(&path).unwrap().octets().len(), LONGEST);
        fs::write(&path, vec![b'x'; LONGEST + 1]).unwrap();
        assert!(matches!(read_file(&path), Err(Error::Line(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_file(&path), Err(Error::OpenToOthers(_))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read_file(&path), Err(Error::File(..))));
    }

    #[test]
    fn commands_give_their_first_line() {
        let read = |text: &str| Source::TokenCommand(shell(text)).read();
        assert_eq!(read("echo token; echo more").unwrap(), Secret::new(b"token".to_vec()));
        assert_eq!(read("head -c 16384 /dev/zero | tr '\\0' x").unwrap().octets().len(), LONGEST);
        // One that goes on printing is not read to its end.
        assert!(matches!(read("yes | tr -d '\\n'"), Err(Error::Command(..) | Error::Line(_))));
        let error = read("echo hush; echo hush >&2; exit 3").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && !error.contains("hush"), "{error}");
        assert!(matches!(read("true"), Err(Error::Line(_))));
        assert!(matches!(Source::PasswordCommand(vec!["/nonexistent".into()]).read(), Err(Error::Command(..))));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let error = run(&shell("echo token; sleep 100"), Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn nothing_shows_in_debug_texts() {
        assert_eq!(format!("{:?}", Secret::new(b"x".to_vec())), "...");
    }
}
