//! Faults of the machine and of the files, on the real binary: what the sender is told, what is logged, that nothing
//! acknowledged is lost, that each stored message is told, and that the server heals when the cause goes.
//! `docs/faults.md` has one row for each test here.

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod disk;
mod files;
mod journal;
mod limits;
mod process;
mod scene;
