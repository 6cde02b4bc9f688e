//! When records are told: one thread syncs the journal for all that wait. A record is told as soon as it is safe, by this
//! thread or by the delivery that has synced the folder, whichever is last: first inside the process, then, by the mark, to
//! other processes.

use super::writer::Unsynced;
use super::{Failing, Ledger, State, lock, upkeep};
use crate::journal::mark::{self, Mark, Reserved};
use crate::maildir::failpoint;
use std::io;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use upkeep::Keep;

/// How long to wait before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// So soon after something was told, the mark is made safe against a power cut.
const TICK: Duration = Duration::from_millis(500);

/// Numbers are reserved in blocks of this size.
pub(super) const AHEAD: u64 = 1_024;

/// After so many records what is known is put in order, which makes it small.
const UNSETTLED: usize = 50_000;

impl Ledger {
    /// Syncs the journal, without the lock that deliveries need, and tells what is safe then.
    pub(super) fn sync(&self) -> bool {
        let synced = {
            let _alone = lock(&self.syncing);
            let unsynced = self.lock().writer.take_unsynced();
            self.sync_files(unsynced)
        };
        if let Err(error) = synced {
            // Logged once, until it works again.
            if !std::mem::replace(&mut self.lock().failing.sync, true) {
                log::error!("journal: {error}; nothing is told until it can be synced");
            }
            return false;
        }
        self.tell();
        self.write_mark(lock(&self.mark).as_ref());
        true
    }

    fn sync_files(&self, unsynced: Unsynced) -> io::Result<()> {
        if !unsynced.is_empty() {
            failpoint::reach("before-journal-sync");
        }
        if let Err(error) = unsynced.sync(&self.dir) {
            self.lock().writer.give_back(unsynced);
            return Err(error);
        }
        self.reserve(unsynced.to, unsynced.active);
        // Before anything of it is told: what is recorded again may get other numbers.
        if !unsynced.is_empty() && self.check_place(self.told.seq(), None) {
            return Ok(());
        }
        let mut state = self.lock();
        (state.synced, state.failing.sync) = (state.synced.max(unsynced.to), false);
        Ok(())
    }

    /// Records what waits, syncs the journal, tells what is safe, and makes the mark safe against a power cut, too. The
    /// thread does this soon after something was told, and as long as something fails.
    pub fn tick(&self) {
        self.lock().tick_at = None;
        self.retry();
        let told = self.told.seq();
        if self.sync() {
            self.check_place(told, Some(&self.dir));
        }
        self.sync_mark();
    }

    /// Goes on in another segment where somebody took the active one away. What follows `told` is recorded there again, by
    /// the same numbers: not every subscriber may have read it. Only its path, in `dir`, tells that the folder was moved.
    /// Whether it was not in its place.
    fn check_place(&self, told: u64, dir: Option<&Path>) -> bool {
        let active = self.lock().writer.active();
        let Some(active) = active.filter(|active| !active.is_in_place(dir)) else { return false };
        let mut state = self.lock();
        if !state.writer.active().is_some_and(|other| other.is_same(&active)) {
            return true;
        }
        self.told.forget();
        if state.writer.begin_anew(told) {
            state.synced = told;
            self.write(&mut state);
        }
        true
    }

    /// Reserves numbers up to `to` and some more, so that no number is told that is not reserved.
    fn reserve(&self, to: u64, active: u64) {
        let reserved = self.lock().reserved;
        let active = active.max(reserved.active);
        if to + AHEAD / 2 <= reserved.to && active == reserved.active {
            return;
        }
        let wanted = Reserved { to: reserved.to.max(to + AHEAD), active };
        match lock(&self.mark).as_ref().map_or(Ok(()), |mark| mark.reserve(wanted)) {
            Ok(()) => self.lock().reserved = wanted,
            Err(error) => self.log_mark_error(&error),
        }
    }

    /// Tells what is safe. It does not wait for the disk.
    pub(super) fn tell(&self) {
        let safe = self.lock().safe();
        if !self.told.advance(safe) {
            return;
        }
        // While numbers are reserved, which is a sync, the mark is left to the thread.
        let is_written = self.mark.try_lock().is_ok_and(|mark| self.write_mark(mark.as_ref()));
        if !is_written {
            self.wake(self.lock());
        }
    }

    /// Makes the mark say what is told. False when the thread is needed: to try again, or to make it safe later.
    fn write_mark(&self, mark: Option<&Mark>) -> bool {
        let (told, marked) = (self.told.seq(), self.lock().marked);
        if told <= marked {
            return true;
        }
        match mark.map_or(Ok(()), |mark| mark.set(told)) {
            Ok(()) => {
                let mut state = self.lock();
                (state.marked, state.failing.mark) = (told, false);
                let has_tick = state.tick_at.is_some();
                state.tick_at.get_or_insert_with(|| Instant::now() + TICK);
                has_tick
            }
            Err(error) => {
                self.log_mark_error(&error);
                false
            }
        }
    }

    /// Makes the mark safe against a power cut. Without the lock while the disk works.
    pub(super) fn sync_mark(&self) {
        let mark = lock(&self.mark).clone();
        let outcome = match mark.filter(Mark::is_in_place) {
            Some(mark) => mark.sync(),
            None => {
                let mut mark = lock(&self.mark);
                let reserved = self.lock().reserved;
                Mark::open(&self.dir, self.told.seq(), reserved).map(|new| *mark = Some(new))
            }
        };
        match outcome {
            Ok(()) => {
                let mut state = self.lock();
                state.failing.mark &= state.marked < self.told.seq();
            }
            Err(error) => self.log_mark_error(&error),
        }
    }

    /// At a clean stop nothing is reserved that is not used: numbers go on without a gap, whatever becomes of the journal.
    pub(super) fn reserve_no_more(&self) {
        let mark = lock(&self.mark);
        let wanted = {
            let mut state = self.lock();
            let told = self.told.seq();
            if told < state.writer.last() {
                return;
            }
            state.reserved.to = told;
            state.reserved
        };
        if let Err(error) = mark.as_ref().map_or(Ok(()), |mark| mark.reserve(wanted)) {
            log::debug!("{}: {error}", self.dir.join(mark::NAME).display());
        }
    }

    /// Logged once, until it works again.
    fn log_mark_error(&self, error: &io::Error) {
        if !std::mem::replace(&mut self.lock().failing.mark, true) {
            log::error!("{}: {error}", self.dir.join(mark::NAME).display());
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

    /// The work of the thread.
    pub(super) fn run(&self) {
        let mut state = self.lock();
        while !state.stop {
            let Failing { write, sync, mark } = state.failing;
            let left = state.tick_at.map(|at| at.saturating_duration_since(Instant::now()));
            if write || sync || mark {
                // Deliveries need not wake it: it comes soon enough.
                drop(self.sleep(state, Some(AGAIN)));
                self.tick();
            } else if left == Some(Duration::ZERO) {
                drop(state);
                self.tick();
            } else if !state.writer.is_synced() || self.told.seq() > state.marked {
                drop(state);
                self.sync();
            } else {
                state.is_idle = true;
                state = self.sleep(state, left);
                state.is_idle = false;
                continue;
            }
            self.drop_too_much();
            state = self.lock();
            if state.unsettled >= UNSETTLED
                && let Ok(_alone) = self.keeping.try_lock()
            {
                self.settle(&mut state);
            }
        }
    }

    /// Waits until there is work, for some time at most.
    fn sleep<'a>(&self, state: MutexGuard<'a, State>, at_most: Option<Duration>) -> MutexGuard<'a, State> {
        match at_most {
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
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
        let Ok(_alone) = self.keeping.try_lock() else { return };
        let dropped = upkeep::is_too_large(&self.dir, keep.size).and_then(|is_too_large| {
            // First: of what the journal drops, nothing else knows that it was recorded.
            if is_too_large && self.save_recorded() {
                upkeep::drop_old(&self.dir, active, SystemTime::now(), keep)?;
            }
            Ok(())
        });
        if let Err(error) = dropped {
            log::error!("journal: {error}");
        }
    }
}
