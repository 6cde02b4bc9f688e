//! What `mailbell status` says of subscribers, read from the files in the state folder alone: it needs no server and no
//! right but to read them. The server says the same of itself.

use super::SubscriberStatus;
use super::given_up::given_up;
use crate::journal::{self, Kept};
use std::io;
use std::path::Path;

/// Every subscriber that has a cursor in `state`, in the order of their names.
///
/// # Errors
///
/// When the journal or the folder of the cursors cannot be read.
pub fn status_of_files(state: &Path) -> io::Result<Vec<SubscriberStatus>> {
    let journal = state.join("journal");
    let (first, last) = (journal::first_seq(&journal)?, journal::last_seq(&journal)?);
    let status = |(name, kept): (String, Kept)| {
        let given_up = given_up(state, &name);
        SubscriberStatus { last_given_up: given_up, ..one(&journal, name, &kept, first, last) }
    };
    Ok(journal::cursors(state)?.into_iter().map(status).collect())
}

fn one(journal: &Path, name: String, kept: &Kept, first: u64, last: u64) -> SubscriberStatus {
    let &Kept { place, retries, given_up, lost, lost_to, paused: is_paused, .. } = kept;
    // Dropped from the journal before they were handed over; the subscriber finds that out later.
    let gone = first.saturating_sub(place.written + 1);
    // What is beyond `written` was not filtered yet: the subscriber may not want some of it.
    let backlog = place.waiting + last.saturating_sub(place.written).saturating_sub(gone);
    let oldest = if backlog > 0 { journal::oldest_after(journal, place.acknowledged) } else { Ok(None) };
    let oldest_unread = oldest.ok().flatten().map(|record| record.timestamp);
    let lost = lost + first.saturating_sub(place.written.max(lost_to) + 1);
    SubscriberStatus {
        name,
        last_seq: place.acknowledged,
        backlog,
        oldest_unread,
        retries,
        given_up,
        lost,
        is_paused,
        last_error: None,
        last_given_up: Vec::new(),
    }
}
