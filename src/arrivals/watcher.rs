//! What the thread does: it waits for names in `new/`, looks at the files, and records the messages.

use super::look::Way;
use super::target::{LONGEST_WAIT, Target};
use super::watches::{Attached, Event, Key, Watches};
use super::{Order, Orders, Watched};
use crate::delivery::Delivery;
use crate::journal::Record;
use crate::ledger::{Expected, Ledger};
use crate::maildir::name::{self, Arrival};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a Maildir that cannot be watched is looked at.
const SLOW: Duration = Duration::from_secs(5);

/// So long after a change of what is mounted the Maildirs are looked at: at a start of the system, many come together.
const MOUNTED: Duration = Duration::from_millis(200);

/// Records that are appended at once.
const BATCH: usize = 64;

/// All that is watched.
pub struct Watcher {
    delivery: Arc<Delivery>,
    /// `None` when the system has no inotify for us.
    watches: Option<Watches>,
    /// The system has no watch left for us; to be tried again the next time.
    is_full: bool,
    has_said_full: bool,
    targets: BTreeMap<Key, Target>,
    next_key: Key,
    /// When the Maildirs without a watch are looked at.
    slow_at: Option<Instant>,
    /// Tells poll(2) when something is mounted (proc_pid_mountinfo(5)), perhaps over a folder that is watched; no watch
    /// tells that.
    mounts: Option<File>,
    /// When all are watched anew because of that.
    mounted_at: Option<Instant>,
}

/// Why the thread goes on.
#[derive(Default)]
struct Woken {
    ordered: bool,
    mounted: bool,
}

impl Watcher {
    /// Watches nothing yet.
    pub fn new(delivery: Arc<Delivery>) -> Watcher {
        let watches = Watches::new().inspect_err(|error| {
            log::error!(
                "inotify: {error}; Maildirs are looked at every {} s instead (fs.inotify.max_user_instances)",
                SLOW.as_secs()
            );
        });
        let has_said_full = watches.is_err();
        Watcher { watches: watches.ok(), has_said_full, ..Watcher::without_inotify(delivery) }
    }

    /// Looks from time to time.
    pub fn without_inotify(delivery: Arc<Delivery>) -> Watcher {
        Watcher {
            delivery,
            watches: None,
            is_full: false,
            has_said_full: true,
            targets: BTreeMap::new(),
            next_key: 0,
            slow_at: None,
            mounts: File::open("/proc/thread-self/mountinfo").ok(),
            mounted_at: None,
        }
    }

    /// Watches these and no others, and records what is in them. All of them anew: nothing tells that a link was replaced
    /// to which another one leads.
    pub fn watch(&mut self, watched: Vec<Watched>) {
        self.delivery.watch(watched.iter().map(|each| (each.user.clone(), each.maildir.clone())).collect());
        let keys = self.targets.iter().filter(|(_, target)| !watched.contains(&target.watched)).map(|(key, _)| *key);
        for key in keys.collect::<Vec<_>>() {
            self.forget(key);
        }
        for watched in watched {
            if self.targets.values().any(|target| target.watched == watched) {
                continue;
            }
            let is_own = self.delivery.is_own(&watched.user, &watched.maildir);
            self.targets.insert(self.next_key, Target::new(watched, is_own));
            self.next_key += 1;
        }
        self.is_full = false;
        self.attach_all();
    }

    /// Waits for files that were put there just before the first scan and may be unfinished; not for those that are.
    pub fn settle(&mut self) {
        if let Some(last) = self.targets.values().flat_map(Target::due).max() {
            std::thread::sleep(last.saturating_duration_since(Instant::now()));
            self.look_again(last);
        }
    }

    fn forget(&mut self, key: Key) {
        // What is unsure in it is not expected any more.
        if self.targets.remove(&key).is_none() {
            return;
        }
        if let Some(watches) = &mut self.watches {
            watches.detach(key);
        }
    }

    /// Goes on until it is told to stop.
    pub fn run(mut self, orders: &Orders) {
        loop {
            let woken = self.wait(orders);
            if woken.mounted {
                self.mounted_at.get_or_insert(Instant::now() + MOUNTED);
            }
            for order in if woken.ordered { orders.take() } else { Vec::new() } {
                match order {
                    Order::Watch(watched) => self.watch(watched),
                    Order::Scan => self.scan_all(),
                    Order::Stop => {
                        while self.take_events() {}
                        return self.look_again(Instant::now() + LONGEST_WAIT);
                    }
                }
            }
            self.take_events();
            let now = Instant::now();
            self.look_again(now);
            self.look_at_slow(now);
            self.look_at_mounts(now);
        }
    }

    /// Sleeps until there are orders or events, or something is due.
    fn wait(&self, orders: &Orders) -> Woken {
        let due = self.targets.values().flat_map(Target::due).chain(self.slow_at).chain(self.mounted_at).min();
        let timeout = due.map(|due| {
            let time = due.saturating_duration_since(Instant::now());
            // Rounded up, so that it is due when the sleep is over.
            Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
        });
        let mut fds = vec![PollFd::new(&orders.bell, PollFlags::IN)];
        fds.extend(self.mounts.iter().map(|mounts| PollFd::new(mounts, PollFlags::PRI)));
        let events = self.watches.as_ref().map(|watches| watches.fd());
        fds.extend(events.iter().map(|events| PollFd::new(events, PollFlags::IN)));
        if let Err(error) = poll(&mut fds, timeout.as_ref())
            && error != rustix::io::Errno::INTR
        {
            log::error!("arrivals: poll: {error}");
            std::thread::sleep(SLOW);
            return Woken { ordered: true, mounted: false };
        }
        let happened = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Woken { ordered: happened(0), mounted: self.mounts.is_some() && happened(1) }
    }

    /// Watches a Maildir, anew if it was watched.
    fn attach(&mut self, key: Key) {
        let Some(target) = self.targets.get_mut(&key) else { return };
        target.note_folder();
        let attached = match &mut self.watches {
            Some(watches) if !self.is_full => watches.attach(key, &target.watched.maildir),
            _ => Attached::Full,
        };
        let was_slow = target.is_slow;
        target.is_slow = matches!(attached, Attached::Full | Attached::Unwatched(_));
        if target.is_slow {
            self.slow_at.get_or_insert(Instant::now() + SLOW);
        }
        match attached {
            // Whether it can be read is still to be seen where it could not be the last time.
            Attached::Watched => target.has_complained &= was_slow,
            Attached::Awaited => {}
            Attached::Full => {
                self.is_full = true;
                if !std::mem::replace(&mut self.has_said_full, true) {
                    let seconds = SLOW.as_secs();
                    log::error!(
                        "too many Maildirs for inotify: raise fs.inotify.max_user_watches; some are looked at every \
                         {seconds} s instead"
                    );
                }
            }
            Attached::Unwatched(error) => {
                if !std::mem::replace(&mut target.has_complained, true) {
                    let maildir = target.watched.maildir.display();
                    log::error!("{maildir}: cannot be watched ({error}); looked at every {} s instead", SLOW.as_secs());
                }
            }
        }
    }

    /// False when nothing had happened.
    fn take_events(&mut self) -> bool {
        let events = self.watches.as_mut().map(Watches::events).unwrap_or_default();
        let happened = !events.is_empty();
        let mut names = Vec::new();
        let mut gone = Vec::new();
        let mut moved = Vec::new();
        for event in events {
            match event {
                Event::Name { key, file_name, way } => names.push((key, file_name, way)),
                Event::Changed { key, file_name } => {
                    self.targets.entry(key).and_modify(|target| target.hasten(&file_name));
                }
                // A message with a unique name is the same one when it comes back.
                Event::Gone { file_name, moved: true, .. } if name::is_unique(file_name.as_bytes()) => {}
                Event::Gone { key, file_name, .. } => gone.push((names.len(), key, file_name)),
                Event::Moved(key) => moved.push(key),
                Event::Overflow => {
                    log::warn!("inotify lost events; looking at every Maildir");
                    moved.extend(self.targets.keys().copied());
                }
            }
        }
        // What came and went is looked at before it is forgotten: it may be in cur/. What came by a name that had gone is
        // another message.
        let (replaced, gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(at, key, file_name)| {
            names[*at..].iter().any(|(new_key, new_name, _)| new_key == key && new_name == file_name)
        });
        replaced.into_iter().for_each(|(_, key, file_name)| self.forget_name(key, &file_name, false));
        self.consider(names);
        let mut there = HashMap::new();
        for (_, key, file_name) in gone {
            // The message may only have another name now. By this one, it would be another message.
            let is_renamed = !name::is_unique(file_name.as_bytes())
                && self.targets.get(&key).is_some_and(|target| {
                    let known = there.entry(key).or_insert_with(|| target.known_names());
                    let names = known.get(name::known_as(file_name.as_bytes()));
                    names.is_some_and(|names| names.iter().any(|name| *name != file_name))
                });
            self.forget_name(key, &file_name, is_renamed);
        }
        moved.sort_unstable();
        moved.dedup();
        moved.iter().for_each(|key| self.attach(*key));
        self.scan(&moved);
        happened
    }

    /// Another message may come by a name that has left a Maildir, unless this message is still there, or in another one
    /// of the user's.
    fn forget_name(&mut self, key: Key, file_name: &OsStr, is_there: bool) {
        let (Some(target), Some(ledger)) = (self.targets.get(&key), self.delivery.ledger()) else { return };
        let user = &target.watched.user;
        let mut others = self.targets.iter().filter(|(other, target)| **other != key && target.watched.user == *user);
        let is_elsewhere = is_there || others.any(|(_, target)| target.has(file_name));
        if let Some(target) = self.targets.get_mut(&key) {
            target.forget(file_name, is_elsewhere, ledger);
        }
    }

    /// Looks at the Maildirs that cannot be watched, if it is time.
    pub fn look_at_slow(&mut self, now: Instant) {
        if self.slow_at.is_none_or(|at| at > now) {
            return;
        }
        self.slow_at = None;
        self.is_full = false;
        let slow: Vec<Key> = self.targets.iter().filter(|(_, target)| target.is_slow).map(|(key, _)| *key).collect();
        slow.iter().for_each(|key| self.attach(*key));
        self.scan(&slow);
    }

    /// Watches those anew over which something was mounted a while ago.
    fn look_at_mounts(&mut self, now: Instant) {
        if self.mounted_at.is_none_or(|at| at > now) {
            return;
        }
        self.mounted_at = None;
        let others = self.targets.iter().filter(|(_, target)| target.is_another_folder()).map(|(key, _)| *key);
        let others: Vec<Key> = others.collect();
        others.iter().for_each(|key| self.attach(*key));
        self.scan(&others);
    }

    fn attach_all(&mut self) {
        let all: Vec<Key> = self.targets.keys().copied().collect();
        all.iter().for_each(|key| self.attach(*key));
        self.scan(&all);
    }

    fn scan_all(&mut self) {
        let all: Vec<Key> = self.targets.keys().copied().collect();
        self.scan(&all);
    }

    /// Records what is in the `new/` of these Maildirs and not known, in the order of arrival.
    fn scan(&mut self, keys: &[Key]) {
        let mut names = Vec::new();
        for key in keys {
            let Some(target) = self.targets.get_mut(key) else { continue };
            names.extend(target.names().into_iter().map(|file_name| (*key, file_name, Way::Unknown)));
            if target.is_slow {
                self.slow_at.get_or_insert(Instant::now() + SLOW);
            }
        }
        sort(&mut names);
        self.consider(names);
    }

    /// Looks at those names that are not known.
    fn consider(&mut self, names: Vec<(Key, OsString, Way)>) {
        self.record(names, |target, file_name, way, ledger| target.consider(file_name, way, ledger));
    }

    /// Looks again at files that may be finished by `now`.
    fn look_again(&mut self, now: Instant) {
        let mut names = Vec::new();
        for (key, target) in &self.targets {
            names.extend(target.due_names(now).map(|file_name| (*key, file_name.to_owned(), Way::Unknown)));
        }
        sort(&mut names);
        self.record(names, |target, file_name, _, _| target.look_again(file_name, now));
    }

    /// Appends what `look` makes of these names.
    fn record(
        &mut self,
        names: Vec<(Key, OsString, Way)>,
        look: impl Fn(&mut Target, OsString, Way, &Arc<Ledger>) -> Option<(Expected, Record)>,
    ) {
        let Some(ledger) = self.delivery.ledger() else { return };
        let (mut found, mut recipients) = (Vec::new(), Vec::new());
        for (key, file_name, way) in names {
            let Some(target) = self.targets.get_mut(&key) else { continue };
            if let Some((expected, record)) = look(target, file_name, way, ledger) {
                recipients.push((key, record.clone()));
                found.push((expected, record));
            }
            if found.len() >= BATCH {
                ledger.found(std::mem::take(&mut found));
            }
        }
        ledger.found(found);
        for (key, record) in recipients {
            self.targets.get(&key).inspect(|target| target.forget_recipients(&record));
        }
    }
}

/// In the order of arrival; by key where the names tell no time.
fn sort(names: &mut [(Key, OsString, Way)]) {
    names.sort_by_cached_key(|(key, file_name, _)| (Arrival::of(file_name.as_bytes()), *key, file_name.clone()));
}
