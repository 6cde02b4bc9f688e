//! The login: credentials, the delay after wrong ones, the maildrop's lock.

use super::Driver;
use crate::config::ListenerKind;
use crate::maildir::drop::{self, Maildrop};
use crate::net::conn::{Client, Error};
use crate::pop3::{Login, Refusal, Settings, Step};
use crate::sasl::{Credentials, Exchange, Fault, Mechanism, Progress};
use crate::service::Service;
use crate::service::login;

/// What a session may offer on this connection.
pub(super) fn settings(service: &Service, client: &Client, kind: ListenerKind, stamp: Option<String>) -> Settings {
    Settings {
        tls_available: service.live().tls.is_some(),
        expire: service.config.shortest_stay().map(|stay| stay.as_secs() / 86_400),
        tls_active: kind.is_implicit_tls(),
        cleartext_allowed: client.is_local() || !service.config.tls.required_for_auth,
        cram_md5: stamp.is_some(),
        stamp,
    }
}

/// The stamp of the greeting, or the challenge of CRAM-MD5.
pub(super) fn stamp(hostname: &str) -> String {
    format!("<{}>", login::stamp(hostname))
}

impl Driver<'_> {
    /// Does a step of the login.
    pub(super) fn authorize(&mut self, step: Step) -> Result<Step, Error> {
        match self.credentials(step) {
            Ok((credentials, method)) => self.authenticate(&credentials, method),
            Err(step) => Ok(step),
        }
    }

    /// The credentials and how they came, or what is to be done before they are there.
    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn credentials(&mut self, step: Step) -> Result<(Credentials, &'static str), Step> {
        match (step, self.exchange.take()) {
            (Step::Login(Login::Password { name, password }), _) => {
                Ok((Credentials::Password { name, password }, "USER"))
            }
            (Step::Login(Login::Apop { name, digest }), _) => {
                let stamp = self.stamp.clone().unwrap_or_default();
                Ok((Credentials::Apop { name, stamp, digest }, "APOP"))
            }
            (Step::Auth { mechanism, initial }, _) => {
                let begun = Exchange::begin(mechanism, initial.as_deref(), || stamp(&self.service.config.hostname));
                self.exchanged(mechanism, begun)
            }
            // Only the answer to a challenge is left.
            (_, Some((mechanism, mut exchange))) => {
                let progress = exchange.respond(&self.line);
                self.exchanged(mechanism, progress.map(|progress| (exchange, progress)))
            }
            (_, None) => Err(self.session.opened(Err(Refusal::Auth), self.conn.output())),
        }
    }

    fn exchanged(
        &mut self,
        mechanism: Mechanism,
        outcome: Result<(Exchange, Progress), Fault>,
    ) -> Result<(Credentials, &'static str), Step> {
        match outcome {
            Ok((exchange, Progress::Challenge(text))) => {
                self.exchange = Some((mechanism, exchange));
                Err(self.session.challenge(&text, self.conn.output()))
            }
            Ok((_, Progress::Done(credentials))) => Ok((credentials, mechanism.name())),
            Err(_) => Err(self.session.opened(Err(Refusal::Auth), self.conn.output())),
        }
    }

    /// Checks the credentials, then opens the maildrop.
    fn authenticate(&mut self, credentials: &Credentials, method: &str) -> Result<Step, Error> {
        let user = login::log_in(self.service, &mut self.conn, self.client, self.kind, credentials, method)?;
        Ok(self.open_maildrop(user))
    }

    // Not inlined: only the memory of a session that waits depends on it.
    #[inline(never)]
    fn open_maildrop(&mut self, user: Option<String>) -> Step {
        let service = self.service;
        let Some(user) = user else { return self.session.opened(Err(Refusal::Auth), self.conn.output()) };
        service.delivery.first_look().wait();
        let opened = Maildrop::open(&service.config.maildir(&user), &user, &service.maildrops).map_err(|error| {
            log::warn!("pop3: {user}: {error}");
            match error {
                drop::Error::InUse => Refusal::InUse,
                error if error.is_temporary() => Refusal::Temporary,
                _ => Refusal::Permanent,
            }
        });
        if opened.is_ok() {
            self.user = Some(user);
            self.stamp = None;
        }
        self.session.opened(opened, self.conn.output())
    }
}
