//! The remotes of a server: begun and ended with it, replaced by a reload, shown in its status; and one look at a remote
//! without a server.

use super::reload::{live, watched};
use super::{StartError, owner, sandbox};
use crate::arrivals::Arrivals;
use crate::config::{Config, Remote};
use crate::delivery::Delivery;
use crate::fetch::{self, End, Entry, Remotes};
use crate::journal::{Held, Item, Lock, Reader, Record};
use crate::ledger::{Keep, Ledger};
use crate::message::date;
use crate::notify;
use crate::service::Service;
use crate::service::counters;
use crate::sys;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Begins with what the configuration has. What was found in the Maildirs is recorded already.
///
/// # Errors
///
/// When the system has no descriptor or thread left.
pub fn start(service: &Arc<Service>) -> io::Result<()> {
    let weak = Arc::downgrade(service);
    notify::fetch_with(Box::new(move |record| {
        let service = weak.upgrade()?;
        let remote = service.remotes().as_ref()?.named(record.origin.remote.as_deref()?)?;
        let fetched = message(&service.config, &remote, &service.delivery, record);
        fetched.map_err(|end| log::warn!("remote {}: {} cannot be fetched: {}", remote.name, record.id, end.why)).ok()
    }));
    replace(service, &service.config)
}

/// A message that stays on its server, in a file without a name.
///
/// # Errors
///
/// Why it cannot be had.
pub fn message(config: &Config, remote: &Remote, delivery: &Arc<Delivery>, record: &Record) -> Result<File, End> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!(".fetched-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
    let path = config.state.join(name);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    let (folder, uid) = (record.origin.folder.as_deref(), record.origin.uid.as_deref().unwrap_or_default());
    fetch::message(remote, delivery, sandbox::enter(config), folder, uid, &file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// The latest record with this id, of a message that stays on its server.
///
/// # Errors
///
/// When the journal cannot be read.
pub fn record_of(config: &Config, id: &str) -> io::Result<Option<Record>> {
    let mut reader = Reader::new(&config.journal(), 0);
    let mut found = None;
    while let Some(item) = reader.next_item()? {
        if let Item::Record(record) = item
            && record.id == id
            && record.path.is_empty()
        {
            found = Some(*record);
        }
    }
    Ok(found)
}

/// Takes the remotes of a configuration over; those that did not change go on undisturbed.
///
/// # Errors
///
/// As [`start`].
pub fn replace(service: &Service, config: &Config) -> io::Result<()> {
    let mut running = service.remotes();
    let remotes = config.remotes.clone();
    match &*running {
        None if remotes.is_empty() => {}
        None => {
            sys::forbid_core_dumps();
            // A message that is in its Maildir and whose record is not safe yet would be fetched again.
            service.ledger.tick();
            let enter = sandbox::enter(&service.config);
            *running = Some(Remotes::start(&service.config.state, remotes, service.delivery.clone(), enter)?);
        }
        Some(running) => running.replace(remotes, sandbox::enter(&service.config)),
    }
    Ok(())
}

/// Tells all sessions with remotes to end.
pub fn begin_stop(service: &Service) {
    if let Some(remotes) = &*service.remotes() {
        remotes.begin_stop();
    }
}

/// Waits for their end.
pub fn stop(service: &Service) {
    let remotes = service.remotes().take();
    if let Some(remotes) = remotes {
        remotes.stop();
    }
}

/// Each remote's folders for `mailbell status`.
pub fn status(service: &Service) -> Value {
    entries(service).iter().map(entry).collect()
}

fn entries(service: &Service) -> Vec<Entry> {
    service.remotes().as_ref().map(Remotes::status).unwrap_or_default()
}

fn entry(entry: &Entry) -> Value {
    let time = |seconds: Option<u64>| seconds.map(|seconds| date::rfc3339_micros(seconds * 1_000_000));
    json!({
        "remote": entry.remote,
        "folder": entry.folder,
        "state": entry.doing.name(),
        "last_success": time(entry.last_success),
        "new_today": entry.new_today,
        "messages": entry.messages,
        "parked": entry.parked,
        "given_up": entry.given_up,
        "next_try": time(entry.next_try),
        "last_error": entry.last_error,
    })
}

/// Appends the metrics.
pub fn metrics(service: &Service, text: &mut String) {
    let entries = entries(service);
    if entries.is_empty() {
        return;
    }
    let labels = |entry: &Entry, more: &str| {
        let remote = counters::label("remote", &entry.remote);
        let folder = counters::label("folder", entry.folder.as_deref().unwrap_or_default());
        format!("{},{}{more}}}", remote.trim_end_matches('}'), folder.trim_matches(['{', '}']))
    };
    let mut family = |name: &str, help: &str, kind: &str, value: fn(&Entry) -> u64| {
        let samples: Vec<_> = entries.iter().map(|entry| (labels(entry, ""), value(entry))).collect();
        counters::prometheus(text, name, help, kind, &samples);
    };
    family("remote_up", "Whether the last session with a remote is or was good.", "gauge", |entry| {
        u64::from(entry.last_success.is_some() && entry.last_error.is_none())
    });
    family(
        "remote_last_success_timestamp_seconds",
        "When a remote was last looked at with success.",
        "gauge",
        |entry| entry.last_success.unwrap_or(0),
    );
    family("remote_messages_total", "Messages of a remote since the start.", "counter", |entry| entry.messages);
    family("remote_parked", "Messages that cannot be fetched for now.", "gauge", |entry| entry.parked);
    let mut samples = Vec::new();
    for entry in &entries {
        for kind in fetch::Kind::ERRORS {
            let count = entry.errors.get(kind.name()).copied().unwrap_or(0);
            samples.push((labels(entry, &format!(",kind=\"{}\"", kind.name())), count));
        }
    }
    counters::prometheus(text, "remote_errors_total", "Sessions with a remote that failed.", "counter", &samples);
}

/// One look at a remote, where no server runs: under the server's lock. Gives for each folder how it ended.
///
/// # Errors
///
/// When a server runs after all, or the state cannot be opened.
pub fn look_once(config: &Config, remote: Remote) -> Result<Vec<(String, End)>, StartError> {
    sys::forbid_core_dumps();
    // Before the sandbox, in which nothing can be reached that is not there yet.
    owner::store_folders(config, None)?;
    let _lock = Lock::for_server(&config.state).map_err(|held| match held {
        Held::Io(error) => StartError::io(config.state.join("lock").display(), &error),
        held => StartError::Temporary(format!("{}: {held}", config.state.display())),
    })?;
    let state = |error: io::Error| StartError::io(config.state.display(), &error);
    let live = live(config).map_err(|problems| StartError::Configuration(problems.join("\n")))?;
    let keep = Keep { age: config.journal_keep, size: config.journal_max_size };
    let ledger = Ledger::open(&config.state, keep).map_err(state)?;
    ledger.start().map_err(state)?;
    let delivery = Arc::new(Delivery::new(config, Some(ledger.clone())));
    // What an earlier run stored and did not record is recorded first.
    let arrivals = Arrivals::start(delivery.clone(), watched(config, &config.watches, &live.accounts))
        .map_err(|error| StartError::io("watching the Maildirs", &error))?;
    ledger.tick();
    let ends = fetch::once(remote, delivery, &config.state, sandbox::enter(config));
    arrivals.stop();
    ledger.stop();
    Ok(ends)
}
