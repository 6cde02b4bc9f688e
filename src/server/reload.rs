//! SIGHUP: reads users, aliases, certificates, pipes and hooks again, without dropping a session. A file that no longer parses is
//! reported, and the old settings stay. Mounts: the worker threads reach the disks that are there now.

use super::certificate::Seen;
use super::handshake::Work;
use super::pool::Pool;
use super::{notice, sandbox};
use crate::accounts::Accounts;
use crate::arrivals::{Arrivals, Watched};
use crate::config::{Config, Watch};
use crate::message::date;
use crate::net::tls;
use crate::notify::Settings;
use crate::service::{Live, Service};
use crate::sys::{self, lock};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How soon changed files of a certificate that cannot be used are looked at again, and how often.
const RETRY: Duration = Duration::from_secs(10);
const RETRIES: u32 = 6;

/// What is to be done, in a thread of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// SIGHUP.
    Reload,
    /// Something was mounted or unmounted.
    Mounts,
    /// The hourly look at the files of the certificate.
    Certificate,
}

/// Device and inode of the folders that the worker threads may reach; `None` for one that is not there.
type Reached = Vec<Option<(u64, u64)>>;

/// Changes the settings of the running server.
pub struct Reloader {
    service: Arc<Service>,
    /// `None` after a stop.
    arrivals: Mutex<Option<Arrivals>>,
    pool: Pool<Work>,
    /// What the threads of the pool reach.
    reached: Mutex<Reached>,
    /// Sends mail to other servers.
    #[cfg(feature = "relay")]
    sender: super::sender::Slot,
    /// The files of the certificate. Held while what is live is replaced.
    seen: Mutex<Seen>,
    /// Changed files that cannot be used yet are looked at again and again.
    is_retrying: AtomicBool,
}

impl Reloader {
    /// For a server that has just started.
    pub fn new(service: Arc<Service>, arrivals: Arrivals, pool: Pool<Work>) -> Reloader {
        let reached = Mutex::new(sandbox::identities(&service.config));
        let seen = Mutex::new(Seen::of(service.config.tls.pair.clone()));
        Reloader {
            service,
            arrivals: Mutex::new(Some(arrivals)),
            pool,
            reached,
            #[cfg(feature = "relay")]
            sender: super::sender::Slot::default(),
            seen,
            is_retrying: AtomicBool::new(false),
        }
    }

    /// Does what is to be done.
    pub fn apply(self: &Arc<Reloader>, change: Change) {
        match change {
            Change::Reload => {
                notice::reloading();
                self.reload();
                notice::reloaded();
            }
            Change::Mounts => self.renew_pool(),
            Change::Certificate => {
                if !self.look_at_certificate(true) {
                    self.retry_certificate();
                }
            }
        }
    }

    /// Sends mail to other servers.
    #[cfg(feature = "relay")]
    pub fn sender(&self) -> &super::sender::Slot {
        &self.sender
    }

    /// Ends the thread that watches Maildirs. Nothing is reloaded after that.
    pub fn stop(&self) {
        let arrivals = self.arrivals().take();
        if let Some(arrivals) = arrivals {
            arrivals.stop();
        }
    }

    /// Takes the certificate over when its files have changed. False: they have, and cannot be used yet.
    fn look_at_certificate(&self, is_told: bool) -> bool {
        let mut seen = lock(&self.seen);
        match seen.look() {
            None => true,
            Some(Ok(tls)) => {
                let until = tls.expires().map(|seconds| date::rfc3339_micros(seconds.saturating_mul(1_000_000)));
                log::info!("the new certificate is used from now on; it ends at {}", until.as_deref().unwrap_or("?"));
                tls.warning().inspect(|warning| log::warn!("{warning}"));
                let now = self.service.live();
                self.service.replace(Live { tls: Some(tls), ..Live::clone(&now) });
                true
            }
            Some(Err(why)) => {
                if is_told {
                    log::warn!("the files of the certificate changed, and cannot be used: {why}; the old one stays");
                }
                false
            }
        }
    }

    /// Looks again each 10 s for a minute: key and chain may be written one after the other. Then each hour.
    fn retry_certificate(self: &Arc<Reloader>) {
        if self.is_retrying.swap(true, Relaxed) {
            return;
        }
        let reloader = self.clone();
        let work = move || {
            for _ in 0..RETRIES {
                std::thread::sleep(RETRY);
                if reloader.arrivals().is_none() || reloader.look_at_certificate(false) {
                    break;
                }
            }
            reloader.is_retrying.store(false, Relaxed);
        };
        if let Err(error) = std::thread::Builder::new().name("certificate".into()).spawn(work) {
            log::error!("no thread to look at the certificate again: {error}");
            self.is_retrying.store(false, Relaxed);
        }
    }

    fn reload(&self) {
        let service = &self.service;
        let mut seen = lock(&self.seen);
        // Before the files are read: what changes meanwhile is looked at again.
        let now = |config: &Config| Seen::of(config.tls.pair.clone());
        let before = now(&service.config);
        let (config, live) = match read(&service.config) {
            Ok(read) => read,
            Err(problems) => return report("reload: the old settings stay", &problems),
        };
        let arrivals = self.arrivals();
        let Some(watching) = arrivals.as_ref() else { return };
        watching.watch(watched(&service.config, &config.watches, &live.accounts));
        drop(arrivals);
        self.renew_pool();
        let wanted = subscribers(&config, &live);
        service.delivery.tell(config.event.clone());
        service.replace(live);
        *seen = if config.tls.pair == service.config.tls.pair { before } else { now(&config) };
        drop(seen);
        #[cfg_attr(not(any(feature = "remote", feature = "relay")), allow(unused_mut))]
        let mut problems = service.subscribers().as_mut().map(|all| all.reload(wanted)).unwrap_or_default();
        #[cfg(feature = "remote")]
        if let Err(error) = super::remotes::replace(service, &config) {
            problems.push(format!("remotes: {error}"));
        }
        #[cfg(feature = "relay")]
        if let Err(error) = self.sender.replace(service, config.relay.clone()) {
            problems.push(format!("relay: {error}"));
        }
        if problems.is_empty() {
            log::info!("reloaded");
        } else {
            report("reloaded, but with problems", &problems);
        }
    }

    /// A thread in a sandbox reaches only the folders that were there when it entered. So when they are others, the next
    /// sessions are served by other threads.
    fn renew_pool(&self) {
        let config = &self.service.config;
        let now = sandbox::identities(config);
        let mut reached = lock(&self.reached);
        if *reached != now {
            *reached = now;
            self.pool.replace(&sandbox::pool(config));
            #[cfg(feature = "remote")]
            super::remotes::renew(&self.service);
            #[cfg(feature = "relay")]
            self.sender.renew(&self.service);
        }
    }

    fn arrivals(&self) -> MutexGuard<'_, Option<Arrivals>> {
        lock(&self.arrivals)
    }
}

/// The configuration and what it names, as the files say now.
fn read(running: &Config) -> Result<(Config, Live), Vec<String>> {
    let Some(file) = &running.file else { return Ok((running.clone(), live(running)?)) };
    regular(file)?;
    #[cfg_attr(not(feature = "relay"), allow(unused_mut))]
    let mut config = Config::load(file).map_err(|problems| texts(&problems))?;
    // Whether mail is sent elsewhere is decided at the start: what sessions offer and aliases may say depends on it.
    #[cfg(feature = "relay")]
    if config.relays() != running.relays() {
        log::warn!("reload: [relay] begins and ends with the server; restart it for that");
        config.relay.clone_from(&running.relay);
    }
    let live = live(&config)?;
    Ok((config, live))
}

/// A FIFO or a device in place of a file could hold up the reload for ever.
fn regular(file: &Path) -> Result<(), Vec<String>> {
    match std::fs::metadata(file) {
        Ok(found) if !found.is_file() => Err(vec![format!("{}: is not a regular file", file.display())]),
        // A file that is not there is reported by its reader, with a hint.
        _ => Ok(()),
    }
}

/// Accounts and certificate as the files say now.
///
/// # Errors
///
/// Everything that is wrong with them.
pub fn live(config: &Config) -> Result<Live, Vec<String>> {
    let accounts = Accounts::load(config);
    let tls = config.tls.pair.as_ref().map(|(certificate, key)| tls::Config::load(certificate, key)).transpose();
    #[cfg(feature = "http")]
    let http_token = match super::token::read(config) {
        Ok(token) => token,
        Err(problem) => return Err(vec![problem]),
    };
    match (accounts, tls) {
        (Ok(accounts), Ok(tls)) => {
            if let (Some(warning), Some((certificate, _))) =
                (tls.as_ref().and_then(tls::Config::warning), &config.tls.pair)
            {
                log::warn!("{}: {warning}", certificate.display());
            }
            let system_users = if config.relays() { sys::users() } else { HashMap::new() };
            Ok(Live {
                accounts: Arc::new(accounts),
                tls,
                system_users,
                #[cfg(feature = "http")]
                http_token,
            })
        }
        (accounts, tls) => {
            let problems = texts(&accounts.err().unwrap_or_default());
            Err(problems.into_iter().chain(tls.err().map(|error| error.to_string())).collect())
        }
    }
}

/// The subscribers of a configuration. Those that tell of each user know the accounts.
pub fn subscribers(config: &Config, live: &Live) -> Vec<Settings> {
    #[cfg_attr(not(feature = "mqtt"), allow(unused_mut))]
    let mut all = config.subscribers();
    #[cfg(feature = "mqtt")]
    for settings in &mut all {
        if let Settings::Mqtt(mqtt) = settings
            && mqtt.discovery
        {
            mqtt.accounts = live.accounts.names().map(str::to_owned).collect();
        }
    }
    #[cfg(not(feature = "mqtt"))]
    let _ = live;
    all
}

/// Every Maildir of which new messages become events: those of the accounts, where the server that runs has them, and those
/// that other programs deliver into.
pub fn watched(config: &Config, watches: &[Watch], accounts: &Accounts) -> Vec<Watched> {
    let own = accounts.names().map(|user| Watched { user: user.to_owned(), maildir: config.maildir(user) });
    let foreign = watches.iter().map(|watch| Watched { user: watch.user.clone(), maildir: watch.maildir.clone() });
    own.chain(foreign).collect()
}

fn texts(problems: &[impl ToString]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn report(what: &str, problems: &[impl std::fmt::Display]) {
    log::error!("{what}");
    problems.iter().for_each(|problem| log::error!("{problem}"));
}
