//! When records are told: the journal is synced for all that wait, by one thread, and the mark is written.

use super::{Failing, Ledger, State, lock, upkeep};
use crate::journal::mark::{self, Mark};
use crate::maildir::failpoint;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use upkeep::Keep;

/// How long to wait before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// After so many records what is known is put in order, which makes it small.
const UNSETTLED: usize = 50_000;

impl Ledger {
    /// Syncs the journal, without the lock that deliveries need, and tells what is safe then.
    pub(super) fn sync(&self) -> bool {
        let outcome = {
            let _alone = lock(&self.syncing);
            let unsynced = {
                let mut state = self.lock();
                state.rewritten = u64::MAX;
                state.writer.take_unsynced()
            };
            if !unsynced.is_empty() {
                failpoint::reach("before-journal-sync");
            }
            let outcome = unsynced.sync(&self.dir);
            let mut state = self.lock();
            match &outcome {
                // What was written anew meanwhile is not synced.
                Ok(()) => state.synced = state.synced.max(unsynced.to.min(state.rewritten - 1)),
                Err(_) => state.writer.give_back(unsynced),
            }
            outcome
        };
        if let Err(error) = &outcome {
            self.complain_of_sync(error);
            return false;
        }
        self.lock().failing.sync = false;
        self.tell();
        true
    }

    /// Said once, until it is well again.
    pub(super) fn complain_of_sync(&self, error: &io::Error) {
        if !std::mem::replace(&mut self.lock().failing.sync, true) {
            log::error!("journal: {error}; nothing is told until it can be synced");
        }
    }

    /// Said once, until it is well again.
    pub(super) fn complain_of_mark(&self, error: &io::Error) {
        if !std::mem::replace(&mut self.lock().failing.mark, true) {
            log::error!("{}: {error}", self.dir.join(mark::NAME).display());
        }
    }

    /// Tells what is safe.
    pub(super) fn tell(&self) {
        self.tell_with(lock(&self.mark).as_ref());
    }

    /// The same for a delivery that made `safe` safe. It waits for nothing: the thread does it where another one is about it.
    pub(super) fn tell_soon(&self, safe: u64) {
        if safe <= self.told.load(SeqCst) {
            return;
        }
        match self.mark.try_lock() {
            Ok(mark) => self.tell_with(mark.as_ref()),
            Err(_) => {
                let mut state = self.lock();
                state.untold = true;
                self.wake(state);
            }
        }
    }

    fn tell_with(&self, mark: Option<&Mark>) {
        let (told, was_failing) = {
            let state = self.lock();
            (state.safe(), state.failing.mark)
        };
        if told <= self.told.load(SeqCst) {
            return;
        }
        if let Err(error) = mark.map_or(Ok(()), |mark| mark.set(told)) {
            return self.complain_of_mark(&error);
        }
        self.told.store(told, SeqCst);
        if was_failing {
            self.lock().failing.mark = false;
        }
        if !self.is_due.swap(true, SeqCst) {
            self.on_told.get().inspect(|callback| callback());
        }
    }

    /// Gives the lock back, and wakes the thread where it sleeps.
    pub(super) fn wake(&self, mut state: MutexGuard<'_, State>) {
        let is_idle = std::mem::take(&mut state.is_idle);
        drop(state);
        if is_idle {
            self.work.notify_one();
        }
    }

    pub(super) fn run(&self) {
        let mut state = self.lock();
        while !state.stop {
            let Failing { write, sync, mark } = state.failing;
            let is_failing = write || sync || mark;
            if is_failing {
                // Deliveries need not wake it: it comes soon enough.
                state = self.work.wait_timeout(state, AGAIN).unwrap_or_else(PoisonError::into_inner).0;
            } else if state.writer.is_synced() && !state.untold {
                state.is_idle = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.is_idle = false;
                continue;
            }
            state.untold = false;
            drop(state);
            if is_failing {
                self.retry();
            }
            self.sync();
            self.drop_too_much();
            state = self.lock();
            if state.unsettled >= UNSETTLED
                && let Ok(_alone) = self.keeping.try_lock()
            {
                self.settle(&mut state);
            }
        }
    }

    /// Drops the oldest segments when the journal has grown beyond `journal.max_size`.
    pub(super) fn drop_too_much(&self) {
        let active = {
            let mut state = self.lock();
            let active = state.writer.first;
            if std::mem::replace(&mut state.looked_at, active) == active {
                return;
            }
            active
        };
        let keep = Keep { age: Duration::MAX, ..self.keep };
        if let Ok(_alone) = self.keeping.try_lock()
            && let Err(error) = upkeep::drop_old(&self.dir, active, SystemTime::now(), keep)
        {
            log::error!("journal: {error}");
        }
    }
}
