//! Following the journal while it grows.
//!
//! In the process that writes the journal, [`Told`] wakes a follower. In another process, inotify(7) on the mark and on the
//! folder does.

use super::mark;
use super::reader::{Item, Reader};
use super::segment;
use super::told::{Told, Waiter};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A place in the journal that moves forward, and knows when there may be more.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    signal: Signal,
}

/// What tells that there may be more.
#[derive(Debug)]
enum Signal {
    Told(Waiter),
    Inotify(OwnedFd),
    /// There are no more inotify instances (inotify(7), max_user_instances).
    None,
}

impl Follower {
    /// Follows the journal in `dir` from the record after `after`. Without inotify the caller has to look now and then:
    /// [`Follower::fd`] says so.
    ///
    /// # Errors
    ///
    /// When the folder is not there or cannot be read.
    pub fn open(dir: &Path, after: u64) -> io::Result<Follower> {
        let signal = match watch(dir) {
            Ok(inotify) => Signal::Inotify(inotify),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::NOSYS) => {
                log::warn!("no more inotify instances or watches (fs.inotify.*, sysctl): looking now and then instead");
                Signal::None
            }
            Err(error) => return Err(error.into()),
        };
        let follower = Follower { reader: Reader::new(dir, after), signal };
        segment::list(dir)?;
        Ok(follower)
    }

    /// The same in the process that writes the journal.
    ///
    /// # Errors
    ///
    /// When the folder is not there or cannot be read, or there are no descriptors left.
    pub fn inside(dir: &Path, after: u64, told: &Told) -> io::Result<Follower> {
        segment::list(dir)?;
        Ok(Follower { reader: Reader::of_told(dir, after, told.clone()), signal: Signal::Told(told.waiter()?) })
    }

    /// Readable when the journal may have grown since [`Follower::drain_events`]; `None` when nothing tells.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.signal {
            Signal::Told(waiter) => Some(waiter.fd(self.reader.safe_seq())),
            Signal::Inotify(inotify) => Some(inotify.as_fd()),
            Signal::None => None,
        }
    }

    /// As on a system without inotify.
    #[cfg(test)]
    pub(crate) fn make_blind(&mut self) {
        self.signal = Signal::None;
    }

    /// Goes to the record after `after`, forwards or back.
    pub fn go_to(&mut self, after: u64) {
        self.reader.go_to(after);
    }

    /// Takes what [`Follower::fd`] holds. Call it before reading to the end, not after: an event that comes in between
    /// then stays for the next wait.
    pub fn drain_events(&mut self) {
        self.reader.look_again();
        let inotify = match &self.signal {
            Signal::Told(waiter) => return waiter.clear(),
            Signal::Inotify(inotify) => inotify,
            Signal::None => {
                // Nothing tells whether a mark has come meanwhile.
                self.reader.look_at_folder();
                self.reader.look_for_mark();
                return;
            }
        };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut space);
        let mut marked = false;
        while let Ok(event) = events.next() {
            if event.events() != inotify::ReadFlags::MODIFY {
                self.reader.look_at_folder();
                marked |= event.file_name().map(CStr::to_bytes) == Some(mark::NAME.as_bytes());
            }
            // What is in the buffer is taken; another read(2) would only say that there is no more.
            if events.is_buffer_empty() {
                break;
            }
        }
        if marked {
            self.reader.look_for_mark();
            if let Err(error) = watch_mark(inotify, self.reader.dir()) {
                log::warn!("{}: cannot be watched: {error}", self.reader.dir().display());
            }
        }
    }

    /// The next item; `None` when there is nothing more yet.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened. The place stays where it was.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        self.reader.next_item()
    }
}

fn watch(dir: &Path) -> Result<OwnedFd, Errno> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    watch_mark(&inotify, dir)?;
    Ok(inotify)
}

/// Watches the mark, which changes when there is more to tell, and the folder for segments that come. Without a mark each
/// change of a segment tells.
fn watch_mark(inotify: &OwnedFd, dir: &Path) -> Result<(), Errno> {
    use inotify::WatchFlags;
    let names = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    // First, so that a mark that comes meanwhile is seen.
    inotify::add_watch(inotify, dir, names | WatchFlags::MODIFY)?;
    match inotify::add_watch(inotify, dir.join(mark::NAME), WatchFlags::MODIFY) {
        Ok(_) => inotify::add_watch(inotify, dir, names).map(|_| ()),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}
