//! What the supervisor, its session and the server share: the messages that are due, and orders to the supervisor.

use super::due::Due;
use super::link::Trusted;
use super::trouble::Trouble;
use crate::config::Relay;
use crate::net::remote::conn::Signal;
use crate::queue::Doing;
use crate::service::Service;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Enters the sandbox of threads that speak to peers.
pub type Enter = Arc<dyn Fn() + Send + Sync>;

/// What the supervisor is told.
pub(super) enum Order {
    /// The smarthost has let us in.
    Up,
    Ended(Result<(), Trouble>),
    Replace(Option<Arc<Relay>>, Enter),
    Enter(Enter),
    Stop,
}

/// What the supervisor and its session share.
pub(super) struct Shared {
    pub(super) service: Arc<Service>,
    pub(super) due: Mutex<Due>,
    pub(super) orders: Mutex<Vec<Order>>,
    /// An order waits.
    pub(super) signal: Signal,
    /// A message has become due.
    pub(super) more: Signal,
    pub(super) stop: Signal,
    pub(super) trusted: Mutex<Trusted>,
}

impl Shared {
    /// Nothing is due yet.
    pub(super) fn new(service: Arc<Service>) -> io::Result<Shared> {
        Ok(Shared {
            service,
            due: Mutex::default(),
            orders: Mutex::default(),
            signal: Signal::new()?,
            more: Signal::new()?,
            stop: Signal::new()?,
            trusted: Mutex::default(),
        })
    }

    /// Gives an order.
    pub(super) fn give(&self, order: Order) {
        lock(&self.orders).push(order);
        self.signal.give();
    }
}

/// Says whether mail to others is sent.
pub(super) fn tell(service: &Service, is_on: bool) {
    service.queue.update(|status| {
        status.doing = if is_on { Doing::Idle } else { Doing::Off };
        (status.next_try, status.last_error) = (None, None);
    });
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
