//! One try of one message over a connection: as many transactions as its recipients need, and a note on disk after each.

use super::link::Link;
use super::settle::settle;
use super::trouble::{Kind, Trouble};
use super::{Place, loops, now};
use crate::maildir::failpoint;
use crate::queue::{Entry, QueueId, State};
use crate::service::maillog::Line;
use crate::smtp::client::{Message, Recipient, Reply, Verdict};

/// What is found when the message cannot be read or noted: it is tried again after so many seconds.
const DISK: u64 = 60;

/// How a try ended.
pub(super) struct Tried {
    /// When the message is tried again, seconds since 1970; `None`: it waits no more.
    pub(super) next: Option<u64>,
    /// The connection is of no use any more.
    pub(super) trouble: Option<Trouble>,
}

/// Tries one message.
pub(super) fn attempt(place: &Place, link: &mut Link, id: &QueueId) -> Tried {
    let queue = &place.service.queue;
    let entry = match queue.entry(id) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Tried { next: None, trouble: None },
        Err(error) => {
            log::error!("queue: {id} cannot be read: {error}; it is tried again");
            return Tried { next: Some(now() + DISK), trouble: None };
        }
    };
    failpoint::reach("queue-taken");
    let mut entry = entry;
    let trouble = match try_all(place, link, &mut entry) {
        // Nothing was said of this message, so that nothing is held against it.
        Err(trouble) if trouble.kind != Kind::Temporary || link.was_closed_between() => {
            return Tried { next: Some(0), trouble: Some(trouble) };
        }
        Err(trouble) => {
            entry.progress.error.clone_from(&trouble.why);
            Some(trouble)
        }
        Ok(()) => None,
    };
    entry.progress.attempts += 1;
    let next = settle(place, &mut entry, true);
    Tried { next, trouble }
}

/// Transactions until each recipient has a result of this try.
fn try_all(place: &Place, link: &mut Link, entry: &mut Entry) -> Result<(), Trouble> {
    let waits = |entry: &Entry, index: &usize| entry.progress.outcomes[*index].state == State::Waiting;
    let mut left: Vec<usize> = (0..entry.envelope.recipients.len()).filter(|index| waits(entry, index)).collect();
    if left.is_empty() {
        return Ok(());
    }
    let header = entry
        .header()
        .map_err(|error| Trouble::new(Kind::Temporary, format!("the message cannot be read: {error}")))?;
    if let Some(why) = loops::find(&header, &place.service.config.hostname) {
        left.into_iter().for_each(|index| decide(place, entry, index, Verdict::Failed(Reply::own(why)), false));
        return Ok(());
    }
    let utf8_header = entry.envelope.smtputf8 && !header.is_ascii();
    while !left.is_empty() {
        let count = left.len().min(link.session().most_recipients());
        let batch: Vec<usize> = left.drain(..count).collect();
        let message = message(place, entry, &batch, utf8_header);
        let octets = entry.message().map_err(|error| Trouble::new(Kind::Temporary, error))?;
        let verdicts = link.transact(&message, octets)?;
        failpoint::reach("queue-answered");
        let has_dsn = link.session().has_dsn();
        let is_any_sent = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Sent(_)));
        let is_whole = left.is_empty() && !verdicts.iter().any(|verdict| matches!(verdict, Verdict::TooMany(_)));
        let mut again = Vec::new();
        for (index, verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Verdict::TooMany(_) if is_any_sent && !link.is_over() => again.push(index),
                Verdict::TooMany(reply) => decide(place, entry, index, Verdict::Deferred(reply), has_dsn),
                verdict => decide(place, entry, index, verdict, has_dsn),
            }
        }
        left.extend(again);
        // The last note is made where the message is settled.
        if !is_whole && let Err(error) = place.service.queue.note(&entry.id, &entry.progress) {
            log::error!("queue: {}: what was sent cannot be noted: {error}", entry.id);
        }
        if link.is_over() && !left.is_empty() {
            return Err(Trouble::new(Kind::Temporary, "the smarthost closed the connection"));
        }
    }
    Ok(())
}

fn message(place: &Place, entry: &Entry, batch: &[usize], utf8_header: bool) -> Message {
    let envelope = &entry.envelope;
    let recipients = batch.iter().map(|index| {
        let recipient = &envelope.recipients[*index];
        Recipient { address: recipient.address.clone(), notify: recipient.notify, orcpt: recipient.orcpt.clone() }
    });
    Message {
        reverse_path: place.relay.from.clone().unwrap_or_else(|| envelope.reverse_path.clone()),
        recipients: recipients.collect(),
        size: entry.size(),
        eight_bit: entry.head.eight_bit,
        utf8_header,
        ret: envelope.ret,
        envid: envelope.envid.clone(),
    }
}

/// Keeps what became of a recipient, and logs it.
fn decide(place: &Place, entry: &mut Entry, index: usize, verdict: Verdict, has_dsn: bool) {
    let recipient = &entry.envelope.recipients[index];
    let (event, state, reply, is_owed) = match verdict {
        // A server without DSN tells nobody of a success.
        Verdict::Sent(reply) => ("sent", State::Sent, reply, recipient.notify.on_success() && !has_dsn),
        Verdict::Failed(reply) => ("failed", State::Failed, reply, recipient.notify.on_failure()),
        Verdict::Deferred(reply) | Verdict::TooMany(reply) => ("deferred", State::Waiting, reply, false),
    };
    let line = Line::new(event).field("id", &entry.id).field("to", &recipient.address);
    let line = line.field("relay", &place.relay.host).field("reply", &reply);
    line.field("age", now().saturating_sub(entry.envelope.arrived)).info();
    place.service.queue.update(|status| match state {
        State::Sent => status.sent += 1,
        State::Waiting => status.deferred += 1,
        State::Failed => status.bounced += 1,
    });
    let outcome = &mut entry.progress.outcomes[index];
    outcome.state = state;
    outcome.status = reply.status();
    outcome.answer = reply.to_string();
    outcome.is_notice_owed = is_owed;
    if outcome.state == State::Waiting {
        entry.progress.error.clone_from(&outcome.answer);
    }
}
