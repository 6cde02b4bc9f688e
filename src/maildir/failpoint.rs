//! Named steps of a message's life at which a crash test stops the process. Without the feature `failpoints` there is
//! nothing here but an empty function.
//!
//! `MAILBELL_FAIL_AT=NAME` kills the process with SIGKILL when step NAME is reached, `NAME:N` when it is reached the
//! N-th time: nothing is flushed, closed or removed, as at a power cut, except that the kernel lives on.

/// Every step that has a name, in their order.
pub const STEPS: [&str; 9] = [
    "before-write",
    "after-write",
    "after-fsync",
    "after-link",
    "after-rename",
    "before-journal",
    "after-journal",
    "before-journal-sync",
    "after-dirsync",
];

/// Every step on the way through the queue.
pub const QUEUE_STEPS: [&str; 10] = [
    "queue-written",
    "queue-synced",
    "queue-renamed",
    "queue-committed",
    "queue-taken",
    "queue-answered",
    "queue-noted",
    "queue-settled",
    "queue-told",
    "queue-removed",
];

/// A step is reached.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_step: &str) {}

/// A step is reached.
#[cfg(feature = "failpoints")]
pub fn reach(step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static AT: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let at = AT.get_or_init(|| {
        let text = std::env::var("MAILBELL_FAIL_AT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        let count = count.parse().ok().filter(|_| STEPS.contains(&name) || QUEUE_STEPS.contains(&name));
        // A test that names no step would pass without having tested anything.
        let count = count.unwrap_or_else(|| panic!("MAILBELL_FAIL_AT={text}: no such step"));
        Some((name.to_owned(), AtomicI64::new(count)))
    });
    if let Some((name, left)) = at
        && name == step
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way to every thread of the process; this one must not go on meanwhile.
        loop {
            std::thread::park();
        }
    }
}
