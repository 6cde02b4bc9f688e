//! The part of the hourly work that deletes old messages: each user's age, and the messages that programs still need.

use crate::maildir::name::{self, Name, Place};
use crate::maildir::retention::{self, Policy};
use crate::notify::Needed;
use crate::service::Service;
use crate::sys::lock;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that runs ahead of the monotonic one by more than this was set.
const STEP: Duration = Duration::from_secs(3_600);

/// How long a pass waits for the POP3 session of a user to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// When the last pass was.
static LAST: Mutex<Option<(SystemTime, Instant)>> = Mutex::new(None);

/// One pass over the Maildirs of all accounts.
pub fn run(service: &Service, stop: &AtomicBool) {
    let now = SystemTime::now();
    if was_set_forward(now) {
        log::warn!("the clock was set forward: old messages are deleted an hour later, if the clock stays so");
        return;
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let users: Vec<String> = service.live().accounts.names().map(str::to_owned).collect();
    for user in users {
        let Some(older_than) = service.config.delete_after(&user) else { continue };
        let policy = Policy { older_than, now, patience: PATIENCE };
        let lock = || service.maildrops.lock_for_upkeep(&user);
        // Asked when the messages are listed, so that no message is listed that came later.
        let mut needed = None;
        let is_needed = |place: Place, file_name: &OsStr| {
            let needed = needed.get_or_insert_with(|| needed_by_programs(service, &user));
            // A message without an event becomes one first.
            place == Place::New && !service.ledger.has(&user, file_name.as_bytes())
                || needed.as_ref().is_none_or(|needed| needed.has(&name::text(Name::parse(file_name.as_bytes()).id)))
        };
        let maildir = service.config.maildir(&user);
        match retention::pass(&maildir, &policy, stop, is_needed, lock) {
            Ok(report) => {
                service.counters.messages_expired.add(report.deleted);
                let needed = match report.needed {
                    0 => String::new(),
                    count => format!("; {count} more wait for a hook"),
                };
                if report.deleted > 0 || report.needed > 0 {
                    let (deleted, octets) = (report.deleted, report.octets);
                    log::info!("{user}: {deleted} old messages deleted, {octets} octets (delete_after){needed}");
                }
                if report.was_busy {
                    log::debug!("{user}: a POP3 session is open; old messages are deleted an hour later");
                }
            }
            Err(error) => log::warn!("{}: old messages cannot be deleted: {error}", maildir.display()),
        }
    }
}

/// The messages that hooks have not got yet; `None` where that cannot be known.
fn needed_by_programs(service: &Service, user: &str) -> Option<Needed> {
    match service.subscribers().as_ref()?.needed(user) {
        Ok(needed) => Some(needed),
        Err(error) => {
            log::warn!("{user}: no old message is deleted: the journal cannot be read: {error}");
            None
        }
    }
}

fn was_set_forward(now: SystemTime) -> bool {
    let before = lock(&LAST).replace((now, Instant::now()));
    before.is_some_and(|(then, at)| now.duration_since(then).is_ok_and(|said| said > at.elapsed() + STEP))
}
