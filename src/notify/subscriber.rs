//! What every subscriber is: a place in the journal, a filter, and a way to hand over. The loop that is the same for all
//! of them is here; a pipe, a hook and `watch` are each a [`Way`] in a file of its own.

use super::filter::Filter;
use crate::journal::{Cursor, Follower, Item, Place, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Records that are looked at before the stop signal is looked at again.
const BATCH: usize = 256;

/// How long to wait before a journal that could not be read is tried again.
const LATER: Duration = Duration::from_secs(1);

/// How often to look at a journal that cannot tell when it grows.
const LOOK: Duration = Duration::from_millis(100);

/// A way to hand records over. It is called from one thread, and must not block for longer than a stop may take.
pub trait Way {
    /// Takes a record, or gives it back when there is no room for it; then it is offered again after the next wait.
    fn offer(&mut self, record: Box<Record>) -> Result<(), Box<Record>>;

    /// There is nothing to hand over for this record: the filter does not want it.
    fn pass(&mut self, seq: u64);

    /// These records are gone from the journal; there is nothing to hand over for them.
    fn lost(&mut self, from: u64, to: u64);

    /// How far it has come; the cursor is set to this.
    fn place(&mut self) -> Place;

    /// Looks at what happened while it waited. It may ask that the journal be read again after a record.
    fn look(&mut self) -> Option<u64>;

    /// What it waits for besides the journal; `full` says that it has given back a record.
    fn waits(&self, full: bool) -> Waits<'_>;

    /// There is no more to do: the loop ends.
    fn is_done(&self) -> bool {
        false
    }

    /// The end: whatever has not been taken yet will be handed over by the next one.
    fn finish(&mut self);
}

/// What poll(2) waits for.
#[derive(Debug, Default)]
pub struct Waits<'a> {
    /// Descriptors and events.
    pub fds: Vec<(BorrowedFd<'a>, PollFlags)>,
    /// The longest wait.
    pub timeout: Option<Duration>,
}

/// A subscriber, ready to run.
#[derive(Debug)]
pub struct Subscriber<W> {
    follower: Follower,
    filter: Filter,
    cursor: Option<Cursor>,
    /// The way gave it back.
    pending: Option<Box<Record>>,
    /// Something goes wrong again and again, and was logged.
    complained: bool,
    way: W,
}

/// Why [`Subscriber::hand_over`] stopped.
enum Next {
    /// There is more, but others may want to say something.
    Now,
    /// Everything was handed over.
    Journal,
    /// There is no room.
    Room,
    /// The journal cannot be read.
    Later,
}

impl<W: Way> Subscriber<W> {
    /// Follows the journal in `journal` after `after`.
    ///
    /// # Errors
    ///
    /// When the folder is not there or cannot be read.
    pub fn new(
        journal: &Path,
        after: u64,
        filter: Filter,
        cursor: Option<Cursor>,
        way: W,
    ) -> io::Result<Subscriber<W>> {
        let follower = Follower::open(journal, after)?;
        Ok(Subscriber { follower, filter, cursor, pending: None, complained: false, way })
    }

    /// Hands records over until `stop` is readable, or the way is done. Gives the way back.
    pub fn run(mut self, stop: BorrowedFd<'_>) -> W {
        loop {
            if let Some(after) = self.way.look() {
                self.follower.go_to(after);
                self.pending = None;
            }
            self.follower.drain_events();
            let next = self.hand_over();
            self.save();
            if self.way.is_done() || self.wait(&next, stop) {
                break;
            }
        }
        self.way.finish();
        self.save();
        if let Some(cursor) = &self.cursor
            && let Err(error) = cursor.sync()
        {
            log::warn!("a cursor cannot be made safe: {error}");
        }
        self.way
    }

    fn hand_over(&mut self) -> Next {
        for _ in 0..BATCH {
            if self.way.is_done() {
                return Next::Now;
            }
            let record = match self.pending.take() {
                Some(record) => record,
                None => match self.follower.next_item() {
                    Ok(None) => {
                        self.complained = false;
                        return Next::Journal;
                    }
                    Ok(Some(Item::Record(record))) if self.filter.wants(&record) => record,
                    Ok(Some(Item::Record(record))) => {
                        self.way.pass(record.seq);
                        continue;
                    }
                    Ok(Some(Item::Lost { from, to })) => {
                        self.way.lost(from, to);
                        continue;
                    }
                    Err(error) => {
                        self.complain(&format!("the journal cannot be read: {error}"));
                        return Next::Later;
                    }
                },
            };
            if let Err(record) = self.way.offer(record) {
                self.pending = Some(record);
                return Next::Room;
            }
            self.save();
        }
        Next::Now
    }

    /// True when it is told to stop.
    fn wait(&mut self, next: &Next, stop: BorrowedFd<'_>) -> bool {
        let Waits { fds, timeout } = self.way.waits(matches!(next, Next::Room));
        let at_most = |time: Duration| Some(timeout.map_or(time, |timeout| timeout.min(time)));
        let mut polled = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        let timeout = match (next, self.follower.fd()) {
            (Next::Now, _) => Some(Duration::ZERO),
            (Next::Later, _) => at_most(LATER),
            (Next::Journal, None) => at_most(LOOK),
            (Next::Journal, Some(journal)) => {
                polled.push(PollFd::from_borrowed_fd(journal, PollFlags::IN));
                timeout
            }
            (Next::Room, _) => timeout,
        };
        polled.extend(fds.into_iter().map(|(fd, events)| PollFd::from_borrowed_fd(fd, events)));
        wait(&mut polled, timeout);
        !polled[0].revents().is_empty()
    }

    fn save(&mut self) {
        let place = self.way.place();
        let Some(cursor) = &mut self.cursor else { return };
        if cursor.place() != place
            && let Err(error) = cursor.set(place)
        {
            self.complain(&format!("a cursor cannot be written: {error}"));
        }
    }

    /// Says it once, not again and again.
    fn complain(&mut self, what: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            log::error!("{what}");
        }
    }
}

/// poll(2) that is not ended by signals and forgives a timeout beyond all bounds.
pub(super) fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) {
    let end = timeout.map(|timeout| Instant::now() + timeout.min(Duration::from_secs(24 * 3600)));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        match poll(fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                // Out of memory, by poll(2)'s list; not a reason to spin.
                log::error!("poll: {error}");
                std::thread::sleep(LATER);
                return;
            }
            Ok(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::{Scratch, add};
    use crate::notify::wake::Wake;
    use std::os::fd::AsFd;
    use std::sync::mpsc::{Sender, channel};

    struct Teller(Sender<u64>);

    impl Way for Teller {
        fn offer(&mut self, record: Box<Record>) -> Result<(), Box<Record>> {
            self.0.send(record.seq).map_err(|_| record)
        }
        fn pass(&mut self, _seq: u64) {}
        fn lost(&mut self, _from: u64, _to: u64) {}
        fn place(&mut self) -> Place {
            Place::default()
        }
        fn look(&mut self) -> Option<u64> {
            None
        }
        fn waits(&self, _full: bool) -> Waits<'_> {
            Waits::default()
        }
        fn finish(&mut self) {}
    }

    #[test]
    fn without_inotify_it_looks_now_and_then() {
        let scratch = Scratch::new("blind");
        let journal = scratch.journal();
        let (sender, told) = channel();
        let path = scratch.path("journal");
        let mut subscriber = Subscriber::new(&path, 0, Filter::default(), None, Teller(sender)).unwrap();
        subscriber.follower.make_blind();
        let stop = Wake::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| subscriber.run(stop.as_fd()));
            for _ in 0..3 {
                let seq = add(&journal, "alice", |_| {});
                assert_eq!(told.recv_timeout(LATER * 20), Ok(seq));
            }
            stop.ring();
        });
    }
}
