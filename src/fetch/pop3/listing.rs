//! The listing of a maildrop beside what is known of it: a first run, the same unique-ids as before, or others.

use super::talk::{REPLY, Talk, unexpected};
use crate::config::After;
use crate::fetch::checkpoint::now;
use crate::fetch::end::{End, Kind};
use crate::fetch::maildrop::{self, Id, Maildrop};
use crate::fetch::resync::{Counts, Judge};
use crate::message::header::Summary;
use crate::pop3::client::{Outcome, Step};

/// A message of the listing.
pub(super) struct Listed {
    pub(super) number: u32,
    pub(super) id: Id,
    pub(super) unique_id: Vec<u8>,
}

/// A message-number and its unique-id.
type Numbered = (u32, Vec<u8>);

impl Talk<'_> {
    /// Every message with its unique-id, or with its key where the server has no unique-ids; `None` where it has no TOP
    /// either.
    pub(super) fn listing(&mut self, count: u32) -> Result<Option<Vec<Listed>>, End> {
        let (has_uidl, entries) = self.unique_ids()?;
        let (mut numbers, mut unique_ids): (Vec<u32>, Vec<Vec<u8>>) = entries.into_iter().unzip();
        for number in (1..=count).filter(|_| !has_uidl) {
            let Ok(header) = self.header(number)? else {
                return match self.job.remote.after == After::Delete && self.job.remote.store {
                    true => Ok(None),
                    false => Err(End::new(
                        Kind::Folder,
                        "the server has neither UIDL nor TOP, so messages cannot be told apart: only after = \"delete\" works",
                    )),
                };
            };
            numbers.push(number);
            unique_ids.push(Summary::parse(&header).key.into_bytes());
        }
        let ids = maildrop::ids(unique_ids.iter().map(Vec::as_slice));
        let listed = numbers.into_iter().zip(ids).zip(unique_ids);
        Ok(Some(listed.map(|((number, id), unique_id)| Listed { number, id, unique_id }).collect()))
    }

    /// What UIDL says: whether the server has it, and each message-number with its unique-id.
    pub(super) fn unique_ids(&mut self) -> Result<(bool, Vec<Numbered>), End> {
        let mut all = Vec::new();
        let mut step = self.session.uidl(&mut self.out);
        loop {
            step = match self.run(step, REPLY)? {
                Step::Entry { number, unique_id } => {
                    all.push((number, unique_id));
                    Step::Line
                }
                Step::Done(outcome) => return Ok((outcome == Outcome::Ok, all)),
                _ => return Err(unexpected()),
            };
        }
    }

    /// What we deleted and is listed again: the server kept it, or gave its unique-id to another message, as servers do that
    /// make unique-ids of some header fields. Another message is new.
    pub(super) fn settle_deleted(&mut self, listed: &[Listed]) -> Result<(), End> {
        let job = self.job;
        for message in listed {
            let is_deleted = job.checkpoint().maildrop().known.get(&message.id).is_some_and(|known| known.deleted);
            if !is_deleted {
                continue;
            }
            let header = self.header(message.number)?;
            let ledger = job.delivery.ledger();
            let has_key = |header: &[u8]| {
                ledger.is_some_and(|ledger| ledger.has_key(&job.remote.user, &Summary::parse(header).key))
            };
            let mut checkpoint = job.checkpoint();
            let maildrop = checkpoint.maildrop();
            match header {
                Ok(header) if !has_key(&header) => drop(maildrop.known.remove(&message.id)),
                Ok(_) => {}
                // Without its header it is not known which message this is, so it is not deleted a second time.
                Err(_) => maildrop.succeeded(message.id, 0),
            }
        }
        Ok(())
    }

    /// Compares the listing with what is known.
    pub(super) fn settle(&mut self, listed: &[Listed]) -> Result<(), End> {
        let job = self.job;
        let ids: Vec<Id> = listed.iter().map(|message| message.id).collect();
        let (passed, first) = {
            let mut checkpoint = job.checkpoint();
            let maildrop = checkpoint.maildrop();
            if !maildrop.is_begun {
                maildrop.is_begun = true;
                if job.remote.only_new {
                    maildrop.first = now();
                    for message in listed
                        .iter()
                        .filter(|message| !maildrop.is_known(message.id, &message.unique_id))
                        .collect::<Vec<_>>()
                    {
                        maildrop.succeeded(message.id, 0);
                    }
                }
                drop(checkpoint);
                return job.save();
            }
            if !maildrop.needs_resync && !maildrop.has_new_ids(&ids) {
                return Ok(());
            }
            (maildrop.passed, maildrop.first)
        };
        let ledger = job.delivery.ledger().map(AsRef::as_ref);
        let judge = Judge { ledger, user: &job.remote.user, passed, first };
        let (mut counts, mut known) = (Counts::default(), Vec::new());
        for message in listed {
            if job.checkpoint().maildrop().is_known(message.id, &message.unique_id) {
                continue;
            }
            match self.header(message.number)? {
                Ok(header) if judge.is_new(&header, None, &mut counts) => {}
                Ok(_) => known.push(message.id),
                Err(_) => counts.new += 1,
            }
        }
        counts.log(&job.label(), "unique-ids");
        let mut checkpoint = job.checkpoint();
        let maildrop: &mut Maildrop = checkpoint.maildrop();
        maildrop.needs_resync = false;
        known.into_iter().for_each(|id| maildrop.succeeded(id, 0));
        // Those that vanished do not count a second time.
        maildrop.passed(&ids, passed);
        drop(checkpoint);
        job.save()
    }
}
