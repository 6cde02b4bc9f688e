//! What is known of a folder when it is opened: a first run, the same ids as before, or other ids than before.

use super::talk::{REPLY, Talk, unexpected};
use crate::fetch::checkpoint::now;
use crate::fetch::end::End;
use crate::fetch::resync::{Counts, Judge};
use crate::imap::{Body, Failure, Fetched, Folder, Outcome, Step};
use crate::limits;

impl Talk<'_> {
    /// Compares the open folder with what is known of it.
    pub(super) fn settle(&mut self, name: &str, opened: Folder) -> Result<(), End> {
        let only_new = self.job.remote.only_new;
        if !self.job.checkpoint().has_folder(name) {
            let last = match opened.uid_next {
                _ if !only_new => 0,
                Some(next) => next.saturating_sub(1),
                None if opened.exists == 0 => 0,
                None => self.list(1)?.keys().next_back().copied().unwrap_or(0),
            };
            let mut checkpoint = self.job.checkpoint();
            let folder = checkpoint.folder(name);
            (folder.validity, folder.last) = (opened.uid_validity, last);
            folder.first = if only_new { now() } else { 0 };
        } else {
            let needs_resync = {
                let mut checkpoint = self.job.checkpoint();
                let folder = checkpoint.folder(name);
                let is_back = opened.uid_next.is_some_and(|next| next <= folder.last);
                let is_other = folder.validity != opened.uid_validity || opened.uid_validity == 0;
                folder.needs_resync || is_other || is_back
            };
            if needs_resync {
                self.resync(name, opened)?;
            }
        }
        self.job.save()
    }

    /// The server's ids changed: keys and dates tell which messages are new.
    pub(super) fn resync(&mut self, name: &str, opened: Folder) -> Result<(), End> {
        let job = self.job;
        let (passed, first) = {
            let mut checkpoint = job.checkpoint();
            let folder = checkpoint.folder(name);
            (folder.passed, folder.first)
        };
        let ledger = job.delivery.ledger().map(AsRef::as_ref);
        let judge = Judge { ledger, user: &job.remote.user, passed, first };
        let (mut counts, mut new, mut last) = (Counts::default(), Vec::new(), 0);
        if opened.exists > 0 {
            let mut step = self.session.list_headers(1, &mut self.out);
            let mut header = Vec::new();
            loop {
                step = match self.run(step, REPLY)? {
                    Step::Literal { octets, .. } => {
                        header.clear();
                        self.conn.exactly(octets, &mut |block| {
                            let room = limits::HEADER_OCTETS - header.len();
                            header.extend_from_slice(&block[..block.len().min(room)]);
                        })?;
                        Step::Line
                    }
                    Step::Item(Fetched { uid: Some(uid), date, body, .. }) => {
                        if let Body::Quoted(octets) = body {
                            header = octets;
                        }
                        if judge.is_new(&header, date.as_deref(), &mut counts) {
                            new.push(uid);
                        }
                        header.clear();
                        last = last.max(uid);
                        Step::Line
                    }
                    Step::Item(_) => Step::Line,
                    Step::Done(Outcome::Ok) => break,
                    Step::Done(Outcome::Refused(text)) => return Err(Failure::Temporary(text).into()),
                    _ => return Err(unexpected()),
                };
            }
        }
        counts.log(&job.label(), "ids");
        let mut checkpoint = job.checkpoint();
        let folder = checkpoint.folder(name);
        (folder.validity, folder.last, folder.needs_resync) = (opened.uid_validity, last, false);
        folder.done.clear();
        folder.pending.clear();
        folder.failing.clear();
        folder.failing.extend(new.into_iter().map(|uid| (uid, Default::default())));
        Ok(())
    }
}
