//! Maildirs as Dovecot and qmail write them: durable delivery, the view that POP3 has of them, compression and retention.

pub mod compress;
pub mod drop;
pub mod failpoint;
pub mod folder;
mod kept;
pub mod listing;
pub mod litter;
pub mod maildrops;
pub mod moved;
pub mod name;
pub mod quota;
pub mod reader;
pub mod retention;
pub mod sizes;
mod stamps;
pub mod store;
pub mod typed;
pub mod unique;

#[cfg(test)]
pub(crate) mod testing;
