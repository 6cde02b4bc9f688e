//! Users, their addresses, and the check of their credentials.
//!
//! Reads the files of users and aliases and, for `mailbell user`, changes the first. Knows no protocol and no Maildir.

mod aliases;
mod book;
mod cache;
mod digest;
mod expand;
mod explain;
mod gate;
#[cfg(test)]
mod login_tests;
mod passwd;
mod penalties;
mod random;
mod rewrite;
mod secret;
#[cfg(test)]
mod tests;
mod verifier;

pub use book::Outside;
pub use penalties::{Penalties, Turn};
pub use random::random_password;
pub use rewrite::{Passwd, PasswdError};
pub use verifier::Verifier;

use crate::config::{Config, Domains, Problem};
use crate::message::address::{self, ForwardPath, ReversePath};
use crate::message::idn;
use crate::{limits, sys};
use book::{Book, Reach};
use expand::{Known, cut};
use explain::Rule;
use passwd::Account;
use secret::Secret;
use std::collections::HashMap;
use std::io;

/// Mail for these names always has a reader: RFC 5321 section 4.5.1 wants the first, and the system's programs write to the
/// second.
const ALWAYS: [&str; 2] = ["postmaster", "root"];

/// The files of users and aliases as they were read. It never changes; a reload makes a new one.
#[derive(Debug)]
pub struct Accounts {
    accounts: Vec<Account>,
    /// Places in `accounts`, by name.
    users: HashMap<String, usize>,
    aliases: Book,
    domains: Domains,
    /// The domain of an address without one.
    home: String,
    subaddress: Option<char>,
    catch_all: Option<usize>,
    /// The place of one account for each scheme that has a hash.
    samples: Vec<usize>,
}

/// Where mail for an address goes: at least one user or outside address, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Users of this server.
    pub users: Vec<String>,
    /// Addresses on other servers, to which an alias leads.
    pub outside: Vec<Outside>,
}

/// Why no user has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The domain is not one of `domains`: 550 5.7.1.
    NotOurDomain,
    /// The domain is one of `domains`, and no user has the local part: 550 5.1.1.
    NoSuchUser,
}

impl Accounts {
    /// Reads and checks both files.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: bad lines, bad names, alias loops, unknown targets.
    pub fn load(config: &Config) -> Result<Accounts, Vec<Problem>> {
        let mut problems = Vec::new();
        let (accounts, wrong) = read_users(config);
        problems.extend(wrong);
        let users: HashMap<String, usize> =
            accounts.iter().enumerate().rev().map(|(index, account)| (account.name.clone(), index)).collect();
        let catch_all = config.users.catch_all.as_ref().and_then(|name| {
            let user = users.get(name).copied();
            // When the file is damaged, the user may be in a damaged line.
            if user.is_none() && problems.is_empty() {
                let message =
                    format!("`users.catch_all`: there is no user {name:?}; add it with `mailbell user add {name}`");
                problems.push(config.problem("users.catch_all", message));
            }
            user
        });
        if problems.is_empty() {
            for (index, name) in config.any_sender.iter().enumerate().filter(|(_, name)| *name != "*") {
                if !users.contains_key(name) {
                    let message = format!(
                        "`submission.any_sender`: there is no user {name:?}; add it with `mailbell user add {name}`"
                    );
                    problems.push(config.problem(&format!("submission.any_sender[{index}]"), message));
                }
            }
        }
        let home = config.home_domain().to_owned();
        let known = Known {
            users: &users,
            domains: &config.domains,
            subaddress: config.users.subaddress,
            always: catch_all.or((!accounts.is_empty()).then_some(0)),
            home: &home,
            relays: config.relays(),
        };
        // Without the users every target of an alias would be unknown, which says nothing about the aliases.
        let is_blind = accounts.is_empty() && !problems.is_empty();
        let (aliases, wrong) = if is_blind { Default::default() } else { read_aliases(config, &known) };
        problems.extend(wrong);
        if !problems.is_empty() {
            return Err(problems);
        }
        let samples = samples(&accounts);
        let (domains, subaddress) = (config.domains.clone(), config.users.subaddress);
        Ok(Accounts { accounts, users, aliases, domains, home, subaddress, catch_all, samples })
    }

    /// The users in the order of their file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().map(|account| account.name.as_str())
    }

    /// The user of that name, in the spelling of the file, without regard to case.
    pub fn user(&self, name: &str) -> Option<&str> {
        self.account(name).map(|account| account.name.as_str())
    }

    /// The users that get mail for this address: each once, at least one.
    ///
    /// # Errors
    ///
    /// When no user has the address.
    pub fn resolve(&self, path: &ForwardPath) -> Result<Vec<String>, Unknown> {
        let users = self.route(path)?.users;
        if users.is_empty() { Err(Unknown::NoSuchUser) } else { Ok(users) }
    }

    /// Where mail for this address goes.
    ///
    /// A path without a domain is taken for a local one, as Postfix does: RFC 5321 section 4.1.1.3 knows it of postmaster
    /// alone, but cameras and scripts are told nothing else. The order: an alias of the domain, an alias, a user, the same
    /// without subaddress, the catch-all of the domain, the catch-all; and for postmaster and root the catch-all or the
    /// first account.
    ///
    /// # Errors
    ///
    /// When no user and no alias has the address.
    pub fn route(&self, path: &ForwardPath) -> Result<Route, Unknown> {
        let (_, reach) = self.find(path)?;
        let users = reach.users.into_iter().map(|user| self.accounts[user].name.clone()).collect();
        Ok(Route { users, outside: reach.outside })
    }

    /// Whether this user may send from this address: the null path, the user's own address, with subaddress, or an alias
    /// that includes the user. An address without a domain is taken for a local one.
    pub fn may_send_as(&self, user: &str, path: &ReversePath) -> bool {
        let ReversePath::Mailbox(mailbox) = path else { return true };
        if !self.is_ours(mailbox) {
            return false;
        }
        let (local, domain) = self.key(mailbox);
        let users = self.own(&local, &domain).map(|(_, reach)| reach.users).unwrap_or_default();
        users.iter().any(|index| self.accounts[*index].name.eq_ignore_ascii_case(user))
    }

    /// The users that get the mail of a system user: what an alias of this name means, else the user of this name; for root,
    /// as [`Accounts::route`] says. A catch-all counts for root alone: its mail is no other user's.
    pub fn of_system_user(&self, name: &str) -> Vec<String> {
        let name = name.to_lowercase();
        let found = match address::mailbox(&name).map(|path| self.find(&path)) {
            Ok(Ok((Rule::Alias(_) | Rule::User, reach))) => reach.users,
            Ok(Ok((_, reach))) if ALWAYS.contains(&name.as_str()) => reach.users,
            _ => Vec::new(),
        };
        found.into_iter().map(|user| self.accounts[user].name.clone()).collect()
    }

    /// Whether the address is at one of our domains, or has none.
    pub fn is_ours(&self, path: &ForwardPath) -> bool {
        path.domain.as_ref().is_none_or(|domain| self.domains.contains(domain))
    }

    /// Whether every account has a {PLAIN} secret, so that CRAM-MD5 and APOP may be offered. False without accounts.
    pub fn all_plain(&self) -> bool {
        !self.accounts.is_empty() && self.accounts.iter().all(|account| account.secret.plain().is_some())
    }

    /// The account that a client means when it logs in as `name`: a user, or the user's address at one of our domains.
    fn login(&self, name: &str) -> Option<(&str, &Secret)> {
        let local = match name.rsplit_once('@') {
            Some((local, domain)) if self.domains.contains(domain) => local,
            Some(_) => return None,
            None => name,
        };
        self.account(local).map(|account| (account.name.as_str(), &account.secret))
    }

    /// The name that counts failed logins: the user's where there is one, else what the client sent.
    pub fn login_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.login(name).map_or(name, |(user, _)| user)
    }

    /// One secret of each scheme that has a hash.
    fn samples(&self) -> impl Iterator<Item = &Secret> {
        self.samples.iter().map(|index| &self.accounts[*index].secret)
    }

    fn account(&self, name: &str) -> Option<&Account> {
        self.users.get(&name.to_ascii_lowercase()).map(|index| &self.accounts[*index])
    }

    /// Whether the local part is this name, with or without subaddress.
    pub fn has_name(&self, path: &ForwardPath, name: &str) -> bool {
        let local = path.local_part.to_lowercase();
        cut(&local, self.subaddress).unwrap_or(&local) == name.to_lowercase()
    }

    /// Local part and domain, as aliases have them.
    fn key(&self, path: &ForwardPath) -> (String, String) {
        (path.local_part.to_lowercase(), idn::canonical(path.domain.as_ref().unwrap_or(&self.home)))
    }

    /// Where mail for this address goes, and by which rule.
    fn find(&self, path: &ForwardPath) -> Result<(Rule, Reach), Unknown> {
        if !self.is_ours(path) {
            return Err(Unknown::NotOurDomain);
        }
        let (local, domain) = self.key(path);
        if let Some(found) = self.own(&local, &domain) {
            return Ok(found);
        }
        let always = ALWAYS.contains(&cut(&local, self.subaddress).unwrap_or(&local));
        let of_domain = self.aliases.catch_all(&domain).filter(|_| !always);
        let first = if always && !self.accounts.is_empty() { Some(0) } else { None };
        of_domain
            .map(|reach| (Rule::DomainCatchAll(domain), reach.clone()))
            .or_else(|| self.catch_all.map(|user| (Rule::CatchAll, Reach::user(user))))
            .or_else(|| first.map(|user| (Rule::FirstAccount, Reach::user(user))))
            .ok_or(Unknown::NoSuchUser)
    }

    /// What has this local part (in lower case) at this domain, without the catch-alls and the first account.
    fn own(&self, local: &str, domain: &str) -> Option<(Rule, Reach)> {
        let exact = |name: &str| {
            let of_domain = self.aliases.alias(name, domain).map(|reach| (format!("{name}@{domain}"), reach));
            let alias = of_domain.or_else(|| self.aliases.alias(name, "").map(|reach| (name.to_owned(), reach)));
            let user = || self.users.get(name).map(|user| (Rule::User, Reach::user(*user)));
            alias.map(|(name, reach)| (Rule::Alias(name), reach.clone())).or_else(user)
        };
        exact(local).or_else(|| cut(local, self.subaddress).and_then(exact))
    }
}

fn read_users(config: &Config) -> (Vec<Account>, Vec<Problem>) {
    let file = &config.users.file;
    let error = match sys::read_regular(file, limits::ACCOUNTS_FILE) {
        Ok(text) => return passwd::parse(file, &text),
        Err(error) => error,
    };
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let hint = if is_missing { "; `mailbell user add NAME` makes it" } else { "" };
    let problem = config.problem("users.file", format!("`users.file`: {}: {error}{hint}", file.display()));
    // Without the key `users.file` the file may be missing: no user was added yet, or only Maildirs of other programs are
    // watched.
    if is_missing && problem.line == 0 {
        log::warn!("{}: there is no such file, so no user gets mail yet{hint}", file.display());
        return (Vec::new(), Vec::new());
    }
    (Vec::new(), vec![problem])
}

fn read_aliases(config: &Config, known: &Known<'_>) -> (Book, Vec<Problem>) {
    let file = &config.users.aliases;
    let text = match sys::read_regular(file, limits::ACCOUNTS_FILE).and_then(text) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !config.users.aliases_given => {
            return Default::default();
        }
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "; an empty file will do",
                _ => "",
            };
            let message = format!("`users.aliases`: {}: {error}{hint}", file.display());
            return (Book::default(), vec![config.problem("users.aliases", message)]);
        }
    };
    let (aliases, mut problems) = aliases::parse(file, &text);
    let (book, wrong) = expand::expand(&aliases, known);
    problems.extend(wrong);
    problems.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    (book, problems)
}

fn text(octets: Vec<u8>) -> io::Result<String> {
    String::from_utf8(octets).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8; save it as UTF-8"))
}

/// The first account of each scheme but PLAIN, which has no hash.
fn samples(accounts: &[Account]) -> Vec<usize> {
    let mut known = Vec::new();
    let is_first = |index: &usize| {
        let secret = &accounts[*index].secret;
        let is_new = secret.plain().is_none() && !known.contains(&secret.scheme());
        known.extend(is_new.then(|| secret.scheme()));
        is_new
    };
    (0..accounts.len()).filter(is_first).collect()
}
