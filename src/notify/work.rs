//! What a subscriber that retries does with one record, once: a hook runs a program, a webhook sends a request.

use crate::journal::Record;
use crate::sys::Wake;
use std::fmt;
use std::time::{Duration, Instant};

/// What is done with a record.
pub(super) trait Work: Send + Sync {
    /// The subscriber in log lines: `hook archive`.
    fn label(&self) -> &str;

    /// Hands the record over once, in a thread of its own. It is bounded in time, and ends soon when `cancel` is readable.
    fn try_once(&self, record: &Record, cancel: &Wake) -> Outcome;

    /// How long a clean stop waits for tries that run, before it cancels them.
    fn patience(&self) -> Duration;

    /// Whether a failure that follows another one is left out of the log.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Gives back what is not needed between tries, and says when it is to be called again; `None`: after the next try.
    fn tidy(&self) -> Option<Instant> {
        None
    }
}

/// How a try ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was not.
    Failed {
        /// Why, for the log.
        why: String,
        /// When it is to be tried again, where that was said.
        after: Option<Duration>,
    },
    /// It was cancelled, and is no failure.
    Cancelled,
    /// It is to be tried again at once, and is no failure.
    #[cfg_attr(not(feature = "webhook"), allow(dead_code))]
    Again,
}

impl Outcome {
    /// A failure after which the usual wait is kept.
    pub(super) fn failed(why: impl fmt::Display) -> Outcome {
        Outcome::Failed { why: why.to_string(), after: None }
    }
}
