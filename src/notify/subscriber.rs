//! What all subscribers have in common: a place in the journal, a filter, and a sink that takes records. The loop is here;
//! a pipe, a hook and `watch` are each a [`Sink`] in a file of its own.

use super::filter::Filter;
use crate::journal::{Cursor, Follower, Item, Kept, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records that are handed over before the stop signal is looked at again.
const BATCH: usize = 256;

/// How long to wait before a journal that could not be read is tried again.
const LATER: Duration = Duration::from_secs(1);

/// A record that was handed over may be done so soon that the cursor need not be written before.
const SOON: Duration = Duration::from_millis(1);

/// How often to look at a journal that cannot tell when it grows.
const LOOK: Duration = Duration::from_millis(100);

/// Takes records. It is called from one thread, and must not block for longer than a stop may take.
pub trait Sink {
    /// Takes a record, or gives it back when there is no room for it; then it is offered again after the next wait.
    fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>>;

    /// The filter does not want this record.
    fn pass(&mut self, seq: u64);

    /// These records are gone from the journal.
    fn lost(&mut self, from: u64, to: u64);

    /// Says how far it has come, and adds what failed since the last call. The cursor is set to this.
    fn report(&mut self, kept: &mut Kept);

    /// One of the descriptors of [`Sink::waits`] is ready.
    fn is_ready(&mut self) {}

    /// Looks at what happened while it waited. Before `_rest` the cursor is not written, so that progress alone is no
    /// reason to wake up.
    fn look(&mut self, _rest: Option<Instant>) -> Looked {
        Looked::default()
    }

    /// What it waits for besides the journal; `full` says that it has given back a record.
    fn waits(&self, full: bool) -> Waits<'_>;

    /// There is no more to do: the loop ends.
    fn is_done(&self) -> bool {
        false
    }

    /// The end: what has not been taken yet will be handed over after the next start.
    fn finish(&mut self) {}
}

/// What [`Sink::look`] saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// It has come further.
    pub moved: bool,
    /// The journal is to be read again after this record.
    pub go_back: Option<u64>,
    /// The cursor is to be written now, even if it was written just before.
    pub is_urgent: bool,
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
    /// What the cursor says, or will say when it is written the next time.
    kept: Kept,
    /// Since when it may have come further than `kept` says.
    moved: Option<Instant>,
    /// The record that `offer` had no room for.
    pending: Option<Arc<Record>>,
    /// That the journal cannot be read was logged.
    is_unreadable: bool,
    /// That the cursor cannot be written was logged.
    is_unwritable: bool,
    sink: W,
}

/// Why [`Subscriber::hand_over`] stopped.
enum Next {
    /// There is more; first the stop signal and the sink are looked at.
    Now,
    /// Everything was handed over.
    Journal,
    /// There is no room.
    Room,
    /// The journal cannot be read.
    Later,
}

impl<W: Sink> Subscriber<W> {
    /// Hands over what `follower` reads.
    pub fn new(follower: Follower, filter: Filter, cursor: Option<Cursor>, sink: W) -> Subscriber<W> {
        let kept = cursor.as_ref().map(|cursor| cursor.kept().clone()).unwrap_or_default();
        Subscriber {
            follower,
            filter,
            cursor,
            kept,
            moved: Some(Instant::now()),
            pending: None,
            is_unreadable: false,
            is_unwritable: false,
            sink,
        }
    }

    /// Hands records over until `stop` is readable, or the sink is done. Returns the sink.
    pub fn run(mut self, stop: BorrowedFd<'_>) -> W {
        loop {
            let looked = self.sink.look(self.cursor.as_ref().and_then(Cursor::due));
            if looked.moved {
                self.has_moved();
            }
            if let Some(after) = looked.go_back {
                self.follower.go_to(after);
                self.pending = None;
            }
            if looked.is_urgent {
                self.save(true);
            }
            self.follower.drain_events();
            let next = self.hand_over();
            let due = self.save(false);
            if self.sink.is_done() || self.wait(&next, due, stop) {
                break;
            }
        }
        self.sink.finish();
        if let Some(cursor) = &mut self.cursor {
            self.sink.report(&mut self.kept);
            if let Err(error) = cursor.finish(self.kept.clone()) {
                log::warn!("a cursor cannot be written: {error}; some events will be handed over again");
            }
        }
        self.sink
    }

    fn hand_over(&mut self) -> Next {
        for _ in 0..BATCH {
            if self.sink.is_done() {
                return Next::Now;
            }
            let record = match self.pending.take() {
                Some(record) => record,
                None => match self.follower.next_item() {
                    Ok(None) => {
                        self.is_unreadable = false;
                        return Next::Journal;
                    }
                    Ok(Some(Item::Record(record))) if self.filter.wants(&record) => record,
                    Ok(Some(Item::Record(record))) => {
                        self.sink.pass(record.seq);
                        self.has_moved();
                        continue;
                    }
                    Ok(Some(Item::Lost { from, to })) => {
                        self.kept.lose(from, to);
                        self.sink.lost(from, to);
                        self.has_moved();
                        continue;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut self.is_unreadable, true) {
                            log::error!("the journal cannot be read: {error}; trying again every second");
                        }
                        return Next::Later;
                    }
                },
            };
            if let Err(record) = self.sink.offer(record) {
                self.pending = Some(record);
                return Next::Room;
            }
            self.has_moved();
        }
        Next::Now
    }

    fn has_moved(&mut self) {
        self.moved.get_or_insert_with(Instant::now);
    }

    /// True when it is told to stop.
    fn wait(&mut self, next: &Next, due: Option<Instant>, stop: BorrowedFd<'_>) -> bool {
        let Waits { fds, mut timeout } = self.sink.waits(matches!(next, Next::Room));
        let mut at_most = |time: Duration| timeout = Some(timeout.map_or(time, |timeout| timeout.min(time)));
        let mut polled = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        match (next, self.follower.fd()) {
            (Next::Now, _) => at_most(Duration::ZERO),
            (Next::Later, _) => at_most(LATER),
            (Next::Journal, None) => at_most(LOOK),
            (Next::Journal, Some(journal)) => polled.push(PollFd::from_borrowed_fd(journal, PollFlags::IN)),
            (Next::Room, _) => {}
        }
        if let Some(due) = due {
            at_most(due.saturating_duration_since(Instant::now()));
        }
        let own = polled.len();
        polled.extend(fds.into_iter().map(|(fd, events)| PollFd::from_borrowed_fd(fd, events)));
        wait(&mut polled, timeout);
        let is_told = !polled[0].revents().is_empty();
        if polled[own..].iter().any(|fd| !fd.revents().is_empty()) {
            self.sink.is_ready();
        }
        is_told
    }

    /// Writes the cursor where it has moved; when it is too early for that, and not urgent, says when it is not. A crash
    /// repeats what the cursor does not tell. One write tells that a record was handed over and that it is done, where
    /// that is soon.
    fn save(&mut self, is_urgent: bool) -> Option<Instant> {
        let cursor = self.cursor.as_mut()?;
        let moved = self.moved?;
        if let Some(due) = cursor.due().filter(|_| !is_urgent) {
            return Some(due);
        }
        self.sink.report(&mut self.kept);
        if !is_urgent && self.kept.place.waiting > 0 && moved.elapsed() < SOON {
            return Some(moved + SOON);
        }
        let outcome = cursor.set(self.kept.clone());
        match outcome {
            Err(error) if !std::mem::replace(&mut self.is_unwritable, true) => {
                log::error!("a cursor cannot be written: {error}; trying again");
            }
            Err(_) => {}
            Ok(()) => (self.is_unwritable, self.moved) = (false, None),
        }
        None
    }
}

/// poll(2) that is not ended by signals and accepts a timeout of any length.
pub(super) fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) {
    let end = timeout.map(|timeout| Instant::now() + timeout.min(Duration::from_secs(24 * 3600)));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        match poll(fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                // Out of memory, by poll(2)'s list of errors: wait, so as not to spin.
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
    use crate::sys::Wake;
    use std::os::fd::AsFd;
    use std::sync::mpsc::{Sender, channel};

    struct Teller(Sender<u64>);

    impl Sink for Teller {
        fn offer(&mut self, record: Arc<Record>) -> Result<(), Arc<Record>> {
            self.0.send(record.seq).map_err(|_| record)
        }
        fn pass(&mut self, _seq: u64) {}
        fn lost(&mut self, _from: u64, _to: u64) {}
        fn report(&mut self, _kept: &mut Kept) {}
        fn look(&mut self, _rest: Option<Instant>) -> Looked {
            Looked::default()
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
        let mut follower = Follower::open(&path, 0).unwrap();
        follower.make_blind();
        let subscriber = Subscriber::new(follower, Filter::default(), None, Teller(sender));
        let stop = Wake::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| subscriber.run(stop.as_fd()));
            for _ in 0..3 {
                let seq = add(&journal, "alice", |_| {});
                assert_eq!(told.recv_timeout(LATER * 20), Ok(seq));
            }
            stop.wake();
        });
    }
}
