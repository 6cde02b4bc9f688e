//! inotify(7) on the `new/` of each Maildir. What lies above is not watched: `watcher` looks from time to time whether
//! `new/` is still the folder that is watched.

use super::look::Way;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Octets of events that are read at a time.
const EVENTS: usize = 64 * 1024;

/// The number of a Maildir.
pub type Key = usize;

/// The kernel's number of a watch.
pub type Wd = i32;

/// What happened in a `new/`, or to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A name came, or a program that had written the file has closed it.
    Came(Key, OsString, Way),
    /// A name has left; `true`: it was moved and may come back.
    Gone(Key, OsString, bool),
    /// The attributes of a file have changed.
    Changed(Key, OsString),
    /// The folder itself was removed, moved or unmounted.
    Lost(Key),
    /// The kernel has dropped events.
    Overflow,
}

/// Every watch.
#[derive(Debug)]
pub struct Watches {
    inotify: OwnedFd,
    /// The Maildirs of each watch: a folder that two users have has one watch.
    keys: HashMap<Wd, Vec<Key>>,
    space: Vec<MaybeUninit<u8>>,
}

impl Watches {
    /// None yet.
    ///
    /// # Errors
    ///
    /// When the system has no inotify instance left.
    pub fn new() -> io::Result<Watches> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Watches { inotify, keys: HashMap::new(), space: vec![MaybeUninit::uninit(); EVENTS] })
    }

    /// Readable when something happened.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches the `new/` of a Maildir; a link in its place is not followed.
    ///
    /// # Errors
    ///
    /// Of inotify_add_watch(2); ENOSPC when this user has no watch left.
    pub fn add(&mut self, key: Key, maildir: &Path) -> rustix::io::Result<Wd> {
        let folder = WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let came = WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        let gone = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
        let wd = inotify::add_watch(&self.inotify, maildir.join("new"), folder | came | gone)?;
        let keys = self.keys.entry(wd).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
        Ok(wd)
    }

    /// Ends a watch for one Maildir.
    pub fn remove(&mut self, key: Key, wd: Wd) {
        let Some(keys) = self.keys.get_mut(&wd) else { return };
        keys.retain(|other| *other != key);
        if keys.is_empty() {
            self.keys.remove(&wd);
            // The kernel has removed it already where the folder is gone.
            let _ = inotify::remove_watch(&self.inotify, wd);
        }
    }

    /// Takes what has happened, or a good part of it; then [`Watches::fd`] stays readable.
    pub fn events(&mut self) -> Vec<Event> {
        let mut happened = Vec::new();
        let mut events = inotify::Reader::new(&self.inotify, &mut self.space);
        // An error is WOULDBLOCK, or one that cannot be answered otherwise either.
        while let Ok(event) = events.next() {
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                happened.push(Event::Overflow);
            }
            let name = OsStr::from_bytes(event.file_name().map(|name| name.to_bytes()).unwrap_or_default());
            for key in self.keys.get(&event.wd()).into_iter().flatten() {
                happened.extend(of_flags(*key, name, flags));
            }
            // Another read(2) would only say that there is no more.
            if events.is_buffer_empty() {
                break;
            }
        }
        happened
    }
}

fn of_flags(key: Key, name: &OsStr, flags: ReadFlags) -> Option<Event> {
    let lost = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
    if flags.intersects(lost) {
        return Some(Event::Lost(key));
    }
    // The folder's own attributes.
    if name.is_empty() {
        return None;
    }
    let name = name.to_owned();
    Some(if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        Event::Gone(key, name, flags.contains(ReadFlags::MOVED_FROM))
    } else if flags.contains(ReadFlags::ATTRIB) {
        Event::Changed(key, name)
    } else if flags.contains(ReadFlags::MOVED_TO) {
        Event::Came(key, name, Way::Renamed)
    } else if flags.contains(ReadFlags::CLOSE_WRITE) {
        Event::Came(key, name, Way::Closed)
    } else {
        Event::Came(key, name, Way::Unknown)
    })
}
