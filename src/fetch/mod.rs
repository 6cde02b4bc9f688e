//! Mail on other servers: a thread for each connection, one thread that begins them, and what is known of each remote.
//!
//! ```text
//! supervisor --- due ---> session thread: secret, name, TCP | sandbox | TLS, login, passes ... --- end ---> supervisor
//!      ^                                                                                                       |
//!      '------------------------- after the interval, or the back-off of the kind of end ----------------------'
//! ```
//!
//! A session thread does what needs the whole system (the password's file or command, the resolver, connect(2)) before it
//! hears the first octet from the server; then it enters the sandbox of the other workers. It ends with its connection.
//! Nothing that a remote does ends anything but its session, and each has a next try.

mod answer;
mod checkpoint;
mod end;
mod folder;
mod imap;
mod intake;
mod job;
mod maildrop;
mod pop3;
mod resync;
mod session;
mod slot;
mod status;
mod supervisor;
#[cfg(test)]
mod testing;

pub use answer::Answer;
pub use end::{End, Kind};
pub use job::Enter;
pub use session::{message, once, probe};
pub use status::{Doing, Entry};
pub use supervisor::Remotes;
