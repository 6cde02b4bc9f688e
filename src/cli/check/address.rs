//! `mailbell check --address`: where mail for an address goes, and by which rule.

use crate::accounts::{Accounts, Unknown};
use crate::cli::{Failed, Outcome, exit, print};
use crate::config::{Config, Domains};
use crate::message::address;
use std::fmt::Write;
use std::process::ExitCode;

/// Explains each address.
pub(super) fn explain(config: &Config, addresses: &[String]) -> Outcome {
    let accounts = Accounts::load(config).map_err(|problems| {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        Failed::new(exit::CONFIG, "")
    })?;
    let (mut said, mut code) = (String::new(), 0);
    for text in addresses {
        let bare = text.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(text);
        let path = address::mailbox(bare)
            .map_err(|fault| Failed::new(exit::USAGE, format!("{}: {}", text.escape_debug(), fault.0)))?;
        let mut lines = match accounts.explain(&path) {
            Ok(lines) => lines,
            Err(Unknown::NoSuchUser) => {
                code = exit::NO_USER;
                vec!["refused: no user, no alias and no catch-all has it (550 5.1.1)".to_owned()]
            }
            Err(Unknown::NotOurDomain) => {
                vec![elsewhere(config, path.domain.as_deref().unwrap_or_default(), &mut code)]
            }
        }
        .into_iter();
        // unwrap: writing to a String cannot fail.
        writeln!(said, "{}: {}", path.text, lines.next().unwrap_or_default()).unwrap();
        lines.for_each(|line| writeln!(said, "  -> {line}").unwrap());
    }
    print(&said)?;
    Ok(ExitCode::from(code))
}

fn elsewhere(config: &Config, domain: &str, code: &mut u8) -> String {
    if config.relays() {
        return "not here: sent by the relay for clients that log in and for local users, refused for others (550 5.7.1)"
            .to_owned();
    }
    *code = exit::NO_USER;
    let ours = match &config.domains {
        Domains::These(ours) => ours.join(", "),
        Domains::Any => "*".to_owned(),
    };
    format!(
        "refused: {domain} is not one of `domains` ({ours}), and without `relay.host` nothing is sent elsewhere (550 5.7.1)"
    )
}
