//! Messages that others put into Maildirs, and those that a crash left unrecorded: found by inotify and by scans, each
//! recorded once.
//!
//! What is in `new/` and not known rings, whoever put it there and whenever, so also all that is in the `new/` of a
//! Maildir that is watched for the first time. What is in `cur/` never does: a program that knows the user has shown it
//! to him. A name that begins with a dot is no message, nor is a symbolic link.

mod look;
#[cfg(test)]
mod name_tests;
mod target;
#[cfg(test)]
mod tests;
mod watcher;
mod watches;

use crate::delivery::Delivery;
use rustix::event::{EventfdFlags, eventfd};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use watcher::Watcher;

/// Stack of the thread, octets; its buffers are on the heap.
const STACK: usize = 256 * 1024;

/// A Maildir that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Whose mail it is.
    pub user: String,
    /// The folder that has `new/`.
    pub maildir: PathBuf,
}

/// The thread that watches.
pub struct Arrivals {
    delivery: Arc<Delivery>,
    orders: Arc<Orders>,
    thread: JoinHandle<()>,
}

/// What the thread is told to do.
#[derive(Debug)]
enum Order {
    Watch(Vec<Watched>),
    Scan,
    Stop,
}

/// Orders on their way to the thread.
#[derive(Debug)]
struct Orders {
    waiting: Mutex<Vec<Order>>,
    /// Readable when there are some.
    bell: OwnedFd,
}

impl Orders {
    fn new() -> io::Result<Orders> {
        Ok(Orders { waiting: Mutex::default(), bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    fn give(&self, order: Order) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        // It fails only when the counter is full, and then the thread has been woken often enough.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> Vec<Order> {
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Arrivals {
    /// Watches, then scans every Maildir once (what came while nobody watched is recorded before this returns), then goes
    /// on in a thread. Where the system has no more inotify, it looks from time to time, and says so.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor or thread left, or when `delivery` has no ledger.
    pub fn start(delivery: Arc<Delivery>, watched: Vec<Watched>) -> io::Result<Arrivals> {
        if delivery.ledger().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to record in"));
        }
        let orders = Arc::new(Orders::new()?);
        let mut watcher = Watcher::new(delivery.clone());
        watcher.watch(watched);
        watcher.settle();
        let scan = orders.clone();
        delivery.on_missed(Box::new(move || scan.give(Order::Scan)));
        let for_thread = orders.clone();
        let thread = std::thread::Builder::new()
            .name("arrivals".into())
            .stack_size(STACK)
            .spawn(move || watcher.run(&for_thread))?;
        Ok(Arrivals { delivery, orders, thread })
    }

    /// Watches these from now on, after a reload.
    pub fn watch(&self, watched: Vec<Watched>) {
        self.orders.give(Order::Watch(watched));
    }

    /// Ends the thread; what has arrived so far is recorded. Saves what is known.
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
