//! Subscribers of the journal. A subscriber is a cursor, a filter and a sink.
//!
//! ```text
//! journal -> Subscriber (the loop: follow, filter, keep the cursor) -> Sink -> a FIFO       pipe.rs, fifo.rs, unread.rs
//!                                                                          -> Retrying, which tries until it is acknowledged
//!                                                                             -> Work -> a program   hook.rs, command.rs, message.rs
//!                                                                                     -> a request   webhook.rs, exchange.rs, payload.rs
//!                                                                          -> a broker          mqtt.rs
//!                                                                          -> standard output, or a program (cli/watch.rs)
//! ```
//!
//! Each subscriber has a thread that follows the journal's files by inotify(7), so a slow or absent reader costs neither
//! memory nor a sender's time, and the same code works inside the server and outside it. Another kind of subscriber that
//! acknowledges is one more file with an `impl Work`, a variant of [`Settings`], and its lines in `ready.rs`.
//!
//! # The event
//!
//! A record of the journal, JSON Lines in `STATE/journal/`; names follow RFC 5423 where it has them. `null` where the
//! message has no such field. The same names serve in templates (`{subject}`), in `match`, and in capitals after
//! `MAILBELL_` in a program's environment.
//!
//! | field | meaning |
//! |---|---|
//! | `seq` | 1, 2, 3 ... without gaps, over all users; a line that comes twice has the same `seq` and `id` |
//! | `event` | `MessageNew` |
//! | `timestamp` | RFC 3339, UTC, microseconds: when it was stored |
//! | `user`, `id`, `path` | the owner of the Maildir, the message's id, the file's absolute path when it was stored |
//! | `size` | octets with CRLF line ends, as POP3 LIST says |
//! | `via` | `smtp`, `lmtp`, `deliver`, `poll`, `maildir` |
//! | `mail_from`, `rcpt_to` | envelope; `rcpt_to` as the sender typed it; `mail_from` is empty for the null path |
//! | `client`, `helo`, `auth`, `tls` | the client that handed it over |
//! | `message_id`, `date`, `from`, `reply_to`, `to`, `subject`, `mime_version`, `content_type`, `content_transfer_encoding` | header fields, decoded to UTF-8 |
//! | `cc`, `sender`, `in_reply_to`, `references`, `list_id`, `auto_submitted` | likewise |
//! | `headers` | an object of the header fields that `event.headers` names, by their names in lower case |
//! | `verified` | `pass`, `fail` or `none`: the result of DMARC that `event.authserv` found; see `message::header` |
//! | `key` | the same for two deliveries of one message: `mid:` and its Message-ID, else `hdr:` and a digest |
//! | `duplicate_of` | `seq` of the latest earlier event with the same `user` and `key` |
//!
//! # Cursors
//!
//! A cursor stands after the last record that its subscriber is done with. A pipe is done with a record when a reader has
//! taken its line; a hook, when its program exited with 0 or the record was given up; `watch`, when its line was written
//! or its COMMAND exited with 0. A new cursor begins at the journal's end. The cursor of a pipe or hook that is removed
//! from the configuration stays, so that adding it again loses nothing.
//!
//! While little happens a cursor is written at once. On a busy server it is written once a second, and at a clean stop.
//! What a crash finds unwritten is handed over again.

mod command;
mod desk;
#[cfg(feature = "webhook")]
mod exchange;
mod field_name;
mod fifo;
mod filter;
mod format;
mod given_up;
mod hook;
mod job;
mod message;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "webhook")]
mod payload;
mod pipe;
mod ranges;
mod ready;
mod recovery;
mod replay;
mod retrying;
#[cfg(feature = "webhook")]
mod signature;
mod status;
mod subscriber;
mod subscribers;
#[cfg(test)]
mod testing;
mod unread;
#[cfg(feature = "webhook")]
mod webhook;
mod work;

pub use command::{End, Source, Task, run};
pub use field_name::{FieldName, unknown_header};
pub use filter::Filter;
pub use format::{Format, Piece, header_fields};
pub use given_up::GivenUp;
pub use message::{Fetcher, fetch_with};
#[cfg(feature = "mqtt")]
pub use mqtt::{BrokerStatus, MqttSettings, probe as probe_broker};
pub use replay::{Handle, Refused, Replayed};
pub use status::status_of_files;
pub use subscriber::{Looked, Sink, Subscriber, Waits};
pub use subscribers::{Needed, Subscribers};
#[cfg(feature = "webhook")]
pub use {
    payload::Body,
    signature::Key,
    webhook::{HeaderValue, WebhookSettings, probe},
};

use crate::journal::encode;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Takes a thread that speaks to peers into its sandbox.
pub type Enter = Arc<dyn Fn() + Send + Sync>;

/// `[[pipe]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PipeSettings {
    /// The FIFO.
    pub path: PathBuf,
    /// How a record becomes a line.
    pub format: Format,
    /// Mode of a FIFO that we make.
    pub mode: u32,
    /// Which records (`users` and `match`).
    pub filter: Filter,
    /// What a reader that comes late gets.
    pub backlog: Backlog,
}

impl PipeSettings {
    /// The records that become lines.
    pub fn wanted(&self) -> Filter {
        self.filter.clone().for_format(&self.format)
    }

    /// The name of the pipe at `path`, as a subscriber.
    pub fn name_of(path: &Path) -> String {
        format!("pipe:{}", path.display())
    }

    /// Whether the cursor of a pipe at `path` can have a file: NAME_MAX is 255.
    pub fn can_have_cursor(path: &Path) -> bool {
        encode(&PipeSettings::name_of(path)).len() <= 255
    }
}

/// `pipe.backlog`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Everything.
    All,
    /// What comes while a reader has the pipe open.
    None,
    /// What is not older than this.
    Age(Duration),
}

/// `hook.stdin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookInput {
    /// The stored message, uncompressed.
    Message,
    /// The JSON record.
    Event,
    /// The record and what is in the message, as one JSON object.
    Parsed,
    /// Nothing.
    None,
}

/// `[[hook]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct HookSettings {
    /// Its name: of its cursor, and in the log.
    pub name: String,
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// What it reads.
    pub stdin: HookInput,
    /// After this its process group is killed.
    pub timeout: Duration,
    /// How many at once, and how often.
    pub retry: Retry,
    /// No try begins.
    pub is_paused: bool,
    /// Which records.
    pub filter: Filter,
}

/// When a subscriber that acknowledges is told, and when it is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many records at once; 1 keeps their order.
    pub jobs: usize,
    /// Wait after the first failed try; each further wait is twice as long.
    pub from: Duration,
    /// Longest wait.
    pub to: Duration,
    /// After this, counted from the event's first try, it is given up.
    pub give_up: Duration,
}

/// The settings of a subscriber of any kind that the server serves.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// `[[pipe]]`.
    Pipe(PipeSettings),
    /// `[[hook]]`.
    Hook(HookSettings),
    /// `[[mqtt]]`.
    #[cfg(feature = "mqtt")]
    Mqtt(MqttSettings),
    /// `[[webhook]]`.
    #[cfg(feature = "webhook")]
    Webhook(WebhookSettings),
}

impl Settings {
    /// The records whose stored messages are handed over, or may be: a hook with `stdin = "none"` calls `mailbell cat`. `None`
    /// where the record alone is.
    pub fn needs_message(&self) -> Option<&Filter> {
        match self {
            Settings::Hook(hook) => Some(&hook.filter),
            #[cfg(feature = "webhook")]
            Settings::Webhook(webhook) => (!matches!(webhook.body, Body::Event)).then_some(&webhook.filter),
            Settings::Pipe(_) => None,
            #[cfg(feature = "mqtt")]
            Settings::Mqtt(_) => None,
        }
    }

    /// The name of the subscriber, and of its cursor.
    pub fn name(&self) -> String {
        match self {
            Settings::Pipe(pipe) => PipeSettings::name_of(&pipe.path),
            Settings::Hook(hook) => format!("hook:{}", hook.name),
            #[cfg(feature = "mqtt")]
            Settings::Mqtt(mqtt) => mqtt.subscriber(),
            #[cfg(feature = "webhook")]
            Settings::Webhook(webhook) => format!("webhook:{}", webhook.name),
        }
    }

    /// `paused = true`.
    pub fn is_paused(&self) -> bool {
        match self {
            Settings::Pipe(_) => false,
            Settings::Hook(hook) => hook.is_paused,
            #[cfg(feature = "mqtt")]
            Settings::Mqtt(_) => false,
            #[cfg(feature = "webhook")]
            Settings::Webhook(webhook) => webhook.is_paused,
        }
    }

    /// Which records it wants, where it can be given one again.
    pub fn replays(&self) -> Option<&Filter> {
        match self {
            Settings::Pipe(_) => None,
            #[cfg(feature = "mqtt")]
            Settings::Mqtt(_) => None,
            Settings::Hook(hook) => Some(&hook.filter),
            #[cfg(feature = "webhook")]
            Settings::Webhook(webhook) => Some(&webhook.filter),
        }
    }
}

/// One subscriber, for `mailbell status` and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberStatus {
    /// `pipe:/run/mail/notify`, `hook:archive`, `watch:NAME`: also the name of its cursor.
    pub name: String,
    /// `seq` up to which everything is done with.
    pub last_seq: u64,
    /// Records that it is not done with. Those that its filter passes over count only as long as it has not come to them.
    pub backlog: u64,
    /// When the oldest of these was stored, microseconds since 1970.
    pub oldest_unread: Option<u64>,
    /// Failed tries of a hook, or of the COMMAND of a `watch`.
    pub retries: u64,
    /// Records that a hook gave up.
    pub given_up: u64,
    /// Records that the journal dropped before they were read.
    pub lost: u64,
    /// No try begins, by `paused = true` or by a person.
    pub is_paused: bool,
    /// Why the last try failed; `None` after one that did not, and without a server.
    pub last_error: Option<String>,
    /// The last records that were given up.
    pub last_given_up: Vec<GivenUp>,
}
