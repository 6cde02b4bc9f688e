//! What `mailbell status` says of subscribers, read from the files in the state folder alone: it needs no server and no
//! right but to read them. A running subscriber keeps its files current, so this is also what the server says of itself.

use super::SubscriberStatus;
use super::tally::Tally;
use crate::journal::{self, Place};
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
    Ok(journal::cursors(state)?.into_iter().map(|(name, place)| one(state, name, place, first, last)).collect())
}

fn one(state: &Path, name: String, place: Place, first: u64, last: u64) -> SubscriberStatus {
    let Tally { retries, given_up, lost, lost_to, .. } = Tally::read(state, &name).unwrap_or_default();
    // Dropped from the journal before it was handed over; the subscriber comes across that later.
    let gone = first.saturating_sub(place.written + 1);
    // What is beyond `written` was not looked at yet: some of it may concern this subscriber nothing.
    let backlog = place.waiting + last.saturating_sub(place.written).saturating_sub(gone);
    let oldest = if backlog > 0 { journal::oldest_after(&state.join("journal"), place.acknowledged) } else { Ok(None) };
    let oldest_unread = oldest.ok().flatten().map(|record| record.timestamp);
    let lost = lost + first.saturating_sub(place.written.max(lost_to) + 1);
    SubscriberStatus { name, last_seq: place.acknowledged, backlog, oldest_unread, retries, given_up, lost }
}
