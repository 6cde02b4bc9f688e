//! Why the smarthost cannot be used, and what that means for the queue.

use crate::config::Relay;
use crate::net::remote::{self, secret};
use crate::sasl::client::{ClientMechanism, Failure};
use std::fmt;

/// What a failed session means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The network, the server, our own disk: it passes by itself, and messages grow old meanwhile.
    Weather,
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

    /// Without the server's words where these repeat the secret that it was sent, as some servers quote the command.
    pub(super) fn without(mut self, secret: &[u8], relay: &Relay) -> Trouble {
        let login = relay.login.as_ref().map_or("", |(login, _)| login);
        let response = |mechanism: ClientMechanism| mechanism.response(login, &relay.host, relay.port, secret);
        let plain = String::from_utf8_lossy(secret);
        let forms = [
            plain.escape_debug().to_string(),
            crate::message::base64::encode(secret),
            plain.into_owned(),
            response(ClientMechanism::Plain),
            response(ClientMechanism::Xoauth2),
            response(ClientMechanism::OauthBearer),
        ];
        // The words may be cut, so the beginning of a long secret is enough. A short one must be a word.
        let is_in = |form: &String| match form.char_indices().nth(8) {
            Some((at, _)) => self.why.contains(&form[..at]),
            None => {
                let mut words = self.why.split(|letter: char| !letter.is_alphanumeric());
                !form.is_empty() && words.any(|word| word == form)
            }
        };
        if forms.iter().any(is_in) {
            self.why = "the login was refused, with words that repeat the secret; they are not shown".into();
        }
        self
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        let kind = match &failure {
            Failure::Refused(_) | Failure::Temporary(_) | Failure::NoMechanism(_) | Failure::NoTls(_) => Kind::Setup,
            _ => Kind::Weather,
        };
        Trouble::new(kind, failure)
    }
}

impl From<remote::Error> for Trouble {
    fn from(error: remote::Error) -> Trouble {
        let kind = match &error {
            remote::Error::Certificate(_) | remote::Error::NotPrivate(_) | remote::Error::Tls(_) => Kind::Setup,
            remote::Error::Interrupted => Kind::Stopped,
            _ => Kind::Weather,
        };
        Trouble::new(kind, error)
    }
}

impl From<secret::Error> for Trouble {
    fn from(error: secret::Error) -> Trouble {
        Trouble::new(Kind::Setup, error)
    }
}
