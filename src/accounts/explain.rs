//! Says in words where mail for an address goes, for `mailbell check --address`.

use super::{Accounts, Unknown};
use crate::message::address::ForwardPath;

/// Why mail for an address goes where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// An alias, by its name in the file of aliases.
    Alias(String),
    /// The name of a user.
    User,
    /// The catch-all of a domain, in A-labels.
    DomainCatchAll(String),
    /// `users.catch_all`.
    CatchAll,
    /// The first account has the mail of postmaster and root.
    FirstAccount,
}

impl Accounts {
    /// Lines for people: the rule, then each user and outside address.
    ///
    /// # Errors
    ///
    /// When mail for the address is refused.
    pub fn explain(&self, path: &ForwardPath) -> Result<Vec<String>, Unknown> {
        let (rule, reach) = self.find(path)?;
        let mut lines = vec![match rule {
            Rule::Alias(name) => format!("alias {name}"),
            Rule::User => "a user's own address".to_owned(),
            Rule::DomainCatchAll(domain) => format!("no user and no alias, so the catch-all @{domain}"),
            Rule::CatchAll => "no user and no alias, so users.catch_all".to_owned(),
            Rule::FirstAccount => "no user and no alias, so the first account".to_owned(),
        }];
        lines.extend(reach.users.iter().map(|user| format!("user {}", self.accounts[*user].name)));
        let sent = |to: &super::Outside| format!("{} by the relay, with {} as its sender", to.address, to.sender);
        lines.extend(reach.outside.iter().map(sent));
        Ok(lines)
    }
}
