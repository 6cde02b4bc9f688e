//! A bound on the memory that password hashes take at once: when it is used up, callers wait.

use super::secret::OWN_MEMORY;
use std::sync::{Condvar, Mutex, PoisonError};

/// KiB: two of our own hashes. A small machine has no more cores for them either.
const BUDGET: u32 = 2 * OWN_MEMORY;

/// The gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    taken: Mutex<u32>,
    freed: Condvar,
}

/// The right to so much memory.
#[derive(Debug)]
pub(super) struct Pass<'g> {
    gate: &'g Gate,
    memory: u32,
}

impl Gate {
    /// Waits until there is room. What is larger than the whole budget passes alone.
    pub(super) fn enter(&self, memory: u32) -> Pass<'_> {
        let memory = memory.min(BUDGET);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let room = |taken: &mut u32| *taken + memory > BUDGET;
        let mut taken = self.freed.wait_while(taken, room).unwrap_or_else(PoisonError::into_inner);
        *taken += memory;
        Pass { gate: self, memory }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.gate.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.memory;
        self.gate.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn never_more_than_the_budget_and_everybody_gets_through() {
        let (gate, now, most, done) = (Gate::default(), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for number in 0..40 {
                let memory = [OWN_MEMORY, 0, OWN_MEMORY / 2, 10 * BUDGET][number % 4];
                let (gate, now, most, done) = (&gate, &now, &most, &done);
                scope.spawn(move || {
                    let pass = gate.enter(memory);
                    let here = now.fetch_add(pass.memory, Ordering::SeqCst) + pass.memory;
                    most.fetch_max(here, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    now.fetch_sub(pass.memory, Ordering::SeqCst);
                    drop(pass);
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(done.into_inner(), 40);
        assert!(most.into_inner() <= BUDGET);
        assert_eq!(gate.taken.into_inner().unwrap(), 0);
    }
}
