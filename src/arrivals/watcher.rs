//! What the thread does: it waits for names in `new/`, looks at the files, and records the messages.

use super::batch::{self, Candidate};
use super::changes::{Change, Changes};
use super::look::{QUIET, Way};
use super::target::{LONGEST_WAIT, Names, Target, Unsure, Unsures};
use super::watches::{Key, Watches};
use super::{Order, Watched};
use crate::delivery::Delivery;
use crate::maildir::name::{self, Arrival};
use crate::sys::{Orders, poll};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a Maildir that is missing, or that inotify does not watch, is looked at.
pub const SLOW: Duration = Duration::from_secs(5);

/// A Maildir that went missing a moment ago is looked at sooner: after this, then after twice as long, up to [`SLOW`].
const FIRST: Duration = Duration::from_millis(50);

/// How often it is asked whether each `new/` is still the folder that inotify watches: a link or a folder above it may
/// have been replaced, or something mounted.
pub const CHECK: Duration = Duration::from_secs(60);

/// After events of our own deliveries alone the next ones are read so much later, all in one system call.
const REST: Duration = Duration::from_millis(20);

/// So many events at once show that more are waiting: they are read without a rest, so that the kernel drops none.
const MANY: usize = 256;

/// All that is watched.
pub struct Watcher {
    delivery: Arc<Delivery>,
    /// `None` when the system has no inotify for us.
    watches: Option<Watches>,
    /// It was logged that the system has no watch left.
    has_said_full: bool,
    targets: BTreeMap<Key, Target>,
    unsure: Unsures,
    next_key: Key,
    /// The Maildirs of each user.
    of_user: HashMap<String, Vec<Key>>,
    /// When the Maildirs without a watch are looked at, and how long after that the next time.
    slow_at: Option<Instant>,
    slow_wait: Duration,
    check_at: Instant,
    /// Until then no events are read.
    rest_until: Option<Instant>,
}

/// A name in the `new/` of a Maildir, and how it came there.
type Name = (Key, OsString, Way);

impl Watcher {
    /// Watches nothing yet.
    pub fn new(delivery: Arc<Delivery>) -> Watcher {
        let watches = Watches::new().inspect_err(|error| {
            let seconds = SLOW.as_secs();
            log::error!(
                "inotify: {error}; Maildirs are looked at every {seconds} s instead. Raise fs.inotify.max_user_instances"
            );
        });
        Watcher { has_said_full: watches.is_err(), watches: watches.ok(), ..Watcher::without_inotify(delivery) }
    }

    /// Looks at the Maildirs from time to time.
    pub fn without_inotify(delivery: Arc<Delivery>) -> Watcher {
        Watcher {
            delivery,
            watches: None,
            has_said_full: true,
            targets: BTreeMap::new(),
            unsure: Unsures::new(),
            next_key: 0,
            of_user: HashMap::new(),
            slow_at: None,
            slow_wait: FIRST,
            check_at: Instant::now() + CHECK,
            rest_until: None,
        }
    }

    /// Watches these and no others, and records what is in them.
    pub fn watch(&mut self, watched: Vec<Watched>) {
        self.delivery.watch(watched.iter().map(|each| (each.user.clone(), each.maildir.clone())).collect());
        let wanted: HashSet<&Watched> = watched.iter().collect();
        let unwanted = self.targets.iter().filter(|(_, target)| !wanted.contains(&target.watched)).map(|(key, _)| *key);
        unwanted.collect::<Vec<_>>().into_iter().for_each(|key| self.forget(key));
        self.of_user.clear();
        let mut known: HashSet<Watched> = self.targets.values().map(|target| target.watched.clone()).collect();
        for watched in watched {
            if known.insert(watched.clone()) {
                let is_own = self.delivery.is_own(&watched.user, &watched.maildir);
                self.targets.insert(self.next_key, Target::new(watched, is_own));
                self.next_key += 1;
            }
        }
        for (key, target) in &self.targets {
            self.of_user.entry(target.watched.user.clone()).or_default().push(*key);
        }
        self.slow_wait = FIRST;
        self.attach(&self.keys(|_| true));
    }

    fn keys(&self, which: impl Fn(&Target) -> bool) -> Vec<Key> {
        self.targets.iter().filter(|(_, target)| which(target)).map(|(key, _)| *key).collect()
    }

    fn forget(&mut self, key: Key) {
        let Some(target) = self.targets.remove(&key) else { return };
        self.unsure.retain(|(of, _), _| *of != key);
        if let (Some(watches), Some(wd)) = (&mut self.watches, target.wd) {
            watches.remove(key, wd);
        }
    }

    /// Goes on until it is told to stop.
    pub fn run(mut self, orders: &Orders<Order>) {
        loop {
            if self.wait(orders) {
                for order in orders.take() {
                    match order {
                        Order::Watch(watched) => self.watch(watched),
                        Order::Scan => self.scan(),
                        Order::Stop => {
                            while self.take_events() {}
                            return self.look_again(Instant::now() + LONGEST_WAIT);
                        }
                    }
                }
            }
            let now = Instant::now();
            if self.rest_until.is_none_or(|until| until <= now) {
                self.take_events();
            }
            self.look_again(now);
            self.look_at_folders(now);
        }
    }

    /// Sleeps until there are orders or events, or something is due. True: perhaps orders.
    fn wait(&self, orders: &Orders<Order>) -> bool {
        let unsure = self.unsure.values().map(|unsure| unsure.due);
        let due = unsure.chain(self.slow_at).chain(self.rest_until).fold(self.check_at, Instant::min);
        let mut fds = vec![PollFd::new(orders, PollFlags::IN)];
        let events = self.watches.as_ref().filter(|_| self.rest_until.is_none()).map(|watches| watches.fd());
        fds.extend(events.iter().map(|events| PollFd::new(events, PollFlags::IN)));
        match poll(&mut fds, Some(due.saturating_duration_since(Instant::now()))) {
            Ok(_) => !fds[0].revents().is_empty(),
            Err(error) => {
                log::error!("arrivals: poll: {error}");
                std::thread::sleep(SLOW);
                true
            }
        }
    }

    /// Watches these Maildirs, anew where they are watched, and records what is in them.
    fn attach(&mut self, keys: &[Key]) {
        let names = keys.iter().flat_map(|key| self.attach_one(*key)).collect();
        self.consider_all(names);
        let is_slow = self.targets.values().any(|target| target.wd.is_none());
        self.slow_at = is_slow.then(|| Instant::now() + self.slow_wait);
    }

    /// Gives the names in `new/`.
    fn attach_one(&mut self, key: Key) -> Vec<Name> {
        let Some(target) = self.targets.get_mut(&key) else { return Vec::new() };
        // The folder before its watch: if another one takes its place in between, the next check finds out.
        let new = target.open_new();
        let watches = self.watches.as_mut().filter(|_| new.is_some());
        let wd = watches.and_then(|watches| match watches.add(key, &target.watched.maildir) {
            Ok(wd) => Some(wd),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(Errno::NOSPC) => {
                if !std::mem::replace(&mut self.has_said_full, true) {
                    let seconds = SLOW.as_secs();
                    log::error!(
                        "too many Maildirs for inotify; some are looked at every {seconds} s instead. Raise \
                         fs.inotify.max_user_watches"
                    );
                }
                None
            }
            Err(error) => {
                target.complain("inotify", &error.into());
                None
            }
        });
        // The old watch ends only now: what happened until the new one was there would be lost.
        if let Some(before) = target.set_watch(wd, new.as_ref()).filter(|before| wd != Some(*before))
            && let Some(watches) = &mut self.watches
        {
            watches.remove(key, before);
        }
        target.names(new).into_iter().map(|file_name| (key, file_name, Way::Unknown)).collect()
    }

    /// Takes what has happened, and acts once for each name. False when nothing had happened.
    pub fn take_events(&mut self) -> bool {
        self.rest_until = None;
        let events = self.watches.as_mut().map(Watches::events).unwrap_or_default();
        let count = events.len();
        let Changes { names, attributes, mut lost, is_overflow } = Changes::of(events);
        // This may be what an unsure file waits for.
        for name in attributes {
            self.unsure.get_mut(&name).into_iter().for_each(|unsure| unsure.due = Instant::now());
        }
        let mut there = HashMap::new();
        for Change { key, file_name, .. } in names.iter().filter(|change| change.is_replaced) {
            self.forget_name(*key, file_name, false, &mut there);
        }
        let name = |change: &Change| Some((change.key, change.file_name.clone(), change.came?));
        let is_new = self.consider(names.iter().filter_map(name).collect());
        // After the look: what came and left at once may be in cur/.
        for Change { key, file_name, .. } in names.iter().filter(|change| change.is_gone) {
            self.forget_name(*key, file_name, true, &mut there);
        }
        if (1..MANY).contains(&count) && !is_new {
            self.rest_until = Some(Instant::now() + REST);
        }
        if is_overflow {
            log::warn!("inotify lost events; every Maildir is looked at");
            lost = self.keys(|_| true);
        }
        if !lost.is_empty() {
            self.slow_wait = FIRST;
            self.attach(&lost);
        }
        count > 0
    }

    /// Whether events are left unread for a moment.
    #[cfg(test)]
    pub fn rests(&self) -> bool {
        self.rest_until.is_some()
    }

    /// Another message may come under a name that has left a Maildir, unless this message is in another Maildir of the user
    /// or, if `here` counts, still here under another name that says the same. `there`: names that were read already.
    fn forget_name(&mut self, key: Key, file_name: &OsStr, here: bool, there: &mut HashMap<Key, Names>) {
        let Some(target) = self.targets.get(&key) else { return };
        self.unsure.remove(&(key, file_name.to_owned()));
        let user = target.watched.user.clone();
        let (id, is_unique) = (name::known_as(file_name.as_bytes()), name::is_unique(file_name.as_bytes()));
        let is_elsewhere = self.of_user.get(&user).into_iter().flatten().any(|other| match self.targets.get(other) {
            Some(target) if is_unique => *other != key && target.has(file_name),
            Some(target) if here || *other != key => {
                let names = there.entry(*other).or_insert_with(|| target.names_by_id()).get(id);
                names.is_some_and(|names| names.iter().any(|name| *other != key || name != file_name))
            }
            _ => false,
        });
        if !is_elsewhere {
            self.delivery.ledger().inspect(|ledger| ledger.gone(&user, file_name.as_bytes()));
        }
    }

    /// Looks at the Maildirs without a watch, if it is time, and asks whether the others are still what is watched.
    pub fn look_at_folders(&mut self, now: Instant) {
        if self.slow_at.is_some_and(|at| at <= now) {
            self.slow_wait = (self.slow_wait * 2).min(SLOW);
            self.attach(&self.keys(|target| target.wd.is_none()));
        }
        if self.check_at <= now {
            self.check_at = now + CHECK;
            self.attach(&self.keys(Target::is_replaced));
        }
    }

    /// Records what is in any `new/` and not known.
    fn scan(&mut self) {
        let mut names = Vec::new();
        for (key, target) in &mut self.targets {
            let new = target.open_new();
            names.extend(target.names(new).into_iter().map(|name| (*key, name, Way::Unknown)));
        }
        self.consider_all(names);
    }

    /// Looks at those names that are not known, in the order of arrival.
    fn consider_all(&mut self, names: Vec<Name>) {
        let mut candidates = self.candidates(names);
        sort(&mut candidates);
        batch::record(&mut self.targets, &mut self.unsure, &self.delivery, candidates);
    }

    /// Looks at those names that are not known. True when there were some.
    fn consider(&mut self, names: Vec<Name>) -> bool {
        let candidates = self.candidates(names);
        let is_new = !candidates.is_empty();
        batch::record(&mut self.targets, &mut self.unsure, &self.delivery, candidates);
        is_new
    }

    /// Those that are not known.
    fn candidates(&mut self, names: Vec<Name>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (key, file_name, way) in names {
            let Some(target) = self.targets.get(&key) else { continue };
            let name = (key, file_name);
            let is_known = way == Way::Unknown && self.unsure.contains_key(&name);
            if is_known || !name::is_message(name.1.as_bytes()) {
                continue;
            }
            let expected = match self.unsure.remove(&name) {
                Some(unsure) => Some(unsure.expected),
                None => {
                    let ledger = self.delivery.ledger();
                    ledger.and_then(|ledger| ledger.claim(&target.watched.user, name.1.as_bytes()))
                }
            };
            let (key, file_name) = name;
            candidates.extend(expected.map(|expected| Candidate { key, file_name, way, expected, wait: QUIET }));
        }
        candidates
    }

    /// Looks again at files that may be finished by `now`.
    fn look_again(&mut self, now: Instant) {
        let due = self.unsure.extract_if(.., |_, unsure| unsure.due <= now);
        let candidate = |((key, file_name), unsure)| {
            let Unsure { wait, expected, .. } = unsure;
            Candidate { key, file_name, way: Way::Unknown, expected, wait }
        };
        let mut candidates: Vec<Candidate> = due.map(candidate).collect();
        sort(&mut candidates);
        batch::record(&mut self.targets, &mut self.unsure, &self.delivery, candidates);
    }
}

/// Puts them into the order of arrival; by Maildir where the names tell no time.
fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by_cached_key(|Candidate { key, file_name, .. }| {
        (Arrival::of(file_name.as_bytes()), *key, file_name.clone())
    });
}
