//! The domains that this server takes mail for.

use crate::message::idn::same_domain;

/// `domains`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domains {
    /// `"*"`.
    Any,
    /// These, in lower case.
    These(Vec<String>),
}

impl Domains {
    /// Whether this server takes mail for this domain (or address literal). Case, a dot at the end, and the choice of
    /// A-labels or U-labels do not count.
    pub fn contains(&self, domain: &str) -> bool {
        match self {
            Domains::Any => true,
            Domains::These(ours) => ours.iter().any(|own| same_domain(own, domain)),
        }
    }
}
