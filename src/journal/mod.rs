//! The journal: one record for each stored message, in order, as JSON Lines. This room is for its readers; the one writer
//! is in `ledger`.
//!
//! | on disk | what it is |
//! |---|---|
//! | `N.jsonl`, the last | the active segment; N is the `seq` of its first record |
//! | `N.jsonl`, not the last | sealed; to be compressed |
//! | `N.jsonl.gz` | sealed and compressed |
//! | `N.jsonl` and `N.jsonl.gz` | a compression cut short at its end: the plain one counts |
//! | `safe` | up to which `seq` all is on disk and may be told (`mark`) |
//! | `N.keys`, `*.tmp`, `*.new` | the ledger's |
//!
//! A reader trusts a line's own `seq` and does not count lines, so that damage costs only the records that it hit. The
//! reader learns which records are lost.

mod cursor;
mod cursor_folder;
mod find;
mod follow;
mod kept;
mod lock;
pub mod mark;
mod parse;
mod reader;
pub mod record;
pub mod segment;
#[cfg(test)]
mod tests;
mod told;

pub use cursor::{Cursor, CursorError};
pub use cursor_folder::{cursors, encode};
pub use find::find;
pub use follow::Follower;
pub use kept::{Begun, Kept, Place};
pub use lock::{Held, Lock};
pub use reader::{Item, Reader, first_seq, last_seq, oldest_after};
pub use record::Record;
pub use told::{Told, Waiter};
