//! The sender of a server: begun and ended with it, and replaced by a reload.

use super::sandbox;
use crate::config::Relay;
use crate::send::Sender;
use crate::service::Service;
use crate::sys::{self, lock};
use std::io;
use std::sync::{Arc, Mutex};

/// The sender, where there is something to send or may be.
#[derive(Debug, Default)]
pub struct Slot(Mutex<Option<Sender>>);

impl Slot {
    /// Takes the relay of a configuration over. Without one, a thread runs only while messages wait.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor or thread left.
    pub fn replace(&self, service: &Arc<Service>, relay: Option<Relay>) -> io::Result<()> {
        let mut running = lock(&self.0);
        let enter = sandbox::enter(&service.config);
        match &*running {
            Some(sender) => sender.replace(relay, enter),
            None if relay.is_none() && service.queue.ids()?.is_empty() => {}
            None => {
                sys::forbid_core_dumps();
                *running = Some(Sender::start(service.clone(), relay, enter)?);
            }
        }
        Ok(())
    }

    /// The sandbox is another one now, as after a mount; the next sessions enter it.
    pub fn renew(&self, service: &Service) {
        if let Some(sender) = &*lock(&self.0) {
            sender.enter_by(sandbox::enter(&service.config));
        }
    }

    /// Tells the session with the smarthost to end.
    pub fn begin_stop(&self) {
        if let Some(sender) = &*lock(&self.0) {
            sender.begin_stop();
        }
    }

    /// Waits for its end.
    pub fn stop(&self) {
        let sender = lock(&self.0).take();
        if let Some(sender) = sender {
            sender.stop();
        }
    }
}
