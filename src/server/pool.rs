//! Worker threads: made when none is free, kept while there is work, gone soon after.
//!
//! The pool has no limit of its own: `admission` decides before how many connections there are. A job never waits for
//! another job, only for a thread that is on its way to it.

use crate::limits::{IDLE_THREAD, WORKER_STACK};
use crate::sys::lock;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What a thread does: a connection, or other work.
pub trait Job: Send + 'static {
    /// Does it.
    fn run(self);
}

struct State<J> {
    waiting: VecDeque<J>,
    /// Threads that wait and are not promised to a job.
    idle: usize,
    threads: usize,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    work: Condvar,
    begin: Option<Box<dyn Fn() + Send + Sync>>,
}

/// A set of worker threads. A clone is the same set.
pub struct Pool<J>(Arc<Mutex<Arc<Shared<J>>>>);

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Pool<J> {
        Pool(self.0.clone())
    }
}

impl<J: Job> Pool<J> {
    /// A pool of which each thread calls `begin`, if there is one, before its first job.
    pub fn new(begin: Option<Box<dyn Fn() + Send + Sync>>) -> Pool<J> {
        let state = Mutex::new(State { waiting: VecDeque::new(), idle: 0, threads: 0 });
        Pool(Arc::new(Mutex::new(Arc::new(Shared { state, work: Condvar::new(), begin }))))
    }

    /// Runs `job` on an idle thread, or on a new one.
    ///
    /// # Errors
    ///
    /// When no thread is idle and the system gives no new one. The job is given back.
    pub fn run(&self, job: J) -> Result<(), (J, io::Error)> {
        let shared = self.shared();
        let mut state = lock(&shared.state);
        if state.idle > 0 {
            state.idle -= 1;
            state.waiting.push_back(job);
            drop(state);
            shared.work.notify_one();
            return Ok(());
        }
        // The lock is held until the thread is there, so that no other thread takes the job of one that is not made.
        let for_thread = shared.clone();
        let builder = std::thread::Builder::new().name("worker".into()).stack_size(WORKER_STACK);
        match builder.spawn(move || work(&for_thread)) {
            Ok(_) => {
                state.threads += 1;
                state.waiting.push_back(job);
                Ok(())
            }
            Err(error) => Err((job, error)),
        }
    }

    /// From now on the threads are those of `other`. Jobs under way end in their threads, and these leave then.
    pub fn replace(&self, other: &Pool<J>) {
        let other = other.shared();
        *lock(&self.0) = other;
    }

    /// How many threads there are.
    #[cfg(test)]
    pub fn threads(&self) -> usize {
        lock(&self.shared().state).threads
    }

    fn shared(&self) -> Arc<Shared<J>> {
        lock(&self.0).clone()
    }
}

fn work<J: Job>(shared: &Shared<J>) {
    shared.begin.iter().for_each(|begin| begin());
    let mut state = lock(&shared.state);
    loop {
        // A job that was queued has reduced `idle` already, or belongs to this new thread.
        if let Some(job) = state.waiting.pop_front() {
            drop(state);
            // A panic has unwound the session and closed its connection. The thread can go on.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run()));
            state = lock(&shared.state);
            state.idle += 1;
        }
        let (guard, _) = shared
            .work
            .wait_timeout_while(state, IDLE_THREAD, |state| state.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state = guard;
        if state.waiting.is_empty() {
            state.idle -= 1;
            state.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    impl Job for Box<dyn FnOnce() + Send> {
        fn run(self) {
            self();
        }
    }

    fn run(pool: &Pool<Box<dyn FnOnce() + Send>>, job: impl FnOnce() + Send + 'static) {
        assert!(pool.run(Box::new(job)).is_ok());
    }

    #[test]
    fn silent_jobs_do_not_stop_the_next_one() {
        let pool = Pool::new(None);
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..100 {
            let gate = gate.clone();
            run(&pool, move || drop(gate.lock().map(|gate| gate.recv())));
        }
        let (done, answer) = mpsc::channel();
        run(&pool, move || done.send(1).unwrap());
        assert_eq!(answer.recv_timeout(Duration::from_secs(60)), Ok(1));
        drop(release);
    }

    #[test]
    fn a_panic_costs_one_job_and_threads_are_used_again() {
        let pool = Pool::new(None);
        run(&pool, || panic!("one session fails"));
        for number in 0..50 {
            let (done, answer) = mpsc::channel();
            run(&pool, move || done.send(number).unwrap());
            assert_eq!(answer.recv_timeout(Duration::from_secs(60)), Ok(number));
        }
        assert!(pool.threads() <= 51);
    }

    #[test]
    fn a_replaced_pool_ends_its_jobs_and_gets_no_more() {
        let (said, heard) = mpsc::channel();
        let beginning = |name: &'static str| {
            let said = said.clone();
            Pool::new(Some(Box::new(move || said.send(name).unwrap())))
        };
        let pool = beginning("old");
        let clone = pool.clone();
        let (release, gate) = mpsc::channel::<()>();
        run(&pool, move || {
            let _ = gate.recv();
        });
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok("old"));
        pool.replace(&beginning("new"));
        run(&clone, || {});
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok("new"));
        drop(release);
    }
}
