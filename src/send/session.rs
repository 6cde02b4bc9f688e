//! One session with the smarthost: messages that are due, one after the other.

use super::attempt::attempt;
use super::link::{Link, dial};
use super::shared::{Enter, Order, Shared, lock};
use super::trouble::{Kind, Trouble};
use super::{Place, now};
use crate::config::Relay;
use crate::net::remote::conn::Signal;
use crate::queue::Doing;
use std::sync::Arc;
use std::time::Duration;

/// Most messages of one connection.
const MESSAGES: u32 = 100;

/// How long a connection is kept for another message.
const LINGER: Duration = Duration::from_secs(1);

/// From the secret to the goodbye.
pub(super) fn session(shared: &Shared, relay: Arc<Relay>, enter: &Enter) -> Result<(), Trouble> {
    let service = &shared.service;
    service.queue.update(|status| status.doing = Doing::Sending);
    let dialled = dial(&relay, || lock(&shared.trusted).client(&relay.trust))?;
    enter();
    let mut link = Link::open(&relay, &service.config.hostname, dialled, shared.stop.clone())?;
    log::debug!("relay: {}", link.description());
    service
        .queue
        .update(|status| (status.last_success, status.next_try, status.last_error) = (Some(now()), None, None));
    shared.give(Order::Up);
    let place = Place { service: service.clone(), relay };
    while link.messages() < MESSAGES && !link.is_over() && !shared.stop.is_given() {
        shared.more.take();
        let next = lock(&shared.due).take(now());
        let Some(id) = next else {
            Signal::wait_any(&[&shared.more, &shared.stop], Some(LINGER));
            if shared.more.is_given() { continue } else { break }
        };
        let tried = attempt(&place, &mut link, &id);
        lock(&shared.due).done(tried.next);
        match tried.trouble {
            None => {}
            // The message is tried again by itself; others may go.
            Some(trouble) if trouble.kind == Kind::Temporary => {
                log::info!("relay: {}: {}", place.relay.host, trouble.why);
                return Ok(());
            }
            Some(trouble) => return Err(trouble),
        }
    }
    link.quit();
    Ok(())
}
