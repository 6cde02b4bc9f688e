//! inotify(7) on the queue's folders: what other processes, and other threads, put in or take out.

use super::{Queue, QueueId};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Octets of events that are read at a time.
const EVENTS: usize = 16 * 1024;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message waits.
    Came(QueueId),
    /// A message waits no more.
    Gone(QueueId),
    /// [`Queue::take_retries`] has something.
    Asked,
    /// The kernel has dropped events: look at everything.
    Overflow,
}

/// The watch.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    retry: i32,
    space: Vec<MaybeUninit<u8>>,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    ///
    /// When the system has no inotify instance or watch left.
    pub fn new(queue: &Queue) -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let moved = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, queue.waiting_folder(), moved)?;
        let retry = inotify::add_watch(&inotify, queue.retry_folder(), WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR)?;
        Ok(Watch { inotify, retry, space: vec![MaybeUninit::uninit(); EVENTS] })
    }

    /// Readable when something happened.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// What happened since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut reader = inotify::Reader::new(&self.inotify, &mut self.space);
        // An error says that there is nothing more.
        while let Ok(event) = reader.next() {
            let flags = event.events();
            let id = event.file_name().and_then(|name| name.to_str().ok()).and_then(QueueId::parse);
            match id {
                _ if flags.contains(ReadFlags::QUEUE_OVERFLOW) => events.push(Event::Overflow),
                _ if event.wd() == self.retry => events.push(Event::Asked),
                Some(id) if flags.contains(ReadFlags::MOVED_TO) => events.push(Event::Came(id)),
                Some(id) => events.push(Event::Gone(id)),
                None => {}
            }
        }
        events
    }
}
