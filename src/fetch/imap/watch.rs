//! The life of a session with an open folder: look, wait for news, look again.

use super::talk::{REPLY, Talk, unexpected};
use crate::config::After;
use crate::fetch::end::{End, Kind};
use crate::fetch::status::Doing;
use crate::imap::{Outcome, Step};
use crate::net::remote::Error;
use crate::net::remote::conn::Signal;
use std::time::{Duration, Instant};

/// For the end of IDLE.
const IDLE_END: Duration = Duration::from_secs(30);

/// A turn of the loop that took less than this and fetched nothing was quick; so many in a row may be.
const QUICK: Duration = Duration::from_secs(1);
const QUICK_TURNS: u32 = 20;

impl Talk<'_> {
    /// Opens the folder, then looks and waits until something ends it.
    pub(super) fn watch(&mut self) -> Result<End, End> {
        let job = self.job;
        let name = job.folder_name();
        let folder = self.select(job.remote.after == After::Leave)?;
        self.validity = folder.uid_validity;
        self.settle(name, folder)?;
        let mut is_empty = folder.exists == 0;
        let mut has_idle = self.session.has_idle();
        let (mut is_first, mut quick) = (true, 0);
        loop {
            let (began, fetched) = (Instant::now(), self.fetched);
            job.status.enter(Doing::Fetching);
            job.look.take();
            // Servers may show what came only after a command that asks for it.
            if !std::mem::take(&mut is_first) && !self.session.has_changed() {
                let step = self.session.noop(&mut self.out);
                self.simple(step)?;
            }
            self.catch_up(name, is_empty && !self.session.has_changed())?;
            is_empty = false;
            if job.once {
                self.goodbye();
                return Ok(End::new(Kind::Passed, "done"));
            }
            if Instant::now() >= self.end {
                self.goodbye();
                return Ok(End::new(Kind::Normal, "a session lasts a day at most"));
            }
            job.status.enter(Doing::Idle);
            if has_idle {
                has_idle = self.idle()?;
                // A server that ends each IDLE at once and has no news is asked once a second.
                let is_idle_turn = began.elapsed() < QUICK && self.fetched == fetched;
                quick = if is_idle_turn { quick + 1 } else { 0 };
                if quick > QUICK_TURNS {
                    Signal::wait_any(&[&job.stop, &job.look], Some(QUICK));
                }
            } else {
                Signal::wait_any(&[&job.stop, &job.look], Some(job.remote.interval));
                if job.stop.is_given() {
                    return Err(Error::Interrupted.into());
                }
            }
        }
    }

    /// Waits for news, for the time of `idle` at most. False: the server does not do it.
    pub(super) fn idle(&mut self) -> Result<bool, End> {
        let look = self.job.look.clone();
        let step = self.session.idle(&mut self.out);
        match self.run(step, REPLY)? {
            Step::Idling => {}
            Step::Done(Outcome::Ok) => return Ok(true),
            Step::Done(_) => {
                log::info!("remote {}: the server refuses IDLE; it is asked every `interval`", self.job.label());
                return Ok(false);
            }
            _ => return Err(unexpected()),
        }
        let until = Instant::now() + self.job.remote.idle;
        while !self.session.has_changed() {
            match self.run_heeding(Step::Line, until, &[&look]) {
                Ok(Step::Idling) => {}
                Ok(Step::Done(_)) => return Ok(true),
                Ok(_) => return Err(unexpected()),
                Err(end) if end.kind == Kind::Stopped && look.is_given() && !self.job.stop.is_given() => break,
                // The time is up.
                Err(_) if Instant::now() >= until && Instant::now() < self.end => break,
                Err(end) => return Err(end),
            }
        }
        let step = self.session.done(&mut self.out);
        // What was under way comes first.
        let until = Instant::now() + IDLE_END;
        let mut step = self.run_heeding(step, until, &[])?;
        while matches!(step, Step::Idling | Step::Item(_)) {
            step = self.run_heeding(Step::Line, until, &[])?;
        }
        if matches!(step, Step::Done(_)) { Ok(true) } else { Err(unexpected()) }
    }
}
