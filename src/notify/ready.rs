//! A subscriber that is ready to run: its settings, its cursor and its place in the journal put together, whatever its kind.

use super::desk::Desk;
use super::given_up::List;
use super::hook::Hook;
use super::pipe::Pipe;
use super::retrying::{Opening, Retrying};
use super::subscriber::Subscriber;
use super::work::Work;
use super::{Enter, Filter, Retry, Settings};
use crate::journal::{self, Cursor, Follower, Told};
use crate::sys::Wake;
use std::fmt::Display;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Where events come from.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) state: PathBuf,
    /// `None` where another process writes the journal.
    pub(super) told: Option<Told>,
    /// What the workers of brokers do.
    #[cfg(feature = "mqtt")]
    pub(super) brokers: super::mqtt::Brokers,
    /// The sandbox of threads that speak to servers.
    #[cfg_attr(not(feature = "webhook"), allow(dead_code))]
    pub(super) enter: Enter,
}

/// A subscriber of any kind, ready to run.
pub(super) enum Ready {
    Pipe(Box<Subscriber<Pipe>>),
    Retrying(Box<Subscriber<Retrying>>),
    #[cfg(feature = "mqtt")]
    Mqtt(Box<Subscriber<super::mqtt::Mqtt>>),
}

impl Settings {
    /// Opens its cursor and what it hands over to.
    ///
    /// # Errors
    ///
    /// Why it cannot work.
    pub(super) fn open(&self, place: &Place, desk: &Arc<Desk>) -> Result<Ready, String> {
        let (name, journal) = (self.name(), place.state.join("journal"));
        let last = || place.told.as_ref().map_or_else(|| journal::last_seq(&journal), |told| Ok(told.seq()));
        let end = last().map_err(text)?;
        let follow = |after| match &place.told {
            Some(told) => Follower::inside(&journal, after, told).map_err(text),
            None => Follower::open(&journal, after).map_err(text),
        };
        let cursor = Cursor::open(&place.state, &name, || end).map_err(text)?;
        let retrying = |work: Arc<dyn Work>, (retry, is_paused): (Retry, bool), filter: &Filter, cursor: Cursor| {
            let (list, desk, kept) = (List::open(&place.state, &name), desk.clone(), cursor.kept());
            let sink = Retrying::open(work, Opening { retry, is_paused, list, desk, kept }).map_err(text)?;
            let follower = follow(cursor.kept().place.acknowledged)?;
            Ok(Ready::Retrying(Box::new(Subscriber::new(follower, filter.clone(), Some(cursor), sink))))
        };
        match self {
            Settings::Pipe(settings) => {
                let pipe = Pipe::open(&journal, settings, cursor.kept(), last).map_err(text)?;
                let (after, filter) = (pipe.after(), settings.wanted());
                Ok(Ready::Pipe(Box::new(Subscriber::new(follow(after)?, filter, Some(cursor), pipe))))
            }
            Settings::Hook(hook) => {
                retrying(Arc::new(Hook::new(hook)), (hook.retry, hook.is_paused), &hook.filter, cursor)
            }
            #[cfg(feature = "mqtt")]
            Settings::Mqtt(settings) => {
                let follower = follow(cursor.kept().place.acknowledged)?;
                let mqtt = super::mqtt::Mqtt::open(settings, cursor.kept(), &place.brokers).map_err(text)?;
                let filter = settings.filter.clone();
                Ok(Ready::Mqtt(Box::new(Subscriber::new(follower, filter, Some(cursor), mqtt))))
            }
            #[cfg(feature = "webhook")]
            Settings::Webhook(settings) => {
                let webhook = super::webhook::Webhook::new(settings, place.enter.clone());
                retrying(Arc::new(webhook), (settings.retry, settings.is_paused), &settings.filter, cursor)
            }
        }
    }
}

impl Ready {
    /// Works until `stop` is woken. Returns what keeps the FIFO open.
    pub(super) fn run(self, stop: &Wake) -> Option<File> {
        match self {
            Ready::Pipe(pipe) => pipe.run(stop.as_fd()).into_write_end(),
            Ready::Retrying(retrying) => {
                retrying.run(stop.as_fd());
                None
            }
            #[cfg(feature = "mqtt")]
            Ready::Mqtt(mqtt) => {
                mqtt.run(stop.as_fd());
                None
            }
        }
    }
}

pub(super) fn text(error: impl Display) -> String {
    error.to_string()
}
