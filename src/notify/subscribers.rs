//! The server's subscribers: starts a thread for each, goes over to new settings, and stops them.
//!
//! A thread that fails, whatever the reason, begins again from its cursor: no failure of one costs an event, or touches
//! another.

use super::fifo;
use super::hook::Hook;
use super::pipe::Pipe;
use super::status::status_of_files;
use super::subscriber::{self, Subscriber};
use super::wake::Wake;
use super::{HookSettings, PipeSettings, SubscriberStatus};
use crate::journal::{self, Cursor};
use rustix::event::{PollFd, PollFlags};
use std::fmt::Display;
use std::fs::File;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Stack of a subscriber's thread, octets; buffers are on the heap.
const STACK: usize = 256 * 1024;

/// How long a subscriber that failed waits before it begins again.
const AGAIN: Duration = Duration::from_secs(5);

/// The running pipes and hooks, each with a thread of its own.
#[derive(Debug)]
pub struct Subscribers {
    state: PathBuf,
    running: Vec<Running>,
    /// Told to stop by a reload.
    ending: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    settings: Settings,
    stop: Arc<Wake>,
    thread: JoinHandle<()>,
    /// Why it cannot do its work now; it tries again and again.
    trouble: Arc<Mutex<Option<String>>>,
}

/// What a subscriber leaves to the next one of its name.
#[derive(Debug)]
struct Heritage {
    /// Done when the one before has ended.
    thread: JoinHandle<()>,
    /// Keeps its FIFO open, so that a reader sees no end of file in between.
    fifo: Option<File>,
}

/// One subscriber's settings: a line here for each kind.
#[derive(Clone, Debug, PartialEq)]
enum Settings {
    Pipe(PipeSettings),
    Hook(HookSettings),
}

/// A subscriber of any kind, ready to run.
enum Ready {
    Pipe(Box<Subscriber<Pipe>>),
    Hook(Box<Subscriber<Hook>>),
}

impl Subscribers {
    /// Starts one thread for every pipe and hook. `state` holds `cursors/` and `journal/`. The journal is open already,
    /// and `cursor::clamp_all` was called.
    ///
    /// # Errors
    ///
    /// Says which pipe or hook cannot be had, and why.
    pub fn start(state: &Path, pipes: &[PipeSettings], hooks: &[HookSettings]) -> Result<Subscribers, String> {
        let mut subscribers = Subscribers { state: state.to_owned(), running: Vec::new(), ending: Vec::new() };
        let problems = subscribers.reload(pipes, hooks);
        if problems.is_empty() {
            return Ok(subscribers);
        }
        subscribers.stop();
        Err(problems.join("; "))
    }

    /// Goes over to new settings: subscribers that are as they were go on undisturbed. Gives what could not be had.
    ///
    /// It waits for nothing that a reader or a hook's program does: one whose settings changed ends in its own time, and
    /// its successor then begins at its cursor. What cannot be had now is tried again every 5 s.
    pub fn reload(&mut self, pipes: &[PipeSettings], hooks: &[HookSettings]) -> Vec<String> {
        let pipes = pipes.iter().cloned().map(Settings::Pipe);
        let wanted: Vec<_> = pipes.chain(hooks.iter().cloned().map(Settings::Hook)).collect();
        let (kept, changed): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|running| wanted.contains(&running.settings));
        self.running = kept;
        let fifos: Vec<_> = changed.iter().map(|running| running.settings.hold_fifo()).collect();
        changed.iter().for_each(|running| running.stop.ring());
        // Those that get no successor end by themselves; their FIFOs and cursors stay.
        self.ending.retain(|running| !running.thread.is_finished());
        let mut leaving: Vec<_> = changed.into_iter().zip(fifos).collect();
        leaving.extend(std::mem::take(&mut self.ending).into_iter().map(|running| (running, None)));
        let mut problems = Vec::new();
        for settings in wanted {
            let name = settings.name();
            match self.running.iter().find(|running| running.settings.name() == name) {
                Some(running) if running.settings == settings => {
                    problems.extend(running.trouble().map(|trouble| format!("{name}: {trouble}")));
                    continue;
                }
                Some(_) => {
                    problems.push(format!("{name} is there twice"));
                    continue;
                }
                None => {}
            }
            let before = leaving.iter().position(|(running, _)| running.settings.name() == name);
            let before = before.map(|index| leaving.swap_remove(index));
            let before = before.map(|(running, fifo)| Heritage { thread: running.thread, fifo });
            match Running::start(&self.state, settings, before) {
                Ok(running) => {
                    problems.extend(running.trouble().map(|trouble| format!("{name}: {trouble}")));
                    self.running.push(running);
                }
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
        self.ending = leaving.into_iter().map(|(running, _)| running).collect();
        problems
    }

    /// Every subscriber's state, running ones and cursors of `watch` alike.
    pub fn status(&self) -> Vec<SubscriberStatus> {
        let mut status = status_of_files(&self.state).unwrap_or_else(|error| {
            log::error!("{}: {error}", self.state.display());
            Vec::new()
        });
        let is_running = |name: &str| self.running.iter().any(|running| running.settings.name() == name);
        status.retain(|subscriber| subscriber.name.starts_with("watch:") || is_running(&subscriber.name));
        status
    }

    /// A clean stop: unread lines are taken back out of the pipes, hooks that run are waited for (bounded), cursors saved.
    pub fn stop(self) {
        self.running.iter().for_each(|running| running.stop.ring());
        for running in self.running.into_iter().chain(self.ending) {
            // It catches its panics itself.
            let _ = running.thread.join();
        }
    }
}

impl Running {
    /// Starts a thread. With a predecessor of the same name it begins when that has ended; without one, its trouble is
    /// known at once.
    fn start(state: &Path, settings: Settings, before: Option<Heritage>) -> Result<Running, String> {
        let opened = if before.is_none() { Some(settings.open(state)) } else { None };
        let trouble = opened.as_ref().and_then(|opened| opened.as_ref().err().cloned());
        let trouble = Arc::new(Mutex::new(trouble));
        let mut ready = opened.and_then(Result::ok);
        let stop = Arc::new(Wake::new().map_err(|error| error.to_string())?);
        let (state, own, told, said) = (state.to_owned(), settings.clone(), stop.clone(), trouble.clone());
        let live = move || {
            let mut fifo = None;
            if let Some(before) = before {
                let _ = before.thread.join();
                fifo = before.fifo;
                // Another reload may have come meanwhile, and what it took back is not to run even once.
                if rings_within(&told, Duration::ZERO) {
                    return;
                }
            }
            loop {
                let round = || -> Result<(), String> {
                    let ready = ready.take().map_or_else(|| own.open(&state), Ok)?;
                    fifo = None;
                    if lock(&said).take().is_some() {
                        log::info!("{}: here again", own.name());
                    }
                    ready.run(&told);
                    Ok(())
                };
                match catch_unwind(AssertUnwindSafe(round)) {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        if lock(&said).replace(error.clone()).as_ref() != Some(&error) {
                            log::error!("{}: {error}; trying every {} s", own.name(), AGAIN.as_secs());
                        }
                    }
                    Err(_) => log::error!("{}: failed; beginning again at its cursor", own.name()),
                }
                if rings_within(&told, AGAIN) {
                    return;
                }
            }
        };
        let builder = std::thread::Builder::new().name(thread_name(&settings.name())).stack_size(STACK);
        let thread = builder.spawn(live).map_err(|error| error.to_string())?;
        Ok(Running { settings, stop, thread, trouble })
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

fn rings_within(wake: &Wake, time: Duration) -> bool {
    let mut fds = [PollFd::new(wake, PollFlags::IN)];
    subscriber::wait(&mut fds, Some(time));
    !fds[0].revents().is_empty()
}

fn lock(trouble: &Mutex<Option<String>>) -> MutexGuard<'_, Option<String>> {
    trouble.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Settings {
    /// Of the subscriber, and of its cursor.
    fn name(&self) -> String {
        match self {
            Settings::Pipe(pipe) => PipeSettings::name_of(&pipe.path),
            Settings::Hook(hook) => format!("hook:{}", hook.name),
        }
    }

    fn hold_fifo(&self) -> Option<File> {
        match self {
            Settings::Pipe(pipe) => fifo::hold(&pipe.path),
            Settings::Hook(_) => None,
        }
    }

    fn open(&self, state: &Path) -> Result<Ready, String> {
        fn text(error: impl Display) -> String {
            error.to_string()
        }
        let (name, journal) = (self.name(), state.join("journal"));
        let last = || journal::last_seq(&journal);
        let end = last().map_err(text)?;
        let cursor = Cursor::open(state, &name, || end).map_err(text)?;
        let place = cursor.place();
        Ok(match self {
            Settings::Pipe(settings) => {
                let pipe = Pipe::open(state, &name, settings, place, last).map_err(text)?;
                let (after, filter) = (pipe.after(), settings.filter.clone());
                Ready::Pipe(Box::new(Subscriber::new(&journal, after, filter, Some(cursor), pipe).map_err(text)?))
            }
            Settings::Hook(settings) => {
                let hook = Hook::open(state, &name, settings, place).map_err(text)?;
                let (after, filter) = (hook.after(), settings.filter.clone());
                Ready::Hook(Box::new(Subscriber::new(&journal, after, filter, Some(cursor), hook).map_err(text)?))
            }
        })
    }
}

/// The end of a subscriber's name, which tells more than its beginning: the kernel shows 15 octets (`top -H`).
fn thread_name(name: &str) -> String {
    name.chars().rev().filter(char::is_ascii_graphic).take(15).collect::<Vec<_>>().into_iter().rev().collect()
}

impl Ready {
    fn run(self, stop: &Wake) {
        match self {
            Ready::Pipe(pipe) => drop(pipe.run(stop.as_fd())),
            Ready::Hook(hook) => drop(hook.run(stop.as_fd())),
        }
    }
}

#[cfg(test)]
#[path = "subscribers_tests.rs"]
mod tests;
