//! Asks for a password on the terminal, twice and without echo. The echo is restored, whatever ends the prompt.

use super::{Failed, exit};
use crate::sys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// Asks for a new password.
pub(super) fn password(name: &str) -> Result<Vec<u8>, Failed> {
    let no_terminal = "there is no terminal to ask for the password on; give it with --stdin";
    let (input, output) = terminal().ok_or_else(|| Failed::new(exit::USAGE, no_terminal))?;
    let signals = File::from(sys::signals().map_err(failed)?);
    let mut quiet = Quiet::new(input, output).map_err(failed)?;
    let first = quiet.ask(&format!("New password for {name}: "), &signals)?;
    let second = quiet.ask("Once more: ", &signals)?;
    if first != second {
        return Err(Failed::new(exit::DATA, "these are two different passwords; nothing was changed"));
    }
    Ok(first)
}

fn failed(error: io::Error) -> Failed {
    Failed::new(exit::IO, format!("the terminal: {error}"))
}

/// The terminal that the process belongs to, else the one that is its standard input.
fn terminal() -> Option<(File, File)> {
    let own = || {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        Ok::<_, io::Error>((tty.try_clone()?, tty))
    };
    let stdin = || {
        let input = isatty(io::stdin()).then(|| io::stdin().as_fd().try_clone_to_owned().ok()).flatten()?;
        Some((File::from(input), File::from(io::stderr().as_fd().try_clone_to_owned().ok()?)))
    };
    own().ok().or_else(stdin)
}

/// A terminal without echo, until it is dropped.
struct Quiet {
    input: File,
    output: File,
    before: Termios,
}

impl Quiet {
    fn new(input: File, output: File) -> io::Result<Quiet> {
        let before = tcgetattr(&input)?;
        let mut without = before.clone();
        without.local_modes.remove(LocalModes::ECHO);
        without.local_modes.insert(LocalModes::ECHONL);
        // What was typed before the question is dropped.
        tcsetattr(&input, OptionalActions::Flush, &without)?;
        Ok(Quiet { input, output, before })
    }

    /// Reads one line, without its end. A signal ends the command, with the exit code that the signal has in a shell.
    fn ask(&mut self, question: &str, signals: &File) -> Result<Vec<u8>, Failed> {
        self.output.write_all(question.as_bytes()).map_err(failed)?;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut waits = [PollFd::new(&self.input, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut waits, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let (typed, interrupted) = (!waits[0].revents().is_empty(), !waits[1].revents().is_empty());
            let mut octets = [0; 1024];
            if interrupted && (&mut &*signals).read(&mut octets).is_ok_and(|count| count > 0) {
                let _ = self.output.write_all(b"\n");
                return Err(Failed::new(128 + octets[0], ""));
            }
            if typed {
                match self.input.read(&mut octets).map_err(failed)? {
                    0 => break,
                    count => line.extend_from_slice(&octets[..count]),
                }
            }
        }
        Ok(line.strip_suffix(b"\n").unwrap_or(&line).to_vec())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.input, OptionalActions::Flush, &self.before);
    }
}
