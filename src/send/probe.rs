//! `check --online`: logs in on the smarthost, and sends nothing.

use super::link::{Link, Trusted, dial};
use crate::config::Relay;
use crate::net::remote::conn::Signal;

/// What the smarthost is and can.
///
/// # Errors
///
/// Why it cannot be used.
pub fn probe(relay: &Relay, hostname: &str) -> Result<Vec<String>, String> {
    let stop = Signal::new().map_err(|error| error.to_string())?;
    let opened = dial(relay, || Trusted::default().client(&relay.trust))
        .and_then(|dialled| Link::open(relay, hostname, dialled, stop));
    let link = opened.map_err(|trouble| trouble.why)?;
    let login = if relay.login.is_some() { "logged in" } else { "no login" };
    let notes = vec![link.description(), format!("{login}; offers {}", link.session().description())];
    link.quit();
    Ok(notes)
}
