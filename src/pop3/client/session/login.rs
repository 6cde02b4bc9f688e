//! The login: APOP, USER and PASS, or AUTH, by what the server has and the secret is.

use super::{Session, State, send};
use crate::pop3::client::step::Step;
use crate::sasl::client::{ClientMechanism, Failure, Secret, is_one_line, refusal_status, token_mechanism};
use md5::{Digest, Md5};

impl Session {
    /// Whether the login will be APOP: the greeting has a stamp, and there is no TLS.
    pub fn has_apop(&self) -> bool {
        self.stamp.is_some() && !self.is_secure && self.settings.account.secret == Secret::Password
    }

    /// No APOP: the account's password may not be of the kind that the server can do it with.
    pub fn forget_apop(&mut self) {
        self.stamp = None;
    }

    /// Answers [`Step::Credentials`].
    pub fn credentials(&mut self, secret: &[u8], out: &mut Vec<u8>) -> Step {
        let knows_capa = self.capabilities.is_some();
        let chosen = is_one_line(secret).and_then(|()| match self.settings.account.secret {
            Secret::Token => token_mechanism(|name| !knows_capa || self.has_mechanism(name)).map(Some),
            Secret::Password => Ok(None),
        });
        let mechanism = match chosen {
            Err(failure) => return self.fail(failure),
            Ok(Some(mechanism)) => mechanism,
            Ok(None) => {
                if let Some(stamp) = self.stamp.as_deref().filter(|_| !self.is_secure) {
                    let digest = Md5::new().chain_update(stamp).chain_update(secret).finalize();
                    let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                    let command = format!("APOP {} {digest}", self.settings.account.login);
                    self.enter(State::Apop);
                    return send(&command, out);
                }
                if !knows_capa || self.can("USER") || !self.has_mechanism("PLAIN") {
                    self.secret = Some(secret.to_vec());
                    self.enter(State::User);
                    return send(&format!("USER {}", self.settings.account.login), out);
                }
                ClientMechanism::Plain
            }
        };
        self.secret = Some(self.settings.account.response(mechanism, secret).into_bytes());
        self.enter(State::Auth(mechanism));
        send(&format!("AUTH {}", mechanism.name()), out)
    }

    /// `+ text` in AUTH.
    pub(super) fn challenge(&mut self, mechanism: ClientMechanism, text: &[u8], out: &mut Vec<u8>) -> Step {
        match self.secret.take() {
            Some(response) => out.extend(response),
            None if self.lines > 1 => return self.fail(Failure::Protocol("one challenge after the other")),
            None => {
                self.lines += 1;
                self.status = refusal_status(text);
                out.extend_from_slice(mechanism.acknowledgement().as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        Step::Line
    }
}

/// The time stamp of a greeting (RFC 1939 section 7): `<...@...>`.
pub(super) fn stamp(greeting: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(greeting).ok()?;
    let (_, rest) = text.split_once('<')?;
    let (inner, _) = rest.split_once('>')?;
    (inner.contains('@') && inner.bytes().all(|octet| (b'!'..=b'~').contains(&octet))).then(|| format!("<{inner}>"))
}
