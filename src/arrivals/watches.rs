//! Which folders inotify(7) watches for which Maildir, so that one that is not there yet, or is replaced, is found
//! again without looking at it from time to time.
//!
//! ```text
//! /home/bob/Maildir/new    what arrives; that it goes away
//! /home/bob/Maildir        that it goes away
//! /home/bob, /home         the same; the deepest one that exists also tells when the next one comes to be
//! /disk/bob, /disk         that they go away, if they are where a link among these leads to
//! ```

use super::look::Way;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Octets of events that are read at a time.
const EVENTS: usize = 16 * 1024;

/// The number of a Maildir, for whoever asks for it to be watched.
pub type Key = usize;

/// Every watch.
#[derive(Debug)]
pub struct Watches {
    inotify: OwnedFd,
    folders: HashMap<i32, Folder>,
    /// The watches of each Maildir.
    of: HashMap<Key, Vec<i32>>,
    space: Vec<MaybeUninit<u8>>,
}

/// A folder that is watched, and for whom.
#[derive(Debug, Default)]
struct Folder {
    mask: WatchFlags,
    roles: HashMap<Key, Role>,
    /// How many of the roles are `New`, and how many are `Last`.
    counts: [usize; 2],
}

impl Folder {
    fn set(&mut self, key: Key, role: Role) {
        self.unset(key);
        self.counts[0] += usize::from(role == Role::New);
        self.counts[1] += usize::from(matches!(role, Role::Last(_)));
        self.roles.insert(key, role);
    }

    fn unset(&mut self, key: Key) {
        if let Some(role) = self.roles.remove(&key) {
            self.counts[0] -= usize::from(role == Role::New);
            self.counts[1] -= usize::from(matches!(role, Role::Last(_)));
        }
    }

    /// What must be watched for all roles.
    fn needed(&self) -> WatchFlags {
        let mut mask = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        mask.set(WatchFlags::MOVED_TO | WatchFlags::CREATE, self.counts != [0, 0]);
        let of_new = WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB | WatchFlags::DELETE | WatchFlags::MOVED_FROM;
        mask.set(of_new, self.counts[0] > 0);
        mask
    }
}

/// What a folder is to a Maildir.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// `new/`.
    New,
    /// Above it.
    Above,
    /// The deepest one that exists; the next one will have this name.
    Last(OsString),
}

/// What came of [`Watches::attach`].
#[derive(Debug)]
pub enum Attached {
    /// Its `new/` is watched.
    Watched,
    /// It is not there; what is above it is watched.
    Awaited,
    /// It must be looked at from time to time, since the system has no watch left for this user.
    Full,
    /// The same, because of this.
    Unwatched(io::Error),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A name came to be in a Maildir's `new/`, or who wrote the file has closed it.
    Name {
        /// Which Maildir.
        key: Key,
        /// In `new/`.
        file_name: OsString,
        /// How.
        way: Way,
    },
    /// The attributes of a file in a Maildir's `new/` have changed. Of our own deliveries only those to several users do it.
    Changed {
        /// Which Maildir.
        key: Key,
        /// In `new/`.
        file_name: OsString,
    },
    /// A name has left a Maildir's `new/`.
    Gone {
        /// Which Maildir.
        key: Key,
        /// In `new/`.
        file_name: OsString,
        /// To elsewhere, and perhaps to come back; not deleted.
        moved: bool,
    },
    /// The Maildir came, went, or was replaced: attach it again.
    Moved(Key),
    /// Some events were lost: look at everything.
    Overflow,
}

impl Watches {
    /// None yet.
    ///
    /// # Errors
    ///
    /// When the system has no inotify instance left.
    pub fn new() -> io::Result<Watches> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let space = vec![MaybeUninit::uninit(); EVENTS];
        Ok(Watches { inotify, folders: HashMap::new(), of: HashMap::new(), space })
    }

    /// Readable when something happened.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches a Maildir, from `new/` up to the root. Whoever calls looks into `new/` afterwards.
    pub fn attach(&mut self, key: Key, maildir: &Path) -> Attached {
        let before = self.of.remove(&key).unwrap_or_default();
        let attached = self.attach_anew(key, maildir);
        // Only now: what has happened where it is still watched would be lost.
        self.release(key, before);
        attached
    }

    fn attach_anew(&mut self, key: Key, maildir: &Path) -> Attached {
        loop {
            self.detach(key);
            let new = maildir.join("new");
            let mut folders: Vec<&Path> = new.ancestors().filter(|folder| folder.file_name().is_some()).collect();
            folders.reverse();
            let missing = match self.attach_existing(key, &folders) {
                Ok(None) => return Attached::Watched,
                Ok(Some(missing)) => missing,
                Err(error) => return self.unwatched(key, error),
            };
            // Nothing tells when what a link leads to comes to be.
            if missing.is_symlink() {
                return self.unwatched(key, Errno::NOENT);
            }
            // The root has no watch of its own but for this: it goes nowhere.
            let last = missing.parent().unwrap_or(Path::new("/"));
            let role = Role::Last(missing.file_name().unwrap_or_default().to_owned());
            match self.add(last, key, role) {
                // It may have come to be just before.
                Ok(()) if missing.is_dir() => {}
                Ok(()) => return Attached::Awaited,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return self.unwatched(key, error),
            }
        }
    }

    fn unwatched(&mut self, key: Key, error: Errno) -> Attached {
        self.detach(key);
        match error {
            Errno::NOSPC => Attached::Full,
            error => Attached::Unwatched(error.into()),
        }
    }

    /// Watches as far down as there is something, and gives what is missing.
    fn attach_existing(&mut self, key: Key, folders: &[&Path]) -> rustix::io::Result<Option<PathBuf>> {
        let links: Vec<bool> = folders.iter().map(|folder| folder.is_symlink()).collect();
        let real = if links.contains(&true) {
            folders.iter().rev().find_map(|folder| folder.canonicalize().ok()).unwrap_or_default()
        } else {
            PathBuf::new()
        };
        // First: what they are by their own names, too, matters more.
        for folder in real.ancestors().filter(|folder| folder.file_name().is_some() && !folders.contains(folder)) {
            match self.add(folder, key, Role::Above) {
                // As below; and what has gone just now, the next look finds out.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => return Err(error),
            }
        }
        for (at, folder) in folders.iter().enumerate() {
            let is_new = at + 1 == folders.len();
            match self.add(folder, key, if is_new { Role::New } else { Role::Above }) {
                // Another link may come in the place of this one.
                Ok(()) if at > 0 && links[at] => {
                    let role = Role::Last(folder.file_name().unwrap_or_default().to_owned());
                    self.add(folders[at - 1], key, role)?;
                }
                Ok(()) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Some(folder.to_path_buf())),
                // Who may pass a folder and not read it cannot watch it, but can watch what is in it.
                Err(Errno::ACCESS) if !is_new => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Watches a Maildir no more.
    pub fn detach(&mut self, key: Key) {
        let wds = self.of.remove(&key).unwrap_or_default();
        self.release(key, wds);
    }

    /// Lets go of those of these watches that a Maildir does not have any more.
    fn release(&mut self, key: Key, wds: Vec<i32>) {
        let kept = self.of.get(&key).cloned().unwrap_or_default();
        for wd in wds.into_iter().filter(|wd| !kept.contains(wd)) {
            let Some(folder) = self.folders.get_mut(&wd) else { continue };
            folder.unset(key);
            if folder.roles.is_empty() {
                self.folders.remove(&wd);
                // The kernel may have let go of it itself.
                let _ = inotify::remove_watch(&self.inotify, wd);
            }
        }
    }

    fn add(&mut self, path: &Path, key: Key, role: Role) -> rustix::io::Result<()> {
        // Adds nothing to a watch that there is, and tells which one it is.
        let least = Folder::default().needed();
        let wd = inotify::add_watch(&self.inotify, path, least | WatchFlags::MASK_ADD)?;
        let folder = self.folders.entry(wd).or_default();
        folder.set(key, role);
        self.of.entry(key).or_default().push(wd);
        // What nobody waits for any more would wake us for nothing.
        let needed = folder.needed();
        if needed != folder.mask {
            inotify::add_watch(&self.inotify, path, needed)?;
            folder.mask = needed;
        }
        Ok(())
    }

    /// Takes what has happened, or a good part of it: then [`Watches::fd`] stays readable.
    pub fn events(&mut self) -> Vec<Event> {
        let mut happened = Vec::new();
        let mut events = inotify::Reader::new(&self.inotify, &mut self.space);
        // An error is WOULDBLOCK, or one that would come again and cannot be answered otherwise either.
        while let Ok(event) = events.next() {
            let flags = event.events();
            let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                happened.push(Event::Overflow);
            } else if let Some(folder) = self.folders.get(&event.wd()) {
                let file_name = OsStr::from_bytes(event.file_name().map(|name| name.to_bytes()).unwrap_or_default());
                let way = match flags {
                    _ if flags.contains(ReadFlags::MOVED_TO) => Way::Renamed,
                    _ if flags.contains(ReadFlags::CLOSE_WRITE) => Way::Closed,
                    _ => Way::Unknown,
                };
                happened.extend(folder.roles.iter().filter_map(|(key, role)| match role {
                    _ if flags.intersects(gone) => Some(Event::Moved(*key)),
                    Role::New if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) => {
                        let moved = flags.contains(ReadFlags::MOVED_FROM);
                        Some(Event::Gone { key: *key, file_name: file_name.to_owned(), moved })
                    }
                    Role::New if flags.contains(ReadFlags::ATTRIB) => {
                        Some(Event::Changed { key: *key, file_name: file_name.to_owned() })
                    }
                    Role::New => Some(Event::Name { key: *key, file_name: file_name.to_owned(), way }),
                    Role::Last(next) => (next == file_name).then_some(Event::Moved(*key)),
                    Role::Above => None,
                }));
            }
            // Another read(2) would only say that there is no more.
            if events.is_buffer_empty() {
                break;
            }
        }
        happened
    }
}
