//! AUTH (RFC 4954): the exchange, up to the credentials. The driver checks them.

use super::reply;
use super::session::{Session, State};
use super::step::{Auth, Step};
use crate::sasl::{Exchange, Fault, Mechanism, Progress};

impl<M> Session<M> {
    /// The mechanisms that may be used on this connection now. PLAIN and LOGIN send the password readable.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let offered = self.settings.auth != Auth::Off;
        let cleartext = offered && (self.settings.cleartext_allowed || self.settings.tls_active);
        let cram_md5 = offered && self.settings.stamp.is_some();
        [(Mechanism::Plain, cleartext), (Mechanism::Login, cleartext), (Mechanism::CramMd5, cram_md5)]
            .into_iter()
            .filter_map(|(mechanism, offered)| offered.then_some(mechanism))
    }

    pub(super) fn auth(&mut self, argument: &[u8], out: &mut Vec<u8>) -> Step {
        if self.settings.auth == Auth::Off {
            return self.say(reply::NOT_OFFERED, out);
        }
        match self.state {
            State::Start => return self.say(reply::HELLO_FIRST, out),
            State::Ready => {}
            _ => return self.say(reply::AUTH_IN_TRANSACTION, out),
        }
        if self.user.is_some() {
            return self.say(reply::AUTH_ONCE, out);
        }
        let mut words = argument.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
        let (Some(name), initial, None) = (words.next(), words.next(), words.next()) else {
            return self.say(reply::AUTH_SYNTAX, out);
        };
        let Some(mechanism) = Mechanism::named(name) else {
            return self.say(reply::UNKNOWN_MECHANISM, out);
        };
        if !self.mechanisms().any(|offered| offered == mechanism) {
            let reply = match mechanism {
                Mechanism::CramMd5 => reply::UNKNOWN_MECHANISM,
                Mechanism::Plain | Mechanism::Login => reply::ENCRYPTION_NEEDED,
            };
            return self.say(reply, out);
        }
        if mechanism == Mechanism::CramMd5 && initial.is_some() {
            return self.say(reply::NO_INITIAL_RESPONSE, out);
        }
        self.exchanges += 1;
        let challenge = || format!("<{}.{}>", self.exchanges, self.settings.stamp.as_deref().unwrap_or_default());
        match Exchange::begin(mechanism, initial, challenge) {
            Ok((exchange, progress)) => self.progress(mechanism, exchange, progress, out),
            Err(fault) => self.fault(fault, out),
        }
    }

    /// Takes the answer to a challenge.
    pub(super) fn response(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        let State::Exchange(mechanism, mut exchange) = self.enter(State::Ready) else {
            return Step::Close;
        };
        if line == b"*" {
            return self.say(reply::AUTH_CANCELLED, out);
        }
        match exchange.respond(line) {
            Ok(progress) => self.progress(mechanism, exchange, progress, out),
            Err(fault) => self.fault(fault, out),
        }
    }

    fn progress(&mut self, mechanism: Mechanism, exchange: Exchange, progress: Progress, out: &mut Vec<u8>) -> Step {
        match progress {
            Progress::Challenge(challenge) => {
                self.enter(State::Exchange(mechanism, exchange));
                reply::line(out, &format!("334 {challenge}"));
                Step::Continue
            }
            Progress::Done(credentials) => {
                self.enter(State::Login);
                Step::Login { mechanism, credentials }
            }
        }
    }

    fn fault(&mut self, fault: Fault, out: &mut Vec<u8>) -> Step {
        let reply = match fault {
            Fault::Encoding => reply::BAD_BASE64,
            Fault::Syntax => reply::AUTH_FAILED,
        };
        self.say(reply, out)
    }

    /// Answers `Step::Login`: the user's name when the credentials were right.
    pub fn logged_in(&mut self, user: Option<String>, out: &mut Vec<u8>) -> Step {
        self.enter(State::Ready);
        self.user = user;
        self.say(if self.user.is_some() { reply::LOGGED_IN } else { reply::AUTH_FAILED }, out)
    }
}
