//! (room to be built)

pub mod record;

pub use record::Record;
