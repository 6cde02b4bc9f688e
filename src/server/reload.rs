//! SIGHUP: users, aliases, certificates, pipes and hooks anew, without dropping a session. What no longer parses is
//! reported, and the old settings stay.

use super::doors::Doors;
use super::sandbox;
use crate::accounts::Accounts;
use crate::arrivals::{Arrivals, Watched};
use crate::config::{Config, Watch};
use crate::net::tls;
use crate::service::{Live, Service};

/// Reads everything again.
pub fn reload(service: &Service, arrivals: &Arrivals, doors: &mut Doors) {
    let config = match &service.config.file {
        None => service.config.clone(),
        Some(file) => match Config::load(file) {
            Ok(config) => config,
            Err(problems) => return report("reload: the old settings stay", &problems),
        },
    };
    match live(&config) {
        Ok(live) => {
            arrivals.watch(watched(&service.config, &config.watches, &live.accounts));
            doors.replace_pool(sandbox::pool(&service.config));
            service.replace(live);
        }
        Err(problems) => return report("reload: the old settings stay", &problems),
    }
    let problems =
        service.subscribers().as_mut().map(|all| all.reload(&config.pipes, &config.hooks)).unwrap_or_default();
    if problems.is_empty() {
        log::info!("reloaded");
    } else {
        report("reloaded, but not everything could be had", &problems);
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
    match (accounts, tls) {
        (Ok(accounts), Ok(tls)) => {
            if let (Some(warning), Some((certificate, _))) =
                (tls.as_ref().and_then(tls::Config::warning), &config.tls.pair)
            {
                log::warn!("{}: {warning}", certificate.display());
            }
            Ok(Live { users: config.users.clone(), accounts, tls })
        }
        (accounts, tls) => {
            let problems = accounts.err().unwrap_or_default();
            Err(problems.iter().map(ToString::to_string).chain(tls.err().map(|error| error.to_string())).collect())
        }
    }
}

/// Every Maildir whose new messages ring: those of the accounts, where the server that runs has them, and those that
/// other programs deliver into.
pub fn watched(config: &Config, watches: &[Watch], accounts: &Accounts) -> Vec<Watched> {
    let own = accounts.names().map(|user| Watched { user: user.to_owned(), maildir: config.maildir(user) });
    let foreign = watches.iter().map(|watch| Watched { user: watch.user.clone(), maildir: watch.maildir.clone() });
    own.chain(foreign).collect()
}

fn report(what: &str, problems: &[impl std::fmt::Display]) {
    log::error!("{what}");
    problems.iter().for_each(|problem| log::error!("{problem}"));
}
