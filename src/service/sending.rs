//! Limits what one user sends to other servers, so that a stolen password does not send 100,000 mails: messages that wait
//! to be sent, and recipients in an hour. The hour's count is in memory.

use crate::config::Config;
use crate::sys::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// Recipients of one minute are counted together.
const MINUTE: Duration = Duration::from_secs(60);

/// Beyond so many users, those that have sent nothing for an hour are forgotten.
const USERS: usize = 1024;

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `relay.waiting_per_user`.
    Waiting,
    /// `relay.recipients_per_hour`.
    Hour,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub limit: Limit,
    /// How many it allows.
    pub most: usize,
    /// It was not told of this user and this client in the last hour: it is to be logged.
    pub is_news: bool,
}

#[derive(Debug, Default)]
struct Sent {
    /// Recipients by the minute, the latest last.
    minutes: VecDeque<(Instant, usize)>,
    /// When and of which client it was last told that a limit is reached.
    told: Option<(Instant, String)>,
}

/// Counts what each user sends.
#[derive(Debug)]
pub struct Sending {
    waiting: usize,
    hour: usize,
    users: Mutex<HashMap<String, Sent>>,
}

impl Sending {
    /// The limits of `[relay]`.
    pub fn by(config: &Config) -> Sending {
        let (waiting, hour) = config.sending_limits();
        Sending { waiting, hour, users: Mutex::default() }
    }

    /// Counts one recipient more of a user with so many messages that wait; or says which limit forbids it.
    ///
    /// # Errors
    ///
    /// The limit. Nothing is counted then.
    pub fn take(&self, user: &str, client: &str, waiting: usize) -> Result<(), Reached> {
        self.take_at(Instant::now(), user, client, waiting)
    }

    fn take_at(&self, now: Instant, user: &str, client: &str, waiting: usize) -> Result<(), Reached> {
        let mut users = lock(&self.users);
        if users.len() >= USERS && !users.contains_key(user) {
            let is_old = |at: Instant| now.saturating_duration_since(at) >= HOUR;
            users.retain(|_, sent| sent.minutes.back().is_some_and(|(at, _)| !is_old(*at)));
        }
        let sent = users.entry(user.to_owned()).or_default();
        while sent.minutes.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= HOUR) {
            sent.minutes.pop_front();
        }
        let in_hour: usize = sent.minutes.iter().map(|(_, count)| count).sum();
        let (limit, most) = match () {
            () if waiting >= self.waiting => (Limit::Waiting, self.waiting),
            () if in_hour >= self.hour => (Limit::Hour, self.hour),
            () => {
                match sent.minutes.back_mut().filter(|(at, _)| now.saturating_duration_since(*at) < MINUTE) {
                    Some((_, count)) => *count += 1,
                    None => sent.minutes.push_back((now, 1)),
                }
                return Ok(());
            }
        };
        let is_known = |told: &(Instant, String)| now.saturating_duration_since(told.0) < HOUR && told.1 == client;
        let is_news = !sent.told.as_ref().is_some_and(is_known);
        if is_news {
            sent.told = Some((now, client.to_owned()));
        }
        Err(Reached { limit, most, is_news })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(waiting: usize, hour: usize) -> Sending {
        Sending { waiting, hour, users: Mutex::default() }
    }

    #[test]
    fn a_user_sends_so_much_in_any_hour() {
        let sending = sending(10, 5);
        let begin = Instant::now();
        let take = |minutes: u64, user: &str| {
            sending
                .take_at(begin + MINUTE * u32::try_from(minutes).unwrap(), user, "192.0.2.1", 0)
                .map_err(|reached| (reached.limit, reached.is_news))
        };
        for minutes in [0, 0, 1, 30, 59] {
            assert_eq!(take(minutes, "alice"), Ok(()));
        }
        assert_eq!(take(59, "alice"), Err((Limit::Hour, true)));
        assert_eq!(take(59, "alice"), Err((Limit::Hour, false)));
        assert_eq!(take(59, "bob"), Ok(()));
        // What is an hour old counts no more.
        assert_eq!((take(60, "alice"), take(60, "alice")), (Ok(()), Ok(())));
        assert_eq!(take(60, "alice"), Err((Limit::Hour, false)));
        // It is told again after an hour, and of another client at once.
        assert_eq!(take(61, "alice"), Ok(()));
        let other = sending.take_at(begin + MINUTE * 62, "alice", "192.0.2.2", 0).unwrap_err();
        assert!(other.is_news && other.most == 5);
    }

    #[test]
    fn a_user_has_so_much_waiting() {
        let sending = sending(2, 100);
        assert_eq!(sending.take("alice", "local", 1), Ok(()));
        let reached = sending.take("alice", "local", 2).unwrap_err();
        assert_eq!((reached.limit, reached.most), (Limit::Waiting, 2));
    }

    #[test]
    fn users_without_mail_are_forgotten() {
        let sending = sending(10, 10);
        let begin = Instant::now();
        for number in 0..USERS {
            sending.take_at(begin, &format!("user{number}"), "local", 0).unwrap();
        }
        sending.take_at(begin + HOUR, "late", "local", 0).unwrap();
        assert_eq!(sending.users.lock().unwrap().len(), 1);
    }
}
