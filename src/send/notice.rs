//! Notices to the sender of a message: into the Maildir of a local sender, or through the queue to one elsewhere. There is
//! no notice about a notice.

pub(super) use super::report::Kind;

use super::report::{About, Report};
use super::{Place, now};
use crate::delivery;
use crate::message::address;
use crate::message::trace::{Facts, Origin, Via};
use crate::queue::{self, Entry, Recipient};
use crate::service::Service;
use crate::service::maillog::Line;
use crate::smtp::dsn::Ret;
use std::io::{Read, Write as _};

/// Largest message that a notice repeats whole, octets.
const FULL: u64 = 1024 * 1024;

/// Where a notice goes.
enum Home {
    /// A user here.
    User(String),
    /// Addresses elsewhere.
    Elsewhere(Vec<String>),
}

/// A message that was delivered to users here. Its sender asked for a notice of that (RFC 3461, NOTIFY=SUCCESS).
#[derive(Clone, Debug)]
pub struct Delivered<'a> {
    /// The message's id.
    pub id: &'a str,
    /// Not the null path.
    pub reverse_path: &'a str,
    /// The account that sent it, if one did.
    pub user: Option<&'a str>,
    /// ENVID, in xtext.
    pub envid: Option<&'a str>,
    /// Those that asked for it.
    pub recipients: &'a [Recipient],
    /// The message's header, LF line ends.
    pub header: Vec<u8>,
}

/// Tells the sender of a message that it was delivered. A failure is logged, and changes nothing.
pub fn delivered(service: &Service, message: Delivered<'_>) {
    if message.reverse_path.is_empty() || message.recipients.is_empty() {
        return;
    }
    let report = Report {
        kind: Kind::Delivered,
        hostname: &service.config.hostname,
        relay: None,
        id: message.id,
        number: 0,
        reverse_path: message.reverse_path,
        envid: message.envid,
        now: now(),
        arrived: now(),
        until: now(),
        recipients: message.recipients.iter().map(|to| about(to, "2.0.0", "")).collect(),
        header: message.header,
        whole: None,
    };
    let line = Line::new("delivered").field("id", message.id).field("from", format!("<{}>", message.reverse_path));
    match post(service, message.user, message.reverse_path, message.id, &report.compose()) {
        Ok(told) => line.field("recipients", message.recipients.len()).field("notice", told).info(),
        Err(why) => line.field("notice", format!("none: {why}")).warn(),
    }
}

/// Sends a notice about these recipients of a message.
///
/// # Errors
///
/// Why it could not be stored.
pub(super) fn send(place: &Place, entry: &Entry, kind: Kind, recipients: &[usize]) -> Result<(), String> {
    let envelope = &entry.envelope;
    let event = if kind == Kind::Failed { "bounced" } else { kind.action() };
    let line = Line::new(event).field("id", &entry.id).field("from", format!("<{}>", envelope.reverse_path));
    let line = line.field("recipients", recipients.len());
    if envelope.reverse_path.is_empty() {
        line.field("notice", "none: the message is a notice itself").warn();
        return Ok(());
    }
    let unreadable = |error: std::io::Error| format!("the message cannot be read: {error}");
    let is_full = envelope.ret == Some(Ret::Full) && kind == Kind::Failed && entry.size() <= FULL;
    let mut whole = is_full.then(Vec::new);
    if let Some(whole) = &mut whole {
        entry.message().and_then(|mut message| message.read_to_end(whole)).map_err(unreadable)?;
    }
    let told = |index: &usize| {
        let outcome = &entry.progress.outcomes[*index];
        let answer = if outcome.answer.is_empty() { &entry.progress.error } else { &outcome.answer };
        about(&envelope.recipients[*index], &outcome.status, answer)
    };
    let report = Report {
        kind,
        hostname: &place.service.config.hostname,
        relay: Some(&place.relay.host),
        id: entry.id.as_str(),
        number: entry.progress.attempts,
        reverse_path: &envelope.reverse_path,
        envid: envelope.envid.as_deref(),
        now: now(),
        arrived: envelope.arrived,
        until: envelope.arrived.saturating_add(place.relay.give_up.as_secs()),
        recipients: recipients.iter().map(told).collect(),
        header: entry.header().map_err(unreadable)?,
        whole,
    };
    let (user, path) = (envelope.user.as_deref(), envelope.reverse_path.as_str());
    let told = post(&place.service, user, path, entry.id.as_str(), &report.compose())?;
    line.field("notice", told).info();
    Ok(())
}

fn about<'a>(to: &'a Recipient, status: &'a str, answer: &'a str) -> About<'a> {
    About { address: &to.address, orcpt: to.orcpt.as_deref(), status, answer }
}

/// Stores a notice; its id.
fn post(service: &Service, user: Option<&str>, sender: &str, about: &str, notice: &[u8]) -> Result<String, String> {
    match home(service, user, sender) {
        Home::User(user) => deliver(service, sender, user, notice),
        Home::Elsewhere(addresses) => enqueue(service, &addresses, about, notice),
    }
}

/// The account that sent the message, else the users of its reverse-path. Postmaster gets what belongs to an address of ours
/// that nobody has.
fn home(service: &Service, user: Option<&str>, sender: &str) -> Home {
    let live = service.live();
    let accounts = &live.accounts;
    if let Some(user) = user.and_then(|user| accounts.user(user)) {
        return Home::User(user.to_owned());
    }
    let elsewhere = || Home::Elsewhere(vec![sender.to_owned()]);
    let Ok(path) = address::mailbox(sender) else { return elsewhere() };
    if !accounts.is_ours(&path) {
        return elsewhere();
    }
    let postmaster = || address::mailbox("postmaster").ok().and_then(|path| accounts.route(&path).ok());
    match accounts.route(&path).ok().or_else(postmaster) {
        Some(route) => match route.users.into_iter().next() {
            Some(user) => Home::User(user),
            None => Home::Elsewhere(route.outside.into_iter().map(|outside| outside.address).collect()),
        },
        None => elsewhere(),
    }
}

fn deliver(service: &Service, sender: &str, user: String, notice: &[u8]) -> Result<String, String> {
    let failed = |failure| format!("{user}: {failure}");
    let mut incoming = service.delivery.begin(delivery::Envelope {
        origin: Origin { mail_from: Some(String::new()), ..Origin::unknown(Via::Bounce) },
        facts: Facts::default(),
        recipients: vec![delivery::Recipient { user: user.clone(), typed: sender.to_owned() }],
        max_size: u64::MAX,
        complete_header: false,
    });
    incoming.write(notice);
    incoming.commit().map(|stored| stored.id).map_err(failed)
}

fn enqueue(service: &Service, addresses: &[String], about: &str, notice: &[u8]) -> Result<String, String> {
    let envelope = queue::Envelope {
        reverse_path: String::new(),
        recipients: addresses.iter().map(|address| Recipient::new(address)).collect(),
        smtputf8: !notice.is_ascii() || !addresses.iter().all(|address| address.is_ascii()),
        ..queue::Envelope::default()
    };
    let stored = service.queue.begin(envelope).and_then(|mut writer| {
        writer.write_all(notice)?;
        let size = writer.size();
        writer.commit().map(|id| (id, size))
    });
    let (id, size) = stored.map_err(|error| error.to_string())?;
    let line = Line::new("queued").field("id", &id).field("from", "<>").field("to", addresses.join(","));
    line.field("size", size).field("about", about).info();
    Ok(id.to_string())
}
