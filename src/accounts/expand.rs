//! Follows every alias to its users. Loops and unknown targets are problems.

use super::ALWAYS;
use super::aliases::{Alias, Target};
use crate::config::{Domains, Problem};
use crate::nearest::nearest;
use std::collections::HashMap;

/// Most aliases one after the other on the way to a user.
const DEEPEST: usize = 100;

/// What an address may lead to.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// Places in the passwd-file, by name.
    pub(super) users: &'a HashMap<String, usize>,
    pub(super) domains: &'a Domains,
    pub(super) subaddress: Option<char>,
    /// The user that gets the mail of postmaster and root where no user and no alias has that name.
    pub(super) always: Option<usize>,
}

/// Users by alias, each once and in the order of the targets.
pub(super) fn expand(aliases: &[Alias], known: &Known<'_>) -> (HashMap<String, Vec<usize>>, Vec<Problem>) {
    let mut all = Expansion {
        known,
        // Of two aliases with one name, which is a problem already, the first counts.
        aliases: aliases.iter().rev().map(|alias| (alias.name.as_str(), alias)).collect(),
        done: HashMap::new(),
        problems: Vec::new(),
    };
    for alias in aliases {
        all.follow(alias, &mut Vec::new());
    }
    (all.done, all.problems)
}

struct Expansion<'a> {
    known: &'a Known<'a>,
    aliases: HashMap<&'a str, &'a Alias>,
    done: HashMap<String, Vec<usize>>,
    problems: Vec<Problem>,
}

impl<'a> Expansion<'a> {
    /// Expands an alias and all that it leads to; `trail` is the way here.
    fn follow(&mut self, alias: &'a Alias, trail: &mut Vec<&'a str>) -> Vec<usize> {
        if let Some(users) = self.done.get(&alias.name) {
            return users.clone();
        }
        trail.push(&alias.name);
        let mut users = Vec::new();
        for target in &alias.targets {
            let found = match self.meaning(alias, target, trail) {
                Ok(Meaning::User(user)) => vec![user],
                Ok(Meaning::Alias(next)) => self.follow(next, trail),
                Err(message) => {
                    self.problems.push(target.place.problem(message));
                    Vec::new()
                }
            };
            for user in found {
                if !users.contains(&user) {
                    users.push(user);
                }
            }
        }
        trail.pop();
        self.done.insert(alias.name.clone(), users.clone());
        users
    }

    fn meaning(&self, alias: &Alias, target: &Target, trail: &[&str]) -> Result<Meaning<'a>, String> {
        let local = match target.text.rsplit_once('@') {
            Some((local, domain)) if self.known.domains.contains(domain) => local,
            Some((_, domain)) => {
                return Err(format!("{:?}: mail is not forwarded elsewhere, and {domain} is not ours", target.text));
            }
            None => &target.text,
        };
        let local = local.to_lowercase();
        let user = |name: &str| self.known.users.get(name).map(|user| Meaning::User(*user));
        if target.exact {
            return user(&local).ok_or_else(|| format!("{:?} is not a user", target.text));
        }
        let base = cut(&local, self.known.subaddress).unwrap_or(&local);
        for name in [local.as_str(), base] {
            // An alias with a user's name that names itself means the user: `alice: alice, archive`.
            let itself = if name == alias.name { user(name) } else { None };
            let next = self.aliases.get(name).map(|next| Meaning::Alias(next));
            let Some(meaning) = itself.or(next).or_else(|| user(name)) else { continue };
            if let Meaning::Alias(next) = &meaning
                && let Some(at) = trail.iter().position(|passed| *passed == next.name)
            {
                return Err(format!("{name:?} leads back to itself: {} -> {name}", trail[at..].join(" -> ")));
            }
            if trail.len() >= DEEPEST {
                return Err(format!("{name:?} is the end of more than {DEEPEST} aliases in a row"));
            }
            return Ok(meaning);
        }
        match self.known.always {
            Some(user) if ALWAYS.contains(&base) => Ok(Meaning::User(user)),
            _ => {
                let names = self.known.users.keys().map(String::as_str).chain(self.aliases.keys().copied());
                let hint = nearest(&local, names).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                Err(format!("{:?} is neither a user nor an alias{hint}", target.text))
            }
        }
    }
}

enum Meaning<'a> {
    User(usize),
    Alias(&'a Alias),
}

/// The local part without its subaddress, where it has one.
pub(super) fn cut(local: &str, subaddress: Option<char>) -> Option<&str> {
    let (base, _) = local.split_once(subaddress?)?;
    (!base.is_empty()).then_some(base)
}
