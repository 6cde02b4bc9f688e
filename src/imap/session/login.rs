//! The login: LOGIN or AUTHENTICATE, by what the server has and the secret is.

use super::Session;
use crate::imap::command::Pieces;
use crate::imap::state::{Login, State};
use crate::imap::step::Step;
use crate::sasl::client::{ClientMechanism, Failure, Secret, token_mechanism};

impl Session {
    /// Answers [`Step::Credentials`].
    pub fn credentials(&mut self, secret: &[u8], out: &mut Vec<u8>) -> Step {
        let mechanism = match self.settings.account.secret {
            Secret::Token => match token_mechanism(|name| self.can(&format!("AUTH={name}"))) {
                Ok(mechanism) => mechanism,
                Err(failure) => return self.fail(failure),
            },
            Secret::Password if !self.can("LOGINDISABLED") => {
                self.tags += 1;
                let pieces = Pieces::new(&format!("{} LOGIN", self.tag()));
                let mut pieces = pieces.string(self.settings.account.login.as_bytes()).string(secret);
                self.responses = 0;
                out.extend(pieces.next().unwrap_or_default());
                self.enter(State::Login(Login::Command(pieces)));
                return Step::Line;
            }
            Secret::Password if self.can("AUTH=PLAIN") => ClientMechanism::Plain,
            Secret::Password => {
                return self.fail(Failure::NoMechanism("LOGIN is disabled, and there is no AUTH=PLAIN"));
            }
        };
        let response = self.settings.account.response(mechanism, secret);
        let at_once = self.can("SASL-IR");
        let command = match at_once {
            true => format!("AUTHENTICATE {} {response}", mechanism.name()),
            false => format!("AUTHENTICATE {}", mechanism.name()),
        };
        let response = (!at_once).then_some(response);
        self.enter(State::Login(Login::Sasl { mechanism, response, status: None }));
        self.send(&command, out)
    }
}
