//! One look at an open folder: what is new is fetched, and what is stored here is dealt with there.

use super::talk::{REPLY, Talk, unexpected};
use crate::config::After;
use crate::fetch::checkpoint::now;
use crate::fetch::end::{End, Kind};
use crate::fetch::folder::{CUT_OFF, REFUSED};
use crate::fetch::intake::{Intake, Names, One, Source};
use crate::imap::{Body, Outcome, Step};
use crate::message::dot::decode::LineEnds;
use crate::net::remote::Error;
use std::collections::BTreeMap;

/// What is known is written down after so many messages at the latest.
const CHECKPOINT: u32 = 100;

impl Talk<'_> {
    /// Fetches what is new and what is due, and does what is to be done with it on the server.
    pub(super) fn catch_up(&mut self, name: &str, is_empty: bool) -> Result<(), End> {
        let job = self.job;
        let first = job.checkpoint().folder(name).last.saturating_add(1);
        let listed = if is_empty { BTreeMap::new() } else { self.list(first)? };
        let uids: Vec<u32> = listed.keys().copied().collect();
        let queue = job.checkpoint().folder(name).to_fetch(&uids, now());
        let client = self.conn.peer().map(|address| address.ip().to_string());
        let names = Names::new(&job.remote, Some(name), client, self.conn.tls_description());
        for (index, uid) in (0_u32..).zip(queue) {
            if job.stop.is_given() {
                return Err(Error::Interrupted.into());
            }
            let source = names.imap(self.validity, uid);
            self.one(name, uid, listed.get(&uid).copied(), source)?;
            if index % CHECKPOINT == CHECKPOINT - 1 {
                job.save()?;
            }
        }
        self.act(name)?;
        let (parked, given_up) = {
            let mut checkpoint = job.checkpoint();
            let folder = checkpoint.folder(name);
            folder.passed(uids.last().copied().unwrap_or(0), now());
            (folder.parked(), folder.given_up)
        };
        job.save()?;
        job.passed(parked, given_up);
        Ok(())
    }

    /// One message, and what became of it.
    fn one(&mut self, name: &str, uid: u32, size: Option<u64>, source: Source) -> Result<(), End> {
        let job = self.job;
        let stores = job.remote.store && size.is_none_or(|size| size <= job.remote.max_size);
        let fetched = self.fetch(uid, size, stores, source);
        let mut checkpoint = job.checkpoint();
        let is_first = self.fetched == 0;
        self.fetched += 1;
        let folder = checkpoint.folder(name);
        let verdict = match &fetched {
            Ok(One::Kept(is_stored)) => {
                folder.succeeded(uid);
                if *is_stored && job.remote.after != After::Leave {
                    folder.pending.insert(uid, now());
                }
                job.status.count();
                None
            }
            Ok(One::Failed(points, why)) => Some((folder.failed(uid, *points, now()), why.clone())),
            // A connection that ends at the same message again and again has its reason in it.
            Err(end) if is_first && matches!(end.kind, Kind::Temporary | Kind::Normal) => {
                Some((folder.failed(uid, CUT_OFF, now()), end.why.clone()))
            }
            Err(_) => None,
        };
        checkpoint.end(name);
        drop(checkpoint);
        if let Some((verdict, why)) = verdict {
            job.log_failed(uid, verdict, &why);
        }
        if matches!(fetched?, One::Kept(_)) && !matches!(job.remote.after, After::Leave | After::Age(_)) {
            self.act(name)?;
        }
        Ok(())
    }

    /// Fetches one message and commits it.
    fn fetch(&mut self, uid: u32, size: Option<u64>, stores: bool, source: Source) -> Result<One, End> {
        let job = self.job;
        let new = |stores: bool| Intake::new(stores, &job.delivery, &job.remote, &source);
        let mut step = self.session.fetch(uid, !stores, &mut self.out);
        // The message, its UID as told, and its size as the server says.
        let (mut intake, mut told, mut size) = (None, None, size);
        let outcome = loop {
            step = match self.run(step, REPLY)? {
                Step::Literal { octets, .. } => {
                    // The size that was listed may have been a guess.
                    let mut into = new(stores && octets <= job.remote.max_size);
                    let (mut ends, mut block) = (LineEnds::new(), Vec::new());
                    self.conn.exactly(octets, &mut |octets| {
                        block.clear();
                        ends.decode(octets, &mut block);
                        into.write(&block);
                    })?;
                    block.clear();
                    ends.finish(&mut block);
                    into.write(&block);
                    intake = (octets > 0).then_some(into);
                    Step::Line
                }
                Step::Item(item) if item.has_body() || item.uid == Some(uid) => {
                    if let Body::Quoted(octets) = &item.body
                        && item.has_body()
                    {
                        let (mut ends, mut block, mut into) = (LineEnds::new(), Vec::new(), new(stores));
                        ends.decode(octets, &mut block);
                        ends.finish(&mut block);
                        into.write(&block);
                        intake = Some(into);
                    }
                    told = item.uid.or(told);
                    size = item.size.or(size);
                    Step::Line
                }
                Step::Item(_) => Step::Line,
                Step::Done(outcome) => break outcome,
                _ => return Err(unexpected()),
            };
        };
        let why = match (outcome, intake) {
            (Outcome::Ok, Some(intake)) if told == Some(uid) => {
                job.begin_message();
                return Ok(intake.commit(&job.delivery, &job.remote, source, size.unwrap_or(0))?);
            }
            (Outcome::Ok, Some(_)) => "the server gave another message".into(),
            (Outcome::Ok, None) => "the server gave no message".into(),
            (outcome, _) => format!("{outcome:?}"),
        };
        Ok(One::Failed(REFUSED, why))
    }

    /// Does on the server what is due with messages that are stored here.
    fn act(&mut self, name: &str) -> Result<(), End> {
        let job = self.job;
        let due: Vec<u32> = {
            let mut checkpoint = job.checkpoint();
            let folder = checkpoint.folder(name);
            let age = match &job.remote.after {
                After::Leave => {
                    folder.pending.clear();
                    return Ok(());
                }
                After::Age(age) => age.as_secs(),
                _ => 0,
            };
            let is_due = |stored: u64| stored.saturating_add(age) <= now();
            folder.pending.iter().filter(|(_, stored)| is_due(**stored)).map(|(uid, _)| *uid).collect()
        };
        for uid in due {
            let step = match &job.remote.after {
                After::Leave => return Ok(()),
                After::Seen => self.session.mark_seen(uid, &mut self.out),
                After::Move(folder) => self.session.move_to(uid, folder, &mut self.out),
                After::Delete | After::Age(_) => self.session.delete(uid, &mut self.out),
            };
            match self.simple(step)? {
                Outcome::Ok => drop(job.checkpoint().folder(name).pending.remove(&uid)),
                Outcome::Refused(text) => {
                    log::warn!("remote {}: message {uid}: `after` is refused: {text}; tried again", job.label());
                    // The next ones will be refused, too.
                    return Ok(());
                }
                Outcome::LeftMarked => {
                    log::info!(
                        "remote {}: message {uid} is marked as deleted and not expunged: other messages are marked, too, and \
                         the server lacks UIDPLUS",
                        job.label()
                    );
                    job.checkpoint().folder(name).pending.remove(&uid);
                }
            }
        }
        Ok(())
    }
}
