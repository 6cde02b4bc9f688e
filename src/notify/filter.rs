//! Which records a subscriber wants: `users` and `match`.

use crate::journal::Record;

/// `users` and every entry of `match` must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    users: Vec<String>,
    fields: Vec<(String, String)>,
}

impl Filter {
    /// Of user names (empty: all) and of pairs of a field's name and a glob.
    ///
    /// # Errors
    ///
    /// The index of the pair, and what is wrong with it: a key that is no field of the event (with the nearest that is).
    pub fn new(_users: Vec<String>, _fields: Vec<(String, String)>) -> Result<Filter, (usize, String)> {
        unimplemented!("notify")
    }

    /// Whether the subscriber wants this record.
    pub fn wants(&self, _record: &Record) -> bool {
        unimplemented!("notify")
    }
}
