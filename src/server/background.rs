//! Work that must not hold up the event loop: one thread while there is work, one task at a time. A task that is requested
//! again before it has begun is done once.

use crate::sys::lock;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// A place where tasks of one kind are done. A clone is the same place.
pub struct Background<T>(Arc<Shared<T>>);

struct Shared<T> {
    name: &'static str,
    state: Mutex<State<T>>,
    perform: Box<dyn Fn(T) + Send + Sync>,
}

struct State<T> {
    waiting: Vec<T>,
    is_running: bool,
}

impl<T: Copy + PartialEq + Send + 'static> Background<T> {
    /// Does each task by `perform`, in a thread of this name.
    pub fn new(name: &'static str, perform: impl Fn(T) + Send + Sync + 'static) -> Background<T> {
        let state = Mutex::new(State { waiting: Vec::new(), is_running: false });
        Background(Arc::new(Shared { name, state, perform: Box::new(perform) }))
    }

    /// Does `task` soon.
    ///
    /// # Errors
    ///
    /// When the system gives no thread. The task is not remembered then.
    pub fn request(&self, task: T) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        if !state.waiting.contains(&task) {
            state.waiting.push(task);
        }
        if !state.is_running {
            let shared = self.0.clone();
            if let Err(error) = std::thread::Builder::new().name(shared.name.into()).spawn(move || work(&shared)) {
                state.waiting.clear();
                return Err(error);
            }
            state.is_running = true;
        }
        Ok(())
    }
}

fn work<T>(shared: &Shared<T>) {
    loop {
        let mut state = lock(&shared.state);
        if state.waiting.is_empty() {
            state.is_running = false;
            return;
        }
        let task = state.waiting.remove(0);
        drop(state);
        if catch_unwind(AssertUnwindSafe(|| (shared.perform)(task))).is_err() {
            log::error!("{}: a task failed; the next one is done", shared.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_requested_meanwhile_is_done_once_and_never_two_at_a_time() {
        let (begun, begins) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let background = Background::new("test", move |task: u8| {
            let gate = gate.try_lock().expect("one at a time");
            begun.send(task).unwrap();
            let _ = gate.recv();
        });
        background.request(1).unwrap();
        assert_eq!(begins.recv_timeout(MINUTE), Ok(1));
        for task in [1, 2, 1, 1, 2] {
            background.request(task).unwrap();
        }
        for wanted in [1, 2] {
            go.send(()).unwrap();
            assert_eq!(begins.recv_timeout(MINUTE), Ok(wanted));
        }
        go.send(()).unwrap();
        // A later task begins: nothing else was waiting.
        background.request(3).unwrap();
        assert_eq!(begins.recv_timeout(MINUTE), Ok(3));
        drop(go);
    }

    #[test]
    fn a_task_that_panics_does_not_stop_the_next() {
        let (done, answer) = mpsc::channel();
        let background = Background::new("test", move |task: u8| {
            assert_ne!(task, 0, "on purpose");
            done.send(task).unwrap();
        });
        background.request(0).unwrap();
        background.request(1).unwrap();
        assert_eq!(answer.recv_timeout(MINUTE), Ok(1));
    }
}
