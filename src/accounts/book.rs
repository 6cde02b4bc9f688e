//! What addresses mean: users of this server, and addresses elsewhere. Aliases are expanded already.

use crate::message::address;
use std::collections::HashMap;

/// An address on another server that an alias leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// As the alias has it.
    pub address: String,
    /// The envelope sender of what goes there: the alias' owner, so that bounces come home and SPF holds.
    pub sender: String,
}

/// Where mail for an address goes in the end. Each user and each address is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Places in the passwd-file.
    pub(super) users: Vec<usize>,
    pub(super) outside: Vec<Outside>,
}

impl Reach {
    /// One user.
    pub(super) fn user(user: usize) -> Reach {
        Reach { users: vec![user], outside: Vec::new() }
    }

    pub(super) fn add_user(&mut self, user: usize) {
        if !self.users.contains(&user) {
            self.users.push(user);
        }
    }

    pub(super) fn add_outside(&mut self, outside: Outside) {
        let key = address::key(&outside.address);
        if !self.outside.iter().any(|known| address::key(&known.address) == key) {
            self.outside.push(outside);
        }
    }

    pub(super) fn add(&mut self, other: Reach) {
        other.users.into_iter().for_each(|user| self.add_user(user));
        other.outside.into_iter().for_each(|outside| self.add_outside(outside));
    }
}

/// Every alias.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By domain in A-labels, empty for all domains; then by local part, in lower case.
    names: HashMap<String, HashMap<String, Reach>>,
    /// By domain in A-labels.
    catch_alls: HashMap<String, Reach>,
}

impl Book {
    /// Adds an alias, unless there is one of this name.
    pub(super) fn add(&mut self, local: &str, domain: Option<&str>, reach: Reach) {
        let domain = domain.unwrap_or_default().to_owned();
        if local.is_empty() {
            self.catch_alls.entry(domain).or_insert(reach);
        } else {
            self.names.entry(domain).or_default().entry(local.to_owned()).or_insert(reach);
        }
    }

    /// The alias of a local part for one domain; the domain is empty for all domains.
    pub(super) fn alias(&self, local: &str, domain: &str) -> Option<&Reach> {
        self.names.get(domain)?.get(local)
    }

    /// Where mail for unknown local parts of a domain goes.
    pub(super) fn catch_all(&self, domain: &str) -> Option<&Reach> {
        self.catch_alls.get(domain)
    }
}
