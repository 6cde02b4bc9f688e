//! Mail to other servers: one thread that begins sessions with the smarthost, one session at a time, and what becomes of the
//! messages of the queue.
//!
//! ```text
//! supervisor --- a message is due ---> session thread: secret, name, TCP | sandbox | TLS, login, messages ... --- end --.
//!      ^  '--- the smarthost cannot be used: all wait; the sender is told of delay and failure by age                  |
//!      '------------------------------------ the next message, or the next try -----------------------------------------'
//! ```
//!
//! A session thread does what needs the whole system (the password's file or command, the resolver, connect(2)) before it
//! hears the first octet from the smarthost; then it enters the sandbox of the other workers.
//!
//! The order of one message is: the smarthost's answer, a note of it on disk, the notice to the sender, a note of that, and
//! the message goes. A crash between answer and note sends the message to those recipients a second time, a crash between
//! notice and note repeats the notice; nothing else is doubled, and nothing is lost.

mod attempt;
mod due;
mod link;
mod loops;
mod notice;
mod probe;
mod report;
mod schedule;
mod sender;
mod session;
mod settle;
mod shared;
mod supervisor;
mod trouble;
mod wire;

pub use notice::{Delivered, delivered};
pub use probe::probe;
pub use sender::Sender;
pub use shared::Enter;

use crate::config::Relay;
use crate::service::Service;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is needed to settle a message.
#[derive(Clone)]
struct Place {
    service: Arc<Service>,
    relay: Arc<Relay>,
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
