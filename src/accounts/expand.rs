//! Follows every alias to the users and outside addresses that it means in the end: loops and unknown targets are problems.

use super::ALWAYS;
use super::aliases::{Alias, Target};
use super::book::{Book, Outside, Reach};
use crate::config::{Domains, Problem};
use crate::message::{address, idn};
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
    /// The domain of an address without one.
    pub(super) home: &'a str,
    /// Mail is sent to other servers, so a target may be there.
    pub(super) relays: bool,
}

/// What every alias means: users and outside addresses, each once and in the order of the targets.
pub(super) fn expand(aliases: &[Alias], known: &Known<'_>) -> (Book, Vec<Problem>) {
    // Of two aliases with one name, which is a problem already, the first counts.
    let key = |alias: &Alias| (alias.name.clone(), alias.domain.clone().unwrap_or_default());
    let by_name = aliases.iter().enumerate().rev().map(|(index, alias)| (key(alias), index)).collect();
    let mut all = Expansion { known, aliases, by_name, done: vec![None; aliases.len()], problems: Vec::new() };
    let mut book = Book::default();
    for (index, alias) in aliases.iter().enumerate() {
        if let Some(domain) = alias.domain.as_ref().filter(|domain| !known.domains.contains(domain)) {
            let message =
                format!("{:?}: {domain} is not one of `domains`, so no mail for it comes here", alias.shown());
            all.problems.push(alias.place.problem(message));
        }
        let reach = all.follow(index, &mut Vec::new());
        book.add(&alias.name, alias.domain.as_deref(), reach);
    }
    (book, all.problems)
}

struct Expansion<'a> {
    known: &'a Known<'a>,
    aliases: &'a [Alias],
    /// Places in `aliases`, by local part and domain.
    by_name: HashMap<(String, String), usize>,
    done: Vec<Option<Reach>>,
    problems: Vec<Problem>,
}

impl Expansion<'_> {
    /// Expands an alias and all that it leads to; `trail` is the way here.
    fn follow(&mut self, index: usize, trail: &mut Vec<usize>) -> Reach {
        if let Some(reach) = &self.done[index] {
            return reach.clone();
        }
        trail.push(index);
        let aliases = self.aliases;
        let mut reach = Reach::default();
        for target in &aliases[index].targets {
            match self.meaning(index, target, trail) {
                Ok(Meaning::User(user)) => reach.add_user(user),
                Ok(Meaning::Outside(address)) => reach.add_outside(self.sent(&aliases[index], address)),
                Ok(Meaning::Alias(next)) => reach.add(self.follow(next, trail)),
                Err(message) => self.problems.push(target.place.problem(message)),
            }
        }
        trail.pop();
        self.done[index] = Some(reach.clone());
        reach
    }

    /// Mail that leaves by this alias goes in the name of its owner: the user of its name, else postmaster.
    fn sent(&self, alias: &Alias, address: String) -> Outside {
        let owner = self.known.users.get_key_value(&alias.name).map_or("postmaster", |(name, _)| name);
        Outside { address, sender: format!("{owner}@{}", alias.domain.as_deref().unwrap_or(self.known.home)) }
    }

    fn meaning(&self, alias: usize, target: &Target, trail: &[usize]) -> Result<Meaning, String> {
        let text = &target.text;
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) if self.known.domains.contains(domain) => (local, Some(idn::canonical(domain))),
            Some((_, domain)) if !self.known.relays => {
                return Err(format!(
                    "{text:?}: mail is not forwarded elsewhere without `relay.host`, and {domain} is not ours"
                ));
            }
            Some(_) if target.exact => return Err(format!("{text:?} is not a user")),
            Some(_) => match address::mailbox(text) {
                Ok(mailbox) => return Ok(Meaning::Outside(mailbox.text)),
                Err(fault) => return Err(format!("{text:?} is not an address: {}", fault.0)),
            },
            None => (text.as_str(), None),
        };
        let local = local.to_lowercase();
        let user = |name: &str| self.known.users.get(name).map(|user| Meaning::User(*user));
        if target.exact {
            return user(&local).ok_or_else(|| format!("{text:?} is not a user"));
        }
        let base = cut(&local, self.known.subaddress).unwrap_or(&local);
        let of_domain = |name: &str| self.alias(name, domain.as_deref()?);
        for name in [local.as_str(), base] {
            let next = of_domain(name).or_else(|| self.alias(name, ""));
            // An alias with a user's name that names itself means the user: `alice: alice, archive`.
            let itself = if next == Some(alias) { user(name) } else { None };
            if let Some(meaning) = itself.or(next.map(Meaning::Alias)).or_else(|| user(name)) {
                return self.further(meaning, trail);
            }
        }
        match (self.known.always, of_domain("")) {
            (Some(user), _) if ALWAYS.contains(&base) => Ok(Meaning::User(user)),
            (_, Some(catch_all)) => self.further(Meaning::Alias(catch_all), trail),
            _ => {
                let names: Vec<String> = self.aliases.iter().map(Alias::shown).collect();
                let names = self.known.users.keys().chain(&names).map(String::as_str);
                let hint = nearest(&text.to_lowercase(), names);
                let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                Err(format!("{text:?} is neither a user nor an alias{hint}"))
            }
        }
    }

    /// The alias of this name; the domain is empty for one of all domains.
    fn alias(&self, name: &str, domain: &str) -> Option<usize> {
        self.by_name.get(&(name.to_owned(), domain.to_owned())).copied()
    }

    /// The same, unless it leads back to an alias on the way, or the way is too long.
    fn further(&self, meaning: Meaning, trail: &[usize]) -> Result<Meaning, String> {
        if let Meaning::Alias(next) = &meaning
            && let Some(at) = trail.iter().position(|passed| passed == next)
        {
            let name = self.aliases[*next].shown();
            let way: Vec<String> = trail[at..].iter().map(|passed| self.aliases[*passed].shown()).collect();
            return Err(format!("{name:?} leads back to itself: {} -> {name}", way.join(" -> ")));
        }
        if trail.len() >= DEEPEST {
            let name = trail.last().map(|last| self.aliases[*last].shown()).unwrap_or_default();
            return Err(format!("{name:?} is the end of more than {DEEPEST} aliases in a row"));
        }
        Ok(meaning)
    }
}

enum Meaning {
    User(usize),
    /// A place in the list of aliases.
    Alias(usize),
    Outside(String),
}

/// The local part without its subaddress, where it has one.
pub(super) fn cut(local: &str, subaddress: Option<char>) -> Option<&str> {
    let (base, _) = local.split_once(subaddress?)?;
    (!base.is_empty()).then_some(base)
}
