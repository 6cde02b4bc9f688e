//! What follows a try: recipients that are given up, notices, the time of the next try; and the message goes when nothing is
//! left to do.

use super::notice::{self, Kind};
use super::{Place, now, schedule};
use crate::maildir::failpoint;
use crate::queue::{Entry, State};
use crate::service::maillog::Line;

/// A notice that cannot be stored is tried again after so many seconds.
const NOTICE: u64 = 300;

/// A notice that could not be stored for so long is dropped, seconds: 30 days.
const NOTICE_GIVE_UP: u64 = 30 * 24 * 60 * 60;

/// Settles a message. `gives_up`: it may be given up if it is old enough. When it is tried again, seconds since 1970; `None`:
/// it waits no more.
pub(super) fn settle(place: &Place, entry: &mut Entry, gives_up: bool) -> Option<u64> {
    let (queue, relay) = (&place.service.queue, &place.relay);
    let age = now().saturating_sub(entry.envelope.arrived);
    if gives_up && age >= relay.give_up.as_secs() {
        give_up(place, entry, age);
    }
    let owes = |entry: &Entry| entry.progress.outcomes.iter().any(|outcome| outcome.is_notice_owed);
    let is_waiting = entry.progress.is_waiting();
    if is_waiting {
        entry.progress.next = now() + schedule::wait(relay.retry, entry.progress.attempts).as_secs().max(1);
    }
    let is_late = is_waiting && !entry.progress.has_warned && relay.warn.is_some_and(|warn| age >= warn.as_secs());
    if is_waiting || owes(entry) {
        // What the smarthost said must not be forgotten while the notice is written.
        if let Err(error) = queue.note(&entry.id, &entry.progress) {
            log::error!("queue: {}: what was sent cannot be noted: {error}", entry.id);
        }
        failpoint::reach("queue-settled");
    }
    let mut is_told = true;
    for kind in [Kind::Failed, Kind::Relayed] {
        let recipients = owed(entry, kind);
        if recipients.is_empty() {
            continue;
        }
        match notice::send(place, entry, kind, &recipients) {
            Ok(()) => recipients.iter().for_each(|index| entry.progress.outcomes[*index].is_notice_owed = false),
            Err(why) if age > relay.give_up.as_secs().saturating_add(NOTICE_GIVE_UP) => {
                log::error!("queue: {}: the notice to its sender is dropped: {why}", entry.id);
                recipients.iter().for_each(|index| entry.progress.outcomes[*index].is_notice_owed = false);
            }
            Err(why) => {
                log::warn!("queue: {}: the notice to its sender is put off: {why}", entry.id);
                is_told = false;
            }
        }
        failpoint::reach("queue-told");
    }
    if is_late {
        tell_delay(place, entry);
    }
    if !entry.progress.is_waiting() && is_told {
        return match queue.remove(&entry.id) {
            Ok(_) => None,
            Err(error) => {
                log::error!("queue: {} cannot be removed: {error}", entry.id);
                // So that it is not sent again.
                if let Err(error) = queue.note(&entry.id, &entry.progress) {
                    log::error!("queue: {}: what was sent cannot be noted: {error}", entry.id);
                }
                Some(now() + NOTICE)
            }
        };
    }
    if !is_told {
        let soon = now() + NOTICE;
        entry.progress.next = if entry.progress.is_waiting() { entry.progress.next.min(soon) } else { soon };
    }
    if let Err(error) = queue.note(&entry.id, &entry.progress) {
        log::error!("queue: {}: the next try cannot be noted: {error}", entry.id);
    }
    Some(entry.progress.next)
}

/// The recipients for which a notice of this kind is owed.
fn owed(entry: &Entry, kind: Kind) -> Vec<usize> {
    let state = if kind == Kind::Failed { State::Failed } else { State::Sent };
    let outcomes = entry.progress.outcomes.iter().enumerate();
    outcomes.filter(|(_, outcome)| outcome.is_notice_owed && outcome.state == state).map(|(index, _)| index).collect()
}

/// The message is too old: all that wait have failed.
fn give_up(place: &Place, entry: &mut Entry, age: u64) {
    let error = entry.progress.error.clone();
    for (recipient, outcome) in entry.envelope.recipients.iter().zip(&mut entry.progress.outcomes) {
        if outcome.state != State::Waiting {
            continue;
        }
        if outcome.answer.is_empty() {
            outcome.answer.clone_from(&error);
        }
        outcome.state = State::Failed;
        // RFC 3463 section 3.5: delivery time expired.
        outcome.status = "4.4.7".into();
        outcome.is_notice_owed = recipient.notify.on_failure();
        Line::new("failed")
            .field("id", &entry.id)
            .field("to", &recipient.address)
            .field("age", age)
            .field("reply", format!("4.4.7 given up; last: {}", outcome.answer))
            .info();
        place.service.queue.update(|status| status.bounced += 1);
    }
}

/// Tells the sender once that the message waits. A notice that cannot be stored is left out.
fn tell_delay(place: &Place, entry: &mut Entry) {
    let recipients = entry.envelope.recipients.iter().zip(&entry.progress.outcomes).enumerate();
    let late: Vec<usize> = recipients
        .filter(|(_, (recipient, outcome))| outcome.state == State::Waiting && recipient.notify.on_delay())
        .map(|(index, _)| index)
        .collect();
    entry.progress.has_warned = true;
    if !late.is_empty()
        && let Err(why) = notice::send(place, entry, Kind::Delayed, &late)
    {
        log::warn!("queue: {}: its sender is not told of the delay: {why}", entry.id);
    }
}
