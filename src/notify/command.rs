//! Running a program for a record: environment, standard input, output, time limit, and the end of its process group.
//! No shell comes between. Whether and when to try again is decided elsewhere.
//!
//! The environment is ours with `MAILBELL_SEQ`, `MAILBELL_SUBJECT` and so on for every field of the event, and
//! `MAILBELL_HEADER_X_SPAM_FLAG` and so on for every header field of `event.headers`: empty where null, without line ends, at
//! most [`VALUE`] octets each (longer ones are cut and end in `...`). Variables that are a
//! service manager's for this process alone are left out.

use super::format::{plain, plain_text};
use super::subscriber::wait;
use crate::journal::Record;
use crate::journal::record::FIELDS;
use crate::sys;
use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Longest value of an environment variable, octets.
const VALUE: usize = 4_096;

/// Octets of all values together. The kernel gives arguments and environment a quarter of the stack, 128 KiB at least.
const VALUES: usize = 64 * 1024;

/// How much of a program's output is kept, octets; the rest is read and dropped.
const OUTPUT: usize = 4_096;

/// How long a process group that was asked to end may take until it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How often to look for the end of a program where the kernel cannot tell (pidfd_open(2) came with Linux 5.3).
const LOOK: Duration = Duration::from_millis(20);

/// Held for reading while a program is started: between fork(2) and exec(2) it has copies of all our descriptors. While it
/// is held for writing, no other process has a copy of a descriptor that is closed.
pub(super) static SPAWNING: RwLock<()> = RwLock::new(());

/// A program to be run once.
pub struct Task<'a> {
    /// Program and arguments.
    pub command: &'a [OsString],
    /// The event that it is run for.
    pub record: &'a Record,
    /// Its standard input.
    pub input: Option<Source<'a>>,
    /// Whether its output is kept; else it goes to the output of this process.
    pub keep_output: bool,
    /// Its working directory; `None`: that of this process.
    pub folder: Option<&'a Path>,
    /// After this its process group is ended.
    pub timeout: Option<Duration>,
    /// Readable when it is to be ended.
    pub cancel: BorrowedFd<'a>,
}

/// What a program reads.
pub enum Source<'a> {
    /// A file, from its offset on: it is read to its end even when this process is killed meanwhile.
    File(File),
    /// Octets that are fed to it.
    Octets(Box<dyn Read + 'a>),
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// By its time limit.
    TimedOut,
    /// Because it was cancelled before it had ended.
    Cancelled,
    /// It could not be run, or could not be given its input.
    Failed(io::Error),
}

impl End {
    /// Exit 0 acknowledges.
    pub fn is_success(&self) -> bool {
        matches!(self, End::Exited(status) if status.success())
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exited(status) => write!(f, "{status}"),
            End::TimedOut => f.write_str("timed out"),
            End::Cancelled => f.write_str("ended by mailbell"),
            End::Failed(error) => write!(f, "{error}"),
        }
    }
}

/// Runs it to its end. Gives also the beginning of what it printed, if that is kept.
pub fn run(mut task: Task<'_>) -> (End, Vec<u8>) {
    match Running::start(&mut task) {
        Ok(mut running) => {
            let end = running.watch(&task);
            (end, running.output.map(|output| output.kept).unwrap_or_default())
        }
        Err(error) => (End::Failed(error), Vec::new()),
    }
}

/// The fields of the event as environment variables. Where they are too long together, the longest are cut shorter.
fn variables(record: &Record) -> Vec<(String, String)> {
    let mut longest = VALUE;
    loop {
        let variable = |name: &str| (format!("MAILBELL_{}", name.to_ascii_uppercase()), plain(record, name, longest));
        let header = |(name, value): &(String, Option<String>)| {
            let name = name.to_ascii_uppercase().replace('-', "_");
            (format!("MAILBELL_HEADER_{name}"), plain_text(value.as_deref().unwrap_or_default(), longest))
        };
        let headers = record.summary.headers.iter().map(header);
        let variables: Vec<_> = FIELDS.into_iter().map(variable).chain(headers).collect();
        let octets: usize = variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        if octets <= VALUES || longest < 256 {
            return variables;
        }
        longest /= 2;
    }
}

struct Running<'a> {
    child: Child,
    input: Option<Input<'a>>,
    output: Option<Output>,
}

struct Input<'a> {
    pipe: ChildStdin,
    source: Box<dyn Read + 'a>,
    block: Vec<u8>,
    at: usize,
}

struct Output {
    /// `None` when it has closed it.
    pipe: Option<PipeReader>,
    kept: Vec<u8>,
}

impl<'a> Running<'a> {
    fn start(task: &mut Task<'a>) -> io::Result<Running<'a>> {
        let (program, arguments) = task.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        let (stdin, fed) = match task.input.take() {
            None => (Stdio::null(), None),
            Some(Source::File(file)) => (file.into(), None),
            Some(Source::Octets(source)) => (Stdio::piped(), Some(source)),
        };
        command.stdin(stdin);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        command.envs(variables(task.record));
        sys::keep_capabilities()?;
        if let Some(limit) = sys::original_nofile() {
            sys::limit_open_files(&mut command, limit);
        }
        if let Some(folder) = task.folder {
            command.current_dir(folder);
        }
        let mut output = None;
        if task.keep_output {
            let (read, write) = io::pipe()?;
            ioctl_fionbio(&read, true)?;
            command.stdout(write.try_clone()?).stderr(write);
            output = Some(Output { pipe: Some(read), kept: Vec::new() });
        }
        let said = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", program.display()));
        let spawned = {
            // Returns when the program has begun, and with that its copies of our descriptors are closed.
            let _lock = SPAWNING.read().unwrap_or_else(PoisonError::into_inner);
            sys::spawn(&mut command)
        };
        let mut child = spawned.map_err(said)?;
        let input = child.stdin.take().zip(fed);
        let input = input.map(|(pipe, source)| Input { pipe, source, block: Vec::new(), at: 0 });
        if let Some(input) = &input {
            ioctl_fionbio(&input.pipe, true)?;
        }
        Ok(Running { child, input, output })
    }

    /// Feeds it, listens to it, and waits for its end.
    fn watch(&mut self, task: &Task<'_>) -> End {
        let pid = Pid::from_child(&self.child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
        let end = task.timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let mut timeout = end.map(|end| end.saturating_duration_since(Instant::now()));
            let mut fds = vec![PollFd::from_borrowed_fd(task.cancel, PollFlags::IN)];
            match &pidfd {
                Some(pidfd) => fds.push(PollFd::new(pidfd, PollFlags::IN)),
                None => timeout = Some(timeout.map_or(LOOK, |timeout| timeout.min(LOOK))),
            }
            fds.extend(self.input.as_ref().map(|input| PollFd::new(&input.pipe, PollFlags::OUT)));
            let pipe = self.output.as_ref().and_then(|output| output.pipe.as_ref());
            fds.extend(pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            wait(&mut fds, timeout);
            let cancelled = !fds[0].revents().is_empty();
            // The end first: what it printed before is still in the pipe.
            let ended = self.child.try_wait();
            self.listen();
            match ended {
                Ok(Some(status)) => {
                    sys::collected(&self.child);
                    return End::Exited(status);
                }
                Ok(None) => {}
                Err(error) => return End::Failed(error),
            }
            let why = if cancelled {
                End::Cancelled
            } else if end.is_some_and(|end| Instant::now() >= end) {
                End::TimedOut
            } else if let Err(error) = self.feed() {
                End::Failed(error)
            } else {
                continue;
            };
            return self.end_group(pid, pidfd.as_ref().map(AsFd::as_fd), why);
        }
    }

    /// Ends its process group, by SIGTERM and then by SIGKILL.
    fn end_group(&mut self, pid: Pid, pidfd: Option<BorrowedFd<'_>>, why: End) -> End {
        let _ = kill_process_group(pid, Signal::TERM);
        match pidfd {
            Some(pidfd) => wait(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(GRACE)),
            None => std::thread::sleep(LOOK),
        }
        // Its pid stays taken until it is waited for, so this cannot reach another group. Other processes of its group may
        // have ignored SIGTERM.
        let _ = kill_process_group(pid, Signal::KILL);
        // Its exit code is not looked at: many programs answer SIGTERM with exit 0, whatever they leave undone.
        let _ = self.child.wait();
        sys::collected(&self.child);
        self.listen();
        why
    }

    /// Gives it what it will take of its input.
    fn feed(&mut self) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        loop {
            if input.at == input.block.len() {
                input.block.resize(64 * 1024, 0);
                let count = input.source.read(&mut input.block)?;
                input.block.truncate(count);
                input.at = 0;
            }
            match input.pipe.write(&input.block[input.at..]) {
                Ok(count) if count > 0 => input.at += count,
                // The end of the input, or a program that does not want it.
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.input = None;
        Ok(())
    }

    /// Takes what it printed.
    fn listen(&mut self) {
        let Some(Output { pipe, kept }) = &mut self.output else { return };
        let mut block = [0; 4096];
        // A program that prints without end must not keep this loop busy.
        for _ in 0..64 {
            match pipe.as_mut().map(|pipe| pipe.read(&mut block)) {
                Some(Ok(count)) if count > 0 => kept.extend_from_slice(&block[..count.min(OUTPUT - kept.len())]),
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {
                    *pipe = None;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::tests::sample;

    #[test]
    fn the_environment_is_bounded_and_keeps_what_is_short() {
        let mut record = sample(7, "alice", "1.M2");
        for name in FIELDS {
            if let Some(slot) = record.optional_mut(name) {
                *slot = Some("x".repeat(60_000));
            }
        }
        record.rcpt_to = Some("short@example.org".into());
        let variables = variables(&record);
        let value = |name: &str| &variables.iter().find(|(found, _)| found == name).unwrap().1;
        assert_eq!((variables.len(), value("MAILBELL_RCPT_TO").as_str()), (FIELDS.len(), "short@example.org"));
        assert_eq!(value("MAILBELL_PATH"), &record.path);
        assert!(value("MAILBELL_SUBJECT").ends_with("x...") && value("MAILBELL_SUBJECT").len() > 1_000);
        assert!(variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>() <= VALUES);
    }
}
