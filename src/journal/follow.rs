//! Following the journal while it grows: inside the server and outside it alike.
//!
//! A follower needs no help from the writer: inotify(7) on the mark and on the folder tells when there is more to read.

use super::mark;
use super::reader::{Item, Reader};
use super::segment;
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
    /// `None` where there are no more instances (inotify(7), max_user_instances).
    inotify: Option<OwnedFd>,
}

impl Follower {
    /// Follows the journal in `dir` from the record after `after`. Where inotify is not to be had, its user has to look
    /// now and then: [`Follower::fd`] says so.
    ///
    /// # Errors
    ///
    /// When the folder is not there or cannot be read.
    pub fn open(dir: &Path, after: u64) -> io::Result<Follower> {
        let inotify = match watch(dir) {
            Ok(inotify) => Some(inotify),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::NOSYS) => {
                log::warn!("no more inotify instances or watches (fs.inotify.*, sysctl): looking now and then instead");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let follower = Follower { reader: Reader::new(dir, after), inotify };
        segment::list(dir)?;
        Ok(follower)
    }

    /// Readable when the journal may have grown since [`Follower::drain_events`]; `None` when nothing tells.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// As it is where inotify is not to be had.
    #[cfg(test)]
    pub(crate) fn make_blind(&mut self) {
        self.inotify = None;
    }

    /// Goes to the record after `after`, forwards or back.
    pub fn go_to(&mut self, after: u64) {
        self.reader = Reader::new(self.reader.dir(), after);
    }

    /// Takes what [`Follower::fd`] holds. Call it before reading to the end, not after: an event that comes in between
    /// then stays for the next wait.
    pub fn drain_events(&mut self) {
        self.reader.look_again();
        let Some(inotify) = &self.inotify else {
            // Nothing tells whether a mark has come meanwhile.
            self.reader.look_at_folder();
            self.reader.look_for_mark();
            return;
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
