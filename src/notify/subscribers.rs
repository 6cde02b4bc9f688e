//! The server's subscribers: a thread for each, which goes over to new settings by itself.
//!
//! A thread that fails, for whatever reason, begins again at its cursor: no failure of one costs an event, or touches
//! another.

use super::desk::Desk;
use super::ready::{Place, Ready, text};
use super::replay::Handle;
use super::status::status_of_files;
use super::subscriber;
use super::{Enter, Settings, SubscriberStatus};
use crate::journal::{Item, Reader, Told};
use crate::sys::{self, Wake};
use rustix::event::{PollFd, PollFlags};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Stack of a subscriber's thread, octets; buffers are on the heap.
const STACK: usize = 256 * 1024;

/// Most ids of needed messages that are kept in memory.
const NEEDED: usize = 100_000;

/// How long a subscriber that failed waits before it begins again.
const AGAIN: Duration = Duration::from_secs(5);

/// The subscribers, by name.
pub struct Subscribers {
    place: Place,
    running: BTreeMap<String, Running>,
}

/// One subscriber and its thread. The thread is there until its work is done, also after a reload took it away.
#[derive(Debug)]
struct Running {
    slot: Arc<Slot>,
    thread: JoinHandle<()>,
}

/// What the reload and the thread tell each other.
#[derive(Debug)]
struct Slot {
    wanted: Mutex<Wanted>,
    /// Woken when `wanted` has changed.
    wake: Wake,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Wanted {
    /// The settings that the thread uses now or next; `None`: it must end.
    next: Option<Settings>,
    /// The thread ends, and takes no other settings.
    ended: bool,
    /// Why it cannot work now; it tries again every [`AGAIN`].
    trouble: Option<String>,
}

/// Messages that a hook has not got yet.
#[derive(Debug, Default)]
pub struct Needed {
    ids: HashSet<String>,
    /// There are more than are kept here.
    is_more: bool,
}

impl Needed {
    /// Whether a message of this id is among them, or may be.
    pub fn has(&self, id: &str) -> bool {
        self.is_more || self.ids.contains(id)
    }

    fn add(&mut self, id: String) {
        self.is_more |= self.ids.len() >= NEEDED;
        if !self.is_more {
            self.ids.insert(id);
        }
    }
}

impl Subscribers {
    /// As `start_inside`, with a journal that no ledger writes.
    #[cfg(test)]
    pub(super) fn start(
        state: &Path,
        pipes: &[super::PipeSettings],
        hooks: &[super::HookSettings],
    ) -> Result<Subscribers, String> {
        Subscribers::start_inside(state, None, Arc::new(|| {}), tests::both(pipes, hooks))
    }

    /// As `reload`.
    #[cfg(test)]
    fn reload_both(&mut self, pipes: &[super::PipeSettings], hooks: &[super::HookSettings]) -> Vec<String> {
        self.reload(tests::both(pipes, hooks))
    }

    /// Starts one thread for every subscriber. `state` holds `cursors/` and `journal/`. The ledger is open already, and
    /// advances `told`. `enter` takes a thread that speaks to a server into its sandbox.
    ///
    /// # Errors
    ///
    /// Says which subscriber cannot work, and why.
    pub fn start_inside(
        state: &Path,
        told: Option<Told>,
        enter: Enter,
        wanted: Vec<Settings>,
    ) -> Result<Subscribers, String> {
        static PREPARED: Once = Once::new();
        PREPARED.call_once(|| {
            sys::keep_descriptors();
            if let Err(error) = sys::collect_orphans() {
                log::warn!("ended processes that hooks leave behind are not collected: {error}");
            }
        });
        let place = Place {
            state: state.to_owned(),
            told,
            enter,
            #[cfg(feature = "mqtt")]
            brokers: Default::default(),
        };
        let mut subscribers = Subscribers { place, running: BTreeMap::new() };
        let problems = subscribers.reload(wanted);
        if problems.is_empty() {
            return Ok(subscribers);
        }
        subscribers.stop();
        Err(problems.join("; "))
    }

    /// Goes over to new settings: subscribers that are as they were go on undisturbed. Returns what cannot work.
    ///
    /// It waits for nothing that a reader or a hook's program does: a subscriber that changed ends in its own time, and
    /// then begins again at its cursor with the settings that are wanted then. What cannot work now is tried again every
    /// 5 s.
    pub fn reload(&mut self, all: Vec<Settings>) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wanted = BTreeMap::new();
        for settings in all {
            let name = settings.name();
            match wanted.get(&name) {
                Some(other) if *other != settings => problems.push(format!("{name} is there twice")),
                _ => drop(wanted.insert(name, settings)),
            }
        }
        // A FIFO and a cursor that are not wanted any more stay.
        for (name, running) in &self.running {
            if !wanted.contains_key(name) {
                running.slot.want(None);
            }
        }
        for (name, settings) in wanted {
            self.hurry(&name, &settings);
            if !self.running.get(&name).is_some_and(|running| running.slot.want(Some(settings.clone()))) {
                match Running::start(&self.place, settings) {
                    Ok(running) => drop(self.running.insert(name.clone(), running)),
                    Err(problem) => problems.push(format!("{name}: {problem}")),
                }
            }
            let trouble = self.running.get(&name).and_then(|running| running.slot.lock().trouble.clone());
            problems.extend(trouble.map(|trouble| format!("{name}: {trouble}")));
        }
        self.running.retain(|_, running| !running.thread.is_finished());
        problems
    }

    /// A broker that could not be reached, or did not take the login, is tried at once: what was wrong may be mended.
    #[cfg_attr(not(feature = "mqtt"), allow(unused_variables))]
    fn hurry(&self, name: &str, settings: &Settings) {
        #[cfg(feature = "mqtt")]
        if let Some(running) = self.running.get(name)
            // With other settings it begins anyway.
            && running.slot.lock().next.as_ref() == Some(settings)
            && self.brokers().iter().any(|broker| broker.name == name && broker.next_try.is_some())
        {
            running.slot.wake.wake();
        }
    }

    /// The state of every subscriber that is configured, and of every cursor of `watch`.
    pub fn status(&self) -> Vec<SubscriberStatus> {
        let mut status = status_of_files(&self.place.state).unwrap_or_else(|error| {
            log::error!("{}: {error}", self.place.state.display());
            Vec::new()
        });
        let is_wanted = |name: &str| self.running.get(name).is_some_and(|running| running.slot.lock().next.is_some());
        status.retain(|subscriber| subscriber.name.starts_with("watch:") || is_wanted(&subscriber.name));
        for subscriber in &mut status {
            if let Some(running) = self.running.get(&subscriber.name) {
                let wanted = running.slot.lock();
                subscriber.is_paused |= wanted.next.as_ref().is_some_and(Settings::is_paused);
                subscriber.last_error = wanted.trouble.clone().or_else(|| running.slot.desk.trouble());
            }
        }
        status
    }

    /// The messages of a user that hooks have not got yet. Pipes and `watch` hand over lines, so a reader that never comes is
    /// no reason to keep a message.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn needed(&self, user: &str) -> io::Result<Needed> {
        let (journal, mut needed) = (self.place.state.join("journal"), Needed::default());
        for status in self.status().into_iter().filter(|status| status.backlog > 0) {
            let settings = self.running.get(&status.name).and_then(|running| running.slot.lock().next.clone());
            let Some(filter) = settings.as_ref().and_then(Settings::needs_message) else { continue };
            let mut reader = Reader::new(&journal, status.last_seq);
            while let Some(item) = reader.next_item()? {
                match item {
                    Item::Record(record) if record.user == user && filter.wants(&record) => {
                        needed.add(record.id.clone())
                    }
                    _ => {}
                }
            }
        }
        Ok(needed)
    }

    /// How each broker of the configuration stands.
    #[cfg(feature = "mqtt")]
    pub fn brokers(&self) -> Vec<super::BrokerStatus> {
        let brokers = self.place.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_wanted = |name: &str| self.running.get(name).is_some_and(|running| running.slot.lock().next.is_some());
        brokers.values().filter(|broker| is_wanted(&broker.name)).cloned().collect()
    }

    /// A subscriber that takes orders; `None` where there is none of this name.
    pub fn handle(&self, name: &str) -> Option<Handle> {
        let slot = &self.running.get(name)?.slot;
        let settings = slot.lock().next.clone().filter(|settings| settings.replays().is_some())?;
        Some(Handle { desk: slot.desk.clone(), settings, state: self.place.state.clone() })
    }

    /// A clean stop: unread lines are taken back out of the pipes, hooks that run are waited for (bounded), cursors saved.
    pub fn stop(self) {
        for running in self.running.values() {
            running.slot.want(None);
        }
        for running in self.running.into_values() {
            // It catches its panics itself.
            let _ = running.thread.join();
        }
    }
}

impl Slot {
    /// Says what is wanted from now on; false when the thread has ended.
    fn want(&self, settings: Option<Settings>) -> bool {
        let mut wanted = self.lock();
        if wanted.next != settings {
            wanted.next = settings;
            self.wake.wake();
        }
        !wanted.ended
    }

    /// The settings to begin with; `None` when the thread is to end.
    fn take(&self) -> Option<Settings> {
        let mut wanted = self.lock();
        self.wake.clear();
        wanted.ended = wanted.next.is_none();
        wanted.next.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work of the thread: by the settings that are wanted, until none are.
    fn work(&self, place: &Place, mut first: Option<Ready>) {
        // A FIFO is kept open between two settings, so that its reader sees no end of file.
        let mut held = None;
        while let Some(settings) = self.take() {
            let round = || -> Result<Option<File>, String> {
                let ready = first.take().map_or_else(|| settings.open(place, &self.desk), Ok)?;
                drop(held.take());
                if self.lock().trouble.take().is_some() {
                    log::info!("{}: works again", settings.name());
                }
                Ok(ready.run(&self.wake))
            };
            match catch_unwind(AssertUnwindSafe(round)) {
                Ok(Ok(fifo)) => {
                    held = fifo;
                    continue;
                }
                Ok(Err(error)) => {
                    if self.lock().trouble.replace(error.clone()).as_ref() != Some(&error) {
                        log::error!("{}: {error}; trying again every {} s", settings.name(), AGAIN.as_secs());
                    }
                }
                Err(_) => log::error!("{}: failed; beginning again at its cursor", settings.name()),
            }
            subscriber::wait(&mut [PollFd::new(&self.wake, PollFlags::IN)], Some(AGAIN));
        }
    }
}

impl Running {
    /// Starts a thread. Whether it can work is known at once.
    fn start(place: &Place, settings: Settings) -> Result<Running, String> {
        let desk = Arc::new(Desk::new().map_err(text)?);
        let opened = settings.open(place, &desk);
        let (name, trouble) = (thread_name(&settings.name()), opened.as_ref().err().cloned());
        let wanted = Mutex::new(Wanted { next: Some(settings), ended: false, trouble });
        let slot = Arc::new(Slot { wanted, wake: Wake::new().map_err(text)?, desk });
        let (for_thread, place) = (slot.clone(), place.clone());
        let builder = std::thread::Builder::new().name(name).stack_size(STACK);
        let work = move || {
            let mut first = opened.ok();
            if first.is_none() {
                subscriber::wait(&mut [PollFd::new(&for_thread.wake, PollFlags::IN)], Some(AGAIN));
            }
            for_thread.work(&place, first.take());
        };
        Ok(Running { slot, thread: builder.spawn(work).map_err(text)? })
    }
}

/// The end of a subscriber's name, which tells more than its beginning: the kernel shows 15 octets (`top -H`).
fn thread_name(name: &str) -> String {
    name.chars().rev().filter(char::is_ascii_graphic).take(15).collect::<Vec<_>>().into_iter().rev().collect()
}

#[cfg(test)]
#[path = "subscribers_tests.rs"]
mod tests;
