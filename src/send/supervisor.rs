//! The thread that begins sessions with the smarthost when messages are due. It reads nothing from the smarthost.

use super::link::Trusted;
use super::session::session;
use super::settle::settle;
use super::shared::{Enter, Order, Shared, lock};
use super::trouble::{Kind, Trouble};
use super::{Place, now, schedule};
use crate::config::Relay;
use crate::limits;
use crate::net::remote::conn::Signal;
use crate::queue::{Doing, Event, QueueId, Watch};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a stop waits for the session's goodbye.
const STOP: Duration = Duration::from_secs(5);

/// A thread that the system did not give is asked for again so soon, and a message in work when its session panicked is
/// tried again after as long.
const AGAIN: Duration = Duration::from_secs(60);

/// Litter is looked for so often.
const CLEAN: Duration = Duration::from_secs(3_600);

/// Without inotify the queue is looked at so often.
const LOOK: Duration = Duration::from_secs(10);

/// While the smarthost cannot be used, the ages of the messages are looked at so often.
const AGES: Duration = Duration::from_secs(1);

/// The smarthost cannot be used.
struct Closed {
    until: Instant,
    trouble: Trouble,
}

/// What the thread keeps in mind.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    relay: Option<Arc<Relay>>,
    enter: Enter,
    watch: Option<Watch>,
    is_running: bool,
    closed: Option<Closed>,
    /// Sessions that failed, one after the other.
    failures: u32,
    /// What was logged of the failures.
    complained: Option<Kind>,
    /// Messages with a sender that knows of the delay.
    warned: HashSet<QueueId>,
    clean_at: Instant,
    ages_at: Instant,
    stop_by: Option<Instant>,
}

impl Supervisor {
    /// Not started yet.
    pub(super) fn new(shared: Arc<Shared>, relay: Option<Arc<Relay>>, enter: Enter) -> Supervisor {
        Supervisor {
            shared,
            relay,
            enter,
            watch: None,
            is_running: false,
            closed: None,
            failures: 0,
            complained: None,
            warned: HashSet::new(),
            clean_at: Instant::now(),
            ages_at: Instant::now(),
            stop_by: None,
        }
    }

    /// The work of the thread, until a stop.
    pub(super) fn run(mut self) {
        // The watch comes first, so that nothing comes unseen between the two.
        self.watch = Watch::new(&self.shared.service.queue)
            .map_err(|error| log::warn!("the queue cannot be watched: {error}; it is looked at every 10 s"))
            .ok();
        self.look(true);
        // What was asked for while no server ran.
        self.hurry();
        while self.turn() {
            self.wait();
        }
    }

    /// Does what there is to do now. False when it is over: nothing is waited for then, so that a stop ends with the
    /// session's goodbye.
    fn turn(&mut self) -> bool {
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        for order in orders {
            self.follow(order);
        }
        if self.is_over() {
            return false;
        }
        self.look_at_changes();
        if self.stop_by.is_none() {
            self.begin_due();
            self.look_at_ages();
            if self.clean_at <= Instant::now() {
                self.clean_at = Instant::now() + CLEAN;
                if let Err(error) = self.shared.service.queue.clean() {
                    log::warn!("queue: litter cannot be removed: {error}");
                }
            }
        }
        true
    }

    fn is_over(&self) -> bool {
        self.stop_by.is_some_and(|by| !self.is_running || Instant::now() >= by)
    }

    fn wait(&self) {
        let in_time = |until: Instant| until.saturating_duration_since(Instant::now());
        let mut timeout = in_time(self.clean_at);
        if let Some(by) = self.stop_by {
            timeout = in_time(by);
        } else {
            if self.watch.is_none() {
                timeout = timeout.min(LOOK);
            }
            if let Some(closed) = &self.closed {
                timeout = timeout.min(in_time(closed.until)).min(AGES.max(in_time(self.ages_at)));
            } else if !self.is_running
                && self.relay.is_some()
                && let Some(earliest) = lock(&self.shared.due).earliest()
            {
                timeout = timeout.min(Duration::from_secs(earliest.saturating_sub(now())));
            }
        }
        match &self.watch {
            Some(watch) => self.shared.signal.wait_beside(watch.fd(), Some(timeout)),
            None => Signal::wait_any(&[&self.shared.signal], Some(timeout)),
        }
        self.shared.signal.take();
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Up => {
                (self.failures, self.closed) = (0, None);
                if self.complained.take().is_some() {
                    log::info!("relay: the smarthost can be used again");
                }
            }
            Order::Ended(outcome) => self.on_end(outcome),
            Order::Replace(relay, enter) => {
                (self.relay, self.enter) = (relay, enter);
                // What is trusted may have been replaced under its name.
                *lock(&self.shared.trusted) = Trusted::default();
                self.open();
                self.complained = None;
            }
            Order::Enter(enter) => self.enter = enter,
            Order::Stop if self.stop_by.is_none() => {
                self.stop_by = Some(Instant::now() + STOP);
                self.shared.stop.give();
            }
            Order::Stop => {}
        }
    }

    /// The smarthost may be tried at once.
    fn open(&mut self) {
        (self.failures, self.closed) = (0, None);
    }

    fn on_end(&mut self, outcome: Result<(), Trouble>) {
        self.is_running = false;
        // A session that panicked has left its message in work.
        lock(&self.shared.due).done(Some(now() + AGAIN.as_secs()));
        let queue = self.shared.service.queue.clone();
        let Some(relay) = self.relay.clone() else { return queue.update(|status| status.doing = Doing::Off) };
        let Err(trouble) = outcome else {
            return queue.update(|status| status.doing = Doing::Idle);
        };
        if trouble.kind == Kind::Stopped {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = schedule::wait(relay.retry, self.failures);
        if self.complained != Some(trouble.kind) {
            let host = &relay.host;
            log::warn!("relay: {host} cannot be used: {}; all messages wait, which is said once", trouble.why);
            self.complained = Some(trouble.kind);
        }
        queue.update(|status| {
            status.doing = if trouble.kind == Kind::Setup { Doing::Refused } else { Doing::Waiting };
            status.next_try = Some(now() + wait.as_secs());
            status.last_error = Some(trouble.why.clone());
        });
        self.ages_at = Instant::now();
        self.closed = Some(Closed { until: Instant::now() + wait, trouble });
    }

    /// Begins a session when a message is due and the smarthost can be used.
    fn begin_due(&mut self) {
        let Some(relay) = &self.relay else { return };
        let is_due = lock(&self.shared.due).earliest().is_some_and(|time| time <= now());
        if self.is_running || !is_due || self.closed.as_ref().is_some_and(|closed| closed.until > Instant::now()) {
            return;
        }
        let (shared, relay, enter) = (self.shared.clone(), relay.clone(), self.enter.clone());
        let session = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| session(&shared, relay, &enter)));
            let panicked = |_| Err(Trouble::new(Kind::Temporary, "the session panicked; this is a fault of mailbell"));
            shared.give(Order::Ended(outcome.unwrap_or_else(panicked)));
        };
        match std::thread::Builder::new().name("relay".into()).stack_size(limits::WORKER_STACK).spawn(session) {
            Ok(_) => self.is_running = true,
            Err(error) => {
                let trouble = Trouble::new(Kind::Temporary, format!("no thread: {error}"));
                self.closed = Some(Closed { until: Instant::now() + AGAIN, trouble });
            }
        }
    }

    /// While the smarthost cannot be used, senders are told of delays, and messages are given up, by age.
    fn look_at_ages(&mut self) {
        let (Some(closed), Some(relay)) = (&self.closed, &self.relay) else { return };
        if self.is_running || self.ages_at > Instant::now() {
            return;
        }
        self.ages_at = Instant::now() + AGES;
        let gives_up = closed.trouble.kind == Kind::Temporary;
        let warn = relay.warn.unwrap_or(relay.give_up);
        let first = warn.min(relay.give_up).as_secs();
        let age = |id: &QueueId| now().saturating_sub(id.seconds());
        // The oldest come first, so that the rest is not looked at.
        let old: Vec<QueueId> = lock(&self.shared.due)
            .ids()
            .take_while(|id| age(id) >= first)
            .filter(|id| gives_up && age(id) >= relay.give_up.as_secs() || !self.warned.contains(*id))
            .cloned()
            .collect();
        let place = Place { service: self.shared.service.clone(), relay: relay.clone() };
        for id in old {
            let Ok(Some(mut entry)) = place.service.queue.entry(&id) else { continue };
            self.warned.insert(id.clone());
            let age = now().saturating_sub(entry.envelope.arrived);
            let is_late = relay.warn.is_some_and(|warn| age >= warn.as_secs()) && !entry.progress.has_warned;
            if !(is_late || gives_up && age >= relay.give_up.as_secs()) {
                continue;
            }
            entry.progress.error.clone_from(&closed.trouble.why);
            let before = entry.progress.next;
            match settle(&place, &mut entry, gives_up) {
                // It is due as before.
                Some(next) => lock(&self.shared.due).set(&id, if entry.progress.is_waiting() { before } else { next }),
                None => lock(&self.shared.due).remove(&id),
            }
        }
    }

    fn look_at_changes(&mut self) {
        let events = match &mut self.watch {
            Some(watch) => watch.events(),
            None => vec![Event::Overflow, Event::Asked],
        };
        let mut has_come = false;
        for event in events {
            match event {
                Event::Came(id) => has_come |= self.came(&id),
                Event::Gone(id) => self.gone(&id),
                Event::Asked => has_come |= self.hurry(),
                Event::Overflow => {
                    self.look(false);
                    has_come = true;
                }
            }
        }
        if has_come {
            self.shared.more.give();
        }
    }

    /// Does what `mailbell queue retry` asks for. Whether it asked for something.
    fn hurry(&mut self) -> bool {
        match self.shared.service.queue.take_retries() {
            Ok(asked) if !asked.is_empty() => {
                asked.iter().for_each(|id| lock(&self.shared.due).hurry(id.as_ref()));
                self.open();
                true
            }
            Ok(_) => false,
            Err(error) => {
                log::warn!("queue: it cannot be seen what is to be tried now: {error}");
                false
            }
        }
    }

    /// A new message is due at once. Whether it is new.
    fn came(&self, id: &QueueId) -> bool {
        let queue = &self.shared.service.queue;
        if lock(&self.shared.due).has(id) {
            return false;
        }
        if !queue.knows(id) {
            match queue.entry(id) {
                Ok(Some(entry)) => queue.learn(id, entry.envelope.user),
                Ok(None) => return false,
                // It is read again when it is tried.
                Err(_) => queue.learn(id, None),
            }
        }
        lock(&self.shared.due).set(id, 0);
        true
    }

    fn gone(&mut self, id: &QueueId) {
        lock(&self.shared.due).remove(id);
        self.warned.remove(id);
        self.shared.service.queue.forget(id);
    }

    /// Looks at all that is on disk.
    fn look(&mut self, is_first: bool) {
        let queue = self.shared.service.queue.clone();
        let ids = match queue.ids() {
            Ok(ids) => ids,
            Err(error) => return log::error!("the queue cannot be read: {error}"),
        };
        let known: Vec<QueueId> = lock(&self.shared.due).ids().cloned().collect();
        for id in known.iter().filter(|id| ids.binary_search(id).is_err()) {
            self.gone(id);
        }
        for id in &ids {
            if lock(&self.shared.due).has(id) {
                continue;
            }
            match queue.entry(id) {
                Ok(Some(entry)) => {
                    queue.learn(id, entry.envelope.user);
                    // A message that lies in the future because a clock went back is due.
                    let next = if entry.progress.next > now() + 7 * 86_400 { 0 } else { entry.progress.next };
                    lock(&self.shared.due).set(id, next);
                }
                Ok(None) => {}
                Err(error) => log::error!("queue: {id} cannot be read: {error}"),
            }
        }
        if is_first && !ids.is_empty() {
            let hint = if self.relay.is_none() { ", and there is no [relay] that could send them" } else { "" };
            log::info!("queue: messages that wait: {}{hint}", ids.len());
        }
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
