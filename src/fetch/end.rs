//! Why a session with a remote ended, and when the next one begins. Pure but for chance.

use crate::delivery;
use crate::net::remote::{self, secret};
use crate::sasl::client::{Account, Failure, is_not_connected};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The end of a session.
#[derive(Debug)]
pub struct End {
    /// What it means.
    pub kind: Kind,
    /// For the log and `status`.
    pub why: String,
}

/// What the end of a session means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything was looked at; the next look is due after the interval.
    Passed,
    /// Ended by the server, as servers do after some time.
    Normal,
    /// A later try can succeed without any change by a person: the network, the server, our own disk.
    Temporary,
    /// The login was refused, or there is no secret.
    Credentials,
    /// The certificate is not trusted.
    Certificate,
    /// The folder does not exist, or may not be opened.
    Folder,
    /// This process stops.
    Stopped,
}

impl Kind {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Passed => "none",
            Kind::Normal => "ended",
            Kind::Temporary => "temporary",
            Kind::Credentials => "credentials",
            Kind::Certificate => "certificate",
            Kind::Folder => "folder",
            Kind::Stopped => "stopped",
        }
    }

    /// The kinds that are errors.
    pub const ERRORS: [Kind; 4] = [Kind::Temporary, Kind::Credentials, Kind::Certificate, Kind::Folder];

    /// The first wait and the longest.
    fn waits(self) -> (Duration, Duration) {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        match self {
            Kind::Passed | Kind::Normal | Kind::Stopped => (Duration::from_secs(1), Duration::from_secs(1)),
            Kind::Temporary => (Duration::from_secs(5), minutes(15)),
            Kind::Credentials => (minutes(5), minutes(6 * 60)),
            Kind::Certificate | Kind::Folder => (minutes(5), minutes(60)),
        }
    }
}

impl End {
    /// Of this kind.
    pub fn new(kind: Kind, why: impl fmt::Display) -> End {
        End { kind, why: why.to_string() }
    }

    /// Without the server's words where these repeat the secret that it was sent.
    pub fn without(mut self, secret: &[u8], account: &Account) -> End {
        if account.is_repeated(&self.why, secret) {
            self.why = "the login failed; the server's words are not shown, because they repeat the secret".into();
        }
        self
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        let kind = match &failure {
            Failure::Refused(_) | Failure::NoMechanism(_) => Kind::Credentials,
            Failure::NoFolder(_) => Kind::Folder,
            Failure::Bye(_) => Kind::Normal,
            _ => Kind::Temporary,
        };
        let hint = match &failure {
            Failure::Temporary(text) if is_not_connected(text.as_str()) => {
                "; if this lasts, the account may lack the right to use IMAP, or the login may name another mailbox"
            }
            _ => "",
        };
        End::new(kind, format!("{failure}{hint}"))
    }
}

impl From<remote::Error> for End {
    fn from(error: remote::Error) -> End {
        let kind = match &error {
            remote::Error::Certificate(_) | remote::Error::NotPrivate(_) => Kind::Certificate,
            remote::Error::Interrupted => Kind::Stopped,
            remote::Error::Closed => Kind::Normal,
            _ => Kind::Temporary,
        };
        End::new(kind, error)
    }
}

impl From<secret::Error> for End {
    fn from(error: secret::Error) -> End {
        End::new(Kind::Credentials, error)
    }
}

impl From<delivery::Failure> for End {
    fn from(failure: delivery::Failure) -> End {
        End::new(Kind::Temporary, format!("the message cannot be stored here: {failure}"))
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> End {
        End::new(Kind::Temporary, format!("what is known of the remote cannot be kept: {error}"))
    }
}

/// How long to wait before the next try: doubling within the bounds of the kind, with 25 % of chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackOff {
    last: Option<(Kind, Duration)>,
}

impl BackOff {
    /// After a session that ended so.
    pub fn next(&mut self, kind: Kind) -> Duration {
        let (first, longest) = kind.waits();
        let wait = match self.last {
            Some((before, wait)) if before == kind => (wait * 2).min(longest),
            _ => first,
        };
        self.last = Some((kind, wait));
        wait.mul_f64(0.75 + chance() * 0.5)
    }

    /// After a good pass, or when a user asks for a try now.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_repeat_the_secret_are_not_kept() {
        let mut remote = crate::fetch::testing::remote("work", crate::config::Protocol::Imap, 143);
        remote.login = "me".into();
        let account = remote.account();
        let is_kept =
            |why: &str, secret: &str| End::new(Kind::Credentials, why).without(secret.as_bytes(), &account).why == why;
        assert!(is_kept("login refused: \"no\"", "pa55-of-the-remote"));
        for why in
            ["no: PASS pa55-of-the-remote", "no: PASS pa55-of-the", "AUTH PLAIN AG1lAHBhNTUtb2YtdGhlLXJlbW90ZQ=="]
        {
            assert!(!is_kept(why, "pa55-of-the-remote"), "{why}");
        }
        assert!(!is_kept("login refused: \"PASS x\"", "x") && is_kept("login refused: \"exact\"", "x"));
    }

    #[test]
    fn waits_double_within_their_bounds() {
        for (kind, first, longest) in
            [(Kind::Temporary, 5, 900), (Kind::Credentials, 300, 21_600), (Kind::Certificate, 300, 3_600)]
        {
            let mut back_off = BackOff::default();
            let mut expected = first as f64;
            for _ in 0..20 {
                let wait = back_off.next(kind).as_secs_f64();
                assert!((expected * 0.75..=expected * 1.25).contains(&wait), "{kind:?}: {wait} for {expected}");
                expected = (expected * 2.0).min(longest as f64);
            }
            back_off.reset();
            assert!(back_off.next(kind).as_secs_f64() <= first as f64 * 1.25);
        }
        let mut back_off = BackOff::default();
        back_off.next(Kind::Temporary);
        back_off.next(Kind::Credentials);
        assert!(back_off.next(Kind::Temporary).as_secs_f64() <= 5.0 * 1.25, "another kind begins anew");
        assert!(BackOff::default().next(Kind::Normal) < Duration::from_secs(2));
    }
}
