//! Listings that are kept from one session to the next, in a bounded amount of memory: those used longest ago are dropped
//! first. `maildrops` asks whether a listing is still right before it uses it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::listing::Listing;

/// Memory of an entry beside its listing and its path, octets.
const OVERHEAD: usize = 256;

/// Listings by their Maildir.
#[derive(Debug)]
pub(super) struct Kept {
    by_maildir: HashMap<Box<Path>, Entry>,
    octets: usize,
    most: usize,
    /// Counts the uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    listing: Arc<Listing>,
    /// When it was last used, by the clock.
    used: u64,
}

impl Kept {
    /// None yet, and never more than `most` octets.
    pub(super) fn within(most: usize) -> Kept {
        Kept { by_maildir: HashMap::new(), octets: 0, most, clock: 0 }
    }

    /// The listing of a Maildir. It counts as used now.
    pub(super) fn get(&mut self, maildir: &Path) -> Option<Arc<Listing>> {
        self.clock += 1;
        let entry = self.by_maildir.get_mut(maildir)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.listing))
    }

    /// Keeps a listing in place of an earlier one, unless it is too large, or cannot be used again.
    pub(super) fn put(&mut self, maildir: &Path, listing: &Arc<Listing>) {
        self.remove(maildir);
        let octets = octets(maildir, listing);
        if !listing.is_quiet() || octets > self.most {
            return;
        }
        self.clock += 1;
        self.octets += octets;
        self.by_maildir.insert(maildir.into(), Entry { listing: Arc::clone(listing), used: self.clock });
        if self.octets > self.most {
            self.make_room();
        }
    }

    /// Forgets a listing.
    pub(super) fn remove(&mut self, maildir: &Path) {
        if let Some(entry) = self.by_maildir.remove(maildir) {
            self.octets -= octets(maildir, &entry.listing);
        }
    }

    /// Drops the listings used longest ago: more than is needed, so that the next listing finds room.
    fn make_room(&mut self) {
        let entries = self.by_maildir.iter();
        let mut ages: Vec<_> = entries.map(|(maildir, entry)| (entry.used, octets(maildir, &entry.listing))).collect();
        ages.sort_unstable();
        ages.pop(); // The listing that was put just now.
        let mut last = 0;
        for (used, octets) in ages {
            if self.octets <= self.most / 4 * 3 {
                break;
            }
            self.octets -= octets;
            last = used;
        }
        self.by_maildir.retain(|_, entry| entry.used > last);
    }
}

fn octets(maildir: &Path, listing: &Listing) -> usize {
    listing.octets() + maildir.as_os_str().len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::testing::folder;

    #[test]
    fn those_used_longest_ago_make_room() {
        let folder = folder("kept");
        // No Maildir is there, so it is empty, and quiet.
        let listing = Arc::new(Listing::read(&folder.join("nobody")).unwrap());
        let one = octets(Path::new("00"), &listing);
        let mut kept = Kept::within(20 * one);
        let path = |number: usize| format!("{number:02}");
        for number in 0..20 {
            kept.put(Path::new(&path(number)), &listing);
        }
        assert!((0..20).all(|number| kept.get(Path::new(&path(number))).is_some()));
        kept.get(Path::new("03"));
        kept.put(Path::new("05"), &listing);
        kept.put(Path::new("20"), &listing);
        let left: Vec<usize> =
            (0..=20).filter(|&number| kept.by_maildir.contains_key(Path::new(&path(number)))).collect();
        assert_eq!(left, [3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
        assert_eq!(kept.octets, 15 * one);
        left.iter().for_each(|&number| kept.remove(Path::new(&path(number))));
        assert_eq!((kept.octets, kept.by_maildir.len()), (0, 0));
        // One that fills nearly all pushes the others out, and one that is larger is not kept.
        let mut kept = Kept::within(one + 1);
        kept.put(Path::new("00"), &listing);
        kept.put(Path::new("01"), &listing);
        assert!(kept.get(Path::new("00")).is_none() && kept.get(Path::new("01")).is_some());
        kept.put(Path::new("a longer name"), &listing);
        assert!(kept.get(Path::new("a longer name")).is_none() && kept.get(Path::new("01")).is_some());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
