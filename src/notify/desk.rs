//! What passes between the server and the thread of a subscriber that retries: orders to it, and its last trouble.

use super::ranges::Ranges;
use crate::sys::Wake;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Hand these events over again.
    Replay(Ranges),
    /// Begin no more tries, or go on.
    Pause(bool),
}

/// An order, and where its thread says that it is safe on disk; false: it cannot be carried out.
pub(super) type Given = (Order, Sender<bool>);

/// One subscriber's.
#[derive(Debug)]
pub(super) struct Desk {
    orders: Mutex<Vec<Given>>,
    trouble: Mutex<Option<String>>,
    /// Woken when there is an order, or a result of a try.
    pub(super) wake: Wake,
}

impl Desk {
    /// With nothing on it.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub(super) fn new() -> io::Result<Desk> {
        Ok(Desk { orders: Mutex::default(), trouble: Mutex::default(), wake: Wake::new()? })
    }

    /// Gives an order. What is returned hears when it is safe on disk.
    pub(super) fn give(&self, order: Order) -> Receiver<bool> {
        let (sender, receiver) = channel();
        lock(&self.orders).push((order, sender));
        self.wake.wake();
        receiver
    }

    /// Takes the orders, in the order in which they were given.
    pub(super) fn take(&self) -> Vec<Given> {
        std::mem::take(&mut lock(&self.orders))
    }

    /// Why the last try failed; `None` after one that did not.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Sets that. Returns what it was.
    pub(super) fn set_trouble(&self, why: Option<String>) -> Option<String> {
        std::mem::replace(&mut *lock(&self.trouble), why)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
