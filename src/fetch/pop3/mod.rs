//! A POP3 session: one pass over the maildrop, then QUIT.

mod listing;
mod message;
mod talk;

use super::checkpoint::now;
use super::end::{End, Kind};
use super::intake::Names;
use super::job::{Connected, Job, Outcome as Ended};
use super::maildrop::{self, Id};
use crate::config::After;
use crate::net::remote::Error;
use crate::pop3::client::{Outcome, Step};
use listing::Listed;
use std::time::Duration;
use talk::{REPLY, Talk, login, unexpected};

/// For QUIT: the server deletes before it answers.
const QUIT: Duration = Duration::from_secs(300);

/// What is known is written down after so many messages at the latest.
const CHECKPOINT: u32 = 100;

/// Runs a session to its end; gives also the least wait that the server asks for.
pub fn run(job: &Job, connected: Connected) -> Result<Ended, End> {
    let mut talk = login(job, connected)?;
    talk.warn_of_expiry();
    let wait = talk.session.login_delay().map(|seconds| Duration::from_secs(u64::from(seconds)));
    talk.pass()?;
    Ok((End::new(Kind::Passed, "done"), wait))
}

/// Looks at the maildrop without changing anything, and says what is there.
pub fn probe(job: &Job, connected: Connected) -> Result<Vec<String>, End> {
    let mut talk = login(job, connected)?;
    let step = talk.session.stat(&mut talk.out);
    let Step::Count(count) = talk.run(step, REPLY)? else { return Err(unexpected()) };
    let (has_uidl, _) = talk.unique_ids()?;
    let has_top = talk.session.has_top() && (count == 0 || talk.header(1)?.is_ok());
    let mut notes = vec![talk.conn.description()];
    let word = |has: bool, name: &str| format!("{}{name}", if has { "" } else { "no " });
    notes.push(format!("logged in; the server has {}, {}", word(has_uidl, "UIDL"), word(has_top, "TOP")));
    if !has_uidl && !has_top && job.remote.after != After::Delete {
        notes.push("without UIDL and TOP messages cannot be told apart: only after = \"delete\" works".into());
    }
    if let Some(seconds) = talk.session.login_delay() {
        notes.push(format!("the server wants {seconds} s between two logins (LOGIN-DELAY)"));
    }
    if let Some(days) = talk.session.expire() {
        notes.push(format!("the server itself deletes messages after {days} days (EXPIRE)"));
    }
    notes.push(super::intake::first_run(&job.remote, "the maildrop", count));
    let step = talk.session.quit(&mut talk.out);
    talk.run(step, QUIT)?;
    Ok(notes)
}

/// Hands over one message, if it is still there.
pub fn fetch_one(job: &Job, connected: Connected, unique_id: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), End> {
    let mut talk = login(job, connected)?;
    let (_, all) = talk.unique_ids()?;
    let gone = || End::new(Kind::Folder, "the server has no such message any more");
    let (number, _) = all.into_iter().find(|(_, each)| each == unique_id).ok_or_else(gone)?;
    let step = talk.session.retr(number, &mut talk.out);
    match talk.data(step, take)? {
        Outcome::Ok => {}
        Outcome::Refused(text) => return Err(End::new(Kind::Temporary, text)),
    }
    let step = talk.session.quit(&mut talk.out);
    talk.run(step, QUIT)?;
    Ok(())
}

impl Talk<'_> {
    /// One look at the maildrop.
    fn pass(&mut self) -> Result<(), End> {
        let job = self.job;
        let step = self.session.stat(&mut self.out);
        let Step::Count(count) = self.run(step, REPLY)? else { return Err(unexpected()) };
        let listing = self.listing(count)?;
        if let Some(listed) = &listing {
            self.settle(listed)?;
            self.settle_deleted(listed)?;
        }
        // Without unique-ids and without TOP each message is new, and goes when it was stored.
        let listed = listing.unwrap_or_else(|| {
            let number = |number| Listed { number, id: maildrop::id(b"", number), unique_id: Vec::new() };
            (1..=count).map(number).collect()
        });
        let client = self.conn.peer().map(|address| address.ip().to_string());
        let names = Names::new(&job.remote, None, client, self.conn.tls_description());
        let mut deleted: Vec<Id> = Vec::new();
        let mut fetched = 0;
        for message in &listed {
            if job.stop.is_given() {
                return Err(Error::Interrupted.into());
            }
            let is_new = job.checkpoint().maildrop().is_to_fetch(message.id, &message.unique_id, now());
            // Without a unique-id, messages of different sessions cannot be compared.
            let is_nameless = message.unique_id.is_empty();
            let mut may_go = !is_nameless;
            if is_new || is_nameless {
                may_go |= self.one(message, names.pop3(message.id, &message.unique_id))?;
                fetched += 1;
                if fetched % CHECKPOINT == 0 {
                    job.save()?;
                }
            }
            if may_go && self.is_due(message.id) {
                let step = self.session.dele(message.number, &mut self.out);
                match self.simple(step)? {
                    Outcome::Ok => deleted.push(message.id),
                    Outcome::Refused(text) => {
                        log::warn!("remote {}: DELE {} is refused: {text}", job.label(), message.number);
                    }
                }
            }
        }
        // What is stored is known before its copy goes.
        job.save()?;
        let step = self.session.quit(&mut self.out);
        let step = self.run(step, QUIT)?;
        let (parked, given_up) = {
            let mut checkpoint = job.checkpoint();
            let maildrop = checkpoint.maildrop();
            if step == (Step::Over { confirmed: true }) {
                for id in &deleted {
                    maildrop.known.entry(*id).and_modify(|known| known.deleted = true);
                }
            }
            let ids: Vec<Id> =
                listed.iter().filter(|message| !message.unique_id.is_empty()).map(|message| message.id).collect();
            maildrop.passed(&ids, now());
            (maildrop.parked(), maildrop.given_up)
        };
        job.save()?;
        job.passed(parked, given_up);
        Ok(())
    }
}
