//! The configuration: TOML in, types out; everything that is wrong is reported at once, each with its place.

mod conflicts;
mod domains;
#[cfg(any(feature = "remote", feature = "relay", feature = "mqtt"))]
mod endpoint;
mod event;
mod http;
mod listener_kind;
mod load;
#[cfg(feature = "mqtt")]
mod mqtt;
mod network;
mod place;
#[cfg(feature = "relay")]
mod relay;
#[cfg(feature = "remote")]
mod remote;
mod report;
mod section;
mod subscribers;
#[cfg(test)]
mod tests;
mod value;
#[cfg(feature = "webhook")]
mod webhook;

pub use domains::Domains;
#[cfg(any(feature = "remote", feature = "relay"))]
pub use endpoint::Encryption;
pub use http::Http;
pub use listener_kind::ListenerKind;
pub use network::Network;
pub use place::Place;
#[cfg(feature = "relay")]
pub use relay::Relay;
#[cfg(feature = "remote")]
pub use remote::{After, Protocol, Remote};
pub use value::{duration, user_name};

use crate::message::header::EventSettings;
#[cfg(feature = "webhook")]
use crate::notify::WebhookSettings;
use crate::notify::{HookSettings, PipeSettings, Settings};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every setting, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from; `None` for the embedded default.
    pub file: Option<PathBuf>,
    /// The server's name, in the greeting and in `Received:`.
    pub hostname: String,
    /// Domains that mail is accepted for.
    pub domains: Domains,
    /// Journal, cursors, locks.
    pub state: PathBuf,
    /// Become this user once the sockets are bound.
    pub user: Option<String>,
    /// And this group, instead of the user's own.
    pub group: Option<String>,
    /// The store.
    pub mail: Mail,
    /// Accounts and aliases.
    pub users: Users,
    /// SMTP.
    pub smtp: Smtp,
    /// Submission listeners (`submission.listen`).
    pub submission: Vec<Place>,
    /// Users that may send from any address (`submission.any_sender`); `*` stands for all.
    pub any_sender: Vec<String>,
    /// LMTP listeners (`lmtp.listen`).
    pub lmtp: Vec<Place>,
    /// Networks that must send a PROXY header.
    pub proxy_trusted: Vec<Network>,
    /// The listener that serves metrics.
    pub metrics: Option<Place>,
    /// Events, status and a page over HTTP.
    pub http: Http,
    /// POP3.
    pub pop3: Pop3,
    /// TLS.
    pub tls: Tls,
    /// Limits.
    pub limits: Limits,
    /// Pipes; at least one unless the file says `pipe = []`.
    pub pipes: Vec<PipeSettings>,
    /// Hooks.
    pub hooks: Vec<HookSettings>,
    /// Brokers.
    #[cfg(feature = "mqtt")]
    pub mqtts: Vec<crate::notify::MqttSettings>,
    /// Webhooks.
    #[cfg(feature = "webhook")]
    pub webhooks: Vec<WebhookSettings>,
    /// Maildirs that other programs deliver into.
    pub watches: Vec<Watch>,
    /// Mailboxes on other servers.
    #[cfg(feature = "remote")]
    pub remotes: Vec<Remote>,
    /// Where mail to others goes; `None`: it is refused.
    #[cfg(feature = "relay")]
    pub relay: Option<Relay>,
    /// What a record says beyond the usual fields.
    pub event: EventSettings,
    /// How long the journal is kept.
    pub journal_keep: Duration,
    /// How large it may grow, octets: the oldest records go earlier beyond it.
    pub journal_max_size: u64,
}

/// `[mail]`.
#[derive(Clone, Debug)]
pub struct Mail {
    /// ROOT/USER/{tmp,new,cur}; absolute.
    pub root: PathBuf,
    /// Mode of message files; never world-readable.
    pub file_mode: u32,
    /// Messages in `cur/` older than this are gzipped.
    pub compress_after: Option<Duration>,
    /// Messages of this age are deleted, where `users.delete_after` says nothing else.
    pub delete_after: Option<Duration>,
    /// Octets per user.
    pub quota: Option<u64>,
    /// Octets that stay free on the disk.
    pub min_free: u64,
}

/// `[users]`.
#[derive(Clone, Debug)]
pub struct Users {
    /// The passwd-file.
    pub file: PathBuf,
    /// aliases(5). A default path that does not exist is no error.
    pub aliases: PathBuf,
    /// True when the file sets `aliases`: then the file of aliases must exist.
    pub aliases_given: bool,
    /// The user that gets mail for unknown local parts.
    pub catch_all: Option<String>,
    /// What begins a subaddress; `None` turns it off.
    pub subaddress: Option<char>,
    /// Users with an own `mail.delete_after`.
    pub delete_after: BTreeMap<String, Option<Duration>>,
}

/// `smtp.auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthPolicy {
    /// Not offered.
    Off,
    /// Offered.
    Optional,
    /// Needed before MAIL.
    Required,
}

/// `[smtp]`.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Listeners.
    pub listen: Vec<Place>,
    /// Octets as they come, CRLF line ends; exactly this many pass.
    pub max_message_size: u64,
    /// Recipients in one transaction.
    pub max_recipients: usize,
    /// Authentication on `listen`.
    pub auth: AuthPolicy,
    /// `early_talkers = "allow"`: a client may send before the greeting.
    pub allows_early_talkers: bool,
}

/// `[pop3]`.
#[derive(Clone, Debug)]
pub struct Pop3 {
    /// Listeners.
    pub listen: Vec<Place>,
    /// For one command (RFC 1939 section 3: at least 10 minutes).
    pub command_timeout: Duration,
    /// RETR moves a message to `cur/` with the flag S at QUIT.
    pub mark_seen: bool,
}

/// `[tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate chain and key.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// Implicit-TLS submission listeners.
    pub smtps: Vec<Place>,
    /// Implicit-TLS POP3 listeners.
    pub pop3s: Vec<Place>,
    /// No cleartext passwords without TLS except from the machine itself.
    pub required_for_auth: bool,
}

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Open connections from one address.
    pub connections_per_ip: usize,
    /// New connections from one address.
    pub connection_rate_per_ip: Option<Rate>,
    /// SMTP messages from one address, authenticated or not; LMTP's are not counted.
    pub message_rate_per_ip: Option<Rate>,
    /// SMTP: for one command, or for progress in message data.
    pub command_timeout: Duration,
    /// For a whole session.
    pub session_timeout: Duration,
    /// Networks from which failed logins are not delayed.
    pub penalty_exempt: Vec<Network>,
}

/// A rate: a bucket that holds `count` and takes `period` to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// At least a second.
    pub period: Duration,
}

/// `[[watch]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The user in the events.
    pub user: String,
    /// The Maildir.
    pub maildir: PathBuf,
}

/// A problem with its place: prints as `FILE:LINE: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1; 0 where it is not about a line.
    pub line: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of its lines.
    pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
        load::load(file)
    }

    /// What `serve` runs when there is no file: state under `folder`, one account that gets all mail for `localhost`.
    pub fn embedded(folder: &Path, account: &str) -> Config {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let loopback = |port| vec![Place::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))];
        let defaults = load::defaults(&folder);
        Config {
            domains: Domains::These(vec!["localhost".into()]),
            state: folder.clone(),
            mail: Mail { root: folder.join("mail"), ..defaults.mail },
            users: Users {
                file: folder.join("users"),
                aliases: folder.join("aliases"),
                catch_all: Some(account.to_owned()),
                ..defaults.users
            },
            smtp: Smtp { listen: loopback(2525), ..defaults.smtp },
            pop3: Pop3 { listen: loopback(1110), ..defaults.pop3 },
            http: Http { listen: if cfg!(feature = "http") { loopback(9180) } else { Vec::new() }, token_file: None },
            pipes: vec![subscribers::default_pipe(folder.join("notify"))],
            ..defaults
        }
    }

    /// A problem with a setting, at the line of its key where the file has it: `mail.root`,
    /// `smtp.listen[0]`, `pipe[1].path`.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let line = self.file.as_ref().map_or(0, |file| load::line_of_key(file, key));
        Problem { file: self.file.clone().unwrap_or_else(|| "built-in defaults".into()), line, message: message.into() }
    }

    /// Whether the file does not name this key (`smtp.listen`), so that its value is the default.
    pub fn is_default(&self, key: &str) -> bool {
        self.file.as_ref().is_none_or(|file| load::line_of_key(file, key) == 0)
    }

    /// Every subscriber that the server serves.
    pub fn subscribers(&self) -> Vec<Settings> {
        let pipes = self.pipes.iter().cloned().map(Settings::Pipe);
        let all = pipes.chain(self.hooks.iter().cloned().map(Settings::Hook));
        #[cfg(feature = "mqtt")]
        let all = all.chain(self.mqtts.iter().cloned().map(Settings::Mqtt));
        #[cfg(feature = "webhook")]
        let all = all.chain(self.webhooks.iter().cloned().map(Settings::Webhook));
        all.collect()
    }

    /// Every listener with its place in the file, such as `smtp.listen[0]`.
    pub fn listeners(&self) -> Vec<(ListenerKind, String, &Place)> {
        let lists: [(ListenerKind, &str, &[Place]); 6] = [
            (ListenerKind::Smtp, "smtp.listen", &self.smtp.listen),
            (ListenerKind::Submission, "submission.listen", &self.submission),
            (ListenerKind::Smtps, "tls.smtps", &self.tls.smtps),
            (ListenerKind::Lmtp, "lmtp.listen", &self.lmtp),
            (ListenerKind::Pop3, "pop3.listen", &self.pop3.listen),
            (ListenerKind::Pop3s, "tls.pop3s", &self.tls.pop3s),
        ];
        let mut all = Vec::new();
        for (kind, key, places) in lists {
            all.extend(places.iter().enumerate().map(|(index, place)| (kind, format!("{key}[{index}]"), place)));
        }
        all.extend(self.http.listen.iter().map(|place| (ListenerKind::Http, "http.listen".to_owned(), place)));
        all.extend(self.metrics.iter().map(|place| (ListenerKind::Metrics, "metrics.listen".to_owned(), place)));
        all
    }

    /// Whether a connection from this address must begin with a PROXY header.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxy_trusted.iter().any(|network| network.contains(address))
    }

    /// The domain of an address that is written without one.
    pub fn home_domain(&self) -> &str {
        match &self.domains {
            Domains::These(ours) => ours.first().unwrap_or(&self.hostname),
            Domains::Any => &self.hostname,
        }
    }

    /// The most messages of one user that wait to be sent, and the most recipients that one user sends to in an hour.
    pub fn sending_limits(&self) -> (usize, usize) {
        #[cfg(feature = "relay")]
        if let Some(relay) = &self.relay {
            return (relay.waiting_per_user, relay.recipients_per_hour);
        }
        (0, 0)
    }

    /// The age at which a user's messages are deleted.
    pub fn delete_after(&self, user: &str) -> Option<Duration> {
        self.users.delete_after.get(user).copied().unwrap_or(self.mail.delete_after)
    }

    /// The shortest time that a message of any user stays.
    pub fn shortest_stay(&self) -> Option<Duration> {
        self.users.delete_after.values().copied().chain([self.mail.delete_after]).flatten().min()
    }

    /// The Maildir of a user.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.mail.root.join(user)
    }

    /// Whether mail to other domains is sent there (`relay.host`).
    pub fn relays(&self) -> bool {
        #[cfg(feature = "relay")]
        return self.relay.is_some();
        #[cfg(not(feature = "relay"))]
        false
    }

    /// The folder of the journal.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }
}
