//! Messages that other programs put into Maildirs, and those that a crash left without a record: found by inotify and by
//! scans, each recorded once.
//!
//! Each file in `new/` without a record becomes one event, whichever program put it there and whenever; so also all that is
//! in the `new/` of a Maildir that is watched for the first time. A file in `cur/` never becomes one: a mail program has
//! shown it already. A name that begins with a dot is no message. A link is none, nor is a file of
//! another user than the Maildir's owner: a user must not make us read files that this user cannot read.
//!
//! ```text
//! watches   inotify on each new/              batch      looks at files, records the messages
//! changes   events to one change for a name   look       is this file a message?
//! target    one Maildir, its unsure files     watcher    the thread: events and scans
//! ```

mod batch;
mod changes;
#[cfg(test)]
mod hostile_tests;
mod look;
#[cfg(test)]
mod name_tests;
mod target;
#[cfg(test)]
mod tests;
mod watcher;
mod watches;

use crate::delivery::Delivery;
use crate::sys::Orders;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use watcher::Watcher;

/// Stack of the thread, octets; its buffers are on the heap.
const STACK: usize = 256 * 1024;

/// A Maildir that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watched {
    /// The user that the mail is for.
    pub user: String,
    /// The folder that has `new/`.
    pub maildir: PathBuf,
}

/// The thread that watches Maildirs.
pub struct Arrivals {
    delivery: Arc<Delivery>,
    orders: Arc<Orders<Order>>,
    thread: JoinHandle<()>,
}

/// A command to the thread.
#[derive(Debug)]
enum Order {
    Watch(Vec<Watched>),
    Scan,
    Stop,
}

impl Arrivals {
    /// Starts a thread that watches every Maildir, and first looks at what came while no server ran.
    /// [`Delivery::first_look`] tells the end of that. Without inotify the thread looks from time to time, which
    /// is logged.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor or thread left, or when `delivery` has no ledger.
    pub fn start(delivery: Arc<Delivery>, watched: Vec<Watched>) -> io::Result<Arrivals> {
        if delivery.ledger().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to record in"));
        }
        let orders = Arc::new(Orders::new()?);
        let scan = orders.clone();
        delivery.on_missed(Box::new(move || scan.give(Order::Scan)));
        let mut watcher = Watcher::new(delivery.clone());
        let (for_thread, look) = (orders.clone(), delivery.first_look().begin());
        let thread = std::thread::Builder::new().name("arrivals".into()).stack_size(STACK).spawn(move || {
            watcher.watch(watched);
            drop(look);
            watcher.run(&for_thread);
        })?;
        Ok(Arrivals { delivery, orders, thread })
    }

    /// Watches these from now on, after a reload.
    pub fn watch(&self, watched: Vec<Watched>) {
        self.orders.give(Order::Watch(watched));
    }

    /// Ends the thread; what has arrived so far is recorded. Saves which messages are recorded.
    pub fn stop(self) {
        self.orders.give(Order::Stop);
        if self.thread.join().is_err() {
            log::error!("the thread that watches the Maildirs has panicked");
        }
        self.delivery.save_known();
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("orders", &self.orders).finish_non_exhaustive()
    }
}
