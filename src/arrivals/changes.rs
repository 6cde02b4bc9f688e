//! Events taken to the last state of each name, so that `watcher` acts once for each.

use super::look::Way;
use super::watches::{Event, Key};
use crate::maildir::name;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// What has become of a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Key,
    pub file_name: OsString,
    /// It came; the most certain way of all.
    pub came: Option<Way>,
    /// It had left before it came for the last time, so it is another message's.
    pub is_replaced: bool,
    pub is_gone: bool,
}

/// What has happened in all Maildirs.
#[derive(Debug, Default)]
pub struct Changes {
    /// In the order in which the names came or left first.
    pub names: Vec<Change>,
    /// Files with other attributes.
    pub attributes: Vec<(Key, OsString)>,
    /// Maildirs with another `new/`, or none.
    pub lost: Vec<Key>,
    /// The kernel has dropped events.
    pub is_overflow: bool,
}

impl Changes {
    /// Of events in their order.
    pub fn of(events: Vec<Event>) -> Changes {
        let mut changes = Changes::default();
        let mut places = HashMap::new();
        for event in events {
            match event {
                Event::Came(key, file_name, way) => {
                    let change = changes.name(&mut places, key, file_name);
                    change.is_replaced |= std::mem::take(&mut change.is_gone);
                    change.came = change.came.max(Some(way));
                }
                // A message with a unique name is the same one when it comes back.
                Event::Gone(_, file_name, true) if name::is_unique(file_name.as_bytes()) => {}
                Event::Gone(key, file_name, _) => changes.name(&mut places, key, file_name).is_gone = true,
                Event::Changed(key, file_name) => changes.attributes.push((key, file_name)),
                Event::Lost(key) => changes.lost.push(key),
                Event::Overflow => changes.is_overflow = true,
            }
        }
        changes.lost.sort_unstable();
        changes.lost.dedup();
        changes
    }

    fn name(&mut self, places: &mut HashMap<(Key, OsString), usize>, key: Key, file_name: OsString) -> &mut Change {
        let at = *places.entry((key, file_name.clone())).or_insert(self.names.len());
        if at == self.names.len() {
            self.names.push(Change { key, file_name, came: None, is_replaced: false, is_gone: false });
        }
        &mut self.names[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_of_a_name_counts() {
        let came = |name: &str, way| Event::Came(7, name.into(), way);
        let gone = |name: &str, moved| Event::Gone(7, name.into(), moved);
        let changes = Changes::of(vec![
            came("written", Way::Unknown),
            came("written", Way::Closed),
            came("left", Way::Renamed),
            gone("left", true),
            gone("again", false),
            came("again", Way::Renamed),
            came("1700000000.M1P1.host", Way::Renamed),
            gone("1700000000.M1P1.host", true),
            Event::Changed(7, "written".into()),
            Event::Lost(9),
            Event::Lost(9),
        ]);
        let change = |name: &str, came, is_replaced, is_gone| Change {
            key: 7,
            file_name: name.into(),
            came: Some(came),
            is_replaced,
            is_gone,
        };
        assert_eq!(
            changes.names,
            [
                change("written", Way::Closed, false, false),
                change("left", Way::Renamed, false, true),
                change("again", Way::Renamed, true, false),
                change("1700000000.M1P1.host", Way::Renamed, false, false),
            ]
        );
        assert_eq!((changes.attributes.len(), changes.lost, changes.is_overflow), (1, vec![9], false));
    }
}
