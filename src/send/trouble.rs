//! Why the smarthost cannot be used, and what that means for the queue.

use crate::config::Relay;
use crate::net::remote::{self, secret};
use crate::sasl::client::Failure;
use std::fmt;

/// What a failed session means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The network, the server, our own disk: it passes by itself, and messages grow old meanwhile.
    Temporary,
    /// Login, secret or TLS: the administrator must act. Nothing is given up meanwhile.
    Setup,
    /// This process stops.
    Stopped,
}

/// A session that failed.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    pub(super) why: String,
}

impl Trouble {
    pub(super) fn new(kind: Kind, why: impl fmt::Display) -> Trouble {
        Trouble { kind, why: why.to_string() }
    }

    /// Without the server's words where these repeat the secret that it was sent.
    pub(super) fn without(mut self, secret: &[u8], relay: &Relay) -> Trouble {
        if relay.account().is_some_and(|account| account.is_repeated(&self.why, secret)) {
            self.why = "the login was refused, with words that repeat the secret; they are not shown".into();
        }
        self
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        let kind = match &failure {
            Failure::Refused(_) | Failure::Temporary(_) | Failure::NoMechanism(_) | Failure::NoTls(_) => Kind::Setup,
            _ => Kind::Temporary,
        };
        Trouble::new(kind, failure)
    }
}

impl From<remote::Error> for Trouble {
    fn from(error: remote::Error) -> Trouble {
        let kind = match &error {
            remote::Error::Certificate(_) | remote::Error::NotPrivate(_) | remote::Error::Tls(_) => Kind::Setup,
            remote::Error::Interrupted => Kind::Stopped,
            _ => Kind::Temporary,
        };
        Trouble::new(kind, error)
    }
}

impl From<secret::Error> for Trouble {
    fn from(error: secret::Error) -> Trouble {
        Trouble::new(Kind::Setup, error)
    }
}
