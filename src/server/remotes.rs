//! The remotes of a server: begun and ended with it, replaced by a reload, shown in its status; and one look at a remote
//! without a server.

use super::sandbox;
use crate::config::{Config, Remote};
use crate::delivery::Delivery;
use crate::fetch::{self, End, Remotes};
use crate::journal::{self, Record};
use crate::notify;
use crate::service::Service;
use crate::sys;
use crate::sys::folder::make_folder;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Begins with what the configuration has.
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
    fetch::message(remote, delivery, &sandbox::enter(config), folder, uid, &file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// The latest record with this id, of a message that stays on its server.
///
/// # Errors
///
/// When the journal cannot be read.
pub fn record_of(config: &Config, id: &str) -> io::Result<Option<Record>> {
    let is_elsewhere = |record: &Record| record.path.is_empty();
    match journal::find(&config.journal(), id, &is_elsewhere) {
        // No server has run here yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => Ok(found?.filter(is_elsewhere)),
    }
}

/// Takes the remotes of a configuration over; those that did not change go on undisturbed.
///
/// # Errors
///
/// As [`start`].
pub fn replace(service: &Service, config: &Config) -> io::Result<()> {
    let mut running = service.remotes();
    let remotes = config.remotes.clone();
    if !remotes.is_empty() {
        // Before the sandbox, in which nothing can be reached that is not there yet.
        make_folder(&service.config.state.join("remote"), 0o750, None)?;
    }
    match &*running {
        None if remotes.is_empty() => {}
        None => {
            sys::forbid_core_dumps();
            let enter = sandbox::enter(&service.config);
            *running = Some(Remotes::start(&service.config.state, remotes, service.delivery.clone(), enter)?);
        }
        Some(running) => running.replace(remotes, sandbox::enter(&service.config)),
    }
    Ok(())
}

/// The sandbox is another one now, as after a mount; the next sessions enter it.
pub fn renew(service: &Service) {
    if let Some(remotes) = &*service.remotes() {
        remotes.enter_by(sandbox::enter(&service.config));
    }
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
