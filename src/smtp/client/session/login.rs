//! The login: AUTH with the mechanism that fits the secret, and what its refusal means.

use super::{Session, State, send, text};
use crate::message::base64;
use crate::sasl::client::{
    Account, ClientMechanism, Failure, Secret, Text, is_one_line, refusal_status, token_mechanism,
};
use crate::smtp::client::reply::Reply;
use crate::smtp::client::step::Step;

/// A response up to this length goes with AUTH itself (RFC 4954 section 4: a command line may be short).
const INITIAL_RESPONSE: usize = 480;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Sasl(ClientMechanism),
    /// AUTH LOGIN: name and password, one after the other.
    Plain,
}

impl Session {
    /// Answers [`Step::Credentials`].
    pub fn credentials(&mut self, secret: &[u8], out: &mut Vec<u8>) -> Step {
        let Some(account) = self.settings.account.clone() else { return self.ready() };
        let login = match is_one_line(secret).and_then(|()| self.login(&account)) {
            Ok(login) => login,
            Err(failure) => return self.fail(failure),
        };
        self.responses.clear();
        self.enter(State::Auth(login));
        match login {
            Login::Sasl(mechanism) => {
                let response = account.response(mechanism, secret);
                let command = format!("AUTH {}", mechanism.name());
                if response.len() <= INITIAL_RESPONSE {
                    return send(&format!("{command} {response}"), out);
                }
                self.responses.push_back(response);
                send(&command, out)
            }
            Login::Plain => {
                self.responses.extend([base64::encode(account.login.as_bytes()), base64::encode(secret)]);
                send("AUTH LOGIN", out)
            }
        }
    }

    fn login(&self, account: &Account) -> Result<Login, Failure> {
        let has = |name: &str| self.can.has_mechanism(name);
        match account.secret {
            Secret::Token => token_mechanism(has).map(Login::Sasl),
            Secret::Password if has("PLAIN") => Ok(Login::Sasl(ClientMechanism::Plain)),
            Secret::Password if has("LOGIN") => Ok(Login::Plain),
            Secret::Password => Err(Failure::NoMechanism("neither PLAIN nor LOGIN is advertised")),
        }
    }

    /// A reply to AUTH, or to a response.
    pub(super) fn auth(&mut self, login: Login, reply: &Reply, out: &mut Vec<u8>) -> Step {
        if reply.is_positive() {
            self.responses.clear();
            return self.ready();
        }
        if reply.is_intermediate() {
            let Some(response) = self.responses.pop_front() else {
                let Login::Sasl(mechanism) = login else {
                    return self.fail(Failure::Protocol("a challenge too many"));
                };
                if self.status.is_some() {
                    return self.fail(Failure::Protocol("a challenge too many"));
                }
                self.status = Some(refusal_status(reply.text.as_bytes()).unwrap_or_default());
                return send(mechanism.acknowledgement(), out);
            };
            return send(&response, out);
        }
        self.responses.clear();
        let status = self.status.take().filter(|status| !status.is_empty());
        let said = match status {
            Some(status) => Text::new(format!("{reply} (status {status})").as_bytes()),
            None => text(reply),
        };
        self.fail(if reply.is_permanent() { Failure::Refused(said) } else { Failure::Temporary(said) })
    }
}
