//! Which message is tried when.

use crate::queue::QueueId;
use std::collections::{BTreeMap, BTreeSet};

/// The messages that wait, by time. One of them may be in work.
#[derive(Debug, Default)]
pub(super) struct Due {
    times: BTreeMap<QueueId, u64>,
    order: BTreeSet<(u64, QueueId)>,
    in_work: Option<QueueId>,
    /// The one in work is to be tried once more at once.
    is_asked_again: bool,
}

impl Due {
    /// The message waits until `next`, seconds since 1970.
    pub(super) fn set(&mut self, id: &QueueId, next: u64) {
        if let Some(before) = self.times.insert(id.clone(), next) {
            self.order.remove(&(before, id.clone()));
        }
        self.order.insert((next, id.clone()));
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, id: &QueueId) {
        if let Some(before) = self.times.remove(id) {
            self.order.remove(&(before, id.clone()));
        }
    }

    /// Whether it waits or is in work.
    pub(super) fn has(&self, id: &QueueId) -> bool {
        self.times.contains_key(id) || self.in_work.as_ref() == Some(id)
    }

    /// All are due now, or one is.
    pub(super) fn hurry(&mut self, id: Option<&QueueId>) {
        match id {
            None => {
                self.is_asked_again = self.in_work.is_some();
                let all: Vec<QueueId> = self.times.keys().cloned().collect();
                all.iter().for_each(|id| self.set(id, 0));
            }
            Some(id) if self.times.contains_key(id) => self.set(id, 0),
            Some(id) => self.is_asked_again |= self.in_work.as_ref() == Some(id),
        }
    }

    /// Takes one that is due into work.
    pub(super) fn take(&mut self, now: u64) -> Option<QueueId> {
        let (time, id) = self.order.first()?.clone();
        if time > now {
            return None;
        }
        self.remove(&id);
        self.in_work = Some(id.clone());
        self.is_asked_again = false;
        Some(id)
    }

    /// The one in work waits again until `next`, or is gone.
    pub(super) fn done(&mut self, next: Option<u64>) {
        if let (Some(id), Some(next)) = (self.in_work.take(), next) {
            self.set(&id, if self.is_asked_again { 0 } else { next });
        }
    }

    /// When the next one is due.
    pub(super) fn earliest(&self) -> Option<u64> {
        self.order.first().map(|(time, _)| *time)
    }

    /// All that wait, the oldest first.
    pub(super) fn ids(&self) -> impl Iterator<Item = &QueueId> {
        self.times.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> QueueId {
        QueueId::parse(text).unwrap()
    }

    #[test]
    fn the_earliest_comes_first() {
        let mut due = Due::default();
        due.set(&id("1.a"), 30);
        due.set(&id("2.a"), 10);
        due.set(&id("3.a"), 20);
        due.set(&id("2.a"), 40);
        assert_eq!((due.earliest(), due.take(19)), (Some(20), None));
        assert_eq!(due.take(20), Some(id("3.a")));
        assert!(due.has(&id("3.a")));
        due.done(Some(50));
        assert_eq!(due.take(30), Some(id("1.a")));
        due.done(None);
        assert!(!due.has(&id("1.a")));
        due.hurry(Some(&id("3.a")));
        assert_eq!(due.take(1), Some(id("3.a")));
        due.hurry(None);
        due.done(Some(99));
        assert_eq!((due.take(0), due.earliest()), (Some(id("2.a")), Some(0)));
    }
}
