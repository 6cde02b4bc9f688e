//! Worker threads: made when nobody is free, kept while there is work, gone soon after.
//!
//! The pool bounds nothing itself: who may come in is decided before, by `admission`. It holds no queue worth the
//! name either: a job waits only for a thread that is on its way to it.

use crate::limits::{IDLE_THREAD, WORKER_STACK};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Threads asleep on the condition and not yet promised to a job.
    idle: usize,
    threads: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    begin: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A set of worker threads.
#[derive(Clone, Default)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// A pool each of whose threads calls `begin` before its first job.
    pub fn beginning_with(begin: impl Fn() + Send + Sync + 'static) -> Pool {
        Pool(Arc::new(Shared { begin: Some(Box::new(begin)), ..Shared::default() }))
    }

    /// Runs `job` on an idle thread, or on a new one.
    ///
    /// # Errors
    ///
    /// When there is no idle thread and the system gives no new one; the job is dropped then.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.0.lock();
        let job: Job = Box::new(job);
        if state.idle > 0 {
            state.idle -= 1;
            state.waiting.push_back(job);
            drop(state);
            self.0.work.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let shared = self.0.clone();
        let spawned = std::thread::Builder::new()
            .name("worker".into())
            .stack_size(WORKER_STACK)
            .spawn(move || work(&shared, job));
        if spawned.is_err() {
            self.0.lock().threads -= 1;
        }
        spawned.map(drop)
    }

    /// How many threads there are.
    #[cfg(test)]
    pub fn threads(&self) -> usize {
        self.0.lock().threads
    }
}

fn work(shared: &Shared, mut job: Job) {
    shared.begin.iter().for_each(|begin| begin());
    loop {
        // A panic has unwound the session and closed its connection; the thread is as good as new.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        let mut state = shared.lock();
        state.idle += 1;
        let (guard, _) = shared
            .work
            .wait_timeout_while(state, IDLE_THREAD, |state| state.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state = guard;
        match state.waiting.pop_front() {
            // Whoever queued the job has counted one idle thread less already.
            Some(next) => job = next,
            None => {
                state.idle -= 1;
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn silent_jobs_do_not_stop_the_next_one() {
        let pool = Pool::default();
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..100 {
            let gate = gate.clone();
            pool.run(move || drop(gate.lock().map(|gate| gate.recv()))).unwrap();
        }
        let (done, answer) = mpsc::channel();
        pool.run(move || done.send(1).unwrap()).unwrap();
        assert_eq!(answer.recv_timeout(Duration::from_secs(10)), Ok(1));
        drop(release);
    }

    #[test]
    fn a_panic_costs_one_job_and_threads_are_used_again() {
        let pool = Pool::default();
        pool.run(|| panic!("one session fails")).unwrap();
        for number in 0..50 {
            let (done, answer) = mpsc::channel();
            pool.run(move || done.send(number).unwrap()).unwrap();
            assert_eq!(answer.recv_timeout(Duration::from_secs(10)), Ok(number));
        }
        assert!(pool.threads() <= 51);
    }
}
