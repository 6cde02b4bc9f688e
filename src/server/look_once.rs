//! One look at a remote without a server, as `mailbell fetch` has it from cron.

use super::reload::{live, watched};
use super::{StartError, owner, sandbox, start};
use crate::arrivals::Arrivals;
use crate::config::{Config, Remote};
use crate::delivery::Delivery;
use crate::fetch::{self, End};
use crate::sys;
use crate::sys::folder::make_folder;
use std::sync::Arc;

/// One look at a remote, where no server runs: under the server's lock. Gives for each folder how it ended.
///
/// # Errors
///
/// When a server runs after all, or the state cannot be opened.
pub fn look_once(config: &Config, remote: Remote) -> Result<Vec<(String, End)>, StartError> {
    sys::forbid_core_dumps();
    // Before the sandbox, in which nothing can be reached that is not there yet.
    owner::store_folders(config, None)?;
    let folder = config.state.join("remote");
    make_folder(&folder, 0o750, None).map_err(|error| StartError::io(folder.display(), &error))?;
    let _lock = start::lock(&config.state)?;
    let live = live(config).map_err(|problems| StartError::Configuration(problems.join("\n")))?;
    let ledger = start::ledger(config)?;
    let delivery = Arc::new(Delivery::new(config, Some(ledger.clone())));
    // What an earlier run stored and did not record is recorded first.
    let arrivals = Arrivals::start(delivery.clone(), watched(config, &config.watches, &live.accounts))
        .map_err(|error| StartError::io("watching the Maildirs", &error))?;
    delivery.first_look().wait();
    ledger.tick();
    let ends = fetch::once(remote, &delivery, &config.state, &sandbox::enter(config));
    arrivals.stop();
    ledger.stop();
    Ok(ends)
}
