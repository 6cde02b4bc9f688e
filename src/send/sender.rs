//! What a server holds of its sending: a handle on the thread of the supervisor.

use super::shared::{Enter, Order, Shared, tell};
use super::supervisor::Supervisor;
use crate::config::Relay;
use crate::limits;
use crate::service::Service;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The sender of a server.
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor or thread left.
    pub fn start(service: Arc<Service>, relay: Option<Relay>, enter: Enter) -> io::Result<Sender> {
        tell(&service, relay.is_some());
        let shared = Arc::new(Shared::new(service)?);
        let supervisor = Supervisor::new(shared.clone(), relay.map(Arc::new), enter);
        let thread = std::thread::Builder::new().name("queue".into()).stack_size(limits::WORKER_STACK);
        let thread = thread.spawn(move || supervisor.run())?;
        Ok(Sender { shared, thread: Some(thread) })
    }

    /// This smarthost from now on, or none. Messages that are due are tried at once.
    pub fn replace(&self, relay: Option<Relay>, enter: Enter) {
        tell(&self.shared.service, relay.is_some());
        self.shared.give(Order::Replace(relay.map(Arc::new), enter));
    }

    /// The next sessions enter this sandbox.
    pub fn enter_by(&self, enter: Enter) {
        self.shared.give(Order::Enter(enter));
    }

    /// Tells the session to end; does not wait.
    pub fn begin_stop(&self) {
        self.shared.give(Order::Stop);
    }

    /// Waits for its end, for some seconds at most.
    pub fn stop(mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the queue has panicked");
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}
