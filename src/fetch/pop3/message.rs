//! One message of a maildrop: whether it is due to be deleted, its header, itself.

use super::listing::Listed;
use super::talk::{REPLY, Talk, unexpected};
use crate::config::After;
use crate::fetch::checkpoint::now;
use crate::fetch::end::End;
use crate::fetch::folder::REFUSED;
use crate::fetch::intake::{Intake, One, Source};
use crate::fetch::maildrop::Id;
use crate::pop3::client::{Outcome, Step};

impl Talk<'_> {
    /// The header of a message; `Err` where the server refuses TOP.
    pub(super) fn header(&mut self, number: u32) -> Result<Result<Vec<u8>, String>, End> {
        let mut into = Intake::Header(Vec::new());
        let step = self.session.top(number, &mut self.out);
        match (self.data(step, &mut |block| into.write(block))?, into) {
            (Outcome::Ok, Intake::Header(header)) => Ok(Ok(header)),
            (outcome, _) => Ok(Err(format!("{outcome:?}"))),
        }
    }

    /// Whether a message that is stored here is to be deleted there now.
    pub(super) fn is_due(&self, id: Id) -> bool {
        let age = match &self.job.remote.after {
            After::Delete => 0,
            After::Age(age) => age.as_secs(),
            _ => return false,
        };
        let mut checkpoint = self.job.checkpoint();
        let known = checkpoint.maildrop().known.get(&id);
        known.is_some_and(|known| known.stored > 0 && known.stored.saturating_add(age) <= now())
    }

    /// One message. Whether it is stored or recorded.
    pub(super) fn one(&mut self, message: &Listed, source: Source) -> Result<bool, End> {
        let job = self.job;
        let fetched = self.fetch(message, source);
        let mut checkpoint = job.checkpoint();
        let maildrop = checkpoint.maildrop();
        let verdict = match &fetched {
            Ok(One::Kept(is_stored)) => {
                maildrop.succeeded(message.id, if *is_stored { now() } else { 0 });
                job.status.count();
                None
            }
            Ok(One::Failed(points, why)) => Some((maildrop.failed(message.id, *points, now()), why.clone())),
            Err(_) => None,
        };
        checkpoint.end("");
        drop(checkpoint);
        if let Some((verdict, why)) = verdict {
            job.log_failed(message.number, verdict, &why);
        }
        fetched.map(|one| matches!(one, One::Kept(_)))
    }

    fn fetch(&mut self, message: &Listed, source: Source) -> Result<One, End> {
        let job = self.job;
        let step = self.session.list(message.number, &mut self.out);
        let size = match self.run(step, REPLY)? {
            Step::Size(size) => Some(size),
            Step::Done(_) => None,
            _ => return Err(unexpected()),
        };
        let stores = job.remote.store && size.is_none_or(|size| size <= job.remote.max_size);
        let mut into = Intake::new(stores, &job.delivery, &job.remote, &source);
        let step = match stores {
            true => self.session.retr(message.number, &mut self.out),
            false => self.session.top(message.number, &mut self.out),
        };
        match self.data(step, &mut |block| into.write(block))? {
            Outcome::Ok => {
                job.begin_message();
                Ok(into.commit(&job.delivery, &job.remote, source, size.unwrap_or(0))?)
            }
            Outcome::Refused(text) => Ok(One::Failed(REFUSED, text.to_string())),
        }
    }
}
